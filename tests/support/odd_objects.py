"""The objects, uploads and operations of `OddStore` without quirks: what s3-syncer uses of AWS."""

from __future__ import annotations

import base64
import hashlib
import re
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl, quote
from xml.etree import ElementTree

from tests.support.odd_requests import Element, Refused, Request, Response, error

META = "x-amz-meta-"

#: The headers that are part of an object.
CONTENT_HEADERS = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
)

#: Most keys of a page, and the default.
PAGE = 1000


@dataclass
class Stored:
    """An object. `part_sizes` is empty unless the object was uploaded in parts."""

    body: bytes
    etag: str
    headers: dict[str, str]
    tags: dict[str, str] = field(default_factory=dict)
    part_sizes: tuple[int, ...] = ()
    modified: float = field(default_factory=time.time)


@dataclass
class Upload:
    """A multipart upload that was not completed."""

    bucket: str
    key: str
    headers: dict[str, str]
    tags: dict[str, str]
    parts: dict[int, tuple[bytes, str, float]] = field(default_factory=dict)
    begun: float = field(default_factory=time.time)


def key_bytes(key: str) -> bytes:
    """Return the bytes of a key. One that is not UTF-8 has surrogates for its other bytes."""
    return key.encode(errors="surrogateescape")


def md5_hex(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def multipart_etag(parts: Sequence[bytes]) -> str:
    return f"{md5_hex(b''.join(bytes.fromhex(md5_hex(part)) for part in parts))}-{len(parts)}"


class Objects:
    """The buckets. Safe to share between threads."""

    def __init__(self) -> None:
        self.buckets: dict[str, dict[str, Stored]] = {}
        self.uploads: dict[str, Upload] = {}
        self._lock = threading.RLock()
        self._operations: dict[str, Callable[[Request], Response]] = {
            "CreateBucket": self._create_bucket,
            "DeleteBucket": self._delete_bucket,
            "HeadBucket": self._empty,
            "GetBucketLocation": lambda request: _xml("LocationConstraint", []),
            "GetBucketVersioning": lambda request: _xml("VersioningConfiguration", []),
            "GetObjectLockConfiguration": self._get_object_lock,
            "ListObjectsV2": self._list,
            "HeadObject": self._get,
            "GetObject": self._get,
            "PutObject": self._put,
            "DeleteObject": self._delete,
            "GetObjectTagging": self._get_tags,
            "PutObjectTagging": self._put_tags,
            "DeleteObjectTagging": self._delete_tags,
            "CreateMultipartUpload": self._create_upload,
            "UploadPart": self._upload_part,
            "CompleteMultipartUpload": self._complete_upload,
            "AbortMultipartUpload": self._abort_upload,
            "ListParts": self._list_parts,
            "ListMultipartUploads": self._list_uploads,
        }

    def put(
        self,
        bucket: str,
        key: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        **attributes: Any,
    ) -> None:
        """Store an object. `attributes` are those of `Stored`, such as `etag`."""
        kept = {"content-type": "binary/octet-stream", **(headers or {})}
        kept |= {META + name: value for name, value in (metadata or {}).items()}
        with self._lock:
            self.buckets.setdefault(bucket, {})[key] = Stored(
                body, attributes.pop("etag", md5_hex(body)), kept, dict(tags or {}), **attributes
            )

    def keys(self, bucket: str) -> list[str]:
        with self._lock:
            return sorted(self.buckets[bucket], key=key_bytes)

    def respond(self, request: Request) -> Response:
        """Return the response to the request."""
        operation = self._operations.get(request.operation)
        if operation is None:
            return error(501, "NotImplemented", "This store does not know the operation.")
        with self._lock:
            if request.operation != "CreateBucket" and request.bucket not in self.buckets:
                return error(404, "NoSuchBucket", "The specified bucket does not exist")
            try:
                return operation(request)
            except Refused as refused:
                return refused.response

    # -- the bucket ------------------------------------------------------------------------------------------------

    def _create_bucket(self, request: Request) -> Response:
        self.buckets.setdefault(request.bucket, {})
        return Response(headers=(("Location", f"/{request.bucket}"),))

    def _delete_bucket(self, request: Request) -> Response:
        if self.buckets.pop(request.bucket):
            raise Refused(409, "BucketNotEmpty")
        return Response(204)

    def _empty(self, request: Request) -> Response:
        return Response()

    def _get_object_lock(self, request: Request) -> Response:
        raise Refused(404, "ObjectLockConfigurationNotFoundError")

    def _list(self, request: Request) -> Response:
        prefix = request.query.get("prefix", "")
        after = request.query.get("start-after", "")
        if token := request.query.get("continuation-token"):
            after = base64.urlsafe_b64decode(token).decode(errors="surrogateescape")
        most = min(int(request.query.get("max-keys", PAGE)), PAGE)
        objects = self.buckets[request.bucket]
        found = [
            key for key in self.keys(request.bucket) if key.startswith(prefix) and key_bytes(key) > key_bytes(after)
        ]
        page, is_truncated = found[:most], len(found) > most
        encode = _encoder(request)
        entries: list[Element] = [
            (
                "Contents",
                [
                    ("Key", encode(key)),
                    ("LastModified", iso_time(objects[key].modified)),
                    ("ETag", f'"{objects[key].etag}"'),
                    ("Size", str(len(objects[key].body))),
                    ("StorageClass", "STANDARD"),
                ],
            )
            for key in page
        ]
        about: list[Element] = [
            ("Name", request.bucket),
            ("Prefix", encode(prefix)),
            ("KeyCount", str(len(page))),
            ("MaxKeys", str(most)),
            *_encoding_type(request),
            ("IsTruncated", str(is_truncated).lower()),
        ]
        if is_truncated and page:
            about.append(("NextContinuationToken", base64.urlsafe_b64encode(key_bytes(page[-1])).decode()))
        return _xml("ListBucketResult", [*about, *entries])

    def _list_uploads(self, request: Request) -> Response:
        prefix, encode = request.query.get("prefix", ""), _encoder(request)
        found: list[Element] = [
            ("Upload", [("Key", encode(upload.key)), ("UploadId", id), ("Initiated", iso_time(upload.begun))])
            for id, upload in sorted(self.uploads.items(), key=lambda pair: (pair[1].key.encode(), pair[1].begun))
            if upload.bucket == request.bucket and upload.key.startswith(prefix)
        ]
        about: list[Element] = [("Bucket", request.bucket), *_encoding_type(request), ("IsTruncated", "false")]
        return _xml("ListMultipartUploadsResult", [*about, *found])

    # -- an object -------------------------------------------------------------------------------------------------

    def _found(self, request: Request) -> Stored:
        found = self.buckets[request.bucket].get(request.key)
        if found is None:
            raise Refused(404, "NoSuchKey", "The specified key does not exist.")
        return found

    def _check_conditions(self, request: Request) -> None:
        """Raise Refused if a condition of a write does not hold."""
        found = self.buckets[request.bucket].get(request.key)
        match, none_match = request.headers.get("if-match"), request.headers.get("if-none-match")
        if match is not None and found is None:
            raise Refused(404, "NoSuchKey")
        if found is not None and (none_match == "*" or match not in (None, "*", f'"{found.etag}"')):
            raise Refused(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")

    def _put(self, request: Request) -> Response:
        self._check_conditions(request)
        _check_md5(request)
        stored = Stored(request.body, md5_hex(request.body), _headers(request), _tags_header(request))
        self.buckets[request.bucket][request.key] = stored
        return Response(headers=(("ETag", f'"{stored.etag}"'),))

    def _delete(self, request: Request) -> Response:
        if "if-match" in request.headers:
            self._check_conditions(request)
        self.buckets[request.bucket].pop(request.key, None)
        return Response(204)

    def _get(self, request: Request) -> Response:
        stored = self._found(request)
        etag = f'"{stored.etag}"'
        if request.headers.get("if-match") not in (None, "*", etag):
            raise Refused(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
        if request.headers.get("if-none-match") in ("*", etag):
            return Response(304, (("ETag", etag),))
        headers = {"ETag": etag, "Last-Modified": http_time(stored.modified), "Accept-Ranges": "bytes"}
        headers |= stored.headers
        if stored.tags and request.method == "GET":
            headers["x-amz-tagging-count"] = str(len(stored.tags))
        size, window = len(stored.body), None
        if number := int(request.query.get("partNumber", 0)):
            sizes = stored.part_sizes or (size,)
            if number > len(sizes):
                raise Refused(416, "InvalidPartNumber")
            first = sum(sizes[: number - 1])
            window = (first, first + sizes[number - 1])
            if stored.part_sizes:
                headers["x-amz-mp-parts-count"] = str(len(sizes))
        elif wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", "")):
            window = (int(wanted[1]), min(int(wanted[2] or size - 1), size - 1) + 1)
            if window[0] >= size:
                raise Refused(416, "InvalidRange", "The requested range is not satisfiable")
        body = stored.body if window is None else stored.body[slice(*window)]
        if window is not None:
            headers["Content-Range"] = f"bytes {window[0]}-{window[1] - 1}/{size}"
        headers["Content-Length"] = str(len(body))
        return Response(200 if window is None else 206, tuple(headers.items()), body)

    # -- tags ------------------------------------------------------------------------------------------------------

    def _get_tags(self, request: Request) -> Response:
        tags: list[Element] = [
            ("Tag", [("Key", name), ("Value", value)]) for name, value in self._found(request).tags.items()
        ]
        return _xml("Tagging", [("TagSet", tags)])

    def _put_tags(self, request: Request) -> Response:
        _check_md5(request)
        parsed = ElementTree.fromstring(request.body)
        self._found(request).tags = {
            tag.findtext("{*}Key", ""): tag.findtext("{*}Value", "") for tag in parsed.iter() if _local(tag) == "Tag"
        }
        return Response()

    def _delete_tags(self, request: Request) -> Response:
        self._found(request).tags = {}
        return Response(204)

    # -- multipart uploads -----------------------------------------------------------------------------------------

    def _upload(self, request: Request) -> Upload:
        upload = self.uploads.get(request.query["uploadId"])
        if upload is None or (upload.bucket, upload.key) != (request.bucket, request.key):
            raise Refused(404, "NoSuchUpload", "The specified upload does not exist.")
        return upload

    def _create_upload(self, request: Request) -> Response:
        id = uuid.uuid4().hex
        self.uploads[id] = Upload(request.bucket, request.key, _headers(request), _tags_header(request))
        about: list[Element] = [("Bucket", request.bucket), ("Key", request.key), ("UploadId", id)]
        return _xml("InitiateMultipartUploadResult", about)

    def _upload_part(self, request: Request) -> Response:
        _check_md5(request)
        etag = md5_hex(request.body)
        self._upload(request).parts[int(request.query["partNumber"])] = (request.body, etag, time.time())
        return Response(headers=(("ETag", f'"{etag}"'),))

    def _complete_upload(self, request: Request) -> Response:
        upload = self._upload(request)
        self._check_conditions(request)
        named = [
            (int(part.findtext("{*}PartNumber", "")), part.findtext("{*}ETag", "").strip('"'))
            for part in ElementTree.fromstring(request.body)
        ]
        if any(upload.parts.get(number, (b"", "", 0.0))[1] != etag for number, etag in named):
            raise Refused(400, "InvalidPart")
        if named != sorted(named) or not named:
            raise Refused(400, "InvalidPartOrder")
        parts = [upload.parts[number][0] for number, _ in named]
        stored = Stored(
            b"".join(parts), multipart_etag(parts), upload.headers, upload.tags, tuple(len(part) for part in parts)
        )
        self.buckets[request.bucket][request.key] = stored
        del self.uploads[request.query["uploadId"]]
        about: list[Element] = [("Bucket", request.bucket), ("Key", request.key), ("ETag", f'"{stored.etag}"')]
        return _xml("CompleteMultipartUploadResult", about)

    def _abort_upload(self, request: Request) -> Response:
        self._upload(request)
        del self.uploads[request.query["uploadId"]]
        return Response(204)

    def _list_parts(self, request: Request) -> Response:
        upload, after = self._upload(request), int(request.query.get("part-number-marker", 0))
        most = min(int(request.query.get("max-parts", PAGE)), PAGE)
        found = [(number, part) for number, part in sorted(upload.parts.items()) if number > after]
        page = found[:most]
        parts: list[Element] = [
            (
                "Part",
                [
                    ("PartNumber", str(number)),
                    ("LastModified", iso_time(at)),
                    ("ETag", f'"{etag}"'),
                    ("Size", str(len(body))),
                ],
            )
            for number, (body, etag, at) in page
        ]
        about: list[Element] = [
            ("Bucket", request.bucket),
            ("Key", request.key),
            ("UploadId", request.query["uploadId"]),
            ("IsTruncated", str(len(found) > most).lower()),
            *([("NextPartNumberMarker", str(page[-1][0]))] if page else []),
        ]
        return _xml("ListPartsResult", [*about, *parts])


def _headers(request: Request) -> dict[str, str]:
    kept = {name: value for name, value in request.headers.items() if name in CONTENT_HEADERS or name.startswith(META)}
    return {"content-type": "binary/octet-stream", **kept}


def _tags_header(request: Request) -> dict[str, str]:
    return dict(parse_qsl(request.headers.get("x-amz-tagging", ""), keep_blank_values=True))


def _check_md5(request: Request) -> None:
    told = request.headers.get("content-md5")
    if told is not None and base64.b64decode(told).hex() != md5_hex(request.body):
        raise Refused(400, "BadDigest", "The Content-MD5 you specified did not match what we received.")


def _encoder(request: Request) -> Callable[[str], str]:
    return (lambda key: quote(key_bytes(key), safe="/")) if _encoding_type(request) else str


def _encoding_type(request: Request) -> list[Element]:
    return [("EncodingType", "url")] if request.query.get("encoding-type") == "url" else []


def _xml(name: str, content: list[Element]) -> Response:
    return Response(headers=(("Content-Type", "application/xml"),), xml=(name, content))


def _local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def iso_time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def http_time(moment: float) -> str:
    return formatdate(moment, usegmt=True)
