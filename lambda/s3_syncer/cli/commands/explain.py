"""The command `explain`: what is known about one key, and what would happen to it now."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import click

from ...operations.dead_letters import DeadLetterQueue
from ...operations.explain import explain as explain_key
from ...operations.outputs import Outputs
from ...operations.worker_log import WorkerLog
from ...stores.clients import aws_client, queue_client
from ...wiring import build_sync_context
from ..click_extensions import Command, with_options
from ..exit_codes import DIFFERENT, EQUAL, UNUSABLE
from ..options import groups as options
from ..options import operations as groups
from ..options.key_selection import require_below
from ..options.settings import read_settings
from ..options.stores import STORES
from ..output.explain_view import explanation_lines
from .on_module import on_module


@click.command(
    cls=Command,
    examples=[
        ("Explain a key of the source", "s3-syncer --module infra explain photos/1.jpg"),
        ("Search the log of the last week", "s3-syncer --module infra explain photos/1.jpg --since 168h"),
    ],
)
@with_options(STORES, options.FILTERS, options.TAGS, options.OBJECT_LOCK, options.KEY_DELETES)
@with_options(groups.LOG_SINCE, groups.JSON)
@click.argument("key")
@on_module
def explain(outputs: Outputs, key: str, since: float, as_json: bool, delete: bool, **given: Any) -> None:
    """Explain a KEY: both objects, the decision of a worker now, its log lines and its dead letters.

    Nothing is changed. A KEY includes the source prefix. The code of the workers makes the decision, on a target that
    takes no write. SQS cannot search a queue, so the log shows if the key waits for its next attempt. Exit code 0 is an
    equal key, 1 another one, 3 a store that cannot be used.
    """
    settings = read_settings(given, delete=delete)
    require_below(key, settings.source_prefix)
    sqs = queue_client(1)
    found = explain_key(
        build_sync_context(settings, threads=1).pair,
        key,
        prefix=settings.source_prefix,
        log=WorkerLog(aws_client("logs"), outputs.log_groups),
        letters=DeadLetterQueue(
            sqs, outputs.dead_letter_queue_url, destination_url=outputs.queue_url, bucket=settings.source_bucket
        ),
        now=time.time(),
        since_s=since,
        limits=settings.target_limits,
    )
    click.echo(json.dumps(found.as_json(), indent=2) if as_json else "\n".join(explanation_lines(found)))
    if found.errors:
        sys.exit(UNUSABLE)
    sys.exit(EQUAL if found.decision.is_equal and not found.letters else DIFFERENT)
