"""Check the permissions on the source. Nothing is written there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..core.errors import ARCHIVED_CODE
from ..settings import EXPECTED_OWNER_HEADER, AwsChain, Settings
from ..stores.bucket_owner import other_owner
from ..stores.object_tags import UNTAGGED_CODES
from .calls import Answer, call, list_page
from .connection import check_answer, check_name, permission
from .report import Check, Status

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

GROUP = "Source"

#: A key that no bucket has. S3 answers 404 for it only with the permission s3:ListBucket.
_MISSING_KEY = "s3-syncer-doctor/no-such-key"


class SourceChecks:
    """The checks of the source. `is_usable` is True once the source has listed a page."""

    def __init__(self, client: S3Client, settings: Settings) -> None:
        self._client, self._settings = client, settings
        self.is_usable = False

    def run(self) -> Iterator[Check]:
        url = self._client.meta.endpoint_url
        yield check_name(GROUP, url)
        bucket, prefix = self._settings.source_bucket, self._settings.source_prefix
        page = list_page(self._client, bucket, prefix, MaxKeys=1)
        yield from check_answer(GROUP, url, page.answer, "s3:ListBucket")
        yield from self._check_account(page.answer)
        self.is_usable = page.answer.status != 0 and not page.answer.is_unusable
        if self.is_usable:
            key = page.keys[0] if page.keys else prefix + _MISSING_KEY
            yield from self._check_reads(key, is_missing=not page.keys)

    def _check_account(self, answer: Answer) -> Iterator[Check]:
        """Check the role and the owner of the bucket by the response to the first request."""
        credentials = self._settings.source_connection.credentials
        if isinstance(credentials, AwsChain) and credentials.role_arn and answer.status:
            yield Check(GROUP, "sts:AssumeRole", Status.OK, f"allowed: {credentials.role_arn}")
        owner = self._settings.source_requests.headers.get(EXPECTED_OWNER_HEADER, "")
        if owner and answer.is_denied:
            yield Check(GROUP, "bucket owner", Status.PROBLEM, other_owner(owner))
        elif owner and answer.is_ok:
            yield Check(GROUP, "bucket owner", Status.OK, f"account {owner}")

    def _check_reads(self, key: str, *, is_missing: bool) -> Iterator[Check]:
        """Read one byte and the tags of a key. A missing key is 404 with the permission, and 403 without it."""
        names = [("s3:GetObject", "get_object", {"Range": "bytes=0-0"})]
        if self._settings.tags:
            names.append(("s3:GetObjectTagging", "get_object_tagging", {}))
        for name, operation, parameters in names:
            answer = call(getattr(self._client, operation), Bucket=self._settings.source_bucket, Key=key, **parameters)
            yield self._read(name, answer, is_missing=is_missing)

    def _read(self, name: str, answer: Answer, *, is_missing: bool) -> Check:
        if is_missing and answer.status == 404:
            return Check(GROUP, name, Status.OK, "allowed: the missing key of the test is 404")
        if answer.code == "InvalidRange":  # the object is empty
            return Check(GROUP, name, Status.OK, "allowed")
        if answer.code == ARCHIVED_CODE:
            return Check(GROUP, name, Status.OK, "allowed: the object of the test is archived")
        if answer.code in UNTAGGED_CODES:
            return Check(GROUP, name, Status.OK, "allowed: an object without tags is an error")
        return permission(GROUP, name, answer)
