"""The proxy that boto3 uses, which the other clients of this package cannot use."""

from __future__ import annotations

import os
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from ..core.errors import StoreUnusable
from ..settings_reader import web_address


def is_proxied(endpoint: str) -> bool:
    """Return True if a boto3 client of the endpoint sends its requests through a proxy.

    `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` decide, in upper or lower case. boto3 compares `NO_PROXY` with the host
    of the endpoint alone, also where a request has the bucket in its host. It ignores `ALL_PROXY`.
    """
    parts = urlsplit(endpoint)
    return parts.scheme in getproxies() and not proxy_bypass(parts.netloc)


def require_usable_proxy(endpoint: str) -> None:
    """Raise StoreUnusable if boto3 would use a proxy for the endpoint, and its address is no URL.

    boto3 would take the failure of each request for a broken connection. The message leaves the value out, because it
    may have a password.
    """
    if not is_proxied(endpoint):
        return
    variable = f"{urlsplit(endpoint).scheme}_proxy"
    address = getproxies()[variable.removesuffix("_proxy")]
    if not address.startswith(("http:", "https:")):
        address = f"http://{address.removeprefix('//')}"  # as boto3 does
    url = web_address(address)
    if url is None or "//" in url.path or any(map(str.isspace, address)):
        names = [name for name in os.environ if name.lower() == variable] or [variable.upper()]
        raise StoreUnusable(
            f"{' or '.join(sorted(names))} is not the address of an HTTP proxy: write http://HOST:PORT",
            "BadConfiguration",
        )
