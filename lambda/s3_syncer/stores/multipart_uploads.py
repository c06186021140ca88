"""Make the requests about the multipart uploads of one bucket, and find out what became of an upload.

A response does not always say if an upload was created, is completed or still exists. Then a listing decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from ..core import headers
from ..core.errors import Busy, Changed, Retryable, SyncError, is_vague_404
from ..core.model import Upload, WriteGuard
from ..core.multipart import Part, UploadedPart
from . import listings
from .bodies import send_body
from .bucket_requests import BucketRequests
from .content_md5 import encoded
from .responses import Response

#: The codes of errors after which a store may have created an upload.
_MAY_HAVE_CREATED = frozenset({"BadResponse", "MissingField", "ConnectionBroke"})

#: Seconds by which the age of an upload may exceed the time since its creation: stores give the time in whole seconds.
_CREATED_WITHIN_S = 2.0


class MultipartUploads:
    """The multipart uploads of a bucket. Safe to share between threads."""

    def __init__(self, requests: BucketRequests) -> None:
        self._requests = requests

    def create(self, key: str, properties: Mapping[str, Any], uploads: Callable[[str], list[Upload]]) -> str:
        """Create a multipart upload with these parameters of boto3; return its id.

        After a 5xx, or a response that was lost or cannot be read, the request may have created an upload. It is looked
        for among the `uploads` of the key before a repeat. That costs one ListMultipartUploads.
        """
        began, is_open = time.monotonic(), False

        def recent() -> str | None:
            return _recent_upload(uploads, key, time.monotonic() - began)

        def create() -> str:
            nonlocal is_open
            if is_open and (created := recent()):
                return created
            try:
                return self._requests.send("create_multipart_upload", key, **properties).upload_id
            except SyncError as error:
                is_open = error.code in _MAY_HAVE_CREATED or (error.status >= 500 and not isinstance(error, Busy))
                if is_open and (created := recent()):
                    return created
                raise

        return self._requests.availability.request(create, "create_multipart_upload", key)

    def upload_part(self, key: str, upload_id: str, part: Part, data: bytes | bytearray, md5: bytes) -> str:
        """Upload one part; return its ETag from the store, or else the MD5 that the store has checked."""
        with self._about_upload(key, upload_id):
            response = send_body(
                self._requests.call,
                "upload_part",
                key,
                UploadId=upload_id,
                PartNumber=part.number,
                Body=data,
                ContentMD5=encoded(md5),
            )
        return response.etag or md5.hex()

    def complete(self, key: str, upload_id: str, etags: Mapping[int, str], guard: WriteGuard | None) -> str:
        """Complete the upload from the parts with these ETags, by part number; return the ETag of the object.

        The ETag is "" if the response has none. Raises Changed if the target's object is not the one of the guard. The
        tags of the guard are not written.
        """
        parts = [{"PartNumber": number, "ETag": headers.quoted(etags[number])} for number in sorted(etags)]
        conditions = {headers.PARAMETERS[name]: value for name, value in headers.conditions(guard).items()}
        try:
            with self._about_upload(key, upload_id):
                response = self._requests.call(
                    "complete_multipart_upload", key, UploadId=upload_id, MultipartUpload={"Parts": parts}, **conditions
                )
        except Retryable as error:
            if error.code == "BadResponse":
                self.parts(key, upload_id, until=0)  # raises Changed if the upload is completed
            raise
        return response.completed_etag

    def abort(self, key: str, upload_id: str) -> None:
        """Abort the upload and drop its parts. An upload that no longer exists counts as aborted."""
        try:
            with self._about_upload(key, upload_id):
                self._requests.call("abort_multipart_upload", key, UploadId=upload_id)
        except Changed as error:
            if error.code != "NoSuchUpload":
                raise

    def of(self, key: str) -> list[Upload]:
        """Return the uploads of exactly this key that are neither completed nor aborted.

        Those of other programs are among them: see `KeptBucket.uploads`.
        """
        whole = self._requests.full_key(key)

        def request(position: Mapping[str, Any]) -> Response:
            # Some stores accept only the exact key as prefix. Longer keys that begin with it are skipped.
            return self._requests.call("list_multipart_uploads", None, Prefix=whole, EncodingType="url", **position)

        return listings.uploads(request, whole)

    def parts(self, key: str, upload_id: str, after: int = 0, until: int | None = None) -> dict[int, UploadedPart]:
        """Return the uploaded parts by number, behind `after` up to `until`.

        Raises Changed when the upload does not exist any more.
        """

        def request(position: Mapping[str, Any]) -> Response:
            with self._about_upload(key, upload_id):
                return self._requests.call("list_parts", key, UploadId=upload_id, **position)

        return listings.parts(request, after, until)

    @contextmanager
    def _about_upload(self, key: str, upload_id: str) -> Iterator[None]:
        """Raise Changed with the code NoSuchUpload if a 404 of the block means that the upload is gone.

        Ceph RGW names the key as missing, and other stores have other codes. Then a listing of the uploads of the key
        decides.
        """
        try:
            yield
        except SyncError as error:
            is_about_key = error.status == 404 and error.code == "NoSuchKey"
            if not (is_vague_404(error) or is_about_key) or any(each.id == upload_id for each in self.of(key)):
                raise
            raise Changed(error.reason, "NoSuchUpload", request_id=error.request_id) from error


def _recent_upload(uploads: Callable[[str], list[Upload]], key: str, age_s: float) -> str | None:
    """Return the ID of the upload of the key that is at most so old, or None unless there is exactly one."""
    with suppress(SyncError):  # the error of the creation is the one to report
        ids = [upload.id for upload in uploads(key) if upload.age_s <= age_s + _CREATED_WITHIN_S]
        return ids[0] if len(ids) == 1 else None
    return None
