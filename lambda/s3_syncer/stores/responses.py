"""Read the responses of a store, of whichever transport.

A field that a response lacks, or that has no usable value, is None: the caller decides if it can do without. A field
that it needs is a Permanent error that names the field, because the store will leave it out again.

A response has boto3's form: the fields of its XML, and its headers in `ResponseMetadata`. A value may be the text of
the response, because boto3 fails for a value that it cannot parse: see `plain_responses.py`. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import unquote_plus

from ..core import headers
from ..core.errors import Permanent, Retryable, SyncError
from ..core.model import Archive, KeyPage, ListPage, ObjectState, Upload
from ..core.multipart import UploadedPart

#: The fields of which a response has at least one, by operation. A page of HTML with status 200 has none of them. A
#: listing without them would be taken for an empty bucket.
_FIELDS = {
    "list_objects": frozenset({"IsTruncated", "Contents", "Name"}),
    "list_objects_v2": frozenset({"IsTruncated", "Contents", "Name"}),
    "list_object_versions": frozenset({"IsTruncated", "Versions", "Name"}),
    "list_multipart_uploads": frozenset({"IsTruncated", "Uploads", "Bucket"}),
    "list_parts": frozenset({"IsTruncated", "Parts", "UploadId"}),
    "create_multipart_upload": frozenset({"UploadId", "Bucket", "Key"}),
    "complete_multipart_upload": frozenset({"ETag", "Bucket", "Key", "Location"}),
}

#: The headers of which a response about an object has at least one, in addition to those that begin with `x-amz-`.
_OBJECT_HEADERS = frozenset({"etag", "last-modified"})

#: The field that says that the body of a response with status 200 is no XML. See `plain_responses.py`.
NOT_XML = "NotXml"

#: The status of a response without a body.
NO_CONTENT = 204

_Value = TypeVar("_Value")
_Error = TypeVar("_Error", bound=SyncError)


@dataclass(frozen=True, slots=True)
class Response:
    """A successful response to `operation`, the name of a method of boto3. `bucket` is for errors."""

    operation: str
    bucket: str
    fields: Mapping[str, Any]

    def check(self) -> Response:
        """Return the response. Raises Retryable if it is not a response of S3, as a page of HTML."""
        if is_not_xml(self.fields) and self.operation != "get_object_tagging":  # it may be the object: `object_tags.py`
            raise self._located(not_xml())
        if not self._is_s3():
            raise self._located(Retryable("the response is not an S3 response", "BadResponse"))
        return self

    def _is_s3(self) -> bool:
        if self.operation in _FIELDS:
            return bool(self.fields.keys() & _FIELDS[self.operation])
        if self.operation in ("head_object", "get_object"):
            return any(name in _OBJECT_HEADERS or name.startswith("x-amz-") for name in self.headers)
        if self.operation in ("put_object", "upload_part"):
            return "etag" in self.headers or not self.fields.keys() - {"ResponseMetadata"}
        return True

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers of the response, with names in lower case."""
        found: Mapping[str, str] = self.fields.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        return found

    @property
    def body(self) -> Any:
        """The stream of the response to GetObject."""
        return self.fields["Body"]

    @property
    def etag(self) -> str | None:
        """The ETag header."""
        return headers.etag(self.headers)

    @property
    def content_length(self) -> int | None:
        """The bytes of the body, as a header says."""
        return headers.content_length(self.headers)

    @property
    def object_size(self) -> int | None:
        """The bytes of the object: of a range, Content-Range has them."""
        total = headers.range_total(self.headers)
        return self.content_length if total is None else total

    @property
    def is_framed(self) -> bool:
        """Return True if a body without a Content-Length cannot end too early unnoticed."""
        return "chunked" in self.headers.get("transfer-encoding", "").lower()

    @property
    def part_count(self) -> int | None:
        """The number of parts of the object."""
        return headers.number(self.headers.get("x-amz-mp-parts-count"))

    def required(self, name: str, value: _Value | None, what: str = "") -> _Value:
        """Return the value of a field, or of a field of a `what`. Raises Permanent if the response has none."""
        if value is None:
            field = f"{name} of a {what}" if what else name
            raise self._located(Permanent(f"the response has no {field}", "MissingField"))
        return value

    def state(self, size: int | None, tags: Mapping[str, str]) -> ObjectState:
        """Return the object of `size` bytes that the response describes, with these tags. Raises Permanent."""
        found = {**self.headers, "content-length": str(self.required("Content-Length", size))}
        try:
            return headers.state(found, tags)
        except Permanent as error:
            raise self._located(error) from None

    @property
    def tags(self) -> dict[str, str] | None:
        """The tags, or None if there is no tag set. Raises Permanent for a tag without a name or a value."""
        if self.fields.get("ResponseMetadata", {}).get("HTTPStatusCode") == NO_CONTENT:
            return {}
        is_empty = self.etag is None and not self.fields.keys() - {"ResponseMetadata"}
        if is_empty and "x-amz-request-id" in self.headers:
            return {}  # Ceph RGW, of an object that was uploaded in parts without tags; no proxy sends that header
        if self.fields.get("TagSet") is None:
            return None
        return {self._text(tag, "Key", "tag"): self._text(tag, "Value", "tag") for tag in self.fields["TagSet"]}

    @property
    def upload_id(self) -> str:
        """The ID of the upload that was created. Raises Permanent."""
        return self._text(self.fields, "UploadId")

    @property
    def completed_etag(self) -> str:
        """The ETag in the body of the response to a completion; "" if it has none."""
        return headers.unquoted(self.fields.get("ETag")) or ""

    @property
    def is_url_encoded(self) -> bool:
        """Return True if the keys of a listing are encoded as in a URL."""
        return self.fields.get("EncodingType") == "url"

    @property
    def is_last(self) -> bool | None:
        """Return True if a listing says that it ends, False if it says that it goes on, else None."""
        return {"true": False, "false": True}.get(str(self.fields.get("IsTruncated")).lower())

    @property
    def entries(self) -> Sequence[Mapping[str, Any]]:
        """Return the uploads, parts, or versions with delete markers, as the response lists them."""
        return next((found for name in ("Uploads", "Parts", "Versions") if (found := self.fields.get(name))), ())

    def upload_markers(self) -> tuple[dict[str, str], bool] | None:
        """Return the parameters of the next page of uploads, and True if the response names them.

        Otherwise they are those of the last upload, and None on a page without one. Raises Permanent.
        """
        markers = self.fields.get("NextKeyMarker"), self.fields.get("NextUploadIdMarker")
        is_named = all(isinstance(marker, str) and marker for marker in markers)
        if is_named:
            last, names = self.fields, ("NextKeyMarker", "NextUploadIdMarker")
        elif self.fields.get("Uploads"):
            last, names = self.fields["Uploads"][-1], ("Key", "UploadId")
        else:
            return None
        return {"KeyMarker": self._key(last, names[0]), "UploadIdMarker": self._text(last, names[1])}, is_named

    def part_marker(self) -> tuple[dict[str, int], bool] | None:
        """Return the parameters of the next page of parts, as `upload_markers` does. Raises Permanent."""
        marker = headers.number(self.fields.get("NextPartNumberMarker"))
        if marker is not None:
            return {"PartNumberMarker": marker}, True
        numbers = self.parts()
        return ({"PartNumberMarker": max(numbers)}, False) if numbers else None

    def list_page(self, prefix: str) -> ListPage:
        """Return a page of a listing of keys, without the prefix. Raises Permanent."""
        items = self.fields.get("Contents") or ()
        keys = [self._key(item, "Key", "key") for item in items]
        sizes = [headers.number(item.get("Size")) for item in items]
        etags = [headers.unquoted(item.get("ETag")) for item in items]
        times = [moment(item.get("LastModified")) for item in items]
        archives = {key: found for key, item in zip(keys, items, strict=True) if (found := _archive(item)) is not None}
        return self.page_of(KeyPage(keys, sizes, etags, times, archives), prefix)

    def page_of(self, page: KeyPage, prefix: str) -> ListPage:
        """Return a page with the keys of this one, which still have the prefix. Raises Permanent."""
        if "CommonPrefixes" in self.fields:  # the keys below it would count as absent
            raise self._located(Permanent("the listing shows folders in place of keys", "OtherListing"))
        page = page.with_unnameable_apart()
        if prefix:
            if not all(key.startswith(prefix) for key in page.keys):
                raise self._located(Permanent(f"the listing has a key outside of the prefix {prefix!r}", "OtherPrefix"))
            page = page.without_prefix(prefix)
        token = self.fields.get("NextContinuationToken")
        return ListPage(page, {"ContinuationToken": token} if token else None, self.is_last)

    def versions(self) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """Return the versions and delete markers of a page, and the parameters of the next page.

        The last page has no parameters. The keys are decoded. Raises Permanent.
        """
        entries = [{**item, "Key": self._key(item, "Key", "version")} for item in self.entries]
        for entry in entries:
            self._text(entry, "VersionId", "version")
        if self.is_last:
            return entries, {}
        return entries, {
            "KeyMarker": self._key(self.fields, "NextKeyMarker"),
            "VersionIdMarker": self._text(self.fields, "NextVersionIdMarker"),
        }

    def uploads(self, key: str) -> list[Upload]:
        """Return the uploads of exactly this key on a page of a listing. Raises Permanent."""
        return [
            Upload(self._text(item, "UploadId", "upload"), self._age_s(item.get("Initiated")))
            for item in self.entries
            if self._key(item, "Key", "upload") == key
        ]

    def parts(self) -> dict[int, UploadedPart]:
        """Return the parts on a page of a listing by number. Raises Permanent."""
        return {
            self._number(item, "PartNumber", "part"): UploadedPart(
                self._number(item, "Size", "part"),
                self.required("ETag", headers.unquoted(item.get("ETag")), "part"),
                self._age_s(item.get("LastModified")),
            )
            for item in self.entries
        }

    def _key(self, item: Mapping[str, Any], name: str, what: str = "") -> str:
        """Return a key, which the store has encoded if it says so."""
        found = self._text(item, name, what)
        return _decoded_key(found) if self.is_url_encoded else found

    def _text(self, item: Mapping[str, Any], name: str, what: str = "") -> str:
        value = item.get(name)
        return self.required(name, value if isinstance(value, str) else None, what)

    def _number(self, item: Mapping[str, Any], name: str, what: str) -> int:
        return self.required(name, headers.number(item.get(name)), what)

    def _age_s(self, value: Any) -> float:
        """Return the seconds from a time to the response, by the clock of the store; 0 if unknown."""
        now, then = moment(self.headers.get("date")), moment(value)
        return 0.0 if now is None or then is None else max(0.0, (now - then).total_seconds())

    def _located(self, error: _Error) -> _Error:
        """Return the error with the operation and the bucket in its message."""
        error.args = (f"{self.operation} in {self.bucket}: {error.reason}",)
        return error


def _archive(item: Mapping[str, Any]) -> Archive | None:
    status = item.get("RestoreStatus")
    found = status if isinstance(status, Mapping) else {}
    fields = found.get("IsRestoreInProgress"), found.get("RestoreExpiryDate")
    return headers.listed_archive(item.get("StorageClass"), *fields)


def decoded_keys(keys: list[str]) -> list[str]:
    """Return keys that are encoded as in a URL."""
    together = "".join(keys)
    if "%" not in together and "+" not in together:
        return keys
    return [_decoded_key(key) if "%" in key or "+" in key else key for key in keys]


def _decoded_key(key: str) -> str:
    """Return a key that is encoded as in a URL. Bytes that are not UTF-8 stay: see `model.is_nameable`."""
    return unquote_plus(key, errors="surrogateescape")


def is_not_xml(fields: Mapping[str, Any]) -> bool:
    """Return True if the response had status 200 and a body that is no XML."""
    return NOT_XML in fields


def not_xml() -> Retryable:
    """Return the error for such a response. Its text is left out: it may contain the bytes of an object."""
    return Retryable("the response has status 200, but it is not XML", "BadResponse")


def moment(value: Any) -> datetime | None:
    """Return the time in a response, or None if it has none: ISO 8601, or the form of HTTP headers."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    return headers.moment(value) if isinstance(value, str) else None
