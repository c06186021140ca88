"""The options for requests, memory, bandwidth and processes, and for outages of a store."""

from __future__ import annotations

import os

import click

from ..click_extensions import Decorator, option
from ..concurrency import AUTO
from ..sweeps.job import SPAWN_AFTER_CPU_S, SPAWN_AFTER_KEYS
from . import sections
from .types import MOST, Bandwidth, Ceiling, Duration

OUTAGES = (
    option(
        sections.FAILURES,
        "--outage-timeout",
        type=Duration(),
        default="15m",
        show_default=True,
        help="Time to wait for a store that does not respond, or is too busy for any request: 90, 90s, 15m or 1h. The "
        "command then continues where it was. After this time it ends with exit code 3. 0: end at once if it "
        "does not respond; a single request that it is too busy for is repeated all the same. A store that has not "
        "responded once in this run is not waited for.",
    ),
)


def ceiling(name: str, text: str, auto: int = AUTO) -> Decorator:
    """Return the option for the most requests or messages at a time; `auto` is the number for auto."""
    help_text = f"{text} auto is at most {auto}; a number is 1 to {MOST}."
    return option(
        sections.SPEED, name, type=Ceiling(auto), default="auto", show_default=True, metavar="N", help=help_text
    )


#: The number of requests in flight adapts to each store below the ceiling: see `core/concurrency_limit.py`.
_ADAPTS = "Most requests at a time to each store. The number adapts to what the store can serve."

SWEEP_CONCURRENCY = (
    ceiling(
        "--concurrency",
        f"{_ADAPTS} It holds for each process, and limits the keys and the parts in progress in the same way.",
    ),
)

KEY_CONCURRENCY = (ceiling("--concurrency", f"{_ADAPTS} The keys are processed one after the other."),)

MEMORY = (
    option(
        sections.SPEED,
        "--memory",
        type=click.IntRange(64, 1024 * 1024),
        default=512,
        show_default=True,
        help="MiB for the buffers of all copies together. Streamed parts use little of it.",
    ),
    option(
        sections.SPEED,
        "--bwlimit",
        type=Bandwidth(),
        help="Maximum bytes to copy per second: 500k, 10M, 1.5G for KiB, MiB, GiB. Or a timetable in the local time of "
        "the process, like '08:00,10M 19:00,off' or 'Mon-08:00,10M Sat-00:00,off'. Default: no limit.",
    ),
)

PROCESSES = (
    option(
        sections.SPEED,
        "--processes",
        type=click.IntRange(1, 64),
        default=lambda: min(os.cpu_count() or 1, 8),
        show_default="one for each core, at most 8",
        help="Processes of a large sweep. They share --memory. With --bwlimit there is always one.",
    ),
)

#: Hidden: the tests start the other processes of a sweep at once.
SPAWN = (
    option(sections.SPEED, "--spawn-after-cpu", hidden=True, type=float, default=SPAWN_AFTER_CPU_S),
    option(sections.SPEED, "--spawn-after-keys", hidden=True, type=int, default=SPAWN_AFTER_KEYS),
)
