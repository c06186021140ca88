"""Composition root: build the connected buckets and the queue worker from the settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from .core.errors import StoreUnusable
from .core.multipart import USUAL_LIMITS
from .doctor import PREFIX
from .process_tuning import return_large_buffers
from .queue.bus_events import Notify, deletions_held, no_bus
from .queue.deletion_guard import DeletionGuard, Deletions
from .queue.sqs import Destinations, Queue, count_messages
from .queue.worker import Worker
from .settings import (
    EXPECTED_OWNER_HEADER,
    AwsChain,
    Connection,
    Credentials,
    DeletionQueues,
    RequestOptions,
    RestoreSettings,
    Settings,
)
from .stores.bucket import Bucket
from .stores.clients import event_client, is_aws, namespace, queue_client, source_client, target_client
from .stores.object_locks import ObjectLocks
from .stores.protocols import BucketLocation, ClientSource, RequestGate, Transport
from .stores.request_limiter import NO_LIMITERS, RequestLimiters
from .sync.bucket_pair import BucketPair
from .sync.context import SyncContext, TransportFactory, Transports
from .sync.direction import TO_MIRROR, ToMirror
from .sync.distributed_copy import DistributedCopier
from .sync.range_sweep import RangeSweeper
from .sync.transfer import Transfer

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

    from .doctor.doctor import Doctor

#: Connections of a client beyond two per thread: for requests that overlap with a response that is still read.
SPARE_CONNECTIONS = 4


@dataclass(frozen=True, slots=True)
class ClientFactories:
    """Builders of the clients of both stores and of SQS: see `stores/clients.py` for their parameters."""

    source: Callable[[int, RequestOptions, Connection], ClientSource] = source_client
    target: Callable[[str, str, str | Credentials | AwsChain, int, RequestOptions], ClientSource] = target_client
    queue: Callable[[int], SQSClient] = queue_client


#: The clients of boto3.
BOTO3 = ClientFactories()


@dataclass(frozen=True, slots=True)
class RequestGates:
    """The gates of both stores: see `cli/sweeps/outage.py`."""

    source: RequestGate | None = None
    target: RequestGate | None = None


NO_GATES = RequestGates()


def build_sync_context(
    settings: Settings,
    *,
    threads: int,
    restore: RestoreSettings | None = None,
    resumes: bool = False,
    transports: TransportFactory | None = None,
    clients: ClientFactories = BOTO3,
    gates: RequestGates = NO_GATES,
    limiters: RequestLimiters = NO_LIMITERS,
) -> SyncContext:
    """Build the context for `threads` keys and as many parts at a time. Raises StoreUnusable.

    With `restore`, its source is the mirror, which is the target of the settings, and its target is the source of the
    settings. The gates and the limiters are those of the roles in the restore.

    With `resumes`, a large object continues from the parts that an earlier run uploaded: see `transfer.Transfer`. A
    restore never does that.
    Without `transports`, the clients make every request. Without `gates`, an unavailable store is an error at once.
    Without `limiters`, only the threads limit the requests in flight.
    """
    return_large_buffers()
    if restore is None:
        route = _Route(*_locations(settings, threads, clients, limiters), transports, resumes=resumes)
        return _connect(settings, route, threads, gates)

    # Here, because the function never restores.
    from .stores.as_of import AsOfClients, require_versions
    from .stores.kept_bucket import KeptBucket
    from .sync.restore import FromMirror

    bucket, mirror = _locations(settings, threads, clients, RequestLimiters(limiters.target, limiters.source))
    if restore.as_of is not None:
        require_versions(mirror.clients, mirror.name)
        # The transports know no versions.
        mirror, transports = replace(mirror, clients=AsOfClients(mirror.clients, restore.as_of)), None
    route = _Route(
        mirror,
        bucket,
        transports,
        resumes=False,  # an upload in the bucket may be that of an application
        direction=FromMirror(restore.overwrite),
        target_type=KeptBucket,
    )
    # The limits of the settings are those of the mirror.
    return _connect(replace(settings, delete=False, target_limits=USUAL_LIMITS), route, threads, gates)


@dataclass(frozen=True, slots=True)
class _Route:
    """The bucket that is copied, its copy, and what differs when objects are restored."""

    source: BucketLocation
    target: BucketLocation
    transports: TransportFactory | None
    resumes: bool
    direction: ToMirror = TO_MIRROR
    target_type: type[Bucket] = Bucket


def _locations(
    settings: Settings, threads: int, clients: ClientFactories, limiters: RequestLimiters
) -> tuple[BucketLocation, BucketLocation]:
    """Return the source and the target of the settings."""
    connections = 2 * threads + SPARE_CONNECTIONS
    source_clients = _source_clients(settings, connections, clients)
    target_clients = clients.target(
        settings.target_endpoint,
        settings.target_region,
        settings.target_credentials,
        connections,
        settings.target_requests,
    )
    return (
        BucketLocation(
            settings.source_bucket,
            settings.source_prefix,
            source_clients,
            settings.source_requests,
            limiters.source,
            is_aws(source_clients.lease().client.meta.endpoint_url),
        ),
        # Its client is not needed here: it reads the secret, which may have no value yet.
        BucketLocation(
            settings.target_bucket,
            settings.target_prefix,
            target_clients,
            settings.target_requests,
            limiters.target,
            is_aws(settings.target_endpoint),
        ),
    )


def _source_clients(settings: Settings, connections: int, clients: ClientFactories) -> ClientSource:
    """Return the clients of the source. Raises StoreUnusable if the target overlaps with the source.

    Each copy would be an object of the source, and would be copied again. Deletions would remove objects of the source.
    """
    found = clients.source(connections, settings.source_requests, settings.source_connection)
    is_one_bucket = settings.source_bucket == settings.target_bucket and namespace(
        found.lease().client.meta.endpoint_url
    ) == namespace(settings.target_endpoint)
    source, target = settings.source_prefix, settings.target_prefix
    if is_one_bucket and (source.startswith(target) or target.startswith(source)):
        raise StoreUnusable(
            f"the source and the target overlap in the bucket {settings.target_bucket}, with the prefixes {source!r} "
            f"and {target!r}: write another bucket, or two prefixes of which none begins with the other",
            "Overlap",
        )
    return found


def _connect(settings: Settings, route: _Route, threads: int, gates: RequestGates) -> SyncContext:
    """Connect the two buckets of a route."""
    transports = route.transports(route.source, route.target) if route.transports is not None else Transports()
    locks = None
    if settings.object_lock:
        locks = ObjectLocks(lambda: target.lock_configuration(), removes_holds=route.direction.removes_holds)
    target: Bucket

    def bucket(
        location: BucketLocation, kind: type[Bucket], transport: Transport | None, gate: RequestGate | None
    ) -> Bucket:
        return kind(
            location.name,
            location.prefix,
            location.clients,
            tags=settings.tags,
            documents_tag_counts=location.is_on_aws,
            lists_restores=location is route.source and location.is_on_aws,
            reads_checksums=settings.reads_checksums,
            transport=transport,
            gate=gate,
            limiter=location.limiter,
            expected_owner=location.options.headers.get(EXPECTED_OWNER_HEADER, ""),
            locks=locks,
        )

    source = bucket(route.source, Bucket, transports.source, gates.source)
    target = bucket(route.target, route.target_type, transports.target, gates.target)
    small_object_copier = transports.small_object_copier
    transfer = Transfer(
        source,
        target,
        memory=settings.copy_memory,
        threads=threads,
        bandwidth=settings.bandwidth,
        resumes=route.resumes,
        limits=settings.target_limits,
        stream_copier=transports.stream_copier,
        tags=settings.tags,
        direction=route.direction,
    )

    pair = BucketPair(
        source,
        target,
        transfer,
        delete=settings.delete,
        filters=settings.filters,
        capabilities=transfer.capabilities,
        direction=route.direction,
    )
    return SyncContext(
        source,
        target,
        transfer,
        pair,
        small_object_copier(transfer, tags=settings.tags, object_lock=settings.object_lock)
        if small_object_copier is not None
        else None,
        locks,
    )


def build_doctor(settings: Settings, *, prefix: str = PREFIX, clients: ClientFactories = BOTO3) -> Doctor:
    """Build the doctor. Raises StoreUnusable. It checks the queues and the event bus of the settings."""
    from .doctor.doctor import Doctor  # here, because no other work of a process needs it at its start

    def connect(options: RequestOptions) -> ClientSource:
        return clients.target(
            settings.target_endpoint,
            settings.target_region,
            settings.target_credentials,
            SPARE_CONNECTIONS,
            options,
        )

    return Doctor(
        settings,
        _source_clients(settings, SPARE_CONNECTIONS, clients),
        connect,
        clients.queue(SPARE_CONNECTIONS) if settings.queue_url else None,
        event_client(settings.event_bus_arn) if settings.event_bus_arn else None,
        prefix=prefix,
    )


@dataclass(frozen=True, slots=True)
class QueueWorker:
    """A queue and the worker for its messages."""

    queue: Queue
    worker: Worker


@dataclass(frozen=True, slots=True)
class QueueContext:
    """The queues with their workers; `bucket` and `prefix` are those of the source."""

    bucket: str
    prefix: str
    #: Of the queue of the events. It sends bulk work on to the queue for it.
    live: QueueWorker
    #: Of the queue for bulk work. None if there is only one queue, for all work.
    bulk: QueueWorker | None
    #: Of the queue of the deletions. None if each worker deletes at once.
    deletions: QueueWorker | None
    #: Sends an event to the bus in the settings.
    notify: Notify = no_bus

    @property
    def others(self) -> tuple[QueueWorker, ...]:
        """Return the queues beside that of the events."""
        return tuple(each for each in (self.bulk, self.deletions) if each is not None)


def build_queue_worker(
    settings: Settings,
    *,
    threads: int,
    range_threads: int,
    transports: TransportFactory | None = None,
    clients: ClientFactories = BOTO3,
    limiters: RequestLimiters = NO_LIMITERS,
) -> QueueContext:
    """Build the workers of the queues. Raises StoreUnusable.

    They converge `threads` keys at a time, and `range_threads` keys in each range. `transports`, `clients` and
    `limiters` are as for `build_sync_context`.
    """
    context = build_sync_context(settings, threads=threads, transports=transports, clients=clients, limiters=limiters)
    bucket, prefix = settings.source_bucket, settings.source_prefix
    distributed_copier = DistributedCopier(
        context.source,
        context.target,
        context.transfer,
        prefix=prefix,
        threshold=settings.distributed_copy_threshold,
        filters=settings.filters,
    )
    queues = settings.deletion_queues
    are_deferred = settings.delete and queues is not None
    ranges = RangeSweeper(
        context,
        prefix=prefix,
        threads=range_threads,
        max_object_size=distributed_copier.threshold,
        defers_deletions=are_deferred,
    )
    notify = build_notify(settings)
    bulk_url, client = settings.bulk_queue_url, clients.queue(threads + SPARE_CONNECTIONS)
    destinations = Destinations(
        bulk=bulk_url or settings.queue_url,
        dead_letters=settings.dead_letter_queue_url,
        deletions=queues.url if queues is not None else "",
        held_deletions=queues.held_url if queues is not None else "",
    )

    def build(url: str, *, sends_bulk_on: bool, guard: DeletionGuard | None = None) -> QueueWorker:
        queue = Queue(client, url=url, destinations=destinations, bucket=bucket)
        worker = Worker(
            context.pair,
            ranges,
            distributed_copier,
            bucket=bucket,
            prefix=prefix,
            threads=threads,
            sends_bulk_on=sends_bulk_on,
            deletions=Deletions(are_deferred, guard),
            responded_at=lambda: min(each.availability.responded_at for each in (context.source, context.target)),
        )
        return QueueWorker(queue, worker)

    return QueueContext(
        bucket,
        prefix,
        live=build(settings.queue_url, sends_bulk_on=bool(bulk_url)),
        bulk=build(bulk_url, sends_bulk_on=False) if bulk_url else None,
        deletions=(
            build(queues.url, sends_bulk_on=bool(bulk_url), guard=_guard(client, queues, notify))
            if queues is not None
            else None
        ),
        notify=notify,
    )


def build_notify(settings: Settings) -> Notify:
    """Return what sends events to the bus in the settings. Without a bus, it does nothing."""
    if not settings.event_bus_arn:
        return no_bus
    from .queue.event_bus import EventBus  # here, because most modules have no bus

    return EventBus(settings).send


def _guard(client: SQSClient, queues: DeletionQueues, notify: Notify) -> DeletionGuard:
    def count() -> int:
        return sum(count_messages(client, url) for url in (queues.url, queues.held_url))

    hold_above = queues.hold_above
    return DeletionGuard(count, hold_above, on_shut=lambda waiting: notify(deletions_held(waiting, hold_above or 0)))
