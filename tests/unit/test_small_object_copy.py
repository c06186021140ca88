"""The small-object copier: the objects that it takes, and the copies that a listing confirms."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.support.clock import FakeClock
from tests.support.in_memory_store import HttpSide, ListedBucket, Reply, at, opaque_etag, stored

from s3_syncer.core import fence as fences
from s3_syncer.core.compare import ABSENT, KeyDiff
from s3_syncer.core.concurrency_limit import ConcurrencyLimit
from s3_syncer.core.deadline import Deadline
from s3_syncer.core.errors import Retryable, StoreUnusable
from s3_syncer.core.fence import Fence, fenced
from s3_syncer.core.model import Archive, ListEntry, ObjectState, WriteGuard
from s3_syncer.core.units import MIB
from s3_syncer.crt import small_object_copy
from s3_syncer.crt.copy_batch import MAX_LEFT_FOLDERS, MAX_UNSUPPORTED
from s3_syncer.crt.overwrite_prevention import MAX_CHECKS, OverwritePrevention
from s3_syncer.crt.small_object_copy import CrtSmallObjectCopier
from s3_syncer.stores.capabilities import PERMITTED_S, SAMPLE_EVERY, TagSupport, properties_of
from s3_syncer.stores.request_limiter import Permit, RequestLimiter, RequestLimiters
from s3_syncer.sync.transfer import Transfer
from s3_syncer.transport.pauses import FAILURES_IN_A_ROW, PAUSE_S

NOW = 100


class CopySides:
    """Two buckets; the objects of the source are old.

    With `proven`, the target is known to keep ordinary objects. With `counts_tags`, the source is known to return the
    number of tags.
    """

    def __init__(
        self,
        *keys: str,
        tags: bool = False,
        mirrors_tags: bool = True,
        memory: int = MIB,
        proven: bool = True,
        counts_tags: bool = False,
        **target: Any,
    ) -> None:
        self.source, self.target = ListedBucket(clock=NOW), ListedBucket(clock=NOW, **target)
        self.clock = FakeClock()
        self.source.tag_support = TagSupport(documents_counts=counts_tags, clock=self.clock)
        if counts_tags:
            self.source.tag_support.record_exists()
        for key in keys:
            self.source.objects[key] = stored(key.encode(), modified=10)
        self.source_side, self.target_side = HttpSide(self.source), HttpSide(self.target)
        transfer = Transfer(self.source, self.target, memory=memory, threads=1, tags=mirrors_tags)
        if proven:
            transfer.capabilities.record_kept(properties_of(stored(b"").look()))
        self.copier = CrtSmallObjectCopier(
            self.source_side,
            self.target_side,
            transfer,
            source_prefix="",
            target_prefix="",
            tags=tags,
            threads=2,
            clock=self.clock,
        )
        self.replaced: set[str] = set()
        self.writing: list[str] = []
        self.copied: list[str] = []

    def _note(self, entry: ListEntry, source: ObjectState) -> None:
        assert (source.etag, source.size) == (entry.etag, entry.size)
        self.writing.append(entry.key)

    def copy(self, deadline: Deadline | None = None, entries: Sequence[ListEntry] | None = None) -> dict[str, Any]:
        listed = self.source.listed() if entries is None else entries
        self.listed = {entry.key: entry for entry in listed}
        return self.copier.copy(
            listed,
            deadline or Deadline(),
            self._note,
            lambda entry, state, etag: self.copied.append(entry.key),
            self.replaced,
        )


def test_an_ordinary_object_takes_one_get_and_one_put_and_the_listing_confirms_it() -> None:
    world = CopySides("a", "b", "c")
    assert world.copy() == world.listed
    assert world.writing == world.copied == ["a", "b", "c"]
    assert world.source.mirrored == world.target.mirrored
    assert [call for call in world.source.calls if call != "list"] == ["fetch"] * 3
    assert world.target.calls == ["put"] * 3
    assert (world.source.noted, world.target.noted) == (["get_object"] * 3, ["put_object"] * 3)


def test_the_first_copy_shows_what_the_target_keeps() -> None:
    world = CopySides("a", "b", "c", proven=False)
    assert world.copy() == world.listed
    assert world.target.calls == ["put", "head", "put", "put"]
    world.source.objects["a"] = stored(b"a", headers={"Cache-Control": "no-store"}, modified=10)
    world.target.calls.clear()
    assert world.copy() == world.listed
    assert world.target.calls == ["put", "head", "put", "put"]


def test_one_copy_in_so_many_is_checked_again() -> None:
    world = CopySides(*map(str, range(2 * SAMPLE_EVERY)))
    assert world.copy() == world.listed
    assert world.target.calls.count("head") == 2


@pytest.mark.parametrize("proven", [False, True])
def test_no_listing_confirms_copies_to_a_target_that_loses_a_header(proven: bool) -> None:
    world = CopySides(*map(str, range(SAMPLE_EVERY)), proven=proven)
    put = world.target.put

    def put_without_headers(key: str, data: bytes | bytearray, md5: bytes, state: ObjectState, *rest: Any) -> str:
        return put(key, data, md5, replace(state, headers={}), *rest)

    world.target.put = put_without_headers  # type: ignore[method-assign]
    for key, original in world.source.objects.items():
        world.source.objects[key] = replace(original, headers={"Cache-Control": "no-store"})
    assert set(world.copy().values()) == {None}


@pytest.mark.parametrize(
    "spoil", [lambda reply: Reply(404), lambda reply: Reply(503), lambda reply: replace(reply, headers={})]
)
def test_a_head_that_shows_no_equal_object_confirms_nothing(spoil: Callable[[Reply], Reply]) -> None:
    world = CopySides("a", "b", proven=False)
    world.target_side.replies["HEAD"] = spoil
    assert world.copy() == {"a": None, "b": None}


def test_every_property_is_copied() -> None:
    world = CopySides()
    headers = {"Content-Type": "text/x", "Expires": "never", "Cache-Control": "no-store", "Content-Language": "de"}
    world.source.objects["a"] = stored(b"", headers=headers, metadata={"one": "1", "two": ""})
    world.copy()
    assert world.source.mirrored == world.target.mirrored
    assert world.target.objects["a"].marker == world.source.objects["a"].etag  # the ETags of the target are unknown yet
    world.copy()
    assert world.target.objects["a"].marker is None


def test_a_target_that_stops_returning_md5s_gets_the_marker() -> None:
    world = CopySides("a", "b")
    world.copy(entries=world.source.listed()[:1])
    world.target._etag = opaque_etag
    assert world.copy(entries=world.source.listed()[1:]).keys() == {"b"}
    assert world.target.calls == ["put"] * 3
    assert world.target.objects["b"].marker == world.source.objects["b"].etag


@pytest.mark.parametrize(
    ("size", "etag", "takes"),
    [
        (0, "0" * 32, True),
        (small_object_copy.MAX_SIZE, "0" * 32, True),
        (small_object_copy.MAX_SIZE + 1, "0" * 32, False),
        (1, "0" * 32 + "-2", False),
        (1, "opaque", False),
        (1, None, False),
    ],
)
def test_small_objects_with_an_md5_etag_are_taken(size: int, etag: str | None, takes: bool) -> None:
    copier = CopySides(memory=2 * small_object_copy.MAX_SIZE).copier
    assert copier.takes(KeyDiff(ListEntry("a", size, etag, at(0)), None)) == (ABSENT if takes else None)


def test_no_object_is_larger_than_half_of_the_memory() -> None:
    copier = CopySides(memory=1000).copier
    rows = [KeyDiff(ListEntry("a", size, "0" * 32, at(0)), None) for size in (500, 501)]
    assert [copier.takes(row) for row in rows] == [ABSENT, None]


def test_an_object_of_the_same_size_is_taken_once_the_target_has_returned_md5s() -> None:
    world = CopySides("a")
    row = KeyDiff(ListEntry("a", 1, "0" * 32, at(0)), ListEntry("a", 1, "1" * 32, at(0)))
    assert world.copier.takes(row) is None
    world.copy()
    assert world.copier.takes(row) == "content"
    world.target._etag = opaque_etag
    world.copy()
    assert world.copier.takes(row) is None


@pytest.mark.parametrize("tags", [{}, {"colour": "red"}], ids=["untagged", "tagged"])
def test_without_tags_a_head_shows_if_the_replaced_object_has_tags(tags: dict[str, str]) -> None:
    world = CopySides("a", mirrors_tags=False)
    world.target.objects["a"] = stored(b"older", tags=tags)
    world.replaced = {"a"}
    assert bool(world.copy()) != bool(tags)
    assert world.target.calls == (["head"] if tags else ["head", "put"])


def test_without_tags_an_object_that_another_worker_has_written_meanwhile_stays() -> None:
    world = CopySides("a", "b", tags=False, mirrors_tags=False)
    world.target.objects["a"] = stored(b"a", tags={"colour": "red"})
    assert world.copy().keys() == {"b"}
    assert world.target.objects["a"].tags == {"colour": "red"}


def test_an_archived_object_is_not_taken() -> None:
    entry = ListEntry("a", 1, "0" * 32, at(0), Archive("GLACIER"))
    assert CopySides().copier.takes(KeyDiff(entry, None)) is None


def test_an_archive_that_no_listing_shows_leaves_the_other_objects_to_the_copier() -> None:
    """Intelligent-Tiering has such archives. Any other 403 ends the batch."""
    world = CopySides("a", "b", "c")
    archived = Reply(403, {}, b"<Error><Code>InvalidObjectState</Code></Error>")
    world.source_side.replies["GET"] = lambda reply: archived if reply.body == b"a" else reply
    assert world.copy().keys() == {"b", "c"}


def test_a_key_that_only_the_target_has_is_not_taken() -> None:
    assert CopySides().copier.takes(KeyDiff(None, ListEntry("a", 1, "0" * 32, at(0)))) is None


@pytest.mark.parametrize(
    "properties",
    [
        {"kms": True},
        {"tags": {"colour": "red"}},
        {"metadata": {"name": "Jürgen"}},
    ],
)
def test_an_object_that_turns_out_to_be_unsupported_is_left(properties: dict[str, Any]) -> None:
    world = CopySides("a", "b", "c", tags=True)
    world.source.objects["b"] = replace(world.source.objects["b"], **properties)
    assert world.copy().keys() == {"a", "c"}
    assert world.target.objects.keys() == {"a", "c"}


def altered(**headers: str) -> Callable[[Reply], Reply]:
    return lambda reply: replace(
        reply, headers={**reply.headers, **{k.replace("_", "-"): v for k, v in headers.items()}}
    )


@pytest.mark.parametrize(
    "spoil",
    [
        altered(etag='"' + "0" * 32 + '"'),  # a store that ignores If-Match
        altered(content_length="2"),
        altered(content_length="one"),
        altered(x_amz_storage_class="GLACIER"),
        lambda reply: replace(reply, body=b"x"),
        lambda reply: replace(reply, body=b""),
        lambda reply: replace(reply, headers={}),
        lambda reply: replace(reply, status=206),
        lambda reply: replace(reply, status=404),
    ],
)
def test_nothing_is_written_after_an_unexpected_response(spoil: Callable[[Reply], Reply]) -> None:
    world = CopySides("a")
    world.source_side.replies["GET"] = spoil
    assert world.copy() == {}
    assert world.target.calls == world.copied == []


@pytest.mark.parametrize(
    "spoil",
    [
        altered(date=""),
        altered(date="Thu, 01 Jan 2026 00:00:11 GMT"),  # a second after it was written
        altered(last_modified="Thu, 01 Jan 2026 00:00:12 GMT"),  # written again since it was listed
    ],
)
def test_a_listing_confirms_only_objects_that_had_settled(spoil: Callable[[Reply], Reply]) -> None:
    world = CopySides("a")
    world.source_side.replies["GET"] = spoil
    assert world.copy() in ({"a": None}, {})
    assert world.copy().get("a") is None


def test_tags_written_during_the_copy_are_left_to_the_sweep() -> None:
    world = CopySides("a", "b", tags=True)

    def tag_behind(operation: str, key: str) -> None:
        if operation == "tags" and key == "b":
            world.source.objects["b"] = replace(world.source.objects["b"], tags={"colour": "red"})

    world.source.on_call = tag_behind
    assert world.copy() == {"a": world.listed["a"], "b": None}


@pytest.mark.parametrize("body", [b"", b"<Tagging>", b"<other/>", b"\0"])
def test_an_invalid_tag_response_confirms_nothing(body: bytes) -> None:
    world = CopySides("a", tags=True)
    world.source_side.replies["GET?tagging"] = lambda reply: replace(reply, body=body)
    assert world.copy() == {"a": None}


# -- the read of the tags that a condition spares ----------------------------------------------------------------------


class UnreadTags(CopySides):
    """A source that returns the number of tags, and a target that judges conditions.

    With `experienced`, the target has refused to overwrite an object.
    """

    def __init__(self, *keys: str, conditions: Any = "honoured", experienced: bool = True, **options: Any) -> None:
        super().__init__(*keys, **{"tags": True, "counts_tags": True, **options})
        self.target.conditions = conditions
        #: By key, the writes so far: True for one with `If-None-Match: *`.
        self.conditional: dict[str, list[bool]] = {}
        self._put = self.target.put
        self.target.put = self._note_put  # type: ignore[method-assign]
        if experienced:
            self.copier._overwrite_prevention = OverwritePrevention(is_proven=True)

    def _note_put(
        self, key: str, data: Any, md5: bytes, state: ObjectState, marker: str | None, guard: WriteGuard | None = None
    ) -> str:
        self.conditional.setdefault(key, []).append(guard is not None)
        return self._put(key, data, md5, state, marker, guard)

    @property
    def reads(self) -> int:
        return self.source.calls.count("tags")


def test_a_new_object_takes_no_read_of_its_tags_where_the_target_refuses_to_overwrite_it() -> None:
    world = UnreadTags("a", "b", "c")
    assert world.copy() == world.listed
    assert world.conditional == {"a": [True], "b": [True], "c": [True]}
    assert world.reads == 0
    assert world.copied == ["a", "b", "c"]


def test_the_first_write_is_sent_twice_to_prove_that_the_target_refuses_the_second() -> None:
    world = UnreadTags("a", "b", "c", "d", experienced=False)
    assert world.copy() == world.listed
    assert world.conditional == {"a": [True, True], "b": [True], "c": [True], "d": [True]}
    assert world.reads == 0
    assert world.copied == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    "options",
    [{"counts_tags": False}, {"tags": False}, {"etag": opaque_etag, "experienced": False}],
    ids=["no counts", "no tags", "a second PUT with the marker"],
)
def test_without_each_of_its_reasons_no_read_is_spared(options: dict[str, Any]) -> None:
    world = UnreadTags("a", **options)
    world.copier._marker_policy.needs_rewrite = lambda state, marker, etag: marker is None  # type: ignore[method-assign]
    world.copier._marker_policy.marker_for = lambda state: None  # type: ignore[method-assign]
    world.copy()
    assert world.conditional["a"][-1] is False
    assert world.reads == (1 if options.get("tags", True) else 0)


def test_an_object_that_replaces_another_one_has_no_condition() -> None:
    """Another worker may write the same bytes with tags: that leaves the ETag as it is."""
    world = UnreadTags("a")
    world.target.objects["a"] = stored(b"older")
    world.replaced = {"a"}
    assert world.copy() == world.listed
    assert (world.conditional, world.reads) == ({"a": [False]}, 1)


def test_the_tags_are_read_again_once_the_permission_is_not_known_any_more() -> None:
    world = UnreadTags("a", "b")
    world.clock.now += PERMITTED_S
    assert world.copy() == world.listed
    assert world.reads == 1, "the first read proves it again"


def test_the_tags_of_one_object_in_so_many_are_read() -> None:
    world = UnreadTags(*map(str, range(2 * SAMPLE_EVERY)))
    assert world.copy() == world.listed
    assert world.reads == 2


def test_an_object_with_tags_shows_that_the_source_counts_them() -> None:
    world = UnreadTags(*(f"key {number:02}" for number in range(20)), counts_tags=False)
    world.source.objects["key 00"] = stored(b"key 00", tags={"colour": "red"}, modified=10)
    assert world.copy().keys() == world.listed.keys() - {"key 00"}
    assert world.reads == 1, "the first read proves the permission"


def test_a_source_that_denies_a_read_of_tags_is_not_trusted() -> None:
    world = UnreadTags(*map(str, range(SAMPLE_EVERY + 10)))
    world.source_side.replies["GET?tagging"] = lambda _: Reply(403, {}, b"<Error><Code>AccessDenied</Code></Error>")
    confirmed = world.copy()
    assert world.reads >= 10
    assert list(confirmed.values()).count(None) == world.reads


def test_a_source_with_tags_that_it_did_not_count_is_not_trusted() -> None:
    world = UnreadTags("a", "b", "c")
    world.clock.now += PERMITTED_S

    def tag_behind(operation: str, key: str) -> None:
        if operation == "tags" and key == "a":
            world.source.objects["a"] = replace(world.source.objects["a"], tags={"colour": "red"})

    world.source.on_call = tag_behind
    assert world.copy() == {"a": None, "b": world.listed["b"], "c": world.listed["c"]}
    assert world.reads >= 2


@pytest.mark.parametrize("conditions", ["honoured", "ignored"])
def test_the_tags_that_another_worker_has_written_are_not_lost(conditions: str) -> None:
    """The other worker has read the tags that came after the GET, and writes before the PUT."""
    world = UnreadTags("a", conditions=conditions, experienced=False)
    tagged = replace(world.source.objects["a"], tags={"colour": "red"})

    def write_first(operation: str, key: str) -> None:
        if operation == "put" and "a" not in world.target.objects:
            world.source.objects["a"] = world.target.objects["a"] = tagged

    world.target.on_call = write_first
    confirmed = world.copy()
    assert confirmed.get("a") is None, "the sweep compares the key"
    if conditions == "honoured":
        assert world.target.objects["a"].tags == tagged.tags


def test_a_sweep_without_the_proof_would_lose_tags() -> None:
    """A target that ignores the condition, and a copier that takes it for honoured."""
    world = UnreadTags("a", conditions="ignored", experienced=True)
    tagged = replace(world.source.objects["a"], tags={"colour": "red"})

    def write_first(operation: str, key: str) -> None:
        if operation == "put" and "a" not in world.target.objects:
            world.source.objects["a"] = world.target.objects["a"] = tagged

    world.target.on_call = write_first
    assert world.copy() == world.listed
    assert world.target.objects["a"].tags == {}


def test_a_target_that_ignores_the_condition_gets_it_for_one_object() -> None:
    world = UnreadTags("a", "b", "c", "d", conditions="ignored", experienced=False)
    assert world.copy() == world.listed
    assert world.conditional == {"a": [True, True], "b": [False], "c": [False], "d": [False]}
    assert world.reads == 4
    assert world.copy() == world.listed
    assert [len(writes) for writes in world.conditional.values()] == [3, 2, 2, 2]


def test_tags_that_come_before_the_second_write_to_a_target_that_ignores_the_condition_are_seen() -> None:
    """That second write is late, too. So the read of the tags follows it."""
    world = UnreadTags("a", conditions="ignored", experienced=False)

    def tag_in_between(operation: str, key: str) -> None:
        if operation == "put" and len(world.conditional.get("a", [])) == 1:
            world.source.objects["a"] = replace(world.source.objects["a"], tags={"colour": "red"})

    world.target.on_call = tag_in_between
    assert world.copy() == {"a": None}


@pytest.mark.parametrize("experienced", [False, True])
def test_a_target_that_does_not_know_the_condition_gets_the_write_without_it(experienced: bool) -> None:
    world = UnreadTags("a", "b", "c", "d", conditions="refused", experienced=experienced)
    assert world.copy() == world.listed
    refused = [key for key, writes in world.conditional.items() if writes == [True, False]]
    assert refused == ["a"]
    assert world.reads == 4


def test_an_object_that_is_refused_in_any_case_shows_nothing_about_the_condition() -> None:
    world = UnreadTags("a", "b", experienced=False)
    refuse = Reply(400, {}, b"<Error><Code>InvalidArgument</Code></Error>")
    world.target_side.replies["PUT"] = lambda _: refuse
    assert world.copy() == {}
    world.target_side.replies.clear()
    world.target.objects.clear()
    assert world.copy() == world.listed
    assert world.copier._overwrite_prevention.is_proven


@pytest.mark.parametrize("status", [409, 412])
def test_objects_that_other_workers_have_written_leave_the_rest_of_the_batch_to_the_copier(status: int) -> None:
    """A sweep beside another one meets many of them. None of them says that a store fails."""
    keys = [f"key {number:02}" for number in range(40)]
    world = UnreadTags(*keys)
    world.target_side.replies["PUT"] = lambda reply: Reply(status) if len(world.conditional) < 30 else reply
    assert world.copy().keys() == {*keys[29:]}
    assert world.copier._overwrite_prevention.is_proven
    assert world.copy().keys() == set(), "all of them exist now"
    assert not world.copier._circuit.is_open


@pytest.mark.parametrize("status", [0, 403, 409, 412, 500, 503])
def test_a_target_that_fails_each_write_with_the_condition_gets_it_for_few_objects(status: int) -> None:
    """The sweep converges their keys."""
    keys = [f"key {number:02}" for number in range(30)]
    world = UnreadTags(*keys, experienced=False)
    world.target_side.replies["PUT"] = lambda reply: Reply(status) if [*world.conditional.values()][-1][-1] else reply
    copied = set[str]()
    for _ in range(MAX_CHECKS + 1):  # after a 403, the copier pauses
        left = [entry for entry in world.source.listed() if entry.key not in copied]
        copied |= world.copy(entries=left).keys()
        world.clock.now += PAUSE_S
    assert sum(any(writes) for writes in world.conditional.values()) <= MAX_CHECKS
    assert len(copied) >= 30 - MAX_CHECKS


@pytest.mark.parametrize("status", [0, 400, 403, 409, 500, 501, 503])
def test_a_second_write_without_a_412_proves_nothing(status: int) -> None:
    world = UnreadTags("a", "b", experienced=False)
    world.target_side.replies["PUT"] = lambda reply: Reply(status) if len(world.conditional["a"]) == 2 else reply
    entries = world.source.listed()
    assert world.copy(entries=entries[:1]) == {"a": entries[0]}
    assert world.reads == 1
    world.target_side.replies.clear()
    assert world.copy(entries=entries[1:]) == {"b": entries[1]}
    assert world.conditional["b"] == [True, True]
    assert world.copier._overwrite_prevention.is_proven


def test_a_sample_that_is_overwritten_unconfirms_the_copies_of_its_batch_without_a_read() -> None:
    world = UnreadTags(*(f"key {number:03}" for number in range(SAMPLE_EVERY + 10)))

    def stop_judging(operation: str, key: str) -> None:
        if key == "key 050":
            world.target.conditions = "ignored"

    world.target.on_call = stop_judging
    confirmed = world.copy()
    unread = [key for key, writes in world.conditional.items() if writes == [True]]
    assert len(unread) >= 90
    assert [key for key, entry in confirmed.items() if entry is None] == unread
    assert not world.copier._overwrite_prevention.is_proven


@pytest.mark.parametrize("error", [Retryable("slow down"), StoreUnusable("no response")])
@pytest.mark.parametrize("side", ["source", "target"])
def test_single_failures_do_not_stop_the_copies_of_other_objects(error: Exception, side: str) -> None:
    """A store that fails one request in three serves all other requests."""
    keys = [f"key {number:02}" for number in range(60)]
    world = CopySides(*keys)

    def fail(operation: str, key: str) -> None:
        if operation in ("fetch", "put") and int(key[4:]) % 3 == 0:
            raise error

    getattr(world, side).on_call = fail
    assert world.copy().keys() == {key for number, key in enumerate(keys) if number % 3}


@pytest.mark.parametrize("error", [Retryable("slow down"), StoreUnusable("no response")])
@pytest.mark.parametrize("side", ["source", "target"])
def test_nothing_is_copied_for_a_while_after_a_store_failed(error: Exception, side: str) -> None:
    world = CopySides(*(f"key {number}" for number in range(9)))
    store = getattr(world, side)
    failing = True

    def fail(operation: str, key: str) -> None:
        if failing and operation in ("fetch", "put") and key >= "key 3":
            raise error

    store.on_call = fail
    assert len(world.copy()) == 3
    assert store.count("fetch" if side == "source" else "put") == 3 + FAILURES_IN_A_ROW
    failing = False
    world.clock.now += PAUSE_S - 0.1
    assert world.copy() == {}
    world.clock.now += 0.2
    assert len(world.copy()) == 9


def test_unsupported_objects_between_ordinary_ones_do_not_end_the_batch() -> None:
    keys = [f"key {number:03}" for number in range(100)]
    world = CopySides(*keys)
    for key in keys[::2]:
        world.source.objects[key] = replace(world.source.objects[key], kms=True)
    assert world.copy().keys() == {*keys[1::2]}


def test_a_batch_of_unsupported_objects_is_left_after_a_few() -> None:
    world = CopySides(*(f"key {number:03}" for number in range(500)))
    for key, there in world.source.objects.items():
        world.source.objects[key] = replace(there, kms=True)
    assert world.copy() == {}
    assert world.source.count("fetch") == MAX_UNSUPPORTED + 1


def test_a_folder_of_unsupported_objects_leaves_the_other_folders_to_the_copier() -> None:
    """An application often writes all objects of a folder in the same way, for example with tags."""
    keys = [f"{folder}/{number:02}" for folder in "abcde" for number in range(50)]
    world = CopySides(*keys, tags=True)
    for key in keys:
        if key.startswith(("b/", "d/")):
            world.source.objects[key] = replace(world.source.objects[key], tags={"colour": "red"})
    assert world.copy().keys() == {key for key in keys if key[0] in "ace"}
    assert world.source.count("fetch") == 150 + 2 * (MAX_UNSUPPORTED + 1)


def test_a_batch_is_left_after_a_few_folders_of_unsupported_objects() -> None:
    keys = [f"{folder:02}/{number:02}" for folder in range(50) for number in range(50)]
    world = CopySides(*keys, tags=True)
    for key in keys:
        world.source.objects[key] = replace(world.source.objects[key], tags={"colour": "red"})
    assert world.copy() == {}
    most = MAX_UNSUPPORTED + 1 + MAX_LEFT_FOLDERS
    assert world.source.count("fetch") <= most


def test_a_batch_is_left_after_a_few_refused_writes() -> None:
    """boto3 makes each of them again, so a store that refuses all writes would receive all of them twice."""
    world = CopySides(*(f"key {number:03}" for number in range(500)))
    world.target_side.replies["PUT"] = lambda _: Reply(400, {}, b"<Error><Code>InvalidArgument</Code></Error>")
    assert world.copy() == {}
    assert world.source.count("fetch") == MAX_UNSUPPORTED + 1


def test_nothing_is_copied_for_a_while_after_a_code_about_the_whole_store() -> None:
    world = CopySides("a", "b")
    wrong_region = b"<Error><Code>AuthorizationHeaderMalformed</Code></Error>"
    world.source_side.replies["GET"] = lambda _: Reply(400, {}, wrong_region)
    assert world.copy() == {}
    assert world.source.count("fetch") == 1
    del world.source_side.replies["GET"]
    assert world.copy() == {}
    world.clock.now += PAUSE_S
    assert len(world.copy()) == 2


def test_no_listing_confirms_a_copy_of_an_object_without_a_time() -> None:
    world = CopySides("key")
    world.source_side.replies["GET"] = altered(last_modified="once")
    assert world.copy() == {"key": None}


def test_no_listing_confirms_a_write_without_an_etag() -> None:
    world = CopySides("key")
    world.target_side.replies["PUT"] = lambda reply: replace(reply, headers={})
    assert world.copy() == {"key": None}


def test_a_page_of_html_is_no_response_to_a_write() -> None:
    world = CopySides("key")
    world.target_side.replies["PUT"] = lambda reply: replace(reply, headers={}, body=b"<html/>")
    assert world.copy() == {}


def test_an_unexpected_exception_ends_the_copy() -> None:
    world = CopySides("a", "b")

    def broken(reply: Reply) -> Reply:
        return Reply(200, None)  # type: ignore[arg-type]

    world.target_side.replies["PUT"] = broken
    assert world.copy() == {}


def test_no_copy_starts_after_the_deadline() -> None:
    world, deadline = CopySides("a", "b", "c"), Deadline()
    world.source.on_call = lambda operation, key: deadline.stop() if operation == "fetch" else None
    assert world.copy(deadline).keys() == {"a"}


def test_memory_and_slots_are_always_released() -> None:
    world = CopySides("a", "b", "c", "d", memory=4)
    for spoil in (lambda reply: reply, lambda reply: replace(reply, status=404), altered(etag='"x"')):
        world.source_side.replies["GET"] = spoil
        done = threading.Thread(target=world.copy, daemon=True)
        done.start()
        done.join(60)
        assert not done.is_alive()


# -- work that was given up: core/fence.py -----------------------------------------------------------------------------


class FencedSide(HttpSide):
    """A side that begins the writes, as the client over awscrt does."""

    def send(self, method: str, key: str | None, done: Callable[[Reply], None], **options: Any) -> None:
        write = fences.current_request()
        assert (write is not None) == (method == "PUT")
        if write is not None:
            write.begin()

        def responded(reply: Reply) -> None:
            if write is not None and reply.status:
                write.answered()
            done(reply)

        super().send(method, key, responded, **options)


@pytest.mark.parametrize(("status", "uncertain"), [(200, set()), (503, set()), (0, {"a"})])
def test_a_put_without_a_response_makes_its_key_uncertain(status: int, uncertain: set[str]) -> None:
    world, fence = CopySides("a"), Fence()
    world.copier._target = FencedSide(world.target)
    world.copier._target.replies["PUT"] = lambda reply: Reply(status, reply.headers)
    with fenced(fence):
        world.copy()
    assert fence.uncertain == uncertain


def test_a_batch_that_was_given_up_sends_nothing_more_and_opens_no_circuit() -> None:
    world, fence = CopySides("a", "b", "c", "d", "e"), Fence()

    def give_up(reply: Reply) -> Reply:
        fence.close()
        return Reply(0)

    world.target_side.replies["PUT"] = give_up
    with fenced(fence):
        assert world.copy() == {}
    assert world.target.calls == ["put"]
    world.target_side.replies.clear()
    assert world.copy().keys() == {"a", "b", "c", "d", "e"}, "the stores did not fail"


def limited(world: CopySides, first: int, *, tags: bool = False) -> RequestLimiters:
    """Give the copier of the world limiters, as `crt/factory.py` does."""
    limiters = RequestLimiters(*(RequestLimiter(ConcurrencyLimit(8, first=first), clock=world.clock) for _ in range(2)))
    transfer = world.copier._transfer
    world.copier = CrtSmallObjectCopier(
        world.source_side,
        world.target_side,
        transfer,
        source_prefix="",
        target_prefix="",
        tags=tags,
        threads=2,
        limiters=limiters,
        clock=world.clock,
    )
    return limiters


def test_every_copy_has_a_permit_of_one_store_at_a_time() -> None:
    world = CopySides(*map(str, range(50)))
    limiters = limited(world, 1)
    assert world.copy() == world.listed
    for limiter in (limiters.source, limiters.target):
        assert limiter is not None
        assert limiter._in_flight == 0


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_store_that_is_busy_for_one_object_gets_the_others(method: str) -> None:
    """Its limiter slows down the requests, and the sweep converges the key."""
    world = CopySides("a", "b", "c")
    limiters = limited(world, 8)
    side = world.source_side if method == "GET" else world.target_side
    side.replies[method] = one_time(503)
    assert world.copy().keys() == {"b", "c"}
    limiter = limiters.source if method == "GET" else limiters.target
    assert limiter is not None
    assert limiter.value == 4
    assert world.copy().keys() == {"a", "b", "c"}, "the copier does not rest"


def test_a_pause_leaves_the_rest_of_the_objects_to_the_sweep() -> None:
    world = CopySides(*map(str, range(3000)))
    limited(world, 1)
    world.source_side.replies["GET"] = one_time(503)
    assert world.copy() == {}
    assert world.source.calls.count("fetch") == 1
    world.clock.now += 30
    assert len(world.copy()) == 3000


def one_time(status: int) -> Callable[[Reply], Reply]:
    """Return a reply that spoils the first response."""
    left = [status]
    return lambda reply: Reply(left.pop()) if left else reply


def test_a_copy_is_reported_if_the_store_may_get_no_request_after_the_write() -> None:
    world = CopySides("a", tags=True)
    limiters = limited(world, 1, tags=True)
    assert limiters.source is not None
    limiter, put = limiters.source, world.target.put

    def put_and_pause(*arguments: Any) -> str:
        for _ in range(2):  # from 2 to 1, and then to a pause
            world.clock.now += 1
            permit = Permit(limiter, "GET")
            permit.begin()
            permit.note_throttled()
        return put(*arguments)

    world.target.put = put_and_pause  # type: ignore[method-assign]
    assert world.copy() == {"a": None}
    assert world.copied == ["a"]
    assert "get_tags" not in world.source.calls
