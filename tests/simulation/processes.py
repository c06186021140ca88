"""Processes on simulated stores and SQS: Lambda environments, service tasks, sweeps and restores.

The code in them is the product's, from the composition root down. A process is a group of the scheduler, so it can be
killed, frozen and thawed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, cast
from urllib.parse import quote_plus

from botocore.exceptions import BotoCoreError, ClientError

from s3_syncer.core.deadline import Deadline
from s3_syncer.core.errors import SyncError
from s3_syncer.core.fence import LATE_WRITE_S
from s3_syncer.core.filters import NO_FILTERS, Filters
from s3_syncer.core.multipart import Limits
from s3_syncer.core.units import KIB
from s3_syncer.core.work_items import RangeWork
from s3_syncer.crt.factory import http_transports
from s3_syncer.lambda_handler import Function
from s3_syncer.operations.held_deletions import HeldDeletions
from s3_syncer.service.options import ServiceOptions
from s3_syncer.service.service import Service
from s3_syncer.settings import Credentials, DeletionQueues, RestoreSettings, Settings
from s3_syncer.stores.credentials import FixedClient
from s3_syncer.stores.fenced_requests import ask_fence
from s3_syncer.stores.protocols import BucketLocation
from s3_syncer.stores.request_limiter import RequestLimiters
from s3_syncer.sync.context import Transports
from s3_syncer.sync.key_sweep import SweepOptions
from s3_syncer.sync.outcome import Outcome
from s3_syncer.sync.sweep import Sweep
from s3_syncer.wiring import ClientFactories, build_queue_worker, build_sync_context

from .client import Connection, S3Client
from .faults import NO_FAULTS, Faults
from .http_client import SimulatedHttpClient
from .scheduler import Scheduler, Task
from .sqs import Queued, Sqs, SqsClient
from .store import Store
from .watched_bucket import WatchedBucket

#: Requests at a time to each store. Fewer than the threads of a service, so that requests wait for each other.
MOST_REQUESTS = 2

#: Small objects that a process copies over HTTP at a time.
COPIES = 2

QUEUE, BULK, DEAD_LETTERS = "queue", "queue-bulk", "dead-letters"
DELETIONS, HELD_DELETIONS = "queue-deletions", "queue-held-deletions"

#: The settings of all processes. An object above 8 KiB is copied in parts of 4 KiB or in those of the source, and above
#: 12 KiB by several workers: see `scale.py`.
SETTINGS = Settings(
    source_bucket="source",
    target_endpoint="https://target.example.com",
    target_region="region",
    target_bucket="target",
    target_credentials=Credentials("id", "key"),
    queue_url=QUEUE,
    bulk_queue_url=BULK,
    dead_letter_queue_url=DEAD_LETTERS,
    deletion_queues=DeletionQueues(DELETIONS, HELD_DELETIONS),
    copy_memory=16 * KIB,
    target_limits=Limits(min_part=1 * KIB),
    distributed_copy_threshold=12 * KIB,
)


@dataclass(slots=True)
class World:
    """Two stores, the queue, and the faults on the way to each of them."""

    scheduler: Scheduler
    source: Store
    target: Store
    sqs: Sqs
    source_faults: Faults = NO_FAULTS
    target_faults: Faults = NO_FAULTS
    queue_faults: Faults = NO_FAULTS
    settings: Settings = SETTINGS

    def kill(self, group: str, why: str) -> None:
        """Kill a process."""
        self.scheduler.count("killed process")
        self.scheduler.note(group, why)
        self.scheduler.kill(group)

    def clients(self) -> ClientFactories:
        """Return factories for the clients of one process."""

        def client(store: Store, faults: Faults) -> FixedClient:
            client: Any = S3Client(store, Connection(store, faults))
            ask_fence(client)
            return FixedClient(client)

        def queue_client(_: int) -> Any:
            return SqsClient(self.sqs, Connection(self.sqs, self.queue_faults, attempts=3))

        return ClientFactories(
            source=lambda *_: client(self.source, self.source_faults),
            target=lambda *_: client(self.target, self.target_faults),
            queue=queue_client,
        )

    def http_transports(self, source: BucketLocation, target: BucketLocation) -> Transports:
        """Return the CRT transports of one process, over simulated HTTP clients."""
        sides = {"source": (self.source, self.source_faults), "target": (self.target, self.target_faults)}

        def client(location: BucketLocation) -> SimulatedHttpClient:
            store, faults = sides[location.name]
            return SimulatedHttpClient(store, Connection(store, faults))

        return http_transports(source, target, client(source), client(target), concurrency=COPIES)

    def plain_transports(self, source: BucketLocation, target: BucketLocation) -> Transports:
        """Return the transports of one function, over simulated HTTP clients."""
        return replace(self.http_transports(source, target), small_object_copier=None)


# -- AWS Lambda ----------------------------------------------------------------------------------------------------


class Environment:
    """A Lambda environment: a process that handles one event at a time, and is frozen between two events."""

    def __init__(self, world: World, name: str, threads: int) -> None:
        self.name, self._world, self._threads = name, world, threads
        self._function: Function | None = None
        self._end_s = 0.0

    def get_remaining_time_in_millis(self) -> int:
        return int((self._end_s - self._world.scheduler.now) * 1000)

    def invoke(self, event: dict[str, Any], timeout_s: float, response: list[Any]) -> None:
        """Handle an event, and append the response. A cold start builds the function."""
        self._end_s = self._world.scheduler.now + timeout_s
        if self._function is None:
            self._function = Function(
                build_queue_worker(
                    self._world.settings,
                    threads=self._threads,
                    range_threads=self._threads,
                    transports=self._world.plain_transports,
                    clients=self._world.clients(),
                )
            )
        response.append(self._function.handle(event, self))


class LambdaService:
    """AWS Lambda: it polls the queues, and invokes the function `concurrency` times at a time for each.

    The batch size of the queue for bulk work is 1, as in `function.tf`.
    """

    def __init__(
        self, world: World, *, concurrency: int = 2, timeout_s: float = 60.0, batch_size: int = 3, threads: int = 2
    ) -> None:
        self._world, self._scheduler = world, world.scheduler
        self._concurrency, self._timeout_s, self._batch_size, self._threads = (
            concurrency,
            timeout_s,
            batch_size,
            threads,
        )
        #: The environments that are frozen, and those that handle an event.
        self.idle: list[Environment] = []
        self.busy: list[Environment] = []
        #: By queue, the number of environments that handle a batch of it.
        self._invocations: Counter[str] = Counter()
        #: True if a task of S3 Batch Operations failed. No message watches the upload of such a task.
        self.failed_task = False
        #: The keys of tasks that were killed, or that the report names as failed. No message compares them.
        self.keys_of_failed_tasks: set[str] = set()

    @property
    def visibility_timeout_s(self) -> float:
        """Return the visibility timeout of the queue, as `queue.tf` sets it."""
        return max(LATE_WRITE_S + self._timeout_s, 6 * self._timeout_s)

    def start(self) -> None:
        for queue, batch_size in ((QUEUE, self._batch_size), (BULK, 1), (DELETIONS, self._batch_size)):
            self._scheduler.spawn(self._poll, queue, batch_size, name=f"lambda poller of {queue}", group="aws")

    def crash(self) -> None:
        """Kill an environment that handles an event."""
        if self.busy:
            self._world.kill(self._scheduler.choose(self.busy).name, "crashes")

    def thaw_idle(self, seconds: float) -> None:
        """Let the frozen environments run for a while, as the invocations for unrelated keys do."""
        thawed = list(self.idle)
        for environment in thawed:
            self._scheduler.note("thaws", environment.name)
            self._scheduler.thaw(environment.name)
        self._scheduler.sleep(seconds)
        for environment in thawed:
            if environment in self.idle:
                self._scheduler.freeze(environment.name)

    def _poll(self, queue: str, batch_size: int) -> None:
        while True:
            self._world.sqs.wait(queue, float("inf"))
            if self._invocations[queue] >= self._concurrency:
                self._scheduler.sleep(1.0, "concurrency limit")
                continue
            messages = self._world.sqs.receive(queue, batch_size, self.visibility_timeout_s)
            if messages:
                self._invocations[queue] += 1
                environment = self._take_environment()
                name = f"invocation of {environment.name}"
                self._scheduler.spawn(self._process_batch, environment, queue, messages, name=name, group="aws")

    def run_job(self, keys: Sequence[str]) -> None:
        """Run a job of S3 Batch Operations over the keys. S3 repeats a task with a temporary failure."""
        version, bucket = "2.0", self._world.source.name
        for key in keys:
            for attempt in range(3):
                task = {"taskId": "1", "s3Key": quote_plus(key), "s3VersionId": None, "s3Bucket": bucket}
                event = {"invocationSchemaVersion": version, "invocationId": str(attempt), "tasks": [task]}
                self._scheduler.note("runs an S3 Batch task of", key)
                response = self._invoke(self._take_environment(), event)
                result = response["results"][0]["resultCode"] if response is not None else "killed"
                if result in ("PermanentFailure", "killed"):
                    self.keys_of_failed_tasks.add(key)
                if result in ("Succeeded", "PermanentFailure"):
                    break
                self.failed_task = True
                self._scheduler.sleep(30.0)

    def _take_environment(self) -> Environment:
        """Return a frozen environment, or a new one, that is busy from now on."""
        scheduler = self._scheduler
        if self.idle and not scheduler.chance(0.1):
            environment = self.idle.pop(scheduler.choose(range(len(self.idle))))
        else:
            environment = Environment(self._world, f"lambda-{scheduler.number()}", self._threads)
        self.busy.append(environment)
        return environment

    def _process_batch(self, environment: Environment, queue: str, messages: Sequence[Queued]) -> None:
        event = {
            "Records": [
                {
                    "messageId": message.id,
                    "body": message.body,
                    "receiptHandle": message.receipt,
                    "attributes": {"ApproximateReceiveCount": str(message.received)},
                    "eventSourceARN": f"arn:aws:sqs:region:123456789012:{queue}",
                }
                for message in messages
            ]
        }
        self._scheduler.note("invokes", environment.name, "with", *map(_Text, messages))
        receipts = {message.id: message.receipt for message in messages}
        response = self._invoke(environment, event)
        self._invocations[queue] -= 1
        if response is None:
            return
        failed = {failure["itemIdentifier"] for failure in response["batchItemFailures"]}
        self._scheduler.note(environment.name, "returns", *sorted(failed), "and is frozen")
        for id, receipt in receipts.items():
            if id not in failed:
                self._world.sqs.delete(queue, receipt)

    def _invoke(self, environment: Environment, event: dict[str, Any]) -> Any:
        """Return the response of the function, or None if its environment crashed or ran out of time."""
        scheduler = self._scheduler
        scheduler.thaw(environment.name)
        response: list[Any] = []
        task = scheduler.spawn(
            environment.invoke, event, self._timeout_s, response, name=environment.name, group=environment.name
        )
        ended = scheduler.join(task, self._timeout_s)
        self.busy.remove(environment)
        if not response:
            self._world.kill(environment.name, "has crashed" if ended else "runs out of time")
            return None
        scheduler.count("freeze")
        scheduler.freeze(environment.name)
        self.idle.append(environment)
        return response[0]


class _Text:
    """The text of a message in the history: the events and keys of S3, or the product's work."""

    def __init__(self, message: Queued) -> None:
        self._message = message

    def __str__(self) -> str:
        content = json.loads(self._message.body)
        events = [f"{each['eventName']} {each['s3']['object']['key']}" for each in content.get("Records", [])]
        return f"{self._message.id}: {', '.join(events) or content['s3-syncer']};"


# -- the service ---------------------------------------------------------------------------------------------------


class ServiceTask:
    """An ECS task that runs the service. It can be stopped, killed and suspended."""

    def __init__(self, world: World, options: ServiceOptions, *, uses_http: bool = False) -> None:
        self._world, self._options, self._uses_http = world, options, uses_http
        self.name = f"service-{world.scheduler.number()}"
        self._stop = Deadline()
        self._service: Service | None = None
        self.task: Task | None = None

    def start(self) -> None:
        self.task = self._world.scheduler.spawn(self._run, name=self.name, group=self.name)

    def stop(self) -> None:
        """Stop the service as SIGTERM does: see `cli/signals.py`."""
        scheduler = self._world.scheduler
        scheduler.note("stops", self.name)
        if self.task is None or self._service is None or self.task.done:
            return
        self._stop.stop()
        if not scheduler.join(self.task, self._options.stop_timeout_s):
            release = scheduler.spawn(self._service.release_all, name=f"{self.name}/stop", group=self.name)
            scheduler.join(release, 60.0)
            self._world.kill(self.name, "ends before its work")

    def kill(self) -> None:
        self._world.kill(self.name, "is killed")

    def suspend(self, seconds: float) -> None:
        """Suspend the process, as SIGSTOP and SIGCONT do."""
        scheduler = self._world.scheduler
        scheduler.count("suspended process")
        scheduler.note("suspends", self.name)
        scheduler.freeze(self.name)
        scheduler.sleep(seconds)
        scheduler.note("continues", self.name)
        scheduler.thaw(self.name)

    def _run(self) -> None:
        context = build_queue_worker(
            self._world.settings,
            threads=self._options.concurrency + self._options.bulk_concurrency + self._options.deletion_concurrency,
            range_threads=2,
            transports=self._world.http_transports if self._uses_http else None,
            clients=self._world.clients(),
            limiters=RequestLimiters.up_to(MOST_REQUESTS),
        )
        live, bulk, deletions = context.live, context.bulk, context.deletions
        assert bulk is not None
        self._service = Service(
            live.worker,
            live.queue,
            self._options,
            bulk=(bulk.worker, bulk.queue),
            deletions=None if deletions is None else (deletions.worker, deletions.queue),
        )
        self._service.run(self._stop)


# -- the operator --------------------------------------------------------------------------------------------------


def act_on_held_deletions(world: World, action: Literal["release", "discard"]) -> Task:
    """Release or discard the held deletions in a new process, as `s3-syncer deletions` does."""
    scheduler = world.scheduler
    name = f"deletions-{scheduler.number()}"

    def run() -> None:
        client = SqsClient(world.sqs, Connection(world.sqs, world.queue_faults, attempts=3))
        held = HeldDeletions(cast(Any, client), HELD_DELETIONS, bulk_url=BULK, threads=2)
        with suppress(ClientError, BotoCoreError):
            (held.release if action == "release" else held.discard)(lambda done: None)

    scheduler.note("runs", name, "to", action)
    return scheduler.spawn(run, name=name, group=name)


# -- sweeps --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Findings:
    """The listener of a sweep: what it reports, as the CLI would."""

    scheduler: Scheduler
    name: str
    options: SweepOptions
    changed: dict[str, Outcome] = field(default_factory=dict)
    skipped: dict[str, Outcome] = field(default_factory=dict)
    failed: dict[str, SyncError] = field(default_factory=dict)
    #: Keys with a write that may still take effect. The report names them.
    uncertain: dict[str, None] = field(default_factory=dict)
    #: The error that ended the sweep.
    error: SyncError | None = None
    ended: bool = False

    @property
    def left(self) -> list[str]:
        """The keys that the sweep was to make equal, and that it names because it could not."""
        return [] if self.options.dry_run else [*self.skipped, *self.failed, *self.uncertain]

    @property
    def deletions(self) -> tuple[int, int | None]:
        """The number of keys that the sweep deleted, and its limit."""
        return sum(outcome.action == "delete" for outcome in self.changed.values()), self.options.max_delete

    def on_compared(self, keys: int) -> None: ...

    def on_changed(self, key: str, outcome: Outcome) -> None:
        self.scheduler.note("reports", outcome.action, key, f"({outcome.reason})")
        self.changed[key] = outcome

    def on_skipped(self, key: str, outcome: Outcome) -> None:
        self.scheduler.note("reports", outcome.action, key, f"({outcome.reason})")
        self.skipped[key] = outcome

    def on_failed(self, key: str, error: SyncError) -> None:
        self.scheduler.note("reports failed", key, f"({error.reason})")
        self.failed[key] = error

    def on_uncertain(self, key: str) -> None:
        self.scheduler.note("reports uncertain", key)
        self.uncertain[key] = None

    def on_restart(self, why: str) -> None:
        self.skipped.clear()
        self.failed.clear()


@dataclass(frozen=True, slots=True)
class Restore:
    """A restore: what it reports, and the bucket that it writes to."""

    findings: Findings
    bucket: WatchedBucket

    @property
    def named(self) -> set[str]:
        """The keys that it reports because they may not be as in the mirror."""
        return {*self.findings.skipped, *self.findings.failed, *self.findings.uncertain}


def start_restore(world: World, options: SweepOptions, *, overwrite: bool, uses_http: bool = False) -> Restore:
    """Start a restore from the target to the source in a new process, as `restore` does."""
    bucket = WatchedBucket(world.source, overwrite=overwrite)
    watched = replace(world, source=cast(Store, bucket))
    findings = start_sweep(
        watched,
        replace(options, ignores_times=True),
        uses_http=uses_http,
        restore=RestoreSettings(overwrite=overwrite),
    )
    return Restore(findings, bucket)


def start_sweep(
    world: World,
    options: SweepOptions,
    *,
    tags: bool = True,
    filters: Filters = NO_FILTERS,
    threads: int = 2,
    uses_http: bool = False,
    restore: RestoreSettings | None = None,
) -> Findings:
    """Start a sweep in a new process, as `migrate`, `check` and `restore` do; return its findings.

    It applies `filters` beside those of all workers. With `uses_http`, it has the CRT transport.
    """
    scheduler = world.scheduler
    name = f"{'sweep' if restore is None else 'restore'}-{scheduler.number()}"
    findings = Findings(scheduler, name, options)

    def run() -> None:
        settings = replace(
            world.settings,
            delete=options.delete,
            tags=tags and world.settings.tags,
            filters=world.settings.filters & filters,
        )
        context = build_sync_context(
            settings,
            threads=threads,
            restore=restore,
            resumes=True,
            transports=world.http_transports if uses_http else None,
            clients=world.clients(),
            limiters=RequestLimiters.up_to(MOST_REQUESTS),
        )
        sweep = Sweep(
            context.pair,
            context.source,
            context.target,
            findings,
            options,
            threads=threads,
            small_object_copier=context.small_object_copier,
        )
        try:
            sweep.run(Deadline())
        except SyncError as error:
            scheduler.note("ends with", error.reason)
            findings.error = error
        findings.ended = True

    scheduler.note(
        "starts",
        name,
        *_changed(options),
        "" if restore is None or not restore.overwrite else "overwrite",
        "" if tags else "tags=False",
        "over HTTP" if uses_http else "",
        filters.to_json() if filters else "",
    )
    scheduler.spawn(run, name=name, group=name)
    return findings


def _changed(options: SweepOptions) -> list[str]:
    """Return the options that are not the defaults, for the history."""
    values = {each.name: getattr(options, each.name) for each in fields(options)}
    return [
        f"{name}={getattr(value, '__name__', value)}"
        for name, value in values.items()
        if value != getattr(SweepOptions(), name)
    ]


def send_range(world: World, work: RangeWork) -> None:
    """Send a range to the queue for bulk work, as the schedule does, or to the other, as a redrive does."""
    world.scheduler.note("sends", work)
    world.sqs.send(world.scheduler.choose((BULK, BULK, QUEUE)), work.to_json())
