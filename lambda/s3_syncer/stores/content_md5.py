"""Send Content-MD5 with every request of boto3 that has a body.

boto3 sends a CRC32 where S3 demands a checksum, and nothing elsewhere. Many stores know the MD5 only, and refuse a
PutObjectTagging or DeleteObjects without it. A store that checks it also detects damage of a body in transit.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from ..core.model import md5_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_HEADER = "Content-MD5"


def encoded(md5: bytes) -> str:
    """Return an MD5 as Content-MD5 has it."""
    return base64.b64encode(md5).decode()


def send_content_md5(client: S3Client) -> None:
    """Make `client` send Content-MD5 with each body, in place of the CRC32 of boto3."""
    client.meta.events.register("before-call.s3", _add_md5)


def _add_md5(params: dict[str, Any], **_: Any) -> None:
    body, headers = params.get("body"), params["headers"]
    if not body or not isinstance(body, (bytes, bytearray)):
        return
    if _HEADER not in headers:
        headers[_HEADER] = encoded(md5_of(body))
    checksum = params.get("context", {}).get("checksum", {})
    for name in ("request_algorithm", "request_algorithm_header"):  # boto3 computes the CRC32 after this event
        checksum.pop(name, None)
