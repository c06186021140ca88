"""The scratch keys of one run, below one prefix of the target. Nothing else is written or deleted."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from ..core.model import md5_of
from .calls import Answer, Page, call, list_page
from .report import Check, Status

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: The prefix of one run below PREFIX. No store folds it: it has lower case, digits and single slashes only.
_RUN = re.compile("run-[0-9a-f]{16}/")

#: Keys of PREFIX that are looked at before the first write.
_LOOKED_AT = 1000


class ForeignKeysError(Exception):
    """The prefix has a key that no doctor has written, so nothing may be written there."""


class Scratch:
    """The keys and uploads below the prefix of one run."""

    def __init__(self, client: S3Client, bucket: str, prefix: str) -> None:
        self.client, self.bucket = client, bucket
        self._base = prefix
        self.prefix = f"{prefix}run-{secrets.token_hex(8)}/"
        self._keys: set[str] = set()
        self._uploads: dict[str, str] = {}

    def check_prefix(self) -> int:
        """Return the number of keys that earlier runs have left. Raises ForeignKeysError."""
        page = list_page(self.client, self.bucket, self._base, MaxKeys=_LOOKED_AT)
        if not page.answer.is_ok:
            raise ForeignKeysError(f"the keys below {self._base} cannot be listed: {page.answer.reason}")
        for key in page.keys:
            if not _RUN.match(key.removeprefix(self._base)):
                raise ForeignKeysError(
                    f"{key!r} was not written by the doctor: delete it, or choose another --scratch-prefix"
                )
        return len(page.keys)

    def key(self, name: str) -> str:
        """Return the full key of a scratch key."""
        return self.prefix + name

    def use(self, client: S3Client) -> None:
        """Make all further requests with this client."""
        self.client = client

    def put(self, name: str, body: bytes, **properties: Any) -> Answer:
        self._keys.add(self.key(name))
        return self.ask("put_object", name, **{**with_md5(body), **properties})

    def upload_part(self, name: str, upload_id: str, number: int, data: bytes) -> Answer:
        return self.ask("upload_part", name, UploadId=upload_id, PartNumber=number, **with_md5(data))

    def ask(self, operation: str, name: str, **parameters: Any) -> Answer:
        """Make a request about a scratch key."""
        return call(getattr(self.client, operation), Bucket=self.bucket, Key=self.key(name), **parameters)

    def begin_upload(self, name: str) -> Answer:
        self._keys.add(self.key(name))
        answer = self.ask("create_multipart_upload", name)
        if upload_id := answer.response.get("UploadId"):
            self._uploads[upload_id] = self.key(name)
        return answer

    def uploads(self) -> Answer:
        """Return the unfinished uploads below the prefix of this run."""
        return call(self.client.list_multipart_uploads, Bucket=self.bucket, Prefix=self.prefix, EncodingType="url")

    def listed(self, **parameters: Any) -> Page:
        """Return a page of the scratch keys, with full keys."""
        return list_page(self.client, self.bucket, self.prefix, **parameters)

    def remove(self) -> Check:
        """Abort the uploads, delete the scratch keys and their versions, and return what is left."""
        for upload in self.uploads().response.get("Uploads") or ():  # also an upload with an unreadable response
            key = unquote_plus(upload.get("Key", ""))
            if key.startswith(self.prefix):
                self._uploads[upload["UploadId"]] = key
        for upload_id, key in self._uploads.items():
            call(self.client.abort_multipart_upload, Bucket=self.bucket, Key=key, UploadId=upload_id)
        for key in sorted(self._keys | set(self._found())):
            call(self.client.delete_object, Bucket=self.bucket, Key=key)
        for key, version in self._versions():
            call(self.client.delete_object, Bucket=self.bucket, Key=key, VersionId=version)
        left, versions = list(self._found()), list(self._versions())
        if left:
            return Check(
                "Scratch keys", "removed", Status.PROBLEM, f"{len(left)} keys below {self.prefix} remain: delete them"
            )
        if versions:
            finding = f"{len(versions)} versions below {self.prefix} remain, because the store keeps them"
            return Check("Scratch keys", "removed", Status.NOTE, finding)
        return Check("Scratch keys", "removed", Status.OK, f"nothing is left below {self.prefix}")

    def _found(self) -> Iterator[str]:
        after = ""
        while True:
            page = self.listed(**({"StartAfter": after} if after else {}))
            yield from (key for key in page.keys if key.startswith(self.prefix))
            if not page.keys or page.is_last or page.keys[-1] <= after:
                return
            after = page.keys[-1]

    def _versions(self) -> Iterator[tuple[str, str]]:
        """Return the versions and delete markers. Without versioning, each key has one version `null`."""
        answer = call(self.client.list_object_versions, Bucket=self.bucket, Prefix=self.prefix)
        for kind in ("Versions", "DeleteMarkers"):
            for entry in answer.response.get(kind, []):
                if entry["Key"].startswith(self.prefix):
                    yield entry["Key"], entry["VersionId"]


def with_md5(body: bytes) -> dict[str, Any]:
    """Return the parameters of a body as the workers send it, with Content-MD5 in place of a signed hash."""
    return {"Body": body, "ContentMD5": base64.b64encode(md5_of(body)).decode()}


@contextmanager
def scratch_keys(client: S3Client, bucket: str, prefix: str, checks: list[Check]) -> Iterator[Scratch]:
    """Yield the scratch keys, and remove them at the end. Raises ForeignKeysError before the first write."""
    scratch = Scratch(client, bucket, prefix)
    if left := scratch.check_prefix():
        finding = f"earlier runs have left {left} keys below {prefix}: delete them if no doctor is running"
        checks.append(Check("Scratch keys", "earlier runs", Status.NOTE, finding))
    try:
        yield scratch
    finally:
        checks.append(scratch.remove())
