"""The command `serve`: the service that works off the queues."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any

import click

from ...core.deadline import Deadline
from ...core.errors import SyncError
from ...crt.factory import crt_transports
from ...logs import log_json
from ...service.health import health_endpoint
from ...service.metrics import PATH as METRICS_PATH
from ...service.metrics import metrics_page
from ...service.options import ServiceOptions
from ...service.service import RANGE_THREADS, Service
from ...settings import Settings
from ...stores.request_limiter import RequestLimiters
from ...versions import log_versions
from ...wiring import build_queue_worker
from ..click_extensions import Command, with_options
from ..exit_codes import EQUAL
from ..options import groups, resources
from ..options.service import DISTRIBUTED_COPY, SERVICE, SERVICE_CONCURRENCY, SERVICE_OUTPUT, SERVICE_TIMES
from ..options.settings import fail, read_settings
from ..options.stores import STORES
from ..signals import exit_now, handle_signals


@click.command(
    cls=Command,
    examples=[("Do the work of the Lambda function, with a health endpoint", "s3-syncer serve --health-port 8080")],
)
@with_options(STORES, groups.FILTERS, groups.TAGS, groups.OBJECT_LOCK, groups.KEY_DELETES, SERVICE)
@with_options(SERVICE_CONCURRENCY, resources.MEMORY, DISTRIBUTED_COPY)
@with_options(SERVICE_OUTPUT, groups.EVENTS, SERVICE_TIMES)
def serve(**options: Any) -> None:
    """Receive messages from the queues and do their work, as the Lambda function does, until stopped.

    SIGTERM or Ctrl-C shuts the process down gracefully, with exit code 0. A second signal ends it at once. The command
    fails at its start if a queue cannot be used. It retries a store that cannot be used.
    """
    settings = read_settings(options, delete=options["delete"], queue=True)
    log_json(options["log_level"].upper())
    log_versions()
    try:
        _serve(settings, options)
    except (SyncError, OSError) as error:
        fail(error)


def _serve(settings: Settings, options: dict[str, Any]) -> None:
    """Serve until a signal, then exit the process. Raises a SyncError or an OSError if the start fails."""
    threads = (
        options["concurrency"]
        + (options["bulk_concurrency"] if settings.bulk_queue_url else 0)
        + (ServiceOptions.deletion_concurrency if settings.deletion_queues else 0)
    )
    queue_context = build_queue_worker(
        settings,
        threads=threads,
        range_threads=RANGE_THREADS,
        transports=partial(crt_transports, concurrency=RANGE_THREADS),
        limiters=RequestLimiters.up_to(threads),
    )
    live, bulk, deletions = queue_context.live, queue_context.bulk, queue_context.deletions
    for each in (live, *queue_context.others):
        each.queue.check()
    service_options = ServiceOptions(
        concurrency=options["concurrency"],
        bulk_concurrency=options["bulk_concurrency"],
        visibility_timeout_s=options["visibility_timeout"],
        shutdown_grace_s=options["shutdown_grace"],
        abort_grace_s=options["abort_grace"],
        receive_wait_s=options["receive_wait"],
        pause_first_s=options["pause_first"],
        pause_max_s=options["pause_max"],
    )
    service = Service(
        live.worker,
        live.queue,
        service_options,
        bulk=None if bulk is None else (bulk.worker, bulk.queue),
        deletions=None if deletions is None else (deletions.worker, deletions.queue),
        notify=queue_context.notify,
    )
    stop = Deadline()
    with ExitStack() as stack:
        if options["health_port"]:
            pages = {METRICS_PATH: metrics_page(service.health)}
            address = options["health_address"], options["health_port"]
            stack.enter_context(health_endpoint(service.health, *address, pages))
        grace_s = service_options.stop_timeout_s
        stack.enter_context(handle_signals(stop, service.release_all, grace_s=grace_s, exit_code=EQUAL))
        service.run(stop)
    exit_now(EQUAL)
