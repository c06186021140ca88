"""Mutants: the product with one rule switched off.

The simulation must find each of them within a number of seeds. A mutant replaces a method or a constant of the
product, and copies none of its logic. To add one, write a function that yields replacements, and decorate it with
`mutant`. Its docstring states the rule. If few histories meet the rule, give it a focus: a function that changes what a
seed decided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from s3_syncer import wiring
from s3_syncer.core import compare, fence
from s3_syncer.core.filters import NO_FILTERS, Filters
from s3_syncer.core.model import ObjectState
from s3_syncer.core.units import KIB
from s3_syncer.core.work_items import DeletionWork, RangeWork, Work, following
from s3_syncer.crt import overwrite_prevention, small_object_copy
from s3_syncer.operations import held_deletions
from s3_syncer.queue import batch_items, batch_requests, deletion_guard, sqs, worker
from s3_syncer.queue.dispositions import Ack, Disposition, Retry
from s3_syncer.stores import capabilities, rejections
from s3_syncer.stores.bucket import Bucket
from s3_syncer.sync import (
    comparison,
    converge,
    distributed_copy,
    key_sweep,
    own_copies,
    range_sweep,
    restore,
    sweep_limits,
    transfer,
    upload_decision,
    write_guards,
)
from s3_syncer.sync.bucket_pair import BucketPair
from s3_syncer.sync.direction import TO_MIRROR
from s3_syncer.sync.key_sweep import SweepOptions
from s3_syncer.sync.outcome import Outcome

from . import history as histories
from .faults import Faults, Outage, OutageKind, QueueFaults
from .guard_audit import GuardAudit
from .history import KEYS, LONG_SUSPENSION_S, OLD_KEYS, History, run_history
from .processes import HELD_DELETIONS, send_range

#: An object, the name of one of its attributes, and the replacement.
Replacement = tuple[Any, str, Any]

Replacements = Callable[[], Iterator[Replacement]]
Focus = Callable[[History], object]


@dataclass(frozen=True, slots=True)
class Mutant:
    """A rule that is switched off: `replacements` returns what to replace."""

    name: str
    rule: str
    #: Seeds, from 0 on, within which the simulation must find the mutant.
    seeds: int
    focus: Focus
    replacements: Replacements

    @contextmanager
    def active(self) -> Iterator[None]:
        """Switch the rule off inside the block."""
        with ExitStack() as stack:
            for owner, name, replacement in self.replacements():
                stack.enter_context(patch.object(owner, name, replacement))
            yield

    def find(self) -> int | None:
        """Return the first seed that finds the mutant, or None. The product itself must pass that seed."""
        for seed in range(self.seeds):
            with self.active():
                is_found = run_history(seed, self.focus).error is not None
            if is_found and run_history(seed, self.focus).error is None:
                return seed
        return None


#: All mutants by name.
MUTANTS: dict[str, Mutant] = {}


def no_focus(history: History) -> None:
    """Leave what the seed decided."""


def mutant(*, seeds: int, focus: Focus = no_focus) -> Callable[[Replacements], Replacements]:
    """Register a mutant."""

    def register(replacements: Replacements) -> Replacements:
        name, rule = replacements.__name__, (replacements.__doc__ or "").strip()
        MUTANTS[name] = Mutant(name, rule, seeds, focus, replacements)
        return replacements

    return register


# -- focuses -------------------------------------------------------------------------------------------------------


def outages(side: str, kind: OutageKind, *, period_s: float | None = None) -> Focus:
    """Return a focus on outages of the source or the target, in the second half of each period.

    Without `period_s`, there are four of them until the changes end.
    """

    def focus(history: History) -> None:
        period = period_s or history.active_s / 4
        number = min(200, int(history.active_s / period) + 1)
        windows = tuple(Outage((each + 0.5) * period, (each + 1) * period, kind) for each in range(number))
        setattr(history.world, f"{side}_faults", Faults(outages=windows))

    return focus


def damage(history: History) -> None:
    """Damage many bytes that come from the source, in objects with an ETag that proves them.

    The ETags of the parts in the target must be MD5s too, because several workers may send them.
    """
    for store in (history.world.source, history.world.target):
        store.traits = replace(store.traits, etags="md5")
    history.world.source_faults = Faults(damage=0.05)
    # The ETag of an object in one piece proves nothing about its parts, if it is copied in parts.
    history.sizes, history.part_sizes = (0, 10, 300), (2 * KIB, 3 * KIB)
    history.explained_errors.append("multipart uploads of this object")


def failing_queue(history: History) -> None:
    """Let most requests to SQS fail in part, because the product repeats an entry twice."""
    history.world.sqs.faults = QueueFaults(failed_entry=0.6)
    history.explained_errors.append("multipart uploads of this object")


def failing_entries(history: History) -> None:
    """Let every second entry of the requests to SQS fail, while several workers copy a large object."""
    history.world.sqs.faults = QueueFaults(failed_entry=0.5)
    history.keys, history.sizes, history.part_sizes = ("a",), (20 * KIB,), (5 * KIB,)
    history.active_s = 20.0


def late_writes(history: History) -> None:
    """Let many writes to the target land late."""
    history.world.target_faults = Faults(late=0.2)


def slow_writes(history: History) -> None:
    """Let many writes of small objects take long to the target, so that other workers end meanwhile."""
    history.world.target_faults = Faults(slow=0.4)
    history.sizes = (0, 10, 300)
    history.explained_errors.append("not done in 3 attempts")


def slow_target(history: History) -> None:
    """Let many responses of the target not come, so that work is given up."""
    history.world.target_faults = Faults(request_lost=0.2, response_lost=0.2)
    history.explained_errors.append("not done in 3 attempts")


def rewrites_and_rollbacks(history: History) -> None:
    """Let each version of an object be followed by a version of the same size, and come back."""
    source, scheduler = history.world.source, history.scheduler
    source.traits = replace(source.traits, versioned=True, etags="kms")
    history.keys = ("a",)

    def change_source() -> None:
        source.write("a", b"1" * 100)
        for number in range(6):
            scheduler.sleep(scheduler.choose((0.05, 0.2, 1.0)))
            source.write("a", str(number).encode() * 100)
            scheduler.sleep(scheduler.choose((0.05, 0.2, 1.0)))
            source.roll_back("a")

    history.change_source = change_source  # type: ignore[method-assign]


def deletions(history: History) -> None:
    """Let the application write and delete objects all the time."""
    scheduler = history.scheduler

    def change_source() -> None:
        for key in history.keys * 3:
            scheduler.sleep(scheduler.choose((0.0, 1.0, 10.0)))
            (history.write if history.world.source.current(key) is None else history.remove)(key)

    history.change_source = change_source  # type: ignore[method-assign]


def without_guard(history: History) -> None:
    """Let the workers delete at once."""
    history.world.settings = replace(history.world.settings, deletion_queues=None)


def mass_deletions(history: History) -> None:
    """Let the application delete all objects at once, and hold the deletions above one."""
    scheduler, world = history.scheduler, history.world
    assert world.settings.deletion_queues is not None
    queues = replace(world.settings.deletion_queues, hold_above=1)
    world.settings = replace(world.settings, delete=True, deletion_queues=queues)
    history.guard_audit = GuardAudit(history.sqs, queues.url, queues.held_url, 1)
    history.keys, history.discards = KEYS, False

    def change_source() -> None:
        for key in history.keys:
            history.write(key)
        scheduler.sleep(30.0)
        for key in history.keys:
            history.remove(key)

    history.change_source = change_source  # type: ignore[method-assign]


def delete_during_sweep(history: History, keys: Iterable[str], pauses_s: Sequence[float]) -> None:
    """Sweep without deletes while the application deletes objects, with a pause before each of them."""
    scheduler = history.scheduler

    def change_source() -> None:
        history.write_without_events(keys)
        if scheduler.chance(0.5):
            history.start_sweep(SweepOptions())
        else:
            send_range(history.world, RangeWork())
        for key in keys:
            scheduler.sleep(scheduler.choose(pauses_s))
            history.remove(key)

    history.change_source = change_source  # type: ignore[method-assign]


def sweeps_beside_deletions(history: History) -> None:
    """Sweep without deletes to a target that may have objects, while the application deletes objects."""
    delete_during_sweep(history, history.keys, (0.0, 0.2, 2.0))


def slow_sweeps_beside_deletions(history: History) -> None:
    """Sweep without deletes and with slow writes to an empty target, beside deletions."""
    slow_writes(history)
    history.keys = ()
    delete_during_sweep(history, KEYS, (0.5, 2.0, 10.0))


def quick_changes(history: History) -> None:
    """Let the application change each key twice, with several services and slow writes to the target."""
    scheduler = history.scheduler
    history.keys = KEYS
    slow_writes(history)

    def change_source() -> None:
        for _ in range(2):
            history.start_service()
        for key in history.keys:
            history.write(key)
            scheduler.sleep(scheduler.choose((0.05, 0.2, 0.5)))
            scheduler.choose((history.write, history.tag, history.remove))(key)

    history.change_source = change_source  # type: ignore[method-assign]


def suspended_services(history: History) -> None:
    """Suspend services in the middle of their work, until another worker has their messages."""
    scheduler = history.scheduler
    history.keys = KEYS
    slow_writes(history)

    def change_source() -> None:
        for _ in range(4):
            history.start_service()
        for key in history.keys:
            history.write(key)
        scheduler.sleep(scheduler.choose((0.2, 0.5, 1.0)))
        suspensions = [
            scheduler.spawn(service.suspend, LONG_SUSPENSION_S, group="suspension") for service in history.services
        ]
        history.services.clear()
        for key in history.keys:
            scheduler.choose((history.write, history.remove))(key)
        for suspension in suspensions:
            scheduler.join(suspension)

    history.change_source = change_source  # type: ignore[method-assign]


def killed_services(history: History) -> None:
    """Kill services while the target applies many writes of one key late."""
    scheduler = history.scheduler
    history.world.target_faults = Faults(late=0.3)

    def change_source() -> None:
        for _ in range(8):
            history.start_service()
            scheduler.sleep(scheduler.choose((0.05, 0.5, 2.0)))
            scheduler.choose((history.write, history.remove))(history.keys[0])
            scheduler.sleep(scheduler.choose((0.05, 0.5, 60.0)))
            history.services.pop().kill()

    history.change_source = change_source  # type: ignore[method-assign]


def migration(history: History) -> None:
    """Let a range on the queue copy objects that had no event."""

    def change_source() -> None:
        history.write_without_events(KEYS)
        history.duty |= set(KEYS)
        # A plain range trusts times, and the target may have objects of other tools.
        send_range(history.world, RangeWork(full=True))

    history.change_source = change_source  # type: ignore[method-assign]


def migration_over_http(history: History) -> None:
    """Let a sweep with the CRT transport copy objects without events, while the application changes them."""
    scheduler, source = history.scheduler, history.world.source
    source.traits = replace(source.traits, etags="md5")
    history.http_share, history.loss_share = 1.0, 0.0

    def change_source() -> None:
        history.migrate()
        for key in OLD_KEYS:
            scheduler.sleep(scheduler.choose((0.05, 0.2, 0.5)))
            scheduler.choose((history.write, history.tag, history.tag))(key)

    history.change_source = change_source  # type: ignore[method-assign]


def tags_beside_migration(history: History) -> None:
    """Tag objects while a sweep over HTTP copies them to a target that ignores the conditions of writes.

    The first object has tags, so the sweep learns that the source returns their number.
    """
    scheduler, source, target = history.scheduler, history.world.source, history.world.target
    source.traits = replace(source.traits, etags="md5", counts_tags=frozenset({"HEAD", "GET"}))
    target.traits = replace(target.traits, conditions="ignored")
    history.world.settings = replace(history.world.settings, tags=True, filters=NO_FILTERS)
    history.world.source_faults = Faults()
    slow_writes(history)
    history.http_share, history.loss_share = 1.0, 0.0

    def change_source() -> None:
        with history.without_events():
            for key in OLD_KEYS:
                source.write(key, key.encode(), tags={"tag": "first"} if key == OLD_KEYS[0] else {})
        scheduler.sleep(3.0)
        history.migration = history.start_sweep(SweepOptions())
        for key in OLD_KEYS[1:]:
            scheduler.sleep(scheduler.choose((0.05, 0.5, 10.0)))
            source.tag(key, {"tag": "second"})

    history.change_source = change_source  # type: ignore[method-assign]


def restores_beside_writes(history: History) -> None:
    """Restore objects that the mirror has, some with other bytes, while the application writes them again."""
    scheduler, target = history.scheduler, history.world.target

    def change_source() -> None:
        with history.without_events():
            for key in KEYS:
                target.write(key, history.body(10))
                if scheduler.chance(0.5):
                    history.write(key)
        history.start_restore(SweepOptions(), overwrite=scheduler.chance(0.5))
        for key in KEYS:
            scheduler.sleep(scheduler.choose((0.01, 0.05, 0.2)))
            history.write(key)

    history.world.source_faults = Faults(slow=0.3)
    history.world.settings = replace(history.world.settings, filters=NO_FILTERS)
    history.change_source = change_source  # type: ignore[method-assign]


def losses(history: History) -> None:
    """Lose all objects of the source at the end, and restore them."""
    history.loss_share = 1.0


def losses_of_tagged_objects(history: History) -> None:
    """Lose and restore objects with tags, of which the mirror's responses do not say that they have some."""
    history.world.target.traits = replace(history.world.target.traits, counts_tags=frozenset())
    history.world.settings = replace(history.world.settings, tags=True)
    history.loss_share = history.http_share = 1.0

    def change_source() -> None:
        history.write_without_events(OLD_KEYS)
        for key in OLD_KEYS:
            history.tag(key)

    history.change_source = change_source  # type: ignore[method-assign]


def limited_sweep(history: History) -> None:
    """Let a sweep find more objects to delete than it may delete."""
    history.world.settings = replace(history.world.settings, delete=True)

    def change_source() -> None:
        for key in KEYS:
            history.world.target.write(f"old {key}", b"")
        history.start_sweep(SweepOptions(delete=True, max_delete=1))

    history.change_source = change_source  # type: ignore[method-assign]


def impatient(history: History) -> None:
    """Wait a few hours for the end, and not a day. An upload is abandoned after one."""
    history.quiet_max_s = 4 * 3600.0


def filtered(history: History) -> None:
    """Exclude one key by its name, and the empty objects of all keys by their size."""
    history.world.settings = replace(history.world.settings, filters=Filters.of(exclude=["a"], min_size=1), delete=True)
    history.keys = ("a", "b", "c/d")


def edited_target(history: History) -> None:
    """Let another tool change the bytes of copies and keep their metadata, before an event of their keys."""
    scheduler, source, target = history.scheduler, history.world.source, history.world.target
    for store in (source, target):
        store.traits = replace(store.traits, etags="md5")

    def change_source() -> None:
        for key in history.keys:
            source.write(key, b"source")
        scheduler.sleep(1000.0)
        for key in history.keys:
            if (copy := target.current(key)) is not None:
                target.write(key, b"edited", copy.headers, copy.tags)
            source.tag(key, {"tag": "new"})

    history.change_source = change_source  # type: ignore[method-assign]


def together(*focuses: Focus) -> Focus:
    """Return a focus on several things."""

    def focus(history: History) -> None:
        for each in focuses:
            each(history)

    return focus


def drops_header(history: History) -> None:
    """Let the target drop a header."""
    history.world.target.traits = replace(history.world.target.traits, drops=frozenset({"cache-control"}))
    history.explained_errors += ["the target does not keep Cache-Control", "not done in 3 attempts"]


def folded_keys(history: History) -> None:
    """Let the target take keys that differ in case for one. It gets the one in lower case first."""
    scheduler = history.scheduler
    history.world.target.traits = replace(history.world.target.traits, folds_case=True)
    history.keys = ("a",)
    history.explained_errors.append("the target does not list this key")

    def change_source() -> None:
        history.write("a")
        scheduler.sleep(6000.0)
        for _ in range(4):
            scheduler.choose((history.write, history.write_parts, history.remove))("A")
            scheduler.sleep(scheduler.choose((0.0, 1.0, 100.0)))
            if scheduler.chance(0.3):
                history.write("a")

    history.change_source = change_source  # type: ignore[method-assign]


def denied_key(history: History) -> None:
    """Let the target deny each write of one key, while it takes other keys for hours."""
    scheduler = history.scheduler
    history.world.target.traits = replace(history.world.target.traits, denied=frozenset({"b"}))
    history.keys = ("a", "b", "e")
    history.explained_errors.append("access denied")

    def change_source() -> None:
        for _ in range(60):
            history.write("b" if history.world.source.current("b") is None else scheduler.choose(("a", "e")))
            scheduler.sleep(300.0)

    history.change_source = change_source  # type: ignore[method-assign]


def denied_for_a_while(history: History) -> None:
    """Let the target deny every request for some time."""
    scheduler, target = history.scheduler, history.world.target
    start_s = history.active_s * scheduler.choose((0.0, 0.1, 0.3))
    length_s = scheduler.choose((10.0, 100.0, 1000.0))
    history.world.target_faults = Faults(outages=(Outage(start_s, start_s + length_s, "denied"),))
    target.traits = replace(target.traits, lists_uploads=True)


class _Believing:
    """A bucket that believes that every key is missing."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bucket, name)

    def is_missing(self, key: str) -> bool:
        return True


class _Unchanged:
    """A source that returns the same state for every key."""

    def __init__(self, state: ObjectState | None) -> None:
        self._state = state

    def head(self, key: str, **options: Any) -> ObjectState | None:
        return self._state

    get_small = head


def _always(value: Any) -> Callable[..., Any]:
    return lambda *args, **options: value


@mutant(seeds=1000, focus=quick_changes)
def no_second_look() -> Iterator[Replacement]:
    """After a write, the source is compared again."""
    check = converge._check_write

    def check_target(pair: BucketPair, key: str, write: Any, *args: Any, **options: Any) -> Any:
        unchanged = replace(pair, source=_Unchanged(write.source))  # type: ignore[arg-type]
        return check(unchanged, key, write, *args, **options)

    yield converge, "_check_write", check_target


@mutant(seeds=1000, focus=rewrites_and_rollbacks)
def reads_not_pinned() -> Iterator[Replacement]:
    """A read returns bytes of the compared version only."""
    read = Bucket.read

    def read_any(bucket: Bucket, key: str, etag: str, start: int, size: int) -> bytearray:
        state = bucket.head(key, tags=False)
        return read(bucket, key, state.etag if state else etag, start, size)

    yield Bucket, "read", read_any


@mutant(seeds=200)
def failures_acknowledged() -> Iterator[Replacement]:
    """A message is acknowledged only after its work is done."""
    run = worker.Worker.run

    def run_and_acknowledge(*args: Any, **options: Any) -> dict[str, Disposition]:
        dispositions = run(*args, **options)
        return {id: Ack(each.more) if isinstance(each, Retry) else each for id, each in dispositions.items()}

    yield worker.Worker, "run", run_and_acknowledge


@mutant(seeds=1000, focus=slow_target)
def no_fence() -> Iterator[Replacement]:
    """Work that was given up sends no request."""
    yield fence.Fence, "is_closed", False
    yield fence.Fence, "close", _always(None)


@mutant(seeds=200, focus=late_writes)
def uncertain_keys_forgotten() -> Iterator[Replacement]:
    """A key with a write that may still land is compared again later."""
    yield fence.Fence, "uncertain", frozenset()


@mutant(seeds=1000, focus=suspended_services)
def landed_writes_forgotten() -> Iterator[Replacement]:
    """A key with a write that ended after its fence had closed is compared again."""
    yield fence.Request, "answered", fence.Request._forget


@mutant(seeds=1000, focus=late_writes)
def late_checks_too_early() -> Iterator[Replacement]:
    """The later comparison waits until no write can land any more."""
    yield worker, "LATE_WRITE_S", 60


@mutant(seeds=1000, focus=killed_services)
def visibility_too_short() -> Iterator[Replacement]:
    """The message of a killed service returns when no write of the service can land any more."""
    yield histories, "VISIBILITY_TIMEOUT_S", 60


@mutant(seeds=200, focus=together(outages("target", "not found"), deletions))
def any_404_believed() -> Iterator[Replacement]:
    """A 404 that does not name the key is not an absent object."""
    yield Bucket, "is_missing", _always(True)


@mutant(seeds=1000, focus=together(outages("target", "not found", period_s=1.0), deletions, without_guard))
def deletion_not_confirmed() -> Iterator[Replacement]:
    """After a DELETE, the target is asked if the key is missing."""
    delete = Bucket.delete
    yield Bucket, "delete", lambda bucket, key: delete(_Believing(bucket), key)  # type: ignore[arg-type]


@mutant(seeds=200, focus=damage)
def parts_not_proven() -> Iterator[Replacement]:
    """The parts of an upload give the ETag of the source before they are completed."""
    yield transfer, "contradicts", _always(False)
    yield distributed_copy, "contradicts", _always(False)


@mutant(seeds=1000)
def uploads_not_aborted() -> Iterator[Replacement]:
    """A failed copy aborts its upload."""
    yield transfer.Transfer, "abort", _always(None)


@mutant(seeds=200, focus=migration)
def rest_of_range_lost() -> Iterator[Replacement]:
    """The rest of a range goes back to the queue."""
    yield range_sweep.RangeSweeper, "_cut", _always([])


@mutant(seeds=200, focus=limited_sweep)
def delete_limit_ignored() -> Iterator[Replacement]:
    """A sweep deletes at most `max_delete` keys."""
    yield sweep_limits.LocalLimit, "acquire", _always(True)


@mutant(seeds=200, focus=sweeps_beside_deletions)
def deletes_whatever_the_options() -> Iterator[Replacement]:
    """With deletes off, no object of the target is deleted."""
    init = key_sweep.KeySweep.__init__

    def with_deletes(self: Any, *args: Any, **options: Any) -> None:
        init(self, *args, **options)
        self._pair_without_deletes = self._pair_with_deletes

    yield key_sweep.KeySweep, "__init__", with_deletes


@mutant(seeds=200)
def tags_not_compared() -> Iterator[Replacement]:
    """Objects with different tags differ."""
    yield converge, "compare_tags", _always(None)
    yield compare, "compare_tags", _always(None)


@mutant(seeds=200, focus=impatient)
def uploads_never_abandoned() -> Iterator[Replacement]:
    """An upload without a new part for a long time is abandoned."""
    yield upload_decision, "ABANDONED_AFTER_S", float("inf")


@mutant(seeds=200, focus=outages("source", "not found"))
def source_404_believed() -> Iterator[Replacement]:
    """A 404 of the source that does not name the key is not a deletion."""
    yield Bucket, "is_missing", _always(True)


@mutant(seeds=1000, focus=slow_sweeps_beside_deletions)
def own_ghost_left() -> Iterator[Replacement]:
    """A sweep removes a copy that it brought to the target if its key is gone from the source."""
    yield own_copies.OwnCopies, "note", _always(None)


@mutant(seeds=200, focus=sweeps_beside_deletions)
def every_object_is_own() -> Iterator[Replacement]:
    """A sweep without deletes removes only what it brought."""
    yield own_copies.OwnCopies, "is_own", _always(True)


@mutant(seeds=1000, focus=together(slow_writes, migration_over_http))
def tags_after_copy_ignored() -> Iterator[Replacement]:
    """A listing confirms a copy over HTTP only if the source still has no tags after it."""
    yield small_object_copy, "_tag_number", _always(0)


@mutant(seeds=200, focus=tags_beside_migration)
def condition_not_proven() -> Iterator[Replacement]:
    """The tags are read after a copy unless the target has shown that it refuses to overwrite an object."""
    yield overwrite_prevention.OverwritePrevention, "claim", _always(overwrite_prevention.Condition.PROVEN)
    yield overwrite_prevention.OverwritePrevention, "is_proven", True


@mutant(seeds=200, focus=together(late_writes, migration_over_http))
def copies_over_http_certain() -> Iterator[Replacement]:
    """A copy over HTTP without a response may take effect later, and is reported."""
    yield small_object_copy, "fence", SimpleNamespace(**vars(fence) | {"Request": lambda key: fence.Request(None)})


@mutant(seeds=200, focus=restores_beside_writes)
def restore_without_conditions() -> Iterator[Replacement]:
    """A restore replaces only the object that it has compared."""
    yield restore.RestoreGuards, "guard", _always(None)


@mutant(seeds=200, focus=restores_beside_writes)
def restore_replaces_again() -> Iterator[Replacement]:
    """A restore does not replace what another program writes after its first write of the key."""
    yield restore.FromMirror, "once_written", lambda direction: direction
    yield restore.RestoredCopies, "has_attempted", _always(False)


@mutant(seeds=1000, focus=losses_of_tagged_objects)
def restore_writes_tags_later() -> Iterator[Replacement]:
    """A restored object has its tags from its first write on, because live sync may mirror it at once."""
    yield restore.FromMirror, "writes_tags_with_object", False


@mutant(seeds=200, focus=losses)
def restore_writes_marker() -> Iterator[Replacement]:
    """A restored object has no ETag marker."""
    yield restore.FromMirror, "marker_policy", TO_MIRROR.marker_policy


@mutant(seeds=200, focus=failing_queue)
def unsent_work_forgotten() -> Iterator[Replacement]:
    """A message is deleted only when the work that it leaves is on the queue."""
    send = sqs.Queue.send

    def send_and_hope(*args: Any) -> bool:
        send(*args)
        return True

    yield sqs.Queue, "send", send_and_hope


@mutant(seeds=200, focus=failing_entries)
def no_repeated_entry() -> Iterator[Replacement]:
    """An entry that fails in a request to SQS that succeeds is repeated."""
    yield batch_requests, "MAX_ENTRY_ATTEMPTS", 1


@mutant(seeds=200, focus=mass_deletions)
def guard_ignored() -> Iterator[Replacement]:
    """No deletion is done while the guard is shut."""
    yield deletion_guard.DeletionGuard, "is_shut", _always(False)


@mutant(seeds=200, focus=mass_deletions)
def held_not_counted() -> Iterator[Replacement]:
    """Held deletions count, so that the guard stays shut until a person acts."""
    count = sqs.count_messages
    yield wiring, "count_messages", lambda client, url: 0 if url == HELD_DELETIONS else count(client, url)


@mutant(seeds=200, focus=mass_deletions)
def held_deletion_lost() -> Iterator[Replacement]:
    """A held deletion is on its queue before its message is deleted."""

    def without_held(works: Iterable[Work], hops: int) -> Sequence[Work]:
        return [each for each in following(works, hops) if not (isinstance(each, DeletionWork) and each.is_held)]

    yield worker, "following", without_held


@mutant(seeds=200, focus=mass_deletions)
def released_deletion_lost() -> Iterator[Replacement]:
    """A released deletion is deleted from its queue after SQS has accepted its copy."""
    yield held_deletions.HeldDeletions, "_send", _always(None)


@mutant(seeds=200, focus=deletions)
def deletes_without_a_look() -> Iterator[Replacement]:
    """Before a deletion the key is compared again, so an object that came back is not deleted."""
    converge_key = distributed_copy.DistributedCopier.converge

    def delete_first(self: Any, pair: BucketPair, key: str, *args: Any, **options: Any) -> Any:
        if pair.delete and not pair.defers_deletions:
            pair.target.delete(key)
            return Outcome("delete", "absent from the source", is_gone=True)
        return converge_key(self, pair, key, *args, **options)

    yield distributed_copy.DistributedCopier, "converge", delete_first


@mutant(seeds=200, focus=drops_header)
def target_not_read() -> Iterator[Replacement]:
    """After a write, the target is read unless it is known to keep all of the object."""
    yield capabilities.TargetCapabilities, "needs_read", _always(False)


@mutant(seeds=200, focus=drops_header)
def one_object_proves_all() -> Iterator[Replacement]:
    """A target is known to keep a property only once a read has shown that property."""
    yield converge, "properties_of", _always(frozenset())


@mutant(seeds=200)
def time_decides() -> Iterator[Replacement]:
    """For an event, a time does not prove that the content is equal."""
    yield comparison, "compare", lambda *states, **options: compare.compare(*states, **{**options, "trusts_time": True})


@mutant(seeds=200, focus=edited_target)
def marker_outranks_md5s() -> Iterator[Replacement]:
    """Two MD5s that differ prove a difference, whatever the ETag marker says."""
    yield compare, "etags_contradict_marker", _always(False)
    yield comparison, "etags_contradict_marker", _always(False)


@mutant(seeds=200, focus=folded_keys)
def every_response_believed() -> Iterator[Replacement]:
    """A key is written or deleted only if the target has this very key."""
    for module in (converge, key_sweep, write_guards):
        yield module, "has_key", _always(True)


@mutant(seeds=200, focus=denied_for_a_while)
def each_rejection_is_permanent() -> Iterator[Replacement]:
    """A denial is a dead letter only if the store serves other keys."""
    yield batch_items, "judged", lambda error: error


@mutant(seeds=200, focus=denied_key)
def no_rejection_is_the_keys_own() -> Iterator[Replacement]:
    """A key that is denied while the store serves other keys becomes a dead letter."""
    yield rejections.Rejections, "judge", _always(None)


@mutant(seeds=200, focus=filtered)
def excluded_name_ignored() -> Iterator[Replacement]:
    """A key with a name that the filters exclude is neither copied nor deleted."""
    for module in (converge, distributed_copy):
        yield module, "excluded_by_name", _always(None)


@mutant(seeds=200, focus=filtered)
def excluded_size_ignored() -> Iterator[Replacement]:
    """An object with a size that the filters exclude is neither copied nor deleted."""
    yield Filters, "exclusion_by_size", _always(None)


@mutant(seeds=200, focus=filtered)
def size_of_target_decides() -> Iterator[Replacement]:
    """The size of the target's object decides only if the source has none."""
    by_size = Filters.exclusion_by_size
    yield (
        Filters,
        "exclusion_by_size",
        lambda self, source, target: by_size(self, None, target) or by_size(self, source, None),
    )
