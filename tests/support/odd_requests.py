"""The requests and responses of `OddStore`, which its quirks read and change."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from xml.sax.saxutils import escape

#: An XML element: its name, and its text or its elements.
Element = tuple[str, "str | list[Element]"]

_CONTROL_CHARACTER = re.compile("[\x00-\x08\x0b-\x1f]|\r")

#: The operation of a request without a parameter of `_OPERATIONS`, by its method.
_PLAIN = {
    True: {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"},
    False: {"GET": "ListObjectsV2", "HEAD": "HeadBucket", "PUT": "CreateBucket", "DELETE": "DeleteBucket"},
}

#: The operation of a request, by its method and by the first of these parameters that it has.
_OPERATIONS = {
    "tagging": {"GET": "GetObjectTagging", "PUT": "PutObjectTagging", "DELETE": "DeleteObjectTagging"},
    "uploadId": {
        "PUT": "UploadPart",
        "POST": "CompleteMultipartUpload",
        "DELETE": "AbortMultipartUpload",
        "GET": "ListParts",
    },
    "uploads": {"POST": "CreateMultipartUpload", "GET": "ListMultipartUploads"},
    "versioning": {"GET": "GetBucketVersioning"},
    "object-lock": {"GET": "GetObjectLockConfiguration"},
    "location": {"GET": "GetBucketLocation"},
}


@dataclass(frozen=True)
class Request:
    """A request of a client. The key of a bucket request is empty; names of headers are in lower case."""

    method: str
    bucket: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    virtual_host: bool
    """The bucket is in the host name, and not in the path."""

    @property
    def operation(self) -> str:
        """Return the name of the S3 operation, such as `HeadObject`; empty for an unknown one."""
        for parameter, operations in _OPERATIONS.items():
            if parameter in self.query:
                return operations.get(self.method, "")
        return _PLAIN[bool(self.key)].get(self.method, "")


@dataclass(frozen=True)
class Response:
    """A response. `xml` is sent in place of `body`, if there is one."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    xml: Element | None = None

    def header(self, name: str) -> str | None:
        return next((value for each, value in self.headers if each.lower() == name.lower()), None)

    def without(self, *names: str) -> Response:
        """Return the response without these headers."""
        lower = {name.lower() for name in names}
        return replace(self, headers=tuple(pair for pair in self.headers if pair[0].lower() not in lower))

    def having(self, name: str, *values: str) -> Response:
        """Return the response with one such header for each of the values."""
        rest = self.without(name)
        return replace(rest, headers=(*rest.headers, *((name, value) for value in values)))

    def content(self) -> bytes:
        """Return the bytes of the body."""
        if self.xml is None:
            return self.body
        return ('<?xml version="1.0" encoding="UTF-8"?>\n' + rendered(self.xml)).encode(errors="surrogateescape")

    def rewritten(self, edit: Callable[[str], str]) -> Response:
        """Return the response with another text of its XML; a response without XML stays."""
        return self if self.xml is None else replace(self, xml=None, body=edit(self.content().decode()).encode())


Store = Callable[[Request], Response]

#: A quirk: it gets the request and the store behind it, and returns the response.
Quirk = Callable[[Request, Store], Response]


class Refused(Exception):
    """The store responds with an error."""

    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(code)
        self.response = error(status, code, message)


def error(status: int, code: str, message: str = "") -> Response:
    return Response(status, xml=("Error", [("Code", code), ("Message", message or code)]))


def rendered(element: Element) -> str:
    """Return the XML text. Control characters become references, which no XML 1.0 parser reads."""
    name, content = element
    if isinstance(content, str):
        inner = _CONTROL_CHARACTER.sub(lambda found: f"&#x{ord(found.group()):x};", escape(content, {'"': "&quot;"}))
    else:
        inner = "".join(map(rendered, content))
    return f"<{name}>{inner}</{name}>"
