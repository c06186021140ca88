"""Shows a tally while it grows: one live line on a terminal, otherwise a line every ten seconds."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from .stats import Tally

logger = logging.getLogger(__name__)

#: Seconds between two looks at the tally, which are two refreshes of a terminal; and between two lines elsewhere.
REFRESH_S = 0.25
LINE_S = 10.0

Total = Callable[[], int | None]
"""The number of keys there are, once that is known."""


@contextmanager
def on_terminal(tally: Tally, console: Console, total: Total, stopping: Callable[[], bool]) -> Iterator[None]:
    """A line that is kept up to date, and gone in the end."""
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def refresh() -> None:
            ending = "stopping, once more to stop at once · " if stopping() else ""
            live.update(Text(ending + status(tally, total())), refresh=True)

        with _calling(refresh, REFRESH_S, tally):
            yield


@contextmanager
def in_lines(tally: Tally, console: Console) -> Iterator[None]:
    """Plain lines, one above the other."""
    with _calling(lambda: console.print(status(tally, None), soft_wrap=True, highlight=False), LINE_S, tally):
        yield


@contextmanager
def in_log(tally: Tally) -> Iterator[None]:
    """A log record now and then, in the form of all the others."""

    def log() -> None:
        keys_per_s, bytes_per_s = tally.recent()
        rates = {"keys_per_s": round(keys_per_s), "bytes_per_s": round(bytes_per_s)}
        logger.info("progress", extra=totals(tally) | rates)

    with _calling(log, LINE_S, tally):
        yield


@contextmanager
def _calling(show: Callable[[], None], every_s: float, tally: Tally) -> Iterator[None]:
    """Calls `show` every so often for the block, and lets the tally take its samples."""
    over = threading.Event()

    def work() -> None:
        due = time.monotonic() + every_s
        while not over.wait(min(REFRESH_S, every_s)):
            tally.sample()
            if time.monotonic() >= due:
                due += every_s
                show()

    thread = threading.Thread(target=work, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        tally.sample(last=True)


def status(tally: Tally, total: int | None) -> str:
    """One line: keys looked at and changed, bytes, rates, failures, and the time left where the total is known."""
    keys_per_s, bytes_per_s = tally.recent()
    of = f" of {total:,}" if total is not None and total >= tally.keys else ""
    deleted = tally.actions["delete"]
    parts = [
        f"{tally.keys:,}{of} keys",
        f"{tally.changes - deleted:,} copied",
        *([f"{deleted:,} deleted"] if deleted else []),
        f"{size(tally.bytes)} sent",
        f"{keys_per_s:,.0f} keys/s",
        f"{size(bytes_per_s)}/s",
        *([f"{len(tally.differences):,} differ"] if tally.differences else []),
        f"{len(tally.failures):,} failed",
        *([f"{tally.backlog:,} messages left"] if tally.backlog is not None else []),
    ]
    if of and total and keys_per_s > 0:
        parts.append(f"{clock((total - tally.keys) / keys_per_s)} left")
    return " · ".join(parts)


def totals(tally: Tally) -> dict[str, int]:
    """The tally as fields of a log record."""
    return {
        "keys": tally.keys,
        "changed": tally.changes,
        "bytes": tally.bytes,
        "different": len(tally.differences),
        "failed": len(tally.failures),
        **({"backlog": tally.backlog} if tally.backlog is not None else {}),
    }


def size(count: float) -> str:
    """Bytes for people, in decimal units."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1000
    raise AssertionError


def clock(seconds: float) -> str:
    """Seconds as H:MM:SS."""
    whole = max(0, round(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
