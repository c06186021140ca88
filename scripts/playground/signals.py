"""Termination as an exception, so that what was started is stopped on every way out."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn


def raise_on_termination() -> None:
    """SIGTERM and SIGHUP unwind the stack as Ctrl-C does, instead of ending the process on the spot."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _raise)


def _raise(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)
