"""Run one history: a seed decides the stores, faults, processes, changes and the order of steps.

An application changes the source while Lambda environments, services and sweeps mirror it, and are killed, frozen and
suspended. Then the changes and outages end, and once nothing moves, the promises of `invariants.py` must hold.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace

from s3_syncer.core.filters import NO_FILTERS, Filters
from s3_syncer.core.units import KIB
from s3_syncer.core.work_items import RangeWork
from s3_syncer.service.heartbeat import VISIBILITY_TIMEOUT_S
from s3_syncer.service.options import ServiceOptions
from s3_syncer.settings import DeletionQueues
from s3_syncer.sync.key_sweep import SweepOptions

from .faults import draw_faults, draw_queue_faults, draw_source, draw_target
from .guard_audit import GuardAudit
from .invariants import Ending, Verdict, violations
from .processes import (
    BULK,
    DEAD_LETTERS,
    DELETIONS,
    HELD_DELETIONS,
    QUEUE,
    SETTINGS,
    Findings,
    LambdaService,
    Restore,
    ServiceTask,
    World,
    act_on_held_deletions,
    send_range,
    start_restore,
    start_sweep,
)
from .scale import scaled_down
from .scheduler import Record, Scheduler, SimulationError
from .sqs import Queued, Sqs
from .store import Store, Version
from .threads import running, simulated

KEYS = ("a", "b", "c/d", "e", "f", "g")

#: Keys of objects that are older than the queue, so that only a sweep copies them. No store can take one for another
#: key, so the small-object copier may take all of them.
OLD_KEYS = tuple("123456789")

#: Seconds in which the source changes. Faults and kills happen in the same time.
ACTIVE_S = (1.0, 20.0, 200.0, 2000.0)

#: Seconds after the last change within which the mirror must be equal.
QUIET_MAX_S = 24 * 3600.0

#: Timeouts of the function in seconds. The shortest is the least that the module accepts: see variables.tf.
FUNCTION_TIMEOUTS_S = (30.0, 60.0, 300.0)

#: Seconds for which a service is suspended, so that another worker gets its messages.
LONG_SUSPENSION_S = VISIBILITY_TIMEOUT_S + 100.0

#: Seconds of CPU time that a history may take. A usual one takes a hundredth of a second.
STUCK_S = 60.0

#: Bytes of an object: empty, small, in parts, and in parts by several workers. Equal sizes are the hard case.
SIZES = (0, 10, 10, 10, 300, 10 * KIB, 20 * KIB)


#: Filters of all workers and sweeps of a history, and of a single sweep or range. Most have none.
FILTERS = (
    *(NO_FILTERS,) * 5,
    Filters.of(exclude=["b"]),
    Filters.of(["/c/**", "a"], max_size=300),
    Filters.of(min_size=10, max_size=10 * KIB),
)
MORE_FILTERS = (NO_FILTERS, NO_FILTERS, NO_FILTERS, Filters.of(["a"]))


class Stuck(BaseException):  # no Exception, so that the code of the product does not handle it
    """A task computed for STUCK_S seconds without a call to the scheduler."""


class Violation(Exception):
    """A promise is broken at the end of a history; the message has one line for each."""


@dataclass(slots=True)
class Result:
    """A history that ended, and the error that it ended with."""

    seed: int
    error: Exception | None
    steps: int
    history: list[Record]
    counts: Mapping[str, int]


@contextmanager
def stopped_if_stuck() -> Iterator[None]:
    """Raise Stuck in a task that never yields. The limit is CPU time, so a busy machine cannot reach it."""

    def raise_stuck(*_: object) -> None:
        raise Stuck(f"a task used {STUCK_S:.0f} s of CPU time: it never yields")

    before = signal.signal(signal.SIGVTALRM, raise_stuck)
    signal.setitimer(signal.ITIMER_VIRTUAL, STUCK_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@contextmanager
def product_in_simulation() -> Iterator[None]:
    """Run the product on simulated threads and small sizes, for many histories."""
    with simulated(), scaled_down():
        yield


def run_history(seed: int, focus: Callable[[History], object] = lambda history: None) -> Result:
    """Run the history of a seed. The caller has entered `product_in_simulation`.

    `focus` changes what the seed decided, before the history begins.
    """
    scheduler = Scheduler(seed)
    error: Exception | None = None
    with running(scheduler), stopped_if_stuck():
        try:
            history = History(scheduler)
            focus(history)
            main = scheduler.spawn(history.run, name="history", group="history")
            scheduler.run(until=lambda: main.done)
        except (SimulationError, Violation) as failure:
            error = failure.__cause__ if isinstance(failure.__cause__, Violation) else failure
        finally:
            scheduler.close()
    return Result(seed, error, scheduler.steps, scheduler.history, scheduler.counts)


class History:
    """The story of one seed."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        choose, chance = scheduler.choose, scheduler.chance
        self.active_s, self.quiet_max_s = choose(ACTIVE_S), QUIET_MAX_S
        self.keys = KEYS[: choose((1, 2, 3, 3, 6))]
        #: Bytes of an object in one piece, and of a part of an object in parts.
        self.sizes: tuple[int, ...] = SIZES
        self.part_sizes: tuple[int, ...] = (10, 2 * KIB, 3 * KIB)
        #: Parts of the errors of dead letters that the faults of the history explain.
        self.explained_errors: list[str] = []
        self.sqs = sqs = Sqs(scheduler, draw_queue_faults(scheduler))
        sqs.create(DEAD_LETTERS)
        for queue in (QUEUE, BULK):
            sqs.create(queue, dead_letter_url=DEAD_LETTERS)
        source = Store(
            "source",
            scheduler,
            draw_source(scheduler),
            self.on_change,
        )
        target = Store("target", scheduler, draw_target(scheduler))
        self.world = World(scheduler, source, target, sqs)
        if chance(0.7):
            self.world = replace(
                self.world,
                source_faults=draw_faults(scheduler, until_s=self.active_s, late=False),
                target_faults=draw_faults(scheduler, until_s=self.active_s),
                queue_faults=draw_faults(scheduler, until_s=self.active_s, late=False),
            )
        self.world.settings = replace(SETTINGS, delete=chance(0.9), tags=chance(0.9))
        #: The objects of the target at the beginning, and the keys that must become equal.
        self.before: dict[str, Version] = {}
        self.duty: set[str] = set()
        #: The keys that the source lost at the end, without an event, and that a restore named.
        self.lost: Set[str] = frozenset()
        self.lambda_service = LambdaService(
            self.world, timeout_s=choose(FUNCTION_TIMEOUTS_S), batch_size=choose((1, 3)), threads=choose((1, 2, 3))
        )
        # A target that lists no uploads has none to continue: a slow copy begins again in each attempt.
        if not self.world.target.traits.lists_uploads:
            self.explained_errors.append("not done in 3 attempts")
        self.may_serve = not self.world.queue_faults.outages
        self.service_options = ServiceOptions(
            concurrency=choose((1, 2)),
            bulk_concurrency=choose((1, 2)),
            deletion_concurrency=1,
            visibility_timeout_s=VISIBILITY_TIMEOUT_S,
            shutdown_grace_s=20.0,
            tick_s=15.0,
        )
        #: The share of the histories that end with a loss of the source, and a restore.
        self.loss_share = 0.1
        #: The share of sweeps and services that have the CRT transport.
        self.http_share = 0.5
        self.services: list[ServiceTask] = []
        self.sweeps: list[Findings] = []
        self.restores: list[Restore] = []
        #: The sweep that copies the objects with OLD_KEYS.
        self.migration: Findings | None = None
        self.sent_range = False
        #: Keys that a person left in the target by discarding their deletions.
        self.discarded: set[str] = set()
        hold_above = choose((None, 1, 1, 2))
        self.discards = chance(0.2)
        sqs.count_lag_s = choose((0.0, 0.0, 60.0))
        sqs.create(DELETIONS, dead_letter_url=DEAD_LETTERS, delay_s=choose((0.0, 60.0)))
        sqs.create(HELD_DELETIONS)
        queues = DeletionQueues(DELETIONS, HELD_DELETIONS, hold_above)
        self.world.settings = replace(self.world.settings, deletion_queues=queues, filters=choose(FILTERS))
        self.guard_audit: GuardAudit = GuardAudit(sqs, DELETIONS, HELD_DELETIONS, hold_above or sys.maxsize)

    # -- the story -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        scheduler = self.scheduler
        for key in self.keys:
            if scheduler.chance(0.3):
                self.write_target(key)
            if scheduler.chance(0.5):
                self.write(key)
        self.before = self.world.target.objects
        self.lambda_service.start()
        if scheduler.chance(0.5) and self.may_serve:
            self.start_service()
        tasks = [scheduler.spawn(self.change_source, name="application", group="application")]
        if scheduler.chance(0.6):
            tasks.append(scheduler.spawn(self.disturb, name="disturbance", group="disturbance"))
        if scheduler.chance(0.5):
            tasks.append(scheduler.spawn(self.operate, name="operator", group="operator"))
        for task in tasks:
            scheduler.join(task)
        scheduler.note("the changes end")
        if scheduler.chance(0.5):
            self.stop_services()
        self.become_quiet()
        self.lambda_service.thaw_idle(300.0)
        self.become_quiet()
        self.end_hold()
        self.check()

    def change_source(self) -> None:
        scheduler = self.scheduler
        for _ in range(scheduler.choose((1, 3, 6))):
            scheduler.sleep(self.active_s * scheduler.choose((0.0, 0.01, 0.1, 0.3)))
            key = scheduler.choose(self.keys)
            create = scheduler.choose((self.write, self.write, self.write_parts, self.roll_back))
            change = scheduler.choose((create, self.remove, self.tag))
            (create if self.world.source.current(key) is None else change)(key)

    def disturb(self) -> None:
        scheduler = self.scheduler
        for _ in range(scheduler.choose((1, 2, 4))):
            scheduler.sleep(self.active_s * scheduler.choose((0.01, 0.1, 0.3)))
            scheduler.choose((self.lambda_service.crash, self.thaw_environments, self.disturb_service))()

    def operate(self) -> None:
        """Start sweeps, ranges and jobs."""
        scheduler = self.scheduler
        for _ in range(scheduler.choose((1, 2))):
            scheduler.sleep(self.active_s * scheduler.choose((0.0, 0.1, 0.3)))
            delete = self.world.settings.delete and scheduler.chance(0.5)
            if self.sqs.messages(HELD_DELETIONS) and scheduler.chance(0.5):
                self.act_on_held_deletions()
                continue
            if scheduler.chance(0.2):
                self.lambda_service.run_job(self.keys)
                continue
            if scheduler.chance(0.1):
                self.start_restore(SweepOptions(full=scheduler.chance(0.3)), overwrite=scheduler.chance(0.5))
                continue
            if scheduler.chance(0.3) and self.migration is None:
                self.migrate()
                continue
            if scheduler.chance(0.4):
                self.sent_range = True
                work = RangeWork(delete=delete, max_delete=scheduler.choose((None, 1)))
                send_range(self.world, replace(work, filters=scheduler.choose(MORE_FILTERS)))
                continue
            options = SweepOptions(
                dry_run=scheduler.chance(0.2),
                delete=delete,
                max_delete=scheduler.choose((None, None, 1)),
                full=scheduler.chance(0.3),
            )
            filters = scheduler.choose(MORE_FILTERS)
            # Without the number of tags, such a sweep does not see them. Without conditions, it may remove those of
            # another worker. See docs/convergence.md, "Workers without tags".
            traits = self.world.target.traits
            may_ignore_tags = "HEAD" in traits.counts_tags and traits.conditions == "honoured"
            self.start_sweep(options, tags=scheduler.chance(0.8) or not may_ignore_tags, filters=filters)

    def migrate(self) -> None:
        """Sweep objects without an event, while the application may change them."""
        self.write_without_events(OLD_KEYS)
        self.keys = (*self.keys, *OLD_KEYS)
        self.scheduler.sleep(self.scheduler.choose((0.0, 3.0)))
        self.migration = self.start_sweep(SweepOptions())

    def end_hold(self) -> None:
        """Release or discard the held deletions until none is left."""
        while self.sqs.messages(HELD_DELETIONS):
            self.act_on_held_deletions()
            self.become_quiet()

    def act_on_held_deletions(self) -> None:
        """Release or discard what is held, and perhaps kill the command midway."""
        scheduler = self.scheduler
        task = act_on_held_deletions(self.world, "discard" if self.discards else "release")
        if scheduler.chance(0.3):
            scheduler.sleep(scheduler.choose((0.02, 0.05, 0.1, 1.0)))
            self.world.kill(task.group.name, "is killed")
        else:
            scheduler.join(task)
        if self.discards:
            self.discarded |= self.guard_audit.held.keys()
        scheduler.sleep(60.0)

    def start_sweep(self, options: SweepOptions, *, tags: bool = True, filters: Filters = NO_FILTERS) -> Findings:
        findings = start_sweep(
            self.world, options, tags=tags, filters=filters, uses_http=self.scheduler.chance(self.http_share)
        )
        self.sweeps.append(findings)
        return findings

    def start_restore(self, options: SweepOptions, *, overwrite: bool) -> Restore:
        restore = start_restore(
            self.world, options, overwrite=overwrite, uses_http=self.scheduler.chance(self.http_share)
        )
        self.restores.append(restore)
        return restore

    def restore_lost_objects(self) -> dict[str, Version]:
        """Lose all objects of the source without an event, and restore them.

        Return the objects of the mirror that must be back.
        """
        source, mirror = self.world.source, self.world.target
        lost = source.objects.keys()
        with self.without_events():
            for key in lost:
                self.remove(key)
        expected = mirror.objects
        restore = self.start_restore(SweepOptions(), overwrite=False)
        self.become_quiet()
        self.lost = {key for key in lost if source.current(key) is None}
        excused = expected.keys() if restore.findings.error is not None else restore.named
        return {key: version for key, version in expected.items() if key not in excused}

    # -- the application -------------------------------------------------------------------------------------------

    def body(self, size: int) -> bytes:
        return str(self.scheduler.number()).encode().ljust(size, b"-")[:size]

    def headers(self) -> dict[str, str]:
        return {"cache-control": "no-cache"} if self.scheduler.chance(0.2) else {}

    def tags(self) -> dict[str, str]:
        return {"tag": str(self.scheduler.number())} if self.scheduler.chance(0.3) else {}

    def on_change(self, key: str, event: str) -> None:
        """Send the event of a change to the queue. From now on, the key must become equal."""
        self.duty.add(key)
        self.sqs.notify(QUEUE, "source", key, event)

    def write_target(self, key: str) -> None:
        """Write an object that another tool has copied, perhaps long ago, perhaps in parts."""
        self.scheduler.note("another tool writes", key, "to the target")
        body = self.body(self.scheduler.choose((0, 10)))
        if self.scheduler.chance(0.5):
            self.world.target.write(key, body, self.headers(), self.tags())
        else:
            self.world.target.end_upload(self.world.target.begin_upload(key), [body])

    def write(self, key: str) -> None:
        size = self.scheduler.choose(self.sizes)
        self.scheduler.note("writes", key, f"of {size} bytes")
        self.world.source.write(key, self.body(size), self.headers(), self.tags())

    def write_without_events(self, keys: Iterable[str]) -> None:
        """Write objects, as before the queue got events."""
        with self.without_events():
            for key in keys:
                self.write(key)

    @contextmanager
    def without_events(self) -> Iterator[None]:
        """Change the source without events inside the block, which must not wait."""
        source = self.world.source
        notify, source.on_change = source.on_change, lambda key, event: None
        try:
            yield
        finally:
            source.on_change = notify

    def write_parts(self, key: str) -> None:
        part_size, parts = self.scheduler.choose(self.part_sizes), self.scheduler.choose((1, 2, 5))
        self.scheduler.note("writes", key, f"in {parts} parts of {part_size} bytes")
        upload_id = self.world.source.begin_upload(key, self.headers(), self.tags())
        self.scheduler.sleep(self.scheduler.choose((0.0, 1.0, 30.0)))
        self.world.source.end_upload(upload_id, [self.body(part_size) for _ in range(parts)])

    def remove(self, key: str) -> None:
        self.scheduler.note("deletes", key)
        self.world.source.remove(key)

    def tag(self, key: str) -> None:
        self.scheduler.note("tags", key)
        self.world.source.tag(key, self.tags())

    def roll_back(self, key: str) -> None:
        self.scheduler.note("rolls back", key)
        self.world.source.roll_back(key)

    # -- disturbances ----------------------------------------------------------------------------------------------

    def start_service(self) -> None:
        service = ServiceTask(self.world, self.service_options, uses_http=self.scheduler.chance(self.http_share))
        self.services.append(service)
        service.start()

    def stop_services(self) -> None:
        while self.services:
            self.services.pop().stop()

    def thaw_environments(self) -> None:
        self.lambda_service.thaw_idle(self.scheduler.choose((1.0, 100.0)))

    def disturb_service(self) -> None:
        if not self.services:
            if self.may_serve:
                self.start_service()
            return
        service = self.services.pop()
        how = self.scheduler.choose(("stop", "kill", "suspend"))
        if how == "stop":
            service.stop()
        elif how == "kill":
            service.kill()
        else:
            # Not killed afterwards: see docs/reliability.md, "A worker that loses its message and then dies".
            service.suspend(self.scheduler.choose((10.0, 300.0, LONG_SUSPENSION_S)))

    # -- the end ---------------------------------------------------------------------------------------------------

    def become_quiet(self) -> None:
        """Wait until every message is acknowledged or dead-lettered, and no request is on its way."""
        end = self.scheduler.now + self.quiet_max_s
        while not self.is_quiet():
            if self.scheduler.now > end:
                raise Violation(f"not quiet after {self.quiet_max_s:.0f} s: {self.messages}")
            self.scheduler.sleep(60.0)

    @property
    def has_unwatched_uploads(self) -> bool:
        """Return True if the history had work that may leave uploads without a message that watches them.

        A key of a range has no message, and neither has a task of S3 Batch Operations. A sweep that a store ended
        could not abort its uploads.
        """
        return self.sent_range or self.lambda_service.failed_task or any(sweep.error for sweep in self.sweeps)

    @property
    def messages(self) -> list[Queued]:
        """Return the messages of the queues that have workers."""
        return [message for queue in (QUEUE, BULK, DELETIONS) for message in self.sqs.messages(queue)]

    def is_quiet(self) -> bool:
        world = self.world
        servers = (world.source, world.target, world.sqs)
        return (
            not self.messages
            and not any(server.late_requests for server in servers)
            and not self.lambda_service.busy
            and all(sweep.ended for sweep in self.sweeps)
            and all(restore.findings.ended for restore in self.restores)
        )

    def check(self) -> None:
        """Check every promise of `invariants.py`. Raises Violation."""
        if self.migration is not None and self.migration.error is None:
            self.duty |= set(OLD_KEYS)
        world, verdicts = self.world, []
        restored = self.restore_lost_objects() if self.scheduler.chance(self.loss_share) else {}
        if self.scheduler.chance(0.3):
            check = self.start_sweep(SweepOptions(dry_run=True, full=True))
            self.become_quiet()
            if check.error is None:
                named = check.skipped.keys() | check.failed.keys()
                verdicts = [Verdict("check --full", equal=not named, named=named)]
        broken = violations(
            Ending(
                source=world.source,
                target=world.target,
                queue=self.messages,
                dead_letters=world.sqs.messages(DEAD_LETTERS),
                findings={key for sweep in self.sweeps for key in sweep.left}
                | self.lambda_service.keys_of_failed_tasks
                | self.discarded,
                duty=self.duty,
                lost=self.lost,
                explained_errors=self.explained_errors,
                deletes=world.settings.delete,
                tags=world.settings.tags,
                before=self.before,
                filters=world.settings.filters,
                guard_breaches=self.guard_audit.breaches,
                restored=restored,
                restore_breaches=[line for restore in self.restores for line in restore.bucket.breaches],
                deletions={sweep.name: sweep.deletions for sweep in self.sweeps},
                verdicts=verdicts,
                uploads_may_stay=not world.target.traits.lists_uploads or self.has_unwatched_uploads,
            )
        )
        if broken:
            raise Violation("\n".join(broken))
