"""Reports as objects of S3, uploaded with the AWS credential chain, whatever the source is."""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from botocore.exceptions import BotoCoreError, ClientError

from ...core.errors import SyncError
from ...stores.clients import source_client
from .report import CONTENT_TYPES, Report


@dataclass(frozen=True, slots=True)
class ReportObject:
    """The bucket and the key of a report."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> ReportObject | None:
        """Return the object of a URL such as s3://bucket/key; None if the text is not such a URL."""
        parts = re.fullmatch(r"s3://([^/]+)/(.+)", text)
        return None if parts is None else cls(parts[1], parts[2])

    @property
    def suffix(self) -> str:
        return PurePosixPath(self.key).suffix

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


class NotUploadedError(Exception):
    """The report is not in its bucket. The message says why, and which file has it."""


def upload(report: Report, where: ReportObject) -> None:
    """Upload the report.

    Raises NotUploadedError if that fails: the report is then in a local file. Raises OSError if no file can be written.
    """
    descriptor, name = tempfile.mkstemp(prefix="s3-syncer-report-", suffix=where.suffix)
    os.close(descriptor)
    path = Path(name)
    report.write(path)
    try:
        client = source_client(1).lease().client
        with path.open("rb") as body:
            content_type = CONTENT_TYPES[where.suffix]
            client.put_object(Bucket=where.bucket, Key=where.key, Body=body, ContentType=content_type)
    except (SyncError, ClientError, BotoCoreError) as error:
        raise NotUploadedError(f"the report could not be uploaded to {where}, and is in {path}: {error}") from error
    path.unlink()
