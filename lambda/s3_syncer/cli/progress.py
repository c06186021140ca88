"""Shows a tally while it grows: one live line on a terminal, otherwise a plain line every ten seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from .tally import Tally

#: Seconds between two refreshes on a terminal, and between two lines elsewhere.
REFRESH_S = 0.25
LINE_S = 10.0


@contextmanager
def shown(tally: Tally, console: Console, total: Callable[[], int | None] | None) -> Iterator[None]:
    """Shows `tally` on `console` for the block; `total` is the number of keys there are, once that is known."""
    over = threading.Event()
    live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def line() -> str:
        return status(tally, total() if total else None)

    def refresh() -> None:
        since_line = 0.0
        while not over.wait(REFRESH_S):
            tally.sample()
            since_line += REFRESH_S
            if live is not None:
                live.update(Text(line()), refresh=True)
            elif since_line >= LINE_S:
                since_line = 0.0
                console.print(line(), soft_wrap=True, highlight=False)

    thread = threading.Thread(target=refresh, name="progress", daemon=True)
    if live is not None:
        live.start()
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        tally.sample()
        if live is not None:
            live.stop()


def status(tally: Tally, total: int | None) -> str:
    """One line: keys looked at and changed, bytes, rates, failures, and the time left where the total is known."""
    seconds = max(tally.elapsed_s, 1e-9)
    rate = tally.keys / seconds
    of = f" of {total:,}" if total is not None else ""
    parts = [
        f"{tally.keys:,}{of} keys",
        f"{tally.changes:,} changed",
        f"{size(tally.bytes)} sent",
        f"{rate:,.0f} keys/s",
        f"{size(tally.bytes / seconds)}/s",
        f"{len(tally.failures):,} failed",
    ]
    if total is not None and tally.keys:
        parts.append(f"{clock((total - tally.keys) / rate)} left")
    return " · ".join(parts)


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
