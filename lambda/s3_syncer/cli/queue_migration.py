"""`migrate --workers queue`: one range for the fleet, its work watched from afar, and both sides compared."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from rich.console import Console

from ..core.deadline import Deadline, OutOfTime
from ..core.errors import Retryable, StoreUnusable, SyncError, classify
from ..core.work_items import RangeWork
from ..stores.clients import logs_client, queue_client
from ..sync.sweep import SweepOptions
from ..wiring import build_sync_context
from .progress import clock, size
from .queue_progress import Line, Watch, wait
from .run import Job, run, shown
from .signals import stoppable
from .stats import Tally, printable

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

logger = logging.getLogger(__name__)

#: Seconds between two looks at the queue and the log, at most; a look is a request each, and one for each page of log.
INTERVAL_S = 10.0

#: Pages of a log that are read at a look: what is more is read at the next.
MAX_PAGES = 20

#: Milliseconds that a line may take to be found in the log, so that many are read again and recognised.
LOG_DELAY_MS = 60_000

#: What is of interest in the log: not each key that a range has copied, which its own line counts.
PATTERN = (
    '{ ($.action = "range") || ($.action = "dead-letter") || ($.action = "part") || ($.action = "complete")'
    " || ($.lag_ms IS NULL) }"
)

GOES_ON = "The fleet goes on with what is on the queue; `s3-syncer check` tells whether both sides are equal."

_COUNTS = ("", "NotVisible", "Delayed")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the fleet takes its work from and tells of it."""

    queue_url: str
    dead_letter_queue_url: str = ""
    log_groups: tuple[str, ...] = ()
    #: Seconds for which the queue must be empty before that is believed.
    idle_s: float = 60.0


class RemoteFleet:
    """A fleet of which nothing is known but its queues and its logs; see `waiting.Fleet`."""

    def __init__(self, place: Place, *, sqs: SQSClient, logs: Any, began_ms: int) -> None:
        self._place, self._sqs, self._logs = place, sqs, logs
        self._began_ms = dict.fromkeys(place.log_groups, began_ms)
        self._page: dict[str, str] = {}
        self._seen: dict[str, int] = {}

    def send(self, work: RangeWork) -> None:
        self._ask(lambda: self._sqs.send_message(QueueUrl=self._place.queue_url, MessageBody=work.to_json()))

    def backlog(self) -> int:
        return self._count(self._place.queue_url)

    def dead_letters(self) -> int | None:
        """How many dead letters there are; None when nobody said where."""
        return self._count(self._place.dead_letter_queue_url) if self._place.dead_letter_queue_url else None

    def lines(self) -> Iterator[Line]:
        for group in self._place.log_groups:
            for event in self._events(group):
                try:
                    line = json.loads(event["message"])
                except ValueError:
                    continue
                if isinstance(line, dict):
                    yield line

    def _events(self, group: str) -> Iterator[Any]:
        """Those not seen yet."""
        for _ in range(MAX_PAGES):
            page = {"nextToken": self._page.pop(group)} if group in self._page else {}
            request = {"logGroupName": group, "startTime": self._began_ms[group], "filterPattern": PATTERN, **page}
            answer = self._ask(partial(self._logs.filter_log_events, **request))
            for event in answer["events"]:
                if event["eventId"] not in self._seen:
                    self._seen[event["eventId"]] = event["timestamp"]
                    yield event
            if not answer.get("nextToken"):
                newest = max((event["timestamp"] for event in answer["events"]), default=0)
                self._began_ms[group] = max(self._began_ms[group], newest - LOG_DELAY_MS)
                oldest = min(self._began_ms.values())
                self._seen = {id: at for id, at in self._seen.items() if at >= oldest}
                return
            self._page[group] = answer["nextToken"]

    def _count(self, url: str) -> int:
        names: Any = [f"ApproximateNumberOfMessages{kind}" for kind in _COUNTS]
        answer = self._ask(lambda: self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names))
        return sum(int(answer["Attributes"][name]) for name in names)

    def _ask(self, request: Callable[[], Any]) -> Any:
        """The answer. Raises Retryable for what may pass, StoreUnusable for what will not."""
        try:
            return request()
        except ClientError as error:
            told = error.response.get("Error", {})
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if type(classify(told.get("Code", ""), status, "")) is Retryable:
                raise Retryable(str(error)) from error
            raise StoreUnusable(f"the fleet cannot be asked: {error}") from error
        except HTTPClientError as error:
            raise Retryable(str(error)) from error
        except BotoCoreError as error:
            raise StoreUnusable(f"the fleet cannot be asked: {error}") from error


def hand_over(job: Job, place: Place, console: Console) -> int:
    """Has the fleet do the job, and compares both sides in the end. Returns the exit code.

    Raises a SyncError for what makes going on pointless, and OSError for a report that cannot be written.
    """
    fleet = _reach(place)
    connection = build_sync_context(job.settings, threads=job.threads)
    for bucket in (connection.source, connection.target):  # what would fail in the end shall fail now
        next(iter(bucket.listing()), None)
    dead, tally, deadline = fleet.dead_letters(), Tally(), Deadline()
    fleet.send(RangeWork(delete=job.sweep_options.delete, max_delete=job.sweep_options.max_delete))
    watch = Watch(tally, idle_s=place.idle_s)
    try:
        with stoppable(deadline) as stop, shown(job, tally, console, connection.source, deadline):
            wait(fleet, watch, deadline, interval_s=min(INTERVAL_S, place.idle_s / 4))
            watch.read(fleet.lines())
    except OutOfTime:
        _say(job, console, f"stopped: {GOES_ON}")
        return stop.exit_code
    except SyncError:
        _say(job, console, GOES_ON)
        raise
    letters = None if dead is None else max(0, (fleet.dead_letters() or 0) - dead)
    for line in _told(job, tally, letters, swept=watch.swept or not place.log_groups):
        _say(job, console, line)
    return run(
        replace(job, command="check", sweep_options=SweepOptions(dry_run=True, one_way=job.sweep_options.one_way)),
        console,
    )


def _reach(place: Place) -> RemoteFleet:
    """The fleet, once it was asked for all that will be asked of it."""
    began_ms = round(time.time() * 1000)
    fleet = RemoteFleet(place, sqs=queue_client(1), logs=logs_client(), began_ms=began_ms)
    fleet.backlog()
    list(fleet.lines())
    return fleet


def _told(job: Job, tally: Tally, letters: int | None, *, swept: bool) -> Iterator[str]:
    """What the fleet has done, as far as its log and its queue tell."""
    if job.named:
        for finding in tally.failures:
            sys.stdout.write(f"dead\t{printable(finding.key)}\t{printable(finding.reason)}\n")
        sys.stdout.flush()
    deleted = tally.actions["delete"]
    done = [f"{tally.keys:,} keys looked at", f"{tally.changes - deleted:,} copied", f"{deleted:,} deleted"]
    done += [] if letters is None else [f"{letters:,} more dead letters"]
    yield f"The fleet is done: {', '.join(done)}, {size(tally.bytes)} sent, {clock(tally.elapsed_s)}."
    if tally.backlog:
        yield f"notice: {tally.backlog:,} messages are on the queue: live sync's, or of what fails again and again"
    if not swept:
        yield "notice: the log has not shown every range to be swept"


def _say(job: Job, console: Console, text: str) -> None:
    if job.log:
        logger.info("%s", text)
    else:
        console.print(text, soft_wrap=True, highlight=False, markup=False)
