"""The ETag marker against two ETags that look like MD5s and differ."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.support.in_memory_store import ListedBucket, MemoryBucket, Stored, md5_hex, stored

from s3_syncer.core.compare import Difference
from s3_syncer.core.deadline import Deadline
from s3_syncer.core.units import MIB
from s3_syncer.stores.capabilities import TargetCapabilities
from s3_syncer.sync.bucket_pair import BucketPair
from s3_syncer.sync.comparison import PROBE_MAX, compare_objects
from s3_syncer.sync.converge import converge
from s3_syncer.sync.outcome import Outcome
from s3_syncer.sync.transfer import Transfer

KEY, OTHER_KEY = "key", "other key"
ONE = stored(b"one")
MARKED = replace(ONE, marker=ONE.etag)
#: Another tool wrote other bytes of the same size, and kept the metadata and so the marker.
EDITED = stored(b"two", marker=ONE.etag)


def lookalike_etag(content: bytes | list[bytes]) -> str:
    """Return an ETag that looks like an MD5 and is none, as a store that encrypts may give."""
    return md5_hex(b"salt" + (content if isinstance(content, bytes) else b"".join(content)))


def lookalike(original: Stored) -> Stored:
    return replace(original, etag=lookalike_etag(original.body))


def pair_of(source: MemoryBucket, target: MemoryBucket) -> BucketPair:
    transfer = Transfer(source, target, memory=MIB, threads=1)
    return BucketPair(source, target, transfer, capabilities=transfer.capabilities)


def test_a_marker_does_not_outrank_two_md5s() -> None:
    source, target = MemoryBucket({KEY: ONE}), MemoryBucket({KEY: EDITED})
    assert converge(pair_of(source, target), KEY, Deadline()) == Outcome("update", "content", 3)
    assert target.objects[KEY].body == b"one"


def test_once_the_target_is_known_to_give_md5s_nothing_more_is_read() -> None:
    source = MemoryBucket({KEY: ONE, OTHER_KEY: ONE})
    target = MemoryBucket({KEY: EDITED, OTHER_KEY: EDITED})
    pair = pair_of(source, target)
    for key in (KEY, OTHER_KEY):
        assert converge(pair, key, Deadline()).action == "update"
    assert target.calls.count("read") == 1


def test_etags_that_only_look_like_md5s_leave_the_decision_to_the_marker() -> None:
    copies = {key: lookalike(MARKED) for key in (KEY, OTHER_KEY)}
    source, target = MemoryBucket({KEY: ONE, OTHER_KEY: ONE}), MemoryBucket(copies, etag=lookalike_etag)
    pair = pair_of(source, target)
    for key in (KEY, OTHER_KEY, KEY):
        assert converge(pair, key, Deadline()) == Outcome("unchanged", "equal")
    assert target.calls.count("read") == 1


@pytest.mark.parametrize(
    "target",
    [replace(EDITED, kms=True), replace(MARKED, etag="opaque"), MARKED],
    ids=["encrypted", "opaque", "no contradiction"],
)
def test_nothing_is_read_where_the_etags_do_not_contradict_the_marker(target: Stored) -> None:
    bucket = MemoryBucket({KEY: target})
    assert converge(pair_of(MemoryBucket({KEY: ONE}), bucket), KEY, Deadline()).action == "unchanged"
    assert "read" not in bucket.calls


def test_a_source_under_kms_has_no_md5_to_contradict_the_marker() -> None:
    encrypted = replace(ONE, kms=True, etag=md5_hex(b"key"))
    bucket = MemoryBucket({KEY: replace(ONE, marker=encrypted.etag)})
    assert converge(pair_of(MemoryBucket({KEY: encrypted}), bucket), KEY, Deadline()).action == "unchanged"
    assert "read" not in bucket.calls


def test_an_object_too_large_to_be_read_for_this_leaves_the_decision_to_the_marker() -> None:
    source = replace(ONE.look(), size=PROBE_MAX + 1)
    target = replace(EDITED.look(), size=PROBE_MAX + 1)
    capabilities, bucket = TargetCapabilities(), ListedBucket()
    assert compare_objects(bucket, capabilities, KEY, source, target) is None
    capabilities.record_etag(is_md5=True)
    assert compare_objects(bucket, capabilities, KEY, source, target) == Difference("content")
    assert bucket.calls == []
