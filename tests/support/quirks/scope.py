"""Limit a quirk to some requests: `on("HeadObject")(quirk)`, `of_key("a")(quirk)`."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tests.support.odd_requests import Quirk, Request

#: The operations that store bytes. A store over its quota still deletes.
STORING = ("PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload")

#: The operations that return the state of an object.
READING = ("HeadObject", "GetObject")

TAGGING = ("GetObjectTagging", "PutObjectTagging", "DeleteObjectTagging")

#: The operations that list keys.
LISTING = ("ListObjectsV2", "ListMultipartUploads")


def on(*operations: str) -> Callable[[Quirk], Quirk]:
    """Limit a quirk to these operations, such as `HeadObject`."""
    return where(lambda request: request.operation in operations)


def of_key(key: str) -> Callable[[Quirk], Quirk]:
    """Limit a quirk to one key."""
    return where(lambda request: request.key == key)


def times(count: int) -> Callable[[Quirk], Quirk]:
    """Limit a quirk to the first requests that reach it, as in `on("PutObject")(times(2)(quirk))`."""
    left, lock = [count], threading.Lock()

    def applies(request: Request) -> bool:
        with lock:
            left[0] -= 1
            return left[0] >= 0

    return where(applies)


def where(applies: Callable[[Request], bool]) -> Callable[[Quirk], Quirk]:
    """Limit a quirk to the requests for which `applies` is true."""

    def limit(quirk: Quirk) -> Quirk:
        return lambda request, store: quirk(request, store) if applies(request) else store(request)

    return limit
