"""The real `DistributedCopier`, `converge` and `Transfer`, through every interleaving.

As `test_interleavings.py`, for objects that several workers copy part by part. Messages about a key and about its parts
share a queue, and the source changes at the same time. A worker may crash between any two calls, or after it has put
some of the work that it leaves on the queue. When no work is left, the target must equal the source, and no upload may
be left behind. At no time may the target show an object that the source never was.

The model contains time only as far as it matters: an upload seems abandoned when no work for it is left. In some
scenarios it seems abandoned at other times as well, as it does to a worker that was suspended for too long. The bounds
of rechecks are tested in `test_distributed_copy_bounds.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pytest
from tests.support.in_memory_store import (
    Etag,
    MemoryBucket,
    OnTheSpot,
    Stored,
    capabilities_of_aws,
    md5_etag,
    opaque_etag,
    stored,
)
from tests.unit.replay import Answers, Call, SourceSide, Suspended, TargetSide, bag, distinct

from s3_syncer.core import multipart as layout_module
from s3_syncer.core.deadline import Deadline
from s3_syncer.core.errors import Permanent, Retryable, SyncError
from s3_syncer.core.events import decode
from s3_syncer.core.multipart import Limits
from s3_syncer.core.work_items import KeyWork, PartsWork, Work
from s3_syncer.sync import distributed_copy as parts_module
from s3_syncer.sync import transfer as transfer_module
from s3_syncer.sync import upload_decision as decision_module
from s3_syncer.sync.bucket_pair import BucketPair
from s3_syncer.sync.distributed_copy import DistributedCopier
from s3_syncer.sync.transfer import Transfer
from s3_syncer.sync.upload_decision import ABANDONED_AFTER_S

KEY = "key"

#: Bytes for two parts of an own plan, of OWN_PLAN_OFFSET bytes each, and for nothing larger.
MEMORY = 8


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout_module, "OWN_PLAN_OFFSET", 4)


@pytest.fixture(autouse=True)
def on_the_spot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer_module, "ThreadPoolExecutor", OnTheSpot)


@dataclass(frozen=True)
class Scenario:
    """The changes of the source, the number of workers, and the faults."""

    name: str
    script: Sequence[Stored | None]
    workers: int = 2
    deaths: int = 1
    messages: int = 1
    etag: Etag = md5_etag
    #: Bytes of a work item: by default each part has its own.
    item_size: int = 1
    #: The number of times that an upload may seem abandoned although it is not.
    false_alarms: int = 0
    #: An upload that was abandoned before: its object, and the numbers of the parts that it has.
    left_over: tuple[Stored, tuple[int, ...]] | None = None

    def __str__(self) -> str:
        return self.name


class Store(NamedTuple):
    """The target: its object, its uploads by id, and how many there have been."""

    there: Stored | None = None
    under_way: tuple[tuple[str, tuple[Stored, tuple[tuple[int, bytes], ...]]], ...] = ()
    created: int = 0


@dataclass(frozen=True)
class Moment:
    """A worker between two calls, or at its end with the work it leaves; `more` is None if it failed.

    A worker that has not written does not crash in the model: its message counts as not received yet.
    """

    message: int
    answers: tuple[Any, ...]
    call: Call | None
    more: tuple[int, ...] | None = None
    dead: bool = False
    written: bool = False


class State(NamedTuple):
    """The complete state. Numbers stand for values."""

    changes: int = 0
    store: int = 0
    queue: tuple[int, ...] = ()
    workers: tuple[int, ...] = ()
    deaths: int = 0
    alarms: int = 0


class Model:
    """The transition system of a scenario. A worker without a call yet counts as not started."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.moments: list[Moment] = []
        self.stores: list[Store] = []
        self.messages: list[tuple[str, bool]] = []  # the body, and True if it was delivered before
        self._indices: dict[str, int] = {}
        self._begins: dict[int, int] = {}
        self._after: dict[tuple[int, str], int] = {}
        self._calls: dict[tuple[int, int, int, bool], tuple[int, int]] = {}
        self.first = State(store=self._store(self._before()))

    def _before(self) -> Store:
        if self.scenario.left_over is None:
            return Store()
        original, numbers = self.scenario.left_over
        bucket = MemoryBucket(etag=self.scenario.etag)
        upload = bucket.create_upload(KEY, original.look(), original.etag)
        step, body = original.part_sizes[0], original.body
        sent = {number: body[(number - 1) * step : number * step] for number in numbers}
        bucket.under_way[upload] = (bucket.under_way[upload][0], sent)
        return self._frozen(bucket)

    def steps(self, state: State) -> Iterator[State]:
        # A named tuple with replaced fields takes longer to make than one of all fields.
        changes, store, queue, workers, deaths, alarms = state
        if changes < len(self.scenario.script):
            message = self._message(KeyWork((KEY,)).to_json())
            sent = [message] * self.scenario.messages
            yield State(changes + 1, store, bag(*queue, *sent), workers, deaths, alarms)
        else:  # once the source no longer changes, the time of a call to it makes no difference
            for index, worker in enumerate(workers):
                call = self.moments[worker].call
                if call and call.side == "source":
                    yield from self._called(state, worker, workers[:index] + workers[index + 1 :])
                    return
        if len(workers) < self.scenario.workers:
            for index, message in distinct(queue):
                after = State(changes, store, queue[:index] + queue[index + 1 :], workers, deaths, alarms)
                yield from self._called(after, self._begin(message), workers)
        for index, worker in distinct(workers):
            moment, others = self.moments[worker], workers[:index] + workers[index + 1 :]
            if self._mortal(deaths, worker):
                for some in _beginnings(
                    moment.more or ()
                ):  # it may have sent any first part of the work that it leaves
                    back = bag(*queue, *some, self._back(worker))
                    yield State(changes, store, back, others, deaths + 1, alarms)
            if moment.call is not None:
                yield from self._called(state, worker, others)
            else:
                yield State(changes, store, bag(*queue, *self._left(worker)), others, deaths, alarms)

    def _called(self, state: State, worker: int, others: tuple[int, ...]) -> Iterator[State]:
        """Yield the states after the next call of a worker, for each response that is possible."""
        changes, store, queue, _, deaths, alarms = state
        call = self.moments[worker].call
        assert call is not None
        asks_age = call.operation in ("uploads", "parts")
        deserted = asks_age and not self._worked_at(queue, others)
        for quiet in {deserted, True} if asks_age and alarms < self.scenario.false_alarms else {deserted}:
            after, new_store = self._answered(worker, changes, store, quiet)
            raised = alarms + (quiet and not deserted)
            # Its work goes to the queue at once if no crash can happen before.
            if self.moments[after].call is None and not self._mortal(deaths, after):
                yield State(changes, new_store, bag(*queue, *self._left(after)), others, deaths, raised)
            else:
                yield State(changes, new_store, queue, bag(*others, after), deaths, raised)

    def _mortal(self, deaths: int, worker: int) -> bool:
        return deaths < self.scenario.deaths and self.moments[worker].written

    def _left(self, worker: int) -> tuple[int, ...]:
        """Return the messages that a worker puts on the queue at its end."""
        moment = self.moments[worker]
        if moment.more is not None:
            return moment.more
        return () if moment.dead else (self._back(worker),)

    def _worked_at(self, queue: Sequence[int], others: Sequence[int]) -> bool:
        """Return True if work for an upload is left, or another worker may leave some."""
        return bool(others) or any('"parts"' in self.messages[message][0] for message in queue)

    def settled(self, state: State) -> bool:
        return state.changes == len(self.scenario.script) and not state.queue and not state.workers

    def right(self, state: State) -> bool:
        source, store = self._source(state.changes), self.stores[state.store]
        if store.under_way:
            return False
        if source is None or store.there is None:
            return source is store.there
        return store.there.mirrored == source.mirrored

    def mixed(self, state: State) -> bool:
        """Return True if the target shows an object that the source never was."""
        there = self.stores[state.store].there
        return there is not None and there.mirrored not in [was.mirrored for was in self.scenario.script if was]

    def _source(self, changes: int) -> Stored | None:
        return self.scenario.script[changes - 1] if changes else None

    def _begin(self, message: int) -> int:
        if message not in self._begins:
            self._begins[message] = self._suspend(message, ())
        return self._begins[message]

    def _answered(self, worker: int, changes: int, store: int, quiet: bool) -> tuple[int, int]:
        known = self._calls.get((worker, changes, store, quiet))
        if known is None:
            moment = self.moments[worker]
            assert moment.call is not None
            answer, new_store = self._make(moment.call, changes, store, quiet)
            follows = (worker, repr(answer))
            if follows not in self._after:
                self._after[follows] = self._suspend(moment.message, (*moment.answers, answer))
            known = self._calls[worker, changes, store, quiet] = (self._after[follows], new_store)
        return known

    def _make(self, call: Call, changes: int, store: int, quiet: bool) -> tuple[Any, int]:
        if call.side == "source":
            there = self._source(changes)
            bucket = MemoryBucket({KEY: there} if there else {})
        else:
            bucket = self._thawed(self.stores[store])
            bucket.age_s = ABANDONED_AFTER_S if quiet else 0.0
        try:
            answer = getattr(bucket, call.operation)(KEY, *call.arguments)
        except SyncError as error:
            answer = error
        return answer, self._store(self._frozen(bucket)) if call.side == "target" else store

    def _suspend(self, message: int, answers: tuple[Any, ...]) -> int:
        """Run the code under test from its start to the first call without a recorded response."""
        heard = Answers(answers)
        source, target = SourceSide("source", heard, tags=False, layouts=True), TargetSide("target", heard, tags=False)
        known = capabilities_of_aws()
        transfer = Transfer(source, target, memory=MEMORY, threads=1, limits=Limits(min_part=2), capabilities=known)
        parts = DistributedCopier(source, target, transfer, prefix="", threshold=4)
        moment = Moment(message, answers, None)
        body, redelivered = self.messages[message]
        work = decode(body, "")
        try:
            if isinstance(work, PartsWork):
                more = parts.process_item(work, Deadline())
            else:
                assert isinstance(work, KeyWork)
                pair = BucketPair(source, target, transfer, capabilities=known)
                more = parts.converge(pair, KEY, Deadline(), uploads=work.uploads, redelivered=redelivered).more
        except Suspended as suspended:
            moment = replace(moment, call=suspended.call)
        except Retryable:
            pass
        except Permanent:
            moment = replace(moment, dead=True)
        else:
            moment = replace(moment, more=tuple(self._message(_timeless(each).to_json()) for each in more))
        self.moments.append(replace(moment, written=heard.written))
        return len(self.moments) - 1

    # -- numbers for values --------------------------------------------------------------------------------------------

    def _message(self, body: str, redelivered: bool = False) -> int:
        return self._index((body, redelivered), self.messages)

    def _back(self, worker: int) -> int:
        """Return the message of a worker, to be delivered again."""
        return self._message(self.messages[self.moments[worker].message][0], redelivered=True)

    def _store(self, store: Store) -> int:
        return self._index(store, self.stores)

    def _index(self, value: Any, values: list[Any]) -> int:
        index = self._indices.setdefault(repr(value), len(values))
        if index == len(values):
            values.append(value)
        return index

    def _thawed(self, store: Store) -> MemoryBucket:
        bucket = MemoryBucket({KEY: store.there} if store.there else {}, etag=self.scenario.etag)
        bucket.under_way = {id: (empty, dict(sent)) for id, (empty, sent) in store.under_way}
        bucket.created = store.created
        return bucket

    @staticmethod
    def _frozen(bucket: MemoryBucket) -> Store:
        under_way = ((id, (empty, tuple(sorted(sent.items())))) for id, (empty, sent) in bucket.under_way.items())
        return Store(bucket.objects.get(KEY), tuple(under_way), bucket.created)


def _timeless(work: Work) -> Work:
    """Return the work without its memory of which uploads it awaits for how long: the model has no time."""
    if isinstance(work, KeyWork | PartsWork) and work.uploads is not None:
        return replace(work, uploads=replace(work.uploads, seen="", waited_s=0, counted=""))
    return work


def _beginnings(more: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    return (more[:length] for length in range(len(more) + 1))


def explore(scenario: Scenario) -> tuple[int, int, str | None]:
    """Return the number of states up to a fault, the number of endings, and a shortest way to the fault."""
    model = Model(scenario)
    came_from: dict[State, State | None] = {model.first: None}
    waiting, endings = deque(came_from), 0
    while waiting:
        state = waiting.popleft()
        settled = model.settled(state)
        endings += settled
        if model.mixed(state) or (settled and not model.right(state)):
            return len(came_from), endings, _story(model, came_from, state)
        for after in model.steps(state):
            if after not in came_from:
                came_from[after] = state
                waiting.append(after)
    return len(came_from), endings, None


def _story(model: Model, came_from: dict[State, State | None], state: State | None) -> str:
    lines: list[str] = []
    while state is not None:
        told = [str(model.moments[worker].call or model.moments[worker])[:200] for worker in state.workers]
        queue = [str(model.messages[message]) for message in state.queue]
        lines.append(f"changes {state.changes}, {model.stores[state.store]}, queue {queue}, at {told}")
        state = came_from[state]
    return "\n".join(reversed(lines))


ONE, TWO = stored(b"aaa", b"bb"), stored(b"aaa", b"cc")
#: Of three parts: the worker that creates the upload sends the last, so that two are left to two workers.
THREE, OTHER = stored(b"aaa", b"bbb", b"c"), stored(b"aaa", b"ddd", b"c")
SMALL = stored(b"abc")
ONE_KMS = stored(b"aaaabb", etag="k1-2", kms=True)
TWO_KMS = stored(b"aaaacc", etag="k2-2", kms=True)
THREE_KMS = stored(b"aaaabbbbc", etag="k3-2", kms=True)

#: Bytes of an item with all parts of an object.
WHOLE = 8

SCENARIOS = [
    # an item for each part
    Scenario("one large object", [THREE], deaths=2),
    Scenario("one large object, two messages", [THREE], messages=2),
    Scenario("one large object, three workers", [THREE], workers=3),
    Scenario("deleted", [THREE, None]),
    Scenario("becomes small", [THREE, SMALL], deaths=0),
    Scenario("a worker was suspended", [THREE], false_alarms=1),
    Scenario("left over", [THREE], left_over=(THREE, (1,)), deaths=2),
    Scenario("left over whole", [THREE], left_over=(THREE, (1, 2, 3)), deaths=2),
    Scenario("left over from another object", [OTHER], left_over=(THREE, (1, 2, 3))),
    Scenario("left over from another object, that begins alike", [OTHER], left_over=(THREE, (1,))),
    Scenario("left over from another object, that ends alike", [OTHER], left_over=(THREE, (2, 3))),
    Scenario("kms", [THREE_KMS]),
    Scenario("opaque etags", [THREE], etag=opaque_etag),
    # an item for all parts
    Scenario("overwritten", [ONE, TWO], item_size=WHOLE, deaths=0),
    Scenario("overwritten by a longer one", [ONE, THREE], item_size=WHOLE, deaths=0),
    Scenario("overwritten, kms", [ONE_KMS, TWO_KMS], item_size=WHOLE, deaths=0),
    Scenario("overwritten, opaque etags", [ONE, TWO], etag=opaque_etag, item_size=WHOLE, deaths=0),
]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_however_the_workers_interleave_both_sides_end_equal_without_uploads_or_mixed_objects(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts_module, "ITEM_SIZE", scenario.item_size)
    states, endings, fault = explore(scenario)
    print(f"{scenario}: {states} states")
    if fault is not None:
        pytest.fail(f"{scenario} goes wrong:\n{fault}", pytrace=False)
    assert endings, "no interleaving ended"


def _ignore_lost_uploads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ignore the upload that a lost message has left behind."""
    monkeypatch.setattr(DistributedCopier, "_active_uploads_if_listable", lambda copier, key, required: [])


def _acknowledge_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Acknowledge the message about the key once its parts are on the queue, as if no part could be lost."""
    start = DistributedCopier.start
    monkeypatch.setattr(DistributedCopier, "start", lambda *arguments: start(*arguments)[:-1])


def _trust_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adopt parts by their sizes alone."""
    monkeypatch.setattr(Transfer, "last_part_matches", lambda *arguments: True)
    monkeypatch.setattr(parts_module, "contradicts", lambda state, plan, md5s: False)
    for module in (parts_module, decision_module):
        monkeypatch.setattr(module, "is_resumable", lambda state, plan: True)


@pytest.mark.parametrize(
    ("flaw", "scenario"),
    [
        (_ignore_lost_uploads, Scenario("one large object, two messages", [ONE], messages=2)),
        (_acknowledge_early, Scenario("deleted", [ONE, TWO], item_size=WHOLE, deaths=0)),
        (_trust_sizes, Scenario("left over from another object", [THREE], left_over=(OTHER, (2, 3)))),
    ],
)
def test_without_each_precaution_there_is_a_fault(
    flaw: Callable[[pytest.MonkeyPatch], None], scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts_module, "ITEM_SIZE", scenario.item_size)
    flaw(monkeypatch)
    _, _, fault = explore(scenario)
    assert fault is not None
