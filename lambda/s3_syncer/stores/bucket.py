"""Read, list and write the objects of one bucket. Every failure is a SyncError.

Keys are relative to the prefix of the bucket. `bucket_requests.py` makes the requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import Any

from ..core import headers
from ..core.errors import Changed, Permanent, SyncError, is_vague_404
from ..core.model import (
    INLINE_BODY_MAX,
    KeyPage,
    ListEntry,
    ListPage,
    ObjectLock,
    ObjectState,
    Upload,
    WriteGuard,
)
from ..core.multipart import Part, UploadedPart
from . import listings
from .bodies import has_end, read_body, read_small_body, read_to_end, send_body
from .bucket_requests import BucketRequests
from .capabilities import ObjectRequest, TagSupport
from .content_md5 import encoded
from .listings import KeyListing
from .multipart_uploads import MultipartUploads
from .object_locks import LockConfiguration, ObjectLocks, lock_configuration, write_lock
from .object_tags import ObjectTags
from .protocols import ClientSource, RequestGate, Transport
from .request_limiter import RequestLimiter
from .responses import Response

#: Keys of the longest page of a listing.
MAX_LISTED = 1000

#: Lookups of one key that are made while the key is deleted and created again between two requests.
MAX_LOOKUPS = 5


class Bucket:
    """A bucket below a prefix. Safe to share between threads."""

    def __init__(
        self,
        name: str,
        prefix: str,
        clients: ClientSource,
        *,
        tags: bool,
        documents_tag_counts: bool = False,
        lists_restores: bool = False,
        reads_checksums: bool = False,
        transport: Transport | None = None,
        gate: RequestGate | None = None,
        limiter: RequestLimiter | None = None,
        expected_owner: str = "",
        locks: ObjectLocks | None = None,
    ) -> None:
        """Connect to the bucket.

        With `tags`, objects are read with their tags. `documents_tag_counts` is True for AWS: see `TagSupport`.
        `lists_restores` is True for AWS: its listings say which archived objects are restored. With `reads_checksums`,
        a HEAD asks for checksums. With `transport`, boto3 makes only the requests for which the transport has no
        response. With `gate`, requests wait while the store is unavailable. With `limiter`, they also wait for a
        permit. The requests name `expected_owner`, an account. With `locks`, objects are read with their Object Lock.
        """
        self.name = name
        self.prefix = prefix
        self.mirrors_tags, self.lists_restores = tags, lists_restores
        self._locks = locks
        self._requests = BucketRequests(
            name,
            prefix,
            clients,
            reads_checksums=reads_checksums,
            transport=transport,
            gate=gate,
            limiter=limiter,
            expected_owner=expected_owner,
        )
        self._call, self.availability = self._requests.call, self._requests.availability
        self._tags = ObjectTags(name, self._call, TagSupport(documents_counts=documents_tag_counts))
        self._uploads = MultipartUploads(self._requests)
        self._listing = KeyListing(name, prefix, self._page, self.lists)

    def note_copied(self, operation: str) -> None:
        """Note that the store served this operation for an object that another client copied."""
        self.availability.note_success(operation)

    # -- one object ------------------------------------------------------------------------------------------------

    def head(self, key: str, *, confirm_missing: bool = False, tags: bool = True) -> ObjectState | None:
        """Return the state of the object, or None when the key is missing.

        Without `tags`, the state has no tags. With `confirm_missing`, a None is certain: see `_lookup`. A deletion
        needs that.
        """
        for _ in range(MAX_LOOKUPS):
            response = self._lookup(key, confirm_missing=confirm_missing)
            if response is None:
                return None
            try:
                size = response.object_size
                return self._state(key, response, self._size(key) if size is None else size, "HEAD", tags=tags)
            except Changed as error:  # the object was deleted between the two requests
                changed = error
                confirm_missing = True
        raise changed

    def get_small(self, key: str) -> ObjectState | None:
        """Return the state of the object, with the bytes of a small one, or None when the key is missing.

        One GET of at most INLINE_BODY_MAX bytes does what a HEAD would. A None is certain, because the error of a GET
        says what is missing. Where the error of the GET says less than a HEAD would, `head` looks the key up.
        """

        def get() -> tuple[Response, bytearray | None]:
            response = self._requests.send("get_object", key, Range=f"bytes=0-{INLINE_BODY_MAX - 1}")
            with closing(response.body) as stream:
                # A store that ignores the range may send any number of bytes. Closing then ends the connection.
                return response, read_small_body(stream, response)

        try:
            response, body = self.availability.request(get, "get_object", key)
        except SyncError as error:
            if error.code == "NoSuchKey":
                return None
            # The object is empty or archived, access is denied, or the store has another code for a missing key.
            if isinstance(error, (Changed, Permanent)) or is_vague_404(error):
                return self.head(key, confirm_missing=True)
            raise
        size = response.object_size
        if size is None:
            if body is None:
                return self.head(key, confirm_missing=True)
            size = len(body)
        try:
            state: ObjectState | None = self._state(key, response, size, "GET")
        except Changed:  # the object was deleted between the two requests
            state = self.head(key, confirm_missing=True)
        if state is None or body is None or len(body) != state.size:
            return state
        # After a deletion and a creation between the requests, the bytes are those of another object.
        return replace(state, body=body) if state.etag == response.etag else state

    def with_tags(self, key: str, state: ObjectState) -> ObjectState:
        """Return the `state` of a HEAD with the tags of the object. Raises Changed if it was deleted."""
        return self._with_tags(key, state, "HEAD") if self.mirrors_tags else state

    def _lookup(self, key: str, *, confirm_missing: bool) -> Response | None:
        """Return the response to a HEAD of the key, or None when the key is missing.

        A HEAD has no body, so its 404 can be about the key, the bucket or a proxy. Its 400 and 403 can be about wrong
        credentials, a policy or SSE-C. The error of a GET of one byte has a code that says which.

        | request | response | meaning, or next request |
        |---|---|---|
        | HEAD | 200 | the key exists |
        | HEAD | 404, without `confirm_missing` | the key is missing |
        | HEAD | 404 with `confirm_missing`; 400; 403 | GET of one byte |
        | HEAD | any other error | raised |
        | GET | 200 or 206; InvalidRange, because the object is empty | the key exists: HEAD again |
        | GET | NoSuchKey | the key is missing |
        | GET | 404 without a code or with an unknown one | a listing of the key: missing, or an error |
        | GET | any other error | raised |

        An error of the second HEAD is raised.
        """
        try:
            return self._call("head_object", key)
        except SyncError as error:
            missing = error.code in ("404", "NoSuchKey")
            if missing and not confirm_missing:
                return None
            if not missing and error.code not in ("400", "403"):
                raise
        if self.is_missing(key):
            return None
        return self._call("head_object", key)

    def is_missing(self, key: str) -> bool:
        """Return True if the store names the key as missing; a 404 of a HEAD does not: see `_lookup`.

        A GET of one byte asks for it. A 404 that names no key can be about the bucket or a proxy. Then a listing of
        exactly this key decides, which costs a LIST. Raises a SyncError if the store does not say what is missing.
        """
        try:
            response = self._call("get_object", key, Range="bytes=0-0")
            with closing(response.body) as body:
                read_to_end(body, response)
        except SyncError as error:
            if error.code == "NoSuchKey":
                return True
            if is_vague_404(error) and not self.lists(key):
                return True
            if error.code != "InvalidRange":
                raise
        return False

    def _size(self, key: str) -> int:
        """Return the size of an object, which its HEAD does not say, from a GET of one byte."""
        try:
            response = self._call("get_object", key, Range="bytes=0-0")
        except SyncError as error:
            if error.code != "InvalidRange":
                raise
            return 0  # the object has no first byte
        response.body.close()
        return response.required("Content-Length", response.object_size)

    def _state(
        self, key: str, response: Response, size: int, request: ObjectRequest, *, tags: bool = True
    ) -> ObjectState:
        """Return the state that a response describes. Raises Changed when there are no tags to read any more."""
        state = response.state(size, {})
        if self._locks is not None:
            state = replace(state, lock=self._locks.of(response.headers))
        return self._with_tags(key, state, request) if tags and self.mirrors_tags else state

    def _with_tags(self, key: str, state: ObjectState, request: ObjectRequest) -> ObjectState:
        tags = self._tags.of(key, state.tag_count, request)
        return replace(state, tags=tags) if tags else state

    def tags(self, key: str) -> dict[str, str]:
        """Return the tags of the object: none if the store has no tags."""
        return self._tags.read(key)

    @property
    def tag_support(self) -> TagSupport:
        return self._tags.support

    def first_part(self, key: str) -> tuple[int, int] | None:
        """Return the number of parts and the size of the first in bytes, or None if the store does not say.

        The request is not pinned to an ETag. The result is only a hint for the part plan, and moto compares If-Match
        with the ETag of the part.
        """
        response = self._call("head_object", key, PartNumber=1)
        count, size = response.part_count, response.content_length
        return (count, size) if count and size is not None else None

    def part_size(self, key: str, number: int) -> int:
        """Return the bytes of a part of the object. Raises Changed when the object was deleted."""
        response = self._call("head_object", key, PartNumber=number)
        return response.required("Content-Length", response.content_length)

    # -- listings --------------------------------------------------------------------------------------------------

    def listing(self, after: str = "", until: str | None = None, *, in_order: bool = True) -> Iterator[KeyPage]:
        """Return the pages of the keys behind `after`, up to and including `until`: see `KeyListing.pages`."""
        return self._listing.pages(after, until, in_order=in_order)

    def first(self, after: str) -> str | None:
        """Return the first key behind `after`, or None; `after` need not be a key."""
        return self._listing.first(after)

    def lists(self, key: str) -> bool:
        """Return True if the store lists this very key."""
        return self.entry(key) is not None

    def entry(self, key: str) -> ListEntry | None:
        """Return the entry with which the store lists this very key, or None.

        In order, the key comes before all longer keys that begin with it. If such a key comes first, the store may not
        list in order, and a second request asks for more keys.
        """
        whole = self._requests.full_key(key)
        for number in (1, MAX_LISTED):
            page = listings.first_page(partial(self._page_from, whole, number), self.name)
            found = next((entry for entry in (*page, *page.unnameable) if entry.key == whole), None)
            if found is not None or not (page.keys or page.unnameable):
                return None if found is None else replace(found, key=key)
        return None

    def _page_from(self, prefix: str, most: int, position: Mapping[str, Any]) -> ListPage:
        return self._read_page(prefix, {**position, "MaxKeys": most}).list_page("")

    def _page(self, position: Mapping[str, Any]) -> ListPage:
        if self.lists_restores:
            position = {**position, "OptionalObjectAttributes": ["RestoreStatus"]}
        found = self._requests.list_page(position)
        return self._read_page(self.prefix, position).list_page(self.prefix) if found is None else found

    def _read_page(self, prefix: str, position: Mapping[str, Any]) -> Response:
        operation = "list_objects" if "Marker" in position else "list_objects_v2"
        return self._call(operation, None, Prefix=prefix, EncodingType="url", **position)

    # -- reading ---------------------------------------------------------------------------------------------------

    def read(self, key: str, etag: str, start: int, size: int) -> bytearray:
        """Return `size` bytes from `start` of the object with this ETag. Raises Changed for another ETag."""
        if size == 0:
            return bytearray()
        window = {"Range": f"bytes={start}-{start + size - 1}"}

        def get() -> bytearray:
            response = self._requests.send("get_object", key, IfMatch=headers.quoted(etag), **window)
            with closing(response.body) as stream:
                if response.required("ETag", response.etag) != etag:  # the store ignores If-Match
                    raise Changed("the object changed while it was read", "PreconditionFailed")
                return read_body(stream, size, has_end=has_end(response))

        return self.availability.request(get, "get_object", key, size=size)

    # -- archives --------------------------------------------------------------------------------------------------

    def restore(self, key: str, request: Mapping[str, Any]) -> None:
        """Ask for the restore of an archived object: see `RestoreOptions.request`. Raises a SyncError."""
        self._call("restore_object", key, RestoreRequest=request)

    # -- writing ---------------------------------------------------------------------------------------------------

    def put(
        self,
        key: str,
        data: bytes | bytearray,
        md5: bytes,
        state: ObjectState,
        marker: str | None,
        guard: WriteGuard | None = None,
    ) -> str:
        """Write the bytes with the headers and metadata of `state`; return the ETag from the store.

        The ETag is "" if the response has none. Raises Changed if the target's object is not the one of the guard.
        """
        properties = self._parameters(state, marker, guard)
        return send_body(self._call, "put_object", key, Body=data, ContentMD5=encoded(md5), **properties).etag or ""

    def _parameters(self, state: ObjectState, marker: str | None, guard: WriteGuard | None = None) -> dict[str, Any]:
        sent = state if self._locks is None else self._locks.sent_with(state)
        return headers.parameters(headers.written(sent, marker, guard))

    def put_tags(self, key: str, tags: Mapping[str, str]) -> None:
        """Replace all tags of the object.

        Raises Changed when the object was deleted, and Permanent if the store has no tags.
        """
        self._tags.write(key, tags)

    def put_lock(self, key: str, lock: ObjectLock, there: ObjectLock) -> None:
        """Protect the object, which has the lock `there`: see `object_locks.write_lock`. Raises a SyncError."""
        write_lock(self._call, key, lock, there)

    def lock_configuration(self) -> LockConfiguration:
        """Return the Object Lock of the bucket, as far as the access key may know. Raises a SyncError."""
        return lock_configuration(self._call)

    def require_tags(self, key: str, *, is_there: bool) -> None:
        """Raise Permanent if the store has no tags. `is_there` says that the bucket has the key."""
        self._tags.require(key, is_there=is_there)

    def delete(self, key: str) -> None:
        """Delete the key. Raises Changed unless the store then says that the key is missing.

        A key that was missing before counts as deleted. The last request is a GET of one byte. Without it, a response
        of a proxy, or of a store that keeps the object, would be taken for a deletion.
        """
        try:
            self._call("delete_object", key)
        except SyncError as error:
            if error.code != "NoSuchKey" and not is_vague_404(error):  # some stores respond 404 where AWS responds 204
                raise
        if not self.is_missing(key):
            raise Changed(f"delete_object in {self.name}: the object is still there", "NotDeleted")

    # -- multipart uploads -----------------------------------------------------------------------------------------

    def create_upload(self, key: str, state: ObjectState, marker: str | None) -> str:
        """Create a multipart upload with the headers and metadata of `state`: see `MultipartUploads.create`."""
        return self._uploads.create(key, self._parameters(state, marker), self.uploads)

    def upload_part(self, key: str, upload_id: str, part: Part, data: bytes | bytearray, md5: bytes) -> str:
        """Upload one part; return its ETag: see `MultipartUploads.upload_part`."""
        return self._uploads.upload_part(key, upload_id, part, data, md5)

    def complete_upload(
        self, key: str, upload_id: str, etags: Mapping[int, str], guard: WriteGuard | None = None
    ) -> str:
        """Complete the upload; return the ETag of the object: see `MultipartUploads.complete`."""
        return self._uploads.complete(key, upload_id, etags, guard)

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Abort the upload and drop its parts. An upload that no longer exists counts as aborted."""
        self._uploads.abort(key, upload_id)

    def uploads(self, key: str) -> list[Upload]:
        """Return the uploads of exactly this key that are neither completed nor aborted."""
        return self._uploads.of(key)

    def parts(self, key: str, upload_id: str, after: int = 0, until: int | None = None) -> dict[int, UploadedPart]:
        """Return the uploaded parts by number: see `MultipartUploads.parts`."""
        return self._uploads.parts(key, upload_id, after, until)
