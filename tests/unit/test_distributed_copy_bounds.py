"""Distributed copies with odd stores: each ends, with equal sides or a dead letter that says why."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import cycle
from typing import Any

import pytest
from tests.support.in_memory_store import MemoryBucket, Stored, stored

from s3_syncer.core import multipart as multipart_module
from s3_syncer.core.deadline import Deadline
from s3_syncer.core.errors import Changed, Permanent
from s3_syncer.core.events import decode
from s3_syncer.core.model import ObjectState, Upload
from s3_syncer.core.multipart import Limits, Part
from s3_syncer.core.upload_history import UploadHistory, merged
from s3_syncer.core.work_items import KeyWork, Malformed, PartsWork, Work, from_envelope
from s3_syncer.sync import distributed_copy as distributed_copy_module
from s3_syncer.sync.bucket_pair import BucketPair
from s3_syncer.sync.distributed_copy import DistributedCopier
from s3_syncer.sync.transfer import Transfer
from s3_syncer.sync.upload_decision import ABANDONED_AFTER_S, MAX_UPLOAD_ATTEMPTS, MAX_VERSIONS, MAX_WAIT_S

KEY = "large"
OBJECT = stored(b"aaa", b"bbb", b"ccc", b"d")

#: An object of unequal parts. Its first part and number of parts also explain the parts 3, 3 and 2.
UNEVEN = stored(b"aaa", b"bb", b"ccc")

#: Bytes of memory for copies: objects above half of it are copied in parts.
MEMORY = 8

#: Messages after which a copy counts as endless.
MAX_MESSAGES = 200


@pytest.fixture(autouse=True)
def an_item_for_each_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed_copy_module, "ITEM_SIZE", 3)
    monkeypatch.setattr(multipart_module, "OWN_PLAN_OFFSET", 4)


class OddBucket(MemoryBucket):
    """A target that lists uploads which it has lost, ignores aborts, or returns wrong times."""

    def __init__(self) -> None:
        super().__init__()
        self.lost: set[str] = set()
        self.ignores_aborts = False
        self.loses_parts = False
        self.aborted: list[str] = []

    def uploads(self, key: str) -> list[Upload]:
        return [*super().uploads(key), *(Upload(id, self.age_s + 1000) for id in sorted(self.lost))]

    def upload_part(self, key: str, upload: str, part: Part, data: bytes | bytearray, md5: bytes) -> str:
        before = dict(self.under_way[upload][1]) if upload in self.under_way else {}
        etag = super().upload_part(key, upload, part, data, md5)
        if self.loses_parts:
            self.under_way[upload] = (self.under_way[upload][0], before)
        return etag

    def abort_upload(self, key: str, upload: str) -> None:
        self.aborted.append(upload)
        if not self.ignores_aborts:
            super().abort_upload(key, upload)

    def lose(self, upload: str) -> None:
        """Lose an upload and its parts, but list it for ever."""
        del self.under_way[upload]
        self.lost.add(upload)


class Queue:
    """The messages of one key over two buckets in memory, delivered in the order of their delays."""

    def __init__(self, original: Stored = OBJECT) -> None:
        self.source, self.target = MemoryBucket({KEY: original}), OddBucket()
        transfer = Transfer(self.source, self.target, memory=MEMORY, threads=1, limits=Limits(min_part=2))
        self.pair = BucketPair(self.source, self.target, transfer)
        self.copier = DistributedCopier(self.source, self.target, transfer, prefix="", threshold=4)
        self.now_s, self.delivered = 0, 0
        self.dead_letters: list[Permanent] = []
        self.messages: list[tuple[int, int, Work]] = []
        self._sent = 0

    def send(self, *works: Work) -> None:
        for work in works:
            self._sent += 1
            delay_s = work.delay_s if isinstance(work, KeyWork) else 0
            heapq.heappush(self.messages, (self.now_s + delay_s, self._sent, work))

    def deliver(self) -> None:
        """Deliver one message, and send the work that it leaves."""
        self.now_s, _, work = heapq.heappop(self.messages)
        self.delivered += 1
        try:
            self.send(*self._run(work))
        except Permanent as error:
            self.dead_letters.append(error)
        except Changed:
            self.send(replace(work, delay_s=60) if isinstance(work, KeyWork) else work)

    def drain(self) -> None:
        while self.messages:
            assert self.delivered < MAX_MESSAGES, f"endless: {self.messages}"
            self.deliver()

    def _run(self, work: Work) -> Sequence[Work]:
        if isinstance(work, PartsWork):
            return self.copier.process_item(work, Deadline())
        assert isinstance(work, KeyWork)
        return self.copier.converge(self.pair, KEY, Deadline(), uploads=work.uploads, redelivered=False).more

    @property
    def bytes_sent(self) -> int:
        return self.target.calls.count("upload_part")

    @property
    def is_equal(self) -> bool:
        return self.target.objects[KEY].mirrored == self.source.objects[KEY].mirrored


def test_after_a_disproof_the_object_is_copied_with_another_part_plan() -> None:
    """Such an object was once sent over and over, 91 times in a test, with the plan that was disproved."""
    queue = Queue(UNEVEN)
    queue.send(KeyWork((KEY,)))
    queue.drain()
    assert queue.is_equal
    assert queue.target.created == 2
    assert queue.target.objects[KEY].part_sizes == (4, 4)
    assert (queue.target.under_way, queue.dead_letters) == ({}, [])


def test_a_disproof_holds_for_one_version_of_the_object() -> None:
    queue = Queue(OBJECT)
    queue.send(KeyWork((KEY,), uploads=UploadHistory(1, disproved_etag=UNEVEN.etag)))
    queue.drain()
    assert queue.target.objects[KEY].etag == OBJECT.etag


def test_a_listed_upload_without_parts_does_not_keep_the_key_from_being_copied() -> None:
    """The key once waited for ever: each recheck created an upload, and aborted it for the lost one."""
    queue = Queue()
    queue.target.lost.add("lost")
    queue.send(KeyWork((KEY,)))
    queue.drain()
    assert queue.is_equal
    assert queue.target.created == 1
    assert "lost" in queue.target.aborted


def test_an_upload_that_is_lost_under_way_is_created_again() -> None:
    queue = Queue()
    queue.send(KeyWork((KEY,)))
    queue.deliver()
    queue.target.lose("upload-1")
    queue.drain()
    assert queue.is_equal
    assert queue.target.created == 2


def test_a_foreign_upload_is_abandoned_after_an_hour_of_rechecks_whatever_the_target_says() -> None:
    """The times of some stores are wrong: such an upload seems to be new for ever."""
    queue = Queue()
    foreign = queue.target.create_upload(KEY, UNEVEN.look(), None)
    queue.target.under_way[foreign][1][1] = b"zz"
    queue.send(KeyWork((KEY,)))
    queue.drain()
    assert queue.is_equal
    assert foreign in queue.target.aborted
    assert ABANDONED_AFTER_S <= queue.now_s < 2 * ABANDONED_AFTER_S
    assert queue.delivered < 30, "each wait is longer than the one before"


def test_an_upload_that_receives_parts_is_never_abandoned() -> None:
    queue = Queue()
    foreign = queue.target.create_upload(KEY, UNEVEN.look(), None)
    queue.send(KeyWork((KEY,)))
    for number in range(1, 100):
        queue.target.under_way[foreign][1][number] = b"zz"
        queue.deliver()
    assert not queue.target.aborted
    queue.target.abort_upload(KEY, foreign)
    queue.drain()
    assert queue.is_equal


def test_an_upload_that_cannot_be_aborted_does_not_keep_the_key_from_being_copied() -> None:
    queue = Queue()
    foreign = queue.target.create_upload(KEY, UNEVEN.look(), None)
    queue.target.ignores_aborts = True
    queue.target.age_s = ABANDONED_AFTER_S
    queue.send(KeyWork((KEY,)))
    queue.drain()
    assert queue.is_equal
    assert queue.target.created == 2, "the foreign one, and one for the copy"
    (reason,) = {dead.reason for dead in queue.dead_letters}
    assert "still lists multipart uploads" in reason
    assert foreign in reason, "the key is equal, but the upload costs money"
    assert queue.now_s <= 2 * MAX_WAIT_S


def test_a_target_that_loses_parts_gets_a_few_uploads_and_a_dead_letter() -> None:
    """An abandoned upload was once continued without a bound."""
    queue = Queue()
    queue.target.loses_parts = True
    queue.target.age_s = ABANDONED_AFTER_S
    queue.send(KeyWork((KEY,)))
    queue.drain()
    assert queue.target.created <= MAX_UPLOAD_ATTEMPTS
    assert f"gave up after {MAX_UPLOAD_ATTEMPTS} multipart uploads" in queue.dead_letters[-1].reason
    assert not queue.target.under_way


def test_a_continued_upload_without_progress_counts_as_an_attempt() -> None:
    queue = Queue()
    queue.send(KeyWork((KEY,)))
    queue.deliver()
    queue.target.loses_parts = True  # from now on: the upload keeps its last part, and gets no other
    queue.target.age_s = ABANDONED_AFTER_S
    queue.drain()
    assert queue.dead_letters
    assert queue.bytes_sent <= 4 * (MAX_UPLOAD_ATTEMPTS + 1)
    assert not queue.target.under_way


def test_uploads_of_creations_without_a_response_are_not_waited_for_without_a_bound() -> None:
    """Each creation fails, but leaves an upload. The next delivery once waited for that upload."""
    queue = Queue()
    create = queue.target.create_upload

    def create_and_lose(key: str, state: ObjectState, marker: str | None) -> str:
        create(key, state, marker)
        raise Changed("the response cannot be read")

    queue.target.create_upload = create_and_lose  # type: ignore[method-assign]
    queue.send(KeyWork((KEY,)))
    queue.drain()
    assert queue.dead_letters
    assert not queue.target.under_way


def test_an_upload_that_another_message_aborts_counts_once_for_the_message_that_created_it() -> None:
    """Without `counted`, it counts again after the hour of waiting: two lost items were three attempts."""
    queue = Queue()
    created = UploadHistory(attempts=MAX_UPLOAD_ATTEMPTS - 2).begun("aborted")
    listed = created.observed("one part", ["aborted"], patience_s=ABANDONED_AFTER_S)
    queue.send(KeyWork((KEY,), uploads=listed.waiting(int(ABANDONED_AFTER_S))))
    queue.drain()
    assert queue.is_equal
    assert not queue.dead_letters


def test_a_wait_for_the_upload_of_another_message_counts_once() -> None:
    """Otherwise one upload without an end may follow another."""
    foreign = UploadHistory().observed("foreign", ["foreign"], patience_s=ABANDONED_AFTER_S)
    waited = foreign.waiting(int(ABANDONED_AFTER_S))
    assert waited.observed("", [], patience_s=ABANDONED_AFTER_S).attempts == 1
    assert waited.outrun(patience_s=ABANDONED_AFTER_S).attempts == 1
    own = waited.begun("own")
    assert own.waiting(int(ABANDONED_AFTER_S)).outrun(patience_s=ABANDONED_AFTER_S).attempts == own.attempts == 1


def new_versions() -> Iterator[Stored]:
    return (stored(b"%03d" % number, b"bbb", b"ccc", b"d") for number in range(MAX_MESSAGES + 1))


@pytest.mark.parametrize(
    ("versions", "code"), [(cycle([OBJECT, UNEVEN]), "PartsFailed"), (new_versions(), "SourceKeepsChanging")]
)
def test_a_source_that_changes_during_each_upload_becomes_a_dead_letter(versions: Iterator[Stored], code: str) -> None:
    """Each check of another version once forgot the uploads. Of two versions, a message sees one."""
    queue = Queue()
    queue.send(KeyWork((KEY,)))
    for version in versions:
        if not queue.messages:
            break
        assert queue.delivered < MAX_MESSAGES, "endless"
        queue.source.objects[KEY] = version
        queue.deliver()
    assert {dead.code for dead in queue.dead_letters} == {code}
    assert queue.target.created <= 2 * MAX_VERSIONS
    assert not queue.target.under_way
    queue.send(KeyWork((KEY,)))  # the event of the last change
    queue.drain()
    assert queue.is_equal


def test_each_version_of_the_source_has_its_own_attempts() -> None:
    """An object that was replaced during three uploads was once given up as if they had failed."""
    queue = Queue()
    tried = UploadHistory(MAX_UPLOAD_ATTEMPTS, etag=UNEVEN.etag, versions=MAX_VERSIONS - 2, failure="damaged")
    queue.send(KeyWork((KEY,), uploads=tried))
    queue.deliver()
    (item, *_) = (work for *_, work in queue.messages if isinstance(work, PartsWork))
    assert item.uploads == UploadHistory(1, etag=OBJECT.etag, versions=MAX_VERSIONS - 1, counted=item.upload)
    queue.drain()
    assert queue.is_equal
    assert not queue.dead_letters


def test_the_dead_letter_names_the_reason_of_the_last_failure() -> None:
    queue = Queue()
    queue.send(KeyWork((KEY,), uploads=UploadHistory(MAX_UPLOAD_ATTEMPTS, failure="the bytes were damaged")))
    queue.drain()
    assert "the bytes were damaged" in queue.dead_letters[0].reason


def test_two_messages_of_a_key_keep_the_lower_count_and_every_disproof() -> None:
    one, other = UploadHistory(2, disproved_etag="e"), UploadHistory(1, seen="s")
    assert merged(one, other) == merged(other, one) == UploadHistory(1, disproved_etag="e", seen="s")
    assert merged(None, one) == merged(one, None) == one
    assert merged(None, None) is None


@pytest.mark.parametrize(
    "history",
    [UploadHistory(), UploadHistory(2, "etag", "seen", 30, "why", "upload", "version", 4)],
)
def test_a_message_keeps_the_history(history: UploadHistory) -> None:
    assert decode(KeyWork((KEY,), uploads=history).to_json(), "") == KeyWork((KEY,), uploads=history)
    parts = PartsWork(KEY, "e", "u", 7, 3, 1, 2, history)
    assert decode(parts.to_json(), "") == parts


@pytest.mark.parametrize("uploads", [3, {"attempts": -1}, {"attempts": "1"}, {"waited_s": 1.5}, {"failure": None}])
def test_a_malformed_history_is_a_dead_letter(uploads: Any) -> None:
    with pytest.raises(Malformed, match='"uploads'):
        from_envelope({"work": "keys", "keys": [KEY], "uploads": uploads})
