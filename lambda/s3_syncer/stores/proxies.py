"""Find out whether boto3 uses a proxy, which the other clients of this package cannot use."""

from __future__ import annotations

from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


def is_proxied(endpoint: str) -> bool:
    """Return True if a boto3 client of the endpoint sends its requests through a proxy.

    `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` decide, in upper or lower case. boto3 compares `NO_PROXY` with the host
    of the endpoint alone, also where a request has the bucket in its host. It ignores `ALL_PROXY`.
    """
    parts = urlsplit(endpoint)
    return parts.scheme in getproxies() and not proxy_bypass(parts.netloc)
