"""The bucket of a restore notes each write that the restore must not make, and no other one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.simulation.scheduler import Scheduler
from tests.simulation.store import Store
from tests.simulation.watched_bucket import WatchedBucket

TAGGING = {"TagSet": [{"Key": "tag", "Value": "1"}]}


def watched(*, overwrite: bool = False, holds: bool = True) -> WatchedBucket:
    store = Store("source", Scheduler(0))
    if holds:
        store.write("k", b"body")
    return WatchedBucket(store, overwrite=overwrite)


def read_and_replace(bucket: WatchedBucket) -> None:
    bucket.head_object("k")
    bucket.put_object("k", Body=b"restored")


def replace_newer(bucket: WatchedBucket) -> None:
    """Replace an object that was read only after the first write."""
    read_and_replace(bucket)
    bucket.write("k", b"newer")
    bucket.head_object("k")
    bucket.put_object("k", Body=b"restored")


def upload(bucket: WatchedBucket) -> None:
    upload_id = bucket.create_multipart_upload("k")["UploadId"]
    etag = bucket.upload_part("k", upload_id, 1, b"part")["ResponseMetadata"]["HTTPHeaders"]["etag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    bucket.complete_multipart_upload("k", UploadId=upload_id, MultipartUpload=parts)


@pytest.mark.parametrize(
    ("bucket", "write"),
    [
        (watched(), read_and_replace),
        (watched(), upload),
        (watched(overwrite=True), lambda bucket: bucket.put_object("k", Body=b"unread")),
        (watched(overwrite=True), replace_newer),
        (watched(holds=False), lambda bucket: bucket.put_object("k", Body=b"", Metadata={"s3-syncer-source-etag": ""})),
        (watched(), lambda bucket: bucket.delete_object("k")),
        (watched(), lambda bucket: bucket.put_object_tagging("k", TAGGING)),
        (watched(), lambda bucket: bucket.delete_object_tagging("k")),
    ],
)
def test_a_write_that_a_restore_must_not_make_is_a_breach(
    bucket: WatchedBucket, write: Callable[[WatchedBucket], Any]
) -> None:
    write(bucket)
    assert len(bucket.breaches) == 1


def write_and_tag(bucket: WatchedBucket) -> None:
    bucket.put_object("k", Body=b"restored", Metadata={"name": "value"})
    bucket.put_object_tagging("k", TAGGING)


@pytest.mark.parametrize(
    ("bucket", "write"),
    [
        (watched(holds=False), write_and_tag),
        (watched(holds=False), upload),
        (watched(overwrite=True), read_and_replace),
    ],
)
def test_a_write_that_a_restore_may_make_is_none(bucket: WatchedBucket, write: Callable[[WatchedBucket], Any]) -> None:
    write(bucket)
    assert bucket.breaches == []
