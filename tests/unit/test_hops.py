"""Chains of the product's own messages: each hop is counted and logged, and a chain ends."""

from __future__ import annotations

import io
import json
import logging
from collections import deque
from typing import Any, cast

import pytest
from tests.support.in_memory_store import MemoryBucket, stored

from s3_syncer.core.deadline import Deadline
from s3_syncer.core.events import decode
from s3_syncer.core.fence import carried
from s3_syncer.core.log_context import log_fields
from s3_syncer.core.multipart import Limits
from s3_syncer.core.units import MIB
from s3_syncer.core.work_items import KeyWork, Malformed, PartsWork, RangeWork, Work
from s3_syncer.logs import JsonFormatter
from s3_syncer.queue.dispositions import Ack, DeadLetter, Disposition, Message
from s3_syncer.queue.worker import Worker
from s3_syncer.sync import distributed_copy
from s3_syncer.sync.bucket_pair import BucketPair
from s3_syncer.sync.distributed_copy import DistributedCopier
from s3_syncer.sync.transfer import Transfer

PARTS = PartsWork("large", "etag", "upload", size=10, part_size=3, first=1, last=2)


class Bench:
    """A worker between two buckets in memory. An object of more than four bytes is copied in work items."""

    def __init__(self) -> None:
        self.source, self.target = MemoryBucket({"large": stored(b"aaa", b"bbb", b"ccc", b"d")}), MemoryBucket()
        transfer = Transfer(self.source, self.target, memory=MIB, threads=1, limits=Limits(min_part=2))
        pair = BucketPair(self.source, self.target, transfer)
        copier = DistributedCopier(self.source, self.target, transfer, prefix="", threshold=4)
        self._worker = Worker(pair, cast(Any, None), copier, bucket="bucket", prefix="", threads=1)

    def run(self, body: str) -> Disposition:
        return self._worker.run([Message("1", body)], Deadline())["1"]

    def follow(self, first: Work, *, loses_parts: bool = False) -> tuple[int, Disposition]:
        """Process the message and all that follow; return the longest chain's hops and last disposition.

        The upload ages as the delays of the messages pass.
        """
        messages, longest, last = deque([first]), 0, cast(Disposition, Ack())
        while messages:
            work = messages.popleft()
            if loses_parts and isinstance(work, PartsWork):
                continue
            assert work.hops < 1000, "the chain does not end"
            self.target.age_s += getattr(work, "delay_s", 0)
            disposition = self.run(work.to_json())
            if work.hops >= longest:
                longest, last = work.hops, disposition
            messages += disposition.more
        return longest, last


@pytest.fixture(autouse=True)
def an_item_for_each_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed_copy, "ITEM_SIZE", 3)


def test_a_copy_by_several_workers_is_a_chain_of_two_hops() -> None:
    """The event leads to the parts and to a recheck. The last part leads to another check of the key."""
    bench = Bench()
    assert bench.follow(KeyWork(("large",))) == (2, Ack())
    assert bench.target.objects.keys() == {"large"}


def test_the_rechecks_of_an_upload_without_progress_end_with_a_dead_letter() -> None:
    """The work items are lost again and again, so no part arrives. Each recheck is one hop: 12 in all."""
    longest, last = Bench().follow(KeyWork(("large",)), loses_parts=True)
    assert isinstance(last, DeadLetter)
    assert last.key == "large"
    assert "multipart uploads of this object" in last.error
    assert longest == 12


@pytest.mark.parametrize("work", [KeyWork(("a",), hops=3), RangeWork("a", hops=3, stalled_hops=2), PARTS])
def test_a_message_carries_its_hops(work: Work) -> None:
    assert decode(work.to_json(), "bucket") == work


@pytest.mark.parametrize("name", ["hops", "stalled_hops"])
@pytest.mark.parametrize("value", [-1, 1.0, "1", None, True])
def test_the_number_of_hops_is_a_whole_number(name: str, value: object) -> None:
    with pytest.raises(Malformed, match=f'"{name}" must be a whole number'):
        decode(json.dumps({"s3-syncer": {"work": "range", name: value}}), "bucket")


def test_every_line_about_work_has_its_hops() -> None:
    """Also the lines of other threads: the transfer and the sweep log there."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("s3_syncer")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        Bench().follow(KeyWork(("large",), hops=5))
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {(line["action"], line["hops"]) for line in lines} == {
        ("multipart", 5),
        ("part", 6),
        ("complete", 6),
        ("unchanged", 6),
        ("unchanged", 7),
    }


def test_the_log_fields_of_work_reach_its_other_threads() -> None:
    with log_fields({"hops": 7}):
        in_other_thread = carried(lambda: JsonFormatter().format(logging.makeLogRecord({"msg": "copy"})))
    assert json.loads(in_other_thread())["hops"] == 7
    assert "hops" not in json.loads(JsonFormatter().format(logging.makeLogRecord({"msg": "copy"})))
