"""The state of an applied module, and its problems. Pure: `status_reader.py` makes the requests."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..queue.message_counts import QueueCounts
from ..sync.outcome import CHANGES, MIRRORED
from .log_lines import LogLine

#: Exit codes of `s3-syncer status`.
HEALTHY, FAILING = 0, 1

#: Seconds after which a change is late, in a module without `max_lag_s`.
LATE_S = 1800.0

#: Days for which SQS keeps a message, and the age at which the rest is too short to wait.
RETENTION_DAYS, OLD_DAYS = 14, 10

_DAY_S = 86_400.0

#: Reasons of failures that count as a problem each. The status lists them all.
_MAX_FAILURES = 5

#: The command for the old messages of a queue without workers.
_OLD = {"dead letters": "s3-syncer dead-letters redrive", "held deletions": "s3-syncer deletions status"}


@dataclass(frozen=True, slots=True)
class QueueState:
    """A queue: its name in the display, its counts, and the age of its oldest message if it is known."""

    name: str
    url: str
    counts: QueueCounts
    oldest_s: float | None = None


@dataclass(frozen=True, slots=True)
class Lag:
    """The lag of the changes that were mirrored in a period: seconds from the event to the copy."""

    changes: int
    median_s: float
    p95_s: float
    max_s: float


@dataclass(frozen=True, slots=True)
class Failure:
    """The keys that fail for one reason, and have not succeeded since."""

    reason: str
    keys: int
    example: str
    last_at: float
    #: True if a store as a whole cannot be used.
    unusable: bool = False


@dataclass(frozen=True, slots=True)
class DeadLetterGroup:
    """The dead letters with one reason."""

    reason: str
    letters: int
    example: str
    oldest_at: float


@dataclass(frozen=True, slots=True)
class Sweep:
    """The ranges that sweeps finished within one period without a break."""

    ended_at: float
    ranges: int
    keys: int
    changed: int
    deleted: int
    failed: int


@dataclass(frozen=True, slots=True)
class FunctionState:
    """The Lambda function, and its event source mappings by queue: `Enabled`, `Disabled` and so on."""

    name: str
    state: str
    mappings: Mapping[str, str]
    reason: str = ""
    #: The concurrent invocations that all mappings may start. None is without a limit.
    wanted_concurrency: int | None = None

    @property
    def receives(self) -> bool:
        """Return True if a mapping delivers messages."""
        return any(state == "Enabled" for state in self.mappings.values())


@dataclass(frozen=True, slots=True)
class Throttling:
    """The invocations that Lambda throttled, and the limits of the concurrency if they are known."""

    invocations: int
    within_s: float
    reserved: int | None = None
    #: The concurrent invocations that the account allows in this region.
    account_limit: int | None = None


@dataclass(frozen=True, slots=True)
class ServiceState:
    """The ECS service."""

    name: str
    running: int
    desired: int
    rollout: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that an operator must repair, and the command that says more."""

    text: str
    command: str


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a module at a time in seconds since 1970. None is unknown: see `notes`."""

    at: float
    name: str
    source: str
    target: str
    paused: bool
    max_lag_s: float | None
    queues: Sequence[QueueState]
    dead_letters: Sequence[DeadLetterGroup]
    lag: Lag | None
    failures: Sequence[Failure]
    sweep: Sweep | None
    #: Seconds of the log that were searched for the lag and the failures, and for the sweep.
    log_s: float
    sweep_log_s: float
    function: FunctionState | None
    service: ServiceState | None
    #: The names of the alarms in the state ALARM.
    alarms: Sequence[str]
    throttling: Throttling | None = None
    #: Parts that could not be read, and why.
    notes: Sequence[str] = ()

    def queue(self, name: str) -> QueueState | None:
        """Return the queue with this name."""
        return next((each for each in self.queues if each.name == name), None)

    @property
    def problems(self) -> list[Problem]:
        """Return the problems, the most urgent first."""
        return list(_problems(self))

    @property
    def exit_code(self) -> int:
        """Return HEALTHY, or FAILING if there is a problem."""
        return FAILING if self.problems else HEALTHY

    def as_json(self) -> dict[str, Any]:
        """Return the status as JSON, with its verdict first."""
        problems = self.problems
        verdict = {"healthy": not problems, "problems": [asdict(problem) for problem in problems]}
        return {**verdict, **asdict(self)}


def lag_of(lines: Iterable[LogLine]) -> Lag | None:
    """Return the lag of the changes in these lines, or None without a change."""
    lags = sorted(
        line.fields["lag_ms"] / 1000
        for line in lines
        if line.action in MIRRORED and isinstance(line.fields.get("lag_ms"), (int, float))
    )
    if not lags:
        return None
    return Lag(len(lags), _percentile(lags, 0.5), _percentile(lags, 0.95), lags[-1])


def failures_of(lines: Sequence[LogLine]) -> list[Failure]:
    """Return the failures that have not ended, by reason, the most frequent first.

    A failure ends with a later line about the same key with another action. The failure of a message without a key
    ends with any later change. A store is usable again with any later change.
    """
    last: dict[str, LogLine] = {}
    changed_at = max((line.at for line in lines if line.action in CHANGES), default=-math.inf)
    for line in lines:
        if line.action in ("retry", "failed", "circuit-open"):
            last[line.key] = line
        elif line.key and line.action not in ("", "waiting"):  # the latter is a further attempt
            last.pop(line.key, None)
        if line.action in CHANGES or line.action == "circuit-closed":
            last.pop("", None)
    groups: dict[str, list[LogLine]] = {}
    for line in last.values():
        groups.setdefault(line.reason, []).append(line)
    found = [
        Failure(
            reason,
            sum(bool(line.key) for line in group),
            next((line.key for line in group if line.key), ""),
            max(line.at for line in group),
            any(line.at > changed_at and _is_unusable(line) for line in group),
        )
        for reason, group in groups.items()
    ]
    return sorted(found, key=lambda each: (not each.unusable, -each.keys, each.reason))


def last_sweep(lines: Sequence[LogLine], *, pause_s: float) -> Sweep | None:
    """Return the totals of the ranges that ended last, with at most `pause_s` seconds between two."""
    ranges: list[LogLine] = []
    for line in reversed([line for line in lines if line.action == "range"]):
        if ranges and ranges[-1].at - line.at > pause_s:
            break
        ranges.append(line)
    if not ranges:
        return None
    totals = {name: sum(_number(line, name) for line in ranges) for name in ("keys", "changed", "deleted", "failed")}
    return Sweep(ranges[0].at, len(ranges), **totals)


def _is_unusable(line: LogLine) -> bool:
    return line.fields.get("unusable") is True or line.action == "circuit-open"


def _number(line: LogLine, name: str) -> int:
    value = line.fields.get(name)
    return value if isinstance(value, int) else 0


def _percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that is not below this share of the values."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _problems(status: Status) -> Iterator[Problem]:
    for rule in _RULES:
        yield from rule(status)


def _workers(status: Status) -> Iterator[Problem]:
    function, service = status.function, status.service
    if status.paused:
        yield Problem("the module is paused: no worker receives messages", "set paused = false and apply")
        return
    if function is not None and function.state not in ("Active", "Inactive"):  # Lambda makes an idle function inactive
        yield Problem(
            f"the function is {function.state}{_because(function.reason)}",
            f"aws lambda get-function --function-name {function.name}",
        )
    if service is None and function is not None and not function.receives:
        states = ", ".join(f"{queue}: {state}" for queue, state in function.mappings.items()) or "there is none"
        yield Problem(
            f"the function receives no messages: its event source mappings are not enabled ({states})",
            f"aws lambda list-event-source-mappings --function-name {function.name}",
        )
    if function is not None and status.throttling is not None and _has_work(status):
        yield _throttled(function, status.throttling)
    if service is not None and (service.running < service.desired or service.rollout == "FAILED"):
        yield Problem(
            f"the service runs {service.running} of {service.desired} tasks{_because(service.reason)}",
            "s3-syncer image push, if the image is missing",
        )


def _has_work(status: Status) -> bool:
    """Return True if messages wait for a worker. Nothing is late if Lambda throttled a burst that is over."""
    return any(queue.counts.total for queue in status.queues if queue.name in ("events", "bulk", "deletions"))


def _throttled(function: FunctionState, throttling: Throttling) -> Problem:
    """Return the problem with its limit. A throttled invocation writes no line to the log."""
    what = f"Lambda throttled {counted(throttling.invocations, 'invocation')} in {format_span(throttling.within_s)}"
    wanted, limit = function.wanted_concurrency, throttling.account_limit
    if throttling.reserved is not None:
        return Problem(
            f"{what}: the function has a reserved concurrency of {throttling.reserved}",
            "terraform apply, if it was set by hand; otherwise raise function.reserved_concurrency",
        )
    if limit is not None and wanted is not None and limit < wanted:
        return Problem(
            f"{what}: the account allows {limit} at a time, and the queues may start {wanted}",
            "request a higher Lambda concurrency limit for the account, or lower sync.max_concurrency and "
            "bulk.max_concurrency",
        )
    return Problem(f"{what}: no concurrency was free for it", "aws lambda get-account-settings --query AccountLimit")


def _failing(status: Status) -> Iterator[Problem]:
    for failure in status.failures[:_MAX_FAILURES]:
        again = counted(failure.keys, "key") if failure.keys else "a message"
        what = "no key can be mirrored" if failure.unusable else f"{again} will be tried again"
        yield Problem(
            f"{what}: {failure.reason}",
            "s3-syncer doctor" if failure.unusable or not failure.example else f"s3-syncer explain {failure.example!r}",
        )


def _behind(status: Status) -> Iterator[Problem]:
    limit_s = status.max_lag_s or LATE_S
    events = status.queue("events")
    if not status.paused and events is not None and events.oldest_s is not None and events.oldest_s > limit_s:
        yield Problem(
            f"a change has waited for {format_span(events.oldest_s)}: the workers are too slow, or do not run",
            "raise sync.max_concurrency or service.max_tasks",
        )
    if status.lag is not None and status.lag.p95_s > limit_s:
        yield Problem(
            f"changes are late: 5 % of them took longer than {format_span(status.lag.p95_s)}",
            "raise sync.max_concurrency or service.max_tasks",
        )
    for queue in status.queues:
        if queue.oldest_s is not None and queue.oldest_s > OLD_DAYS * _DAY_S:
            yield Problem(
                f"the oldest message of the queue {queue.name} is {format_span(queue.oldest_s)} old: "
                f"SQS removes it after {RETENTION_DAYS} days",
                _OLD.get(queue.name, "let the workers receive it: enable them, or end the pause"),
            )


def _dead(status: Status) -> Iterator[Problem]:
    queue = status.queue("dead letters")
    if queue is not None and queue.counts.total:
        letters = counted(queue.counts.total, "dead letter")
        yield Problem(f"{letters}: these changes were not mirrored", "s3-syncer dead-letters list")


def _held(status: Status) -> Iterator[Problem]:
    queue = status.queue("held deletions")
    if queue is not None and queue.counts.total:
        are_held = f"{counted(queue.counts.total, 'deletion')} {'is' if queue.counts.total == 1 else 'are'} held"
        yield Problem(f"{are_held} until you decide", "s3-syncer deletions status")


def _alarms(status: Status) -> Iterator[Problem]:
    for name in status.alarms:
        yield Problem(f"the alarm {name} is on", "see docs/operations.md")


_RULES: Sequence[Callable[[Status], Iterator[Problem]]] = (_workers, _failing, _behind, _held, _dead, _alarms)


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def counted(number: int, noun: str) -> str:
    """Return the number with the noun, in the singular or the plural."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def format_span(seconds: float) -> str:
    """Return a time span in its largest unit that has two or more of it, such as 90 s or 5 min."""
    for name, length in (("days", _DAY_S), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {name}"
    return f"{max(0.0, seconds):.0f} s"
