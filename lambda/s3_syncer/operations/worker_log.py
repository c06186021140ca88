"""The log of the workers, read from CloudWatch Logs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from .log_lines import LogLine


@dataclass(frozen=True, slots=True)
class LogPeriod:
    """The lines of a period, in the order of their times."""

    lines: Sequence[LogLine]
    #: The begin of the period that was read, in seconds since 1970.
    since: float
    #: False if the log has more lines before `since` that were asked for.
    is_complete: bool


class WorkerLog:
    """The log groups of the workers of one module."""

    def __init__(self, logs: Any, groups: Sequence[str]) -> None:
        self._logs, self._groups = logs, groups

    def newest(self, pattern: str, now: float, lengths_s: Sequence[float], *, max_pages: int) -> LogPeriod:
        """Return the lines of the last `lengths_s[-1]` seconds that match, or the newest of them.

        CloudWatch Logs returns the oldest lines first. So the last `lengths_s[0]` seconds are read first, then those
        before them up to `lengths_s[1]`, and so on, until `max_pages` pages are read. A page is one request. Raises the
        errors of boto3.
        """
        found: list[LogLine] = []
        pages, until = 0, now
        for length_s in lengths_s:
            since = now - length_s
            slice_: list[LogLine] = []
            for page in self.pages(pattern, since, until):
                pages += 1
                slice_ += page
                if pages >= max_pages:
                    return LogPeriod(_in_order([*slice_, *found]), until if found else since, is_complete=False)
            found, until = [*slice_, *found], since
        return LogPeriod(_in_order(found), until, is_complete=True)

    def pages(self, pattern: str, since: float, until: float) -> Iterator[list[LogLine]]:
        """Yield the pages of the lines between two times, each of them one request. A page may be empty."""
        for group in self._groups:
            token: dict[str, str] = {}
            while True:
                try:
                    response = self._logs.filter_log_events(
                        logGroupName=group,
                        filterPattern=pattern,
                        startTime=round(since * 1000),
                        endTime=round(until * 1000),
                        **token,
                    )
                except ClientError as error:
                    if error.response.get("Error", {}).get("Code") != "ResourceNotFoundException":
                        raise
                    break  # the log group of a service that never ran
                yield [LogLine.of(group, event) for event in response["events"]]
                if not response.get("nextToken"):
                    break
                token = {"nextToken": response["nextToken"]}


def _in_order(lines: list[LogLine]) -> list[LogLine]:
    return sorted(lines, key=lambda line: line.at)
