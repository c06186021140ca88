"""Show the stats of a sweep while it runs.

A terminal shows one updated line. Elsewhere there is a line every ten seconds.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from ...operations.status import counted
from .stats import SweepStats, printable

logger = logging.getLogger(__name__)

#: Seconds between two refreshes of the line on a terminal, and between two lines elsewhere.
REFRESH_S = 0.25
LINE_S = 10.0

#: Reasons of failures in the line, and the characters of each.
SHOWN_REASONS, SHOWN_CHARACTERS = 2, 50

Total = Callable[[], int | None]
"""Returns the number of keys in the source, or None while it is not known."""

State = Callable[[], list[str]]
"""Returns notes about the state of the command, such as an outage that it waits for. They begin the line."""


@contextmanager
def on_terminal(stats: SweepStats, console: Console, total: Total, state: State) -> Iterator[None]:
    """Keep one line up to date while the block runs, then erase it."""
    with Live(console=console, auto_refresh=False, transient=True) as live:
        console.show_cursor()  # Live hides it, and a command that a second Ctrl-C kills cannot show it again

        def refresh() -> None:
            live.update(Text(" · ".join([*state(), status(stats, total())])), refresh=True)

        with _calling(refresh, REFRESH_S, stats):
            yield


@contextmanager
def in_lines(stats: SweepStats, console: Console, state: State) -> Iterator[None]:
    """Print a plain line every LINE_S seconds while the block runs."""

    def show() -> None:
        console.print(" · ".join([*state(), status(stats, None)]), soft_wrap=True, highlight=False, markup=False)

    with _calling(show, LINE_S, stats):
        yield


@contextmanager
def in_log(stats: SweepStats) -> Iterator[None]:
    """Write a log record every LINE_S seconds while the block runs."""

    def log() -> None:
        rates = stats.recent_rates()
        extra = {
            "keys_per_s": round(rates.compared),
            "changed_per_s": round(rates.changed),
            "bytes_per_s": round(rates.bytes),
        }
        if (concurrency := stats.concurrency()) is not None:
            extra |= {"source_concurrency": concurrency.source, "target_concurrency": concurrency.target}
        logger.info("progress", extra=totals(stats) | extra)

    with _calling(log, LINE_S, stats):
        yield


@contextmanager
def _calling(show: Callable[[], None], every_s: float, stats: SweepStats) -> Iterator[None]:
    """Call `show` at that interval while the block runs, and let the stats take samples."""
    over = threading.Event()

    def work() -> None:
        due = time.monotonic() + every_s
        while not over.wait(min(REFRESH_S, every_s)):
            stats.sample()
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
        stats.sample(last=True)


def status(stats: SweepStats, total: int | None) -> str:
    """Return one line with copies, keys and findings; with the time left if the total is known.

    A key that is copied counts at once, and the equal keys of a page of up to 1,000 keys count together.
    """
    rates = stats.recent_rates()
    of_total = total if total is not None and total >= stats.keys else None
    keys = counted(stats.keys, "key") if of_total is None else f"{stats.keys:,} of {counted(of_total, 'key')}"
    deleted = stats.actions["delete"]
    copies = [
        f"{stats.changed - deleted:,} copied",
        *([f"{deleted:,} deleted"] if deleted else []),
        f"{format_bytes(stats.bytes)} sent",
        f"{rates.changed:,.0f} objects/s",
        f"{format_bytes(rates.bytes)}/s",
    ]
    parts = [
        *([stats.copies_now] if stats.copies_now else []),
        *(copies if stats.writes else []),
        f"{keys} compared",
        f"{rates.compared:,.0f} keys/s",
        *([f"{format_bytes(stats.bytes_read())} read"] if stats.reads is not None else []),
        *([stats.described(str(concurrency))] if (concurrency := stats.concurrency()) is not None else []),
        *([f"{len(stats.differences):,} differ"] if stats.differences else []),
        f"{len(stats.failures):,} failed{_reasons(stats)}",
        *([f"{counted(stats.backlog, 'message')} left"] if stats.backlog is not None else []),
    ]
    left_s = stats.time_left_s(of_total) if of_total else None
    if left_s is not None:
        parts.append(f"{format_about(left_s)} left")
    return " · ".join(parts)


def _reasons(stats: SweepStats) -> str:
    """Return the most frequent reasons of failures in parentheses, or nothing without a failure."""
    if not stats.failures:
        return ""
    most = stats.failures.reasons.most_common(SHOWN_REASONS)
    shown = [f"{number:,} x {shortened(printable(reason))}" for reason, number in most]
    rest = len(stats.failures) - sum(number for _, number in most)
    return f" ({'; '.join([*shown, *([counted(rest, 'other')] if rest else [])])})"


def shortened(text: str) -> str:
    """Return the text, or its beginning with an ellipsis."""
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1].rstrip()}…"


def totals(stats: SweepStats) -> dict[str, int]:
    """Return the totals as fields of a log record."""
    return {
        "keys": stats.keys,
        "changed": stats.changed,
        "bytes": stats.bytes,
        "different": len(stats.differences),
        "failed": len(stats.failures),
        **({"target_only": stats.target_only} if stats.tolerates_target_only else {}),
        **({"archived": len(stats.skipped), "archived_bytes": stats.skipped.sizes.total()} if stats.skipped else {}),
        **({"backlog": stats.backlog} if stats.backlog is not None else {}),
    }


def format_bytes(count: float) -> str:
    """Return a number of bytes in decimal units, such as 1.5 MB."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1000
    raise AssertionError


def format_duration(seconds: float) -> str:
    """Return seconds as H:MM:SS."""
    whole = max(0, round(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def format_about(seconds: float) -> str:
    """Return an estimate of seconds for people, such as "about 2 h 10 min"."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than 1 min"
    if minutes < 60:
        return f"about {minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"about {hours:,} h {minutes} min" if hours < 24 else f"about {round(seconds / 86400, 1):g} days"
