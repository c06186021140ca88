"""The real `converge` and `Transfer`, through every interleaving.

Several workers share a queue and a source that changes. Every change sends its message twice, and messages carry only
the key. A worker may crash between any two store calls, and its message then comes back. In every order of these steps,
the target must equal the source when no work is left.

There are no threads: see `replay.py`. States are explored breadth first, each once.
"""

from __future__ import annotations

import reprlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import pytest
from tests.support.in_memory_store import (
    Etag,
    HttpSide,
    ListedBucket,
    OnTheSpot,
    Stored,
    capabilities_of_aws,
    md5_etag,
    md5_hex,
    opaque_etag,
    stored,
)
from tests.unit.replay import Answers, Call, SourceSide, Suspended, TargetSide, bag, distinct, no_collections

from s3_syncer.core.deadline import Deadline
from s3_syncer.core.errors import Permanent, Retryable, SyncError
from s3_syncer.core.model import MAX_METADATA_BYTES, SOURCE_ETAG_MARKER, ObjectState
from s3_syncer.core.units import MIB
from s3_syncer.crt import small_object_copy
from s3_syncer.crt.overwrite_prevention import OverwritePrevention
from s3_syncer.crt.small_object_copy import CrtSmallObjectCopier
from s3_syncer.stores.capabilities import (
    TAGS_WITH_OBJECT,
    TAGS_WITH_OBJECT_CHECKS,
    TAGS_WRITTEN,
    TagSupport,
    properties_of,
)
from s3_syncer.sync import converge as converge_module
from s3_syncer.sync import sweep as sweep_module
from s3_syncer.sync.bucket_pair import BucketPair
from s3_syncer.sync.converge import converge
from s3_syncer.sync.key_sweep import SweepOptions
from s3_syncer.sync.outcome import Outcome
from s3_syncer.sync.own_copies import OwnCopies
from s3_syncer.sync.sweep import Sweep
from s3_syncer.sync.transfer import Transfer
from s3_syncer.sync.write_guards import WriteGuards

KEY = "key"

#: A message of the product, and a key that a sweep finds.
ORDINARY, SWEEP = 0, -1

#: Seconds from one change to the next.
APART_S = 10

#: The target's clock, in seconds ahead of the source's.
AHEAD = 1_000_000

# -- scenarios ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scenario:
    """The changes of the source, the number of workers, and the faults."""

    name: str
    #: The source's object after each change; None is a deletion.
    script: Sequence[Stored | None]
    workers: int = 2
    #: Workers that may crash; without a limit the model would not be finite.
    deaths: int = 2
    #: Messages that every change sends.
    messages: int = 2
    #: How the target makes ETags.
    etag: Etag = md5_etag
    #: True if the workers have copied to this target before. They know its ETags, and that it keeps ordinary objects
    #: and their tags, so that they do not read the target again after a write.
    experienced: bool = False
    tags: bool = True
    delete: bool = True
    #: False if the sweep never deletes, as `migrate` without --delete beside live sync that does.
    sweep_deletes: bool = True
    #: False if the sweep does not mirror tags, as `migrate --no-tags` beside live sync that does.
    sweep_tags: bool = True
    #: The target's object before the first change of the source.
    before: Stored | None = None
    #: True if a store's times distinguish one change from the next.
    times_tell: bool = True
    #: True if the object is small enough that the comparison also fetches the body.
    prefetch_body: bool = True
    #: True if a sweep may crash after a write. If no listing shows what it missed, no later sweep finds it.
    sweeps_die: bool = True
    #: True if responses show the number of tags, and the sweep knows that.
    counts_tags: bool = False
    #: What the target does with the condition of a write, and True if the sweep takes it for honoured.
    conditions: Literal["honoured", "ignored", "refused", "never met"] = "honoured"
    trusts_conditions: bool = False

    def mirrors_tags(self, change: int) -> bool:
        """Return True if the worker of a message mirrors tags."""
        return self.tags and (self.sweep_tags or change != SWEEP)

    def __str__(self) -> str:
        return self.name


# -- one worker --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Desk:
    """The input of a worker."""

    scenario: Scenario
    answers: Answers
    source: SourceSide
    target: TargetSide
    transfer: Transfer
    #: The number of the change that sent the message, from 1; ORDINARY for a message of the product, or SWEEP.
    change: int
    #: The keys that become messages once this one is acknowledged.
    handed_over: list[str] = field(default_factory=list)

    @property
    def pair(self) -> BucketPair:
        known = self.transfer.capabilities
        return BucketPair(self.source, self.target, self.transfer, delete=self.scenario.delete, capabilities=known)


Protocol = Callable[[Desk], None]


def look_again(desk: Desk) -> None:
    """Run the product."""
    converge(desk.pair, KEY, Deadline())


def sweep_beside(desk: Desk) -> None:
    """Run the product's sweep with its small-object copier, and the product for each other message."""
    if desk.change == ORDINARY:
        look_again(desk)
        return
    transfer, tags = desk.transfer, desk.scenario.mirrors_tags(SWEEP)
    if desk.scenario.counts_tags:
        desk.source.tag_support = TagSupport(documents_counts=True, clock=lambda: 0.0)
        desk.source.tag_support.record_exists()
    copier = CrtSmallObjectCopier(
        HttpSide(desk.source),
        HttpSide(desk.target),
        transfer,
        source_prefix="",
        target_prefix="",
        tags=tags,
        threads=1,
        overwrite_prevention=OverwritePrevention(is_proven=desk.scenario.trusts_conditions),
    )
    sweep = Sweep(
        desk.pair,
        desk.source,
        desk.target,
        Unmoved(desk.handed_over),
        SweepOptions(delete=desk.scenario.delete and desk.scenario.sweep_deletes),
        threads=1,
        small_object_copier=copier,
    )
    sweep.run(Deadline())


class Unmoved:
    """A listener that fails the message if the key fails, and hands over a stale key."""

    def __init__(self, handed_over: list[str]) -> None:
        self._handed_over = handed_over

    def on_compared(self, keys: int) -> None: ...

    def on_changed(self, key: str, outcome: Outcome) -> None: ...

    def on_skipped(self, key: str, outcome: Outcome) -> None:
        if outcome.action == "stale":
            self._handed_over.append(key)

    def on_failed(self, key: str, error: SyncError) -> None:
        assert "unexpected failure" not in str(error), error  # a method that the stubs lack, for example
        raise Retryable("the key failed")

    def on_uncertain(self, key: str) -> None: ...

    def on_restart(self, why: str) -> None: ...


def look_once(desk: Desk) -> None:
    """Run the product without the second comparison: after a write, the source seems unchanged."""
    look, get_small = desk.source.head, desk.source.get_small
    seen: ObjectState | None = None

    class Blind(SourceSide):
        def head(self, key: str, *, confirm_missing: bool = False) -> ObjectState | None:
            nonlocal seen
            if not desk.answers.written:
                seen = look(key, confirm_missing=confirm_missing)
            return seen

        def get_small(self, key: str) -> ObjectState | None:
            nonlocal seen
            if not desk.answers.written:
                seen = get_small(key)
            return seen

    blind = Blind("source", desk.answers, tags=desk.scenario.tags)
    look_again(replace(desk, source=blind))


def apply_event(desk: Desk) -> None:
    """Run the obvious but wrong algorithm: apply the event."""
    new = desk.scenario.script[desk.change - 1]
    if new is None:
        desk.target.delete(KEY)
    else:
        desk.target.put(KEY, new.body, bytes.fromhex(md5_hex(new.body)), new.look(), None)
        desk.target.put_tags(KEY, new.tags)


# -- the model ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Moment:
    """A worker between two calls: its responses so far and the next call, None when it has ended."""

    change: int
    answers: tuple[Any, ...]
    call: Call | None
    acknowledged: bool = False
    #: The number of messages that the acknowledgement sends.
    sends: int = 0
    written: bool = False
    #: Other workers that write the key, at the worst times, can make the target look as if it lost something twice.
    #: Both sides must end equal without the message too.
    dead_letter: bool = False


class State(NamedTuple):
    """The complete state. Small numbers stand for values, because there are very many states."""

    changes: int = 0  # made to the source
    target: int = 0  # index into Model.targets
    queue: tuple[int, ...] = ()  # messages, by their change if the protocol uses it
    workers: tuple[int, ...] = ()  # indices into Model.moments
    deaths: int = 0


#: What happens, the index of the worker in the state before, and the state after. A named tuple takes longer to make.
Step = tuple[Literal["change", "receive", "death", "call"], int | None, State]


class Model:
    """The transition system of a scenario under a protocol.

    Unless `plain`, it omits steps that another order of the same steps makes superfluous:
    - A worker makes its first call in the step in which it receives its message. No other step can observe that.
    - A worker that has not written does not crash: its message counts as not received yet.
    - Once the source no longer changes, a call to it is made at once. No other step can observe the time.
    """

    def __init__(self, scenario: Scenario, protocol: Protocol, *, plain: bool = False) -> None:
        self.scenario, self._protocol, self._plain = scenario, protocol, plain
        self.moments: list[Moment] = []
        self.targets: list[Stored | None] = [scenario.before]
        self._target_index = {repr(scenario.before): 0}
        self._begins: dict[int, int] = {}
        self._after: dict[tuple[int, str], int] = {}
        self._calls: dict[tuple[int, int, int], tuple[int, int]] = {}

    def steps(self, state: State) -> Iterator[Step]:
        changes, target, queue, workers, deaths = state
        if changes < len(self.scenario.script):
            sent = [changes + 1 if self._protocol is apply_event else ORDINARY] * self.scenario.messages
            if self._protocol is sweep_beside:
                sent = [ORDINARY, SWEEP]
            yield "change", None, State(changes + 1, target, bag(*queue, *sent), workers, deaths)
        elif not self._plain:
            for index, worker in enumerate(workers):
                call = self.moments[worker].call
                if call and call.side == "source":
                    yield self._call(state, index)
                    return
        if len(workers) < self.scenario.workers:
            for index, message in distinct(queue):
                received = (*workers, self.begin(message))
                after = State(changes, target, queue[:index] + queue[index + 1 :], bag(*received), deaths)
                if not self._plain:
                    after = self._call(after, after.workers.index(received[-1]))[2]
                yield "receive", None, after
        for index, worker in distinct(workers):
            moment = self.moments[worker]
            mortal = moment.change != SWEEP or self.scenario.sweeps_die
            if mortal and deaths < self.scenario.deaths and (moment.written or self._plain):
                others = workers[:index] + workers[index + 1 :]
                yield "death", index, State(changes, target, bag(*queue, moment.change), others, deaths + 1)
            yield self._call(state, index)

    def _call(self, state: State, index: int) -> Step:
        """Return the step in which a worker makes its next call."""
        changes, target, queue, workers, deaths = state
        after, target = self._answered(workers[index], changes, target)
        moment, others = self.moments[after], workers[:index] + workers[index + 1 :]
        if moment.call is not None:
            return "call", index, State(changes, target, queue, bag(*others, after), deaths)
        if moment.dead_letter:
            left = queue
        else:
            left = bag(*queue, *[ORDINARY] * moment.sends) if moment.acknowledged else bag(*queue, moment.change)
        return "call", index, State(changes, target, left, others, deaths)

    def settled(self, state: State) -> bool:
        """Return True if no work is left."""
        return state.changes == len(self.scenario.script) and not state.queue and not state.workers

    def right(self, state: State) -> bool:
        """Return True if the target equals the source, by the values of the model and not by the product."""
        source, target = self.source(state), self.targets[state.target]
        if source is None:
            if not self.scenario.delete:
                return target is not None or self.scenario.before is None
            return target is None
        return target is not None and target.mirrored == source.mirrored

    def source(self, state: State) -> Stored | None:
        script, written = self.scenario.script, state.changes
        there = script[written - 1] if written else None
        while there and written > 1 and (before := script[written - 2]) and replace(before, tags=there.tags) == there:
            written -= 1  # only the tags changed, which no store's time shows
        return there and replace(there, modified=written * self._apart_s)

    @property
    def _apart_s(self) -> int:
        return APART_S if self.scenario.times_tell else 0

    def begin(self, message: int) -> int:
        if message not in self._begins:
            self._begins[message] = self._suspend(message, ())
        return self._begins[message]

    def _answered(self, worker: int, changes: int, target: int) -> tuple[int, int]:
        """Return the worker and the target after the next call of the worker."""
        known = self._calls.get((worker, changes, target))
        if known is None:
            moment = self.moments[worker]
            assert moment.call is not None
            answer, new_target = self._make(moment.call, State(changes, target))
            if isinstance(answer, ObjectState) and self.scenario.mirrors_tags(moment.change):
                answer = replace(answer, tag_count=0)  # it is not used, and would only make more states
            follows = (worker, repr(answer))
            if follows not in self._after:
                self._after[follows] = self._suspend(moment.change, (*moment.answers, answer))
            known = self._calls[worker, changes, target] = (self._after[follows], new_target)
        return known

    def _make(self, call: Call, state: State) -> tuple[Any, int]:
        there = self.source(state) if call.side == "source" else self.targets[state.target]
        # Halfway to the next change. The target's clock is far ahead, so a comparison by time gives a wrong result.
        clock = state.changes * self._apart_s + self._apart_s // 2 if call.side == "source" else AHEAD
        bucket = ListedBucket({KEY: there} if there else {}, etag=self.scenario.etag, clock=clock)
        bucket.conditions = self.scenario.conditions
        try:
            if call.operation == "listing":
                return tuple(bucket.listing()), state.target
            answer = getattr(bucket, call.operation)(KEY, *call.arguments)
        except SyncError as error:
            answer = error
        return answer, self._index(bucket.objects.get(KEY)) if call.side == "target" else state.target

    def _index(self, target: Stored | None) -> int:
        index = self._target_index.setdefault(repr(target), len(self.targets))
        if index == len(self.targets):
            self.targets.append(target)
        return index

    def _suspend(self, change: int, answers: tuple[Any, ...]) -> int:
        """Run the code under test from its start to the first call without a recorded response."""
        practice = stored(b"practice", metadata={"by": "me"})
        heard = Answers((practice.body, practice.etag, *answers) if self.scenario.experienced else answers)
        tags = self.scenario.mirrors_tags(change)
        source = SourceSide("source", heard, tags=tags)
        source.prefetch_body = self.scenario.prefetch_body
        target = TargetSide("target", heard, tags=tags)
        known = capabilities_of_aws()
        transfer = Transfer(source, target, memory=MIB, threads=1, tags=tags, capabilities=known)
        if self.scenario.experienced:
            transfer.copy("another key", practice.look(), Deadline())
            for _ in range(TAGS_WITH_OBJECT_CHECKS):
                transfer.capabilities.record_kept(properties_of(practice.look()) | {TAGS_WRITTEN, TAGS_WITH_OBJECT})
            heard.written = False
        moment = Moment(change, answers, None)
        desk = Desk(self.scenario, heard, source, target, transfer, change)
        try:
            self._protocol(desk)
        except Suspended as suspended:
            moment = replace(moment, call=suspended.call, written=heard.written)
        except Retryable:
            pass  # the message comes back
        except Permanent:
            moment = replace(moment, dead_letter=True)
        else:
            moment = replace(moment, acknowledged=True, sends=len(desk.handed_over))
        self.moments.append(moment)
        return len(self.moments) - 1


# -- exploration -------------------------------------------------------------------------------------------------------


@dataclass
class Findings:
    states: int = 0
    #: The final objects of the target, over all interleavings.
    endings: set[str] = field(default_factory=set)
    #: A shortest way to a wrong ending.
    fault: str | None = None


def explore(
    scenario: Scenario, protocol: Protocol = look_again, *, plain: bool = False, past_faults: bool = False
) -> Findings:
    """Visit every state, or all until the first wrong ending."""
    model, findings = Model(scenario, protocol, plain=plain), Findings()
    came_from: dict[State, State | None] = {State(): None}
    waiting = deque(came_from)
    with no_collections():
        while waiting and (past_faults or findings.fault is None):
            state = waiting.popleft()
            if model.settled(state):
                findings.endings.add(repr(model.targets[state.target]))
                if findings.fault is None and not model.right(state):
                    findings.fault = _story(model, came_from, state)
            for _, _, after in model.steps(state):
                if after not in came_from:
                    came_from[after] = state
                    waiting.append(after)
    findings.states = len(came_from)
    return findings


def ends_equal(scenario: Scenario, protocol: Protocol = look_again) -> None:
    """Fail with the shortest way to a divergence, if there is one."""
    findings = explore(scenario, protocol)
    print(f"{scenario}: {findings.states} states")
    assert findings.endings, "no interleaving ended"
    if findings.fault is not None:
        pytest.fail(f"{scenario} diverges:\n{findings.fault}", pytrace=False)


def _story(model: Model, came_from: Mapping[State, State | None], end: State) -> str:
    """Return the steps that lead to a state, with names for the workers."""
    way = [end]
    while (before := came_from[way[-1]]) is not None:
        way.append(before)
    lines: list[str] = []
    names: list[tuple[int, str]] = []  # the workers in the order of the state
    free = [chr(ord("A") + number) for number in range(model.scenario.workers)]
    for state, after in pairwise(reversed(way)):
        kind, worker = next((kind, worker) for kind, worker, found in model.steps(state) if found == after)
        if kind == "change":
            lines.append(f"the source becomes {_told(model.source(after))}")
            continue
        others = list(names)
        _, who = (0, free.pop(0)) if worker is None else others.pop(worker)
        still = Counter(after.workers) - Counter(moment for moment, _ in others)
        names = sorted([*others, *((moment, who) for moment in still)])
        if not still:
            free.append(who)
        if kind == "death":
            lines.append(f"{who} crashes, and its message comes back")
            continue
        if worker is None:
            (message,) = Counter(state.queue) - Counter(after.queue)
            call, does = model.moments[model.begin(message)].call, "receives a message and calls"
        else:
            call, does = model.moments[state.workers[worker]].call, "calls"
        assert call is not None
        lines.append(f"{who} {does} {_told(call)}")
        if call.writes:
            lines[-1] += f": the target becomes {_told(model.targets[after.target])}"
    lines.append(f"in the end the source is {_told(model.source(end))}, the target {_told(model.targets[end.target])}")
    return "\n".join(f"{number:3}. {line}" for number, line in enumerate(lines, 1))


def _told(value: Any) -> str:
    match value:
        case None:
            return "absent"
        case Stored():
            marked = f"marked {value.marker[:8]}" if value.marker else ""
            properties = (reprlib.repr(shown) for shown in (value.body, value.tags, value.metadata) if shown)
            return " ".join(filter(None, (*properties, marked)))
        case Call("target", "put", (data, *_)):
            return f"target.put({data!r})"
        case Call():
            return f"{value.side}.{value.operation}({', '.join(map(reprlib.repr, value.arguments))})"
    raise TypeError(value)


# -- scenarios ---------------------------------------------------------------------------------------------------------


def kms(body: bytes, etag: str, **properties: Any) -> Stored:
    """Return an object with an ETag that is not its MD5 and differs at each write, as with SSE-KMS."""
    return stored(body, etag=etag, kms=True, **properties)


ONE, TWO, THREE = stored(b"one"), stored(b"two"), stored(b"three")
ONE_TAGGED, TWO_TAGGED = stored(b"one", tags={"colour": "red"}), stored(b"two", tags={"colour": "blue"})
THREE_TAGGED = replace(THREE, tags={"colour": "red"})
ONE_RETAGGED = replace(ONE, tags={"colour": "green"})
ONE_DESCRIBED, ONE_OTHERWISE = stored(b"one", metadata={"by": "a"}), stored(b"one", metadata={"by": "b"})

#: Metadata that leaves no room for the marker.
FULL = {"m": "x" * (MAX_METADATA_BYTES - 1)}

#: Metadata that leaves room for a marker of ten bytes at most.
NEARLY_FULL = {"m": "x" * (MAX_METADATA_BYTES - 1 - len(SOURCE_ETAG_MARKER) - 10)}

SCENARIOS = [
    # bytes alone, three workers
    Scenario("create, overwrite", [ONE, TWO], workers=3, deaths=3, tags=False),
    Scenario("create, delete", [ONE, None], workers=3, deaths=3, tags=False),
    Scenario("create, overwrite, delete", [ONE, TWO, None], workers=3, deaths=1, tags=False, experienced=True),
    Scenario("create, overwrite, and back", [ONE, TWO, ONE], workers=3, deaths=1, tags=False, experienced=True),
    Scenario("create, delete, create", [ONE, None, TWO], workers=3, deaths=1, tags=False, experienced=True),
    Scenario("deletes are off", [ONE, None, TWO], tags=False, delete=False),
    # tags, which are written by a separate call
    Scenario("tagged: create, overwrite", [ONE_TAGGED, TWO_TAGGED], deaths=3),
    Scenario("tagged: create, overwrite, delete", [ONE_TAGGED, TWO_TAGGED, None], deaths=0, experienced=True),
    Scenario(
        "tagged: create, overwrite, and back",
        [ONE_TAGGED, TWO_TAGGED, ONE_TAGGED],
        deaths=0,
        messages=1,
        experienced=True,
    ),
    Scenario("tags change, and back", [ONE_TAGGED, ONE_RETAGGED, ONE_TAGGED]),
    Scenario("tags change, and go", [ONE_TAGGED, ONE_RETAGGED, ONE]),
    # equal bytes under other properties
    Scenario(
        "metadata changes, and back",
        [ONE_DESCRIBED, ONE_OTHERWISE, ONE_DESCRIBED],
        workers=3,
        tags=False,
        deaths=1,
        experienced=True,
    ),
    Scenario("metadata changes, for new workers", [ONE_DESCRIBED, ONE_OTHERWISE, ONE_DESCRIBED], tags=False, deaths=1),
    Scenario("metadata and tags change", [ONE_DESCRIBED, replace(ONE_OTHERWISE, tags={"colour": "red"})], deaths=2),
    # ETags that prove nothing
    Scenario("kms", [kms(b"one", "k1"), kms(b"two", "k2"), kms(b"one", "k3")], tags=False),
    Scenario("kms, no room for the marker", [kms(b"one", "k1", metadata=FULL), kms(b"two", "k2", metadata=FULL)]),
    Scenario(
        "room for the shorter marker only",
        [kms(b"one", "k-with-a-long-etag", metadata=NEARLY_FULL), kms(b"two", "k2", metadata=NEARLY_FULL)],
        tags=False,
    ),
    Scenario("multipart", [stored(b"o", b"ne"), stored(b"t", b"wo"), None], tags=False),
    Scenario("opaque target", [ONE, TWO, ONE], etag=opaque_etag, tags=False),
    Scenario("opaque target, tagged", [ONE_TAGGED, TWO_TAGGED], etag=opaque_etag),
    Scenario("opaque target, kms", [kms(b"one", "k1"), kms(b"two", "k2")], etag=opaque_etag),
    Scenario(
        "opaque target, no room for the marker",
        [stored(b"one", metadata=FULL), stored(b"two", metadata=FULL), None],
        etag=opaque_etag,
        tags=False,
    ),
]


@pytest.mark.parametrize("prefetch_body", [True, False], ids=["small", "large"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_however_the_workers_interleave_both_sides_end_equal(scenario: Scenario, prefetch_body: bool) -> None:
    ends_equal(replace(scenario, prefetch_body=prefetch_body))


FAST = [
    Scenario("sweep: create, overwrite", [ONE, TWO], tags=False, experienced=True),
    Scenario("sweep: create, overwrite, and back", [ONE, TWO, ONE], tags=False, deaths=0, experienced=True),
    Scenario("sweep: create, delete, create", [ONE, None, TWO], tags=False, deaths=1, experienced=True),
    Scenario(
        "sweep: metadata changes, and back",
        [ONE_DESCRIBED, ONE_OTHERWISE, ONE_DESCRIBED],
        tags=False,
        deaths=1,
        sweeps_die=False,
    ),
    Scenario(
        "sweep: all within a second",
        [ONE_DESCRIBED, ONE_OTHERWISE],
        tags=False,
        times_tell=False,
        sweeps_die=False,
    ),
    Scenario("sweep: tags come", [ONE, ONE_TAGGED], deaths=1, sweeps_die=False),
    Scenario("sweep: tags go", [ONE_TAGGED, ONE], deaths=1, sweeps_die=False),
    Scenario("sweep: tags and bytes change", [ONE, TWO_TAGGED], deaths=1, sweeps_die=False, experienced=True),
    Scenario("sweep: opaque target", [ONE, TWO], etag=opaque_etag, tags=False, deaths=1),
    Scenario("sweep: deletes are off", [ONE, None, TWO], tags=False, delete=False, deaths=1),
    # objects that the target has, and that differ by the listings
    Scenario("sweep: overwritten by more", [ONE, THREE], tags=False),
    Scenario("sweep: overwritten by more, and back", [ONE, THREE, ONE], tags=False, deaths=0),
    Scenario("sweep: overwritten by more, deleted", [ONE, THREE, None], tags=False, deaths=1),
    Scenario("sweep: overwritten, tags go", [ONE_TAGGED, THREE], deaths=1, sweeps_die=False, experienced=True),
    Scenario("sweep: overwritten, tags come", [ONE, THREE, THREE_TAGGED], deaths=0, experienced=True),
    Scenario("sweep: opaque target, overwritten by more", [ONE, THREE], etag=opaque_etag, tags=False, deaths=1),
    Scenario("sweep: kms, overwritten", [kms(b"one", "1" * 32), kms(b"two", "2" * 32)], tags=False, experienced=True),
    Scenario(
        "sweep: overwritten, all within a second",
        [ONE, replace(TWO, metadata={"by": "a"}), replace(TWO, metadata={"by": "b"})],
        tags=False,
        deaths=0,
        times_tell=False,
        experienced=True,
    ),
]


#: A sweep that does not delete. Its crash is left out: the next sweep does not know what the crashed one wrote.
WITHOUT_DELETES = [
    Scenario("create, delete", [ONE, None], tags=False),
    Scenario("create, delete, create", [ONE, None, TWO], tags=False, deaths=0, experienced=True),
    Scenario("create, overwrite, delete", [ONE, THREE, None], tags=False, deaths=0),
    Scenario("tagged: create, delete", [ONE_TAGGED, None], deaths=1),
    Scenario("kms: create, delete", [kms(b"one", "k1"), None], tags=False, deaths=1),
    Scenario("opaque target: create, delete", [ONE, None], etag=opaque_etag, tags=False, deaths=1),
    Scenario("opaque target, no room: create, delete", [stored(b"one", metadata=FULL), None], etag=opaque_etag),
    Scenario("the target has an old object", [ONE, None], before=THREE, tags=False, deaths=1),
    Scenario("the target has an old object, deletes are off", [ONE, None], before=THREE, tags=False, delete=False),
]


@pytest.fixture(autouse=True)
def _on_the_spot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_module, "ThreadPoolExecutor", OnTheSpot)
    monkeypatch.setattr(converge_module, "CONFIRM_AFTER_S", 0.0)


@pytest.mark.parametrize("scenario", FAST, ids=str)
def test_a_sweep_with_its_small_object_copier_beside_live_sync_ends_equal(scenario: Scenario) -> None:
    ends_equal(scenario, sweep_beside)


@pytest.mark.parametrize("scenario", [each for each in FAST if not each.tags and len(each.script) == 2], ids=str)
def test_a_sweep_with_tag_sync_beside_live_sync_ends_equal(scenario: Scenario) -> None:
    """Without tag sync, guards refuse many late writes. With it, no write has a guard."""
    ends_equal(replace(scenario, tags=True, deaths=0), sweep_beside)


@pytest.mark.parametrize("prefetch_body", [True, False], ids=["small", "large"])
@pytest.mark.parametrize("scenario", WITHOUT_DELETES, ids=str)
def test_a_sweep_without_deletes_beside_live_sync_ends_equal(scenario: Scenario, prefetch_body: bool) -> None:
    ends_equal(replace(scenario, sweep_deletes=False, sweeps_die=False, prefetch_body=prefetch_body), sweep_beside)


WITHOUT_TAGS = [
    Scenario("created with tags", [ONE_TAGGED], deaths=1),
    Scenario("overwritten by more, with tags", [ONE_TAGGED, THREE_TAGGED], deaths=0, experienced=True),
    Scenario("overwritten by more, other tags", [ONE_RETAGGED, THREE_TAGGED], deaths=0, experienced=True),
    Scenario("the target has tags", [ONE_TAGGED], before=THREE_TAGGED, deaths=1),
    Scenario("opaque target, tags", [ONE_TAGGED, THREE_TAGGED], etag=opaque_etag, deaths=0),
]


@pytest.mark.parametrize("prefetch_body", [True, False], ids=["small", "large"])
@pytest.mark.parametrize("scenario", WITHOUT_TAGS, ids=str)
def test_a_sweep_without_tags_beside_live_sync_removes_no_tags(scenario: Scenario, prefetch_body: bool) -> None:
    ends_equal(replace(scenario, sweep_tags=False, sweeps_die=False, prefetch_body=prefetch_body), sweep_beside)


@pytest.mark.parametrize("scenario", [WITHOUT_TAGS[0], WITHOUT_TAGS[2]], ids=str)
def test_a_sweep_without_tags_and_without_guards_removes_tags(
    monkeypatch: pytest.MonkeyPatch, scenario: Scenario
) -> None:
    monkeypatch.setattr(WriteGuards, "guard", lambda guards, key, replaced: None)
    with pytest.raises(pytest.fail.Exception, match=r"in the end the source is .*, the target") as failure:
        ends_equal(replace(scenario, sweep_tags=False, sweeps_die=False), sweep_beside)
    print(failure.value)


#: Changes of tags beside a sweep that reads no tags after a copy, where the condition of its write makes up for that.
TAGS_UNREAD = [
    Scenario("tags come", [ONE, ONE_TAGGED], deaths=1),
    Scenario("tags come and go", [ONE, ONE_TAGGED, ONE], deaths=0),
    Scenario("tags come, and change", [ONE, ONE_TAGGED, ONE_RETAGGED], deaths=0, experienced=True),
    Scenario("tags come, deleted", [ONE, ONE_TAGGED, None], deaths=0),
    Scenario("tags come, deleted, with experience", [ONE, ONE_TAGGED, None], deaths=0, experienced=True),
    Scenario("tags and bytes change", [ONE, TWO_TAGGED], deaths=1, experienced=True),
    Scenario("tags come, then other bytes", [ONE, ONE_TAGGED, TWO], deaths=0, experienced=True),
    Scenario("opaque target, tags come", [ONE, ONE_TAGGED], etag=opaque_etag, deaths=0),
    Scenario("the target has an old object, tags come", [ONE, ONE_TAGGED], before=THREE, deaths=0, experienced=True),
    Scenario("deleted, and back with tags", [ONE, None, ONE_TAGGED], deaths=0, experienced=True),
]


@pytest.mark.parametrize("scenario", TAGS_UNREAD, ids=str)
def test_a_sweep_that_reads_no_tags_beside_live_sync_ends_equal(scenario: Scenario) -> None:
    found = replace(scenario, counts_tags=True, trusts_conditions=True, sweeps_die=False)
    ends_equal(found, sweep_beside)


@pytest.mark.parametrize("scenario", TAGS_UNREAD[:2], ids=str)
@pytest.mark.parametrize("conditions", ["honoured", "ignored", "refused", "never met"])
def test_a_sweep_that_learns_if_it_must_read_tags_ends_equal(scenario: Scenario, conditions: Any) -> None:
    ends_equal(replace(scenario, counts_tags=True, conditions=conditions, sweeps_die=False), sweep_beside)


@pytest.mark.parametrize("scenario", [TAGS_UNREAD[0], TAGS_UNREAD[2]], ids=str)
def test_a_sweep_that_trusts_a_condition_without_proof_diverges(scenario: Scenario) -> None:
    found = replace(scenario, counts_tags=True, conditions="ignored", trusts_conditions=True, sweeps_die=False)
    with pytest.raises(pytest.fail.Exception, match=r"in the end the source is .*, the target") as failure:
        ends_equal(found, sweep_beside)
    print(failure.value)


def forgets(copies: OwnCopies, key: str, source: object, replaced: object) -> None: ...


def brings_everything(copies: OwnCopies, key: str, target: object) -> bool:
    return key in copies


@pytest.mark.parametrize(
    ("name", "careless", "scenario"),
    [
        ("note", forgets, "create, delete"),
        ("note", forgets, "the target has an old object"),
        ("is_own", brings_everything, "the target has an old object, deletes are off"),
    ],
)
def test_a_sweep_that_does_not_answer_for_its_copies_diverges(
    monkeypatch: pytest.MonkeyPatch, name: str, careless: Any, scenario: str
) -> None:
    """The sweep forgets its copies, or removes what it did not bring."""
    monkeypatch.setattr(OwnCopies, name, careless)
    found = replace(
        next(each for each in WITHOUT_DELETES if each.name == scenario),
        sweep_deletes=False,
        sweeps_die=False,
        tags=True,  # without tag sync, guards would refuse the late writes too
    )
    with pytest.raises(pytest.fail.Exception, match=r"in the end the source is .*, the target") as failure:
        ends_equal(found, sweep_beside)
    print(failure.value)


@pytest.mark.parametrize(
    ("name", "careless", "scenario"),
    [
        ("MTIME_SETTLE_TIME", timedelta(0), "sweep: all within a second"),
        ("MTIME_SETTLE_TIME", timedelta(0), "sweep: overwritten, all within a second"),
        ("_tag_number", lambda body: 0, "sweep: tags come"),
        ("_tag_number", lambda body: 0, "sweep: overwritten, tags come"),
    ],
)
def test_without_its_precautions_the_sweep_diverges(
    monkeypatch: pytest.MonkeyPatch, name: str, careless: object, scenario: str
) -> None:
    monkeypatch.setattr(small_object_copy, name, careless)
    with pytest.raises(pytest.fail.Exception, match=r"in the end the source is .*, the target") as failure:
        # Without tag sync, guards would refuse the late writes too.
        ends_equal(replace(next(each for each in FAST if each.name == scenario), tags=True), sweep_beside)
    print(failure.value)


@pytest.mark.parametrize("scenario", SCENARIOS[:2], ids=str)
def test_without_the_second_comparison_the_workers_diverge(scenario: Scenario) -> None:
    with pytest.raises(pytest.fail.Exception, match=r"in the end the source is .*, the target") as failure:
        ends_equal(scenario, look_once)
    print(failure.value)


@pytest.mark.parametrize("scenario", SCENARIOS[:2], ids=str)
def test_workers_that_apply_events_in_the_order_of_arrival_diverge(scenario: Scenario) -> None:
    with pytest.raises(pytest.fail.Exception, match=r"in the end the source is .*, the target") as failure:
        ends_equal(scenario, apply_event)
    print(failure.value)


@pytest.mark.parametrize("protocol", [look_again, look_once, apply_event])
@pytest.mark.parametrize(
    "scenario",
    [
        Scenario("create, overwrite", [ONE, TWO], tags=False, deaths=1),
        Scenario("opaque target", [ONE, TWO], tags=False, deaths=1, etag=opaque_etag),
        Scenario("tags change", [ONE_TAGGED, ONE_RETAGGED], deaths=1, messages=1),
    ],
    ids=str,
)
def test_the_omitted_steps_lead_to_no_other_ending(scenario: Scenario, protocol: Protocol) -> None:
    reduced, plain = (explore(scenario, protocol, plain=plain, past_faults=True) for plain in (False, True))
    assert reduced.endings == plain.endings
