"""Handle SIGINT and SIGTERM: stop the work gracefully, exit after a grace period, or clean up."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from ..core.deadline import Deadline
from .retry_pauses import pauses_until

#: Seconds that work in flight has to end after a signal. ECS kills a task 30 s after SIGTERM, unless it is configured.
GRACE_S = 20.0

#: Seconds within which the watching thread notices a signal.
_TICK_S = 0.5


class Stop:
    """The signal that was received, if any."""

    signal: int | None = None

    @property
    def exit_code(self) -> int:
        """Return 128 plus the number of the signal, as a shell does."""
        assert self.signal is not None
        return 128 + self.signal


@contextmanager
def handle_signals(
    deadline: Deadline,
    give_up: Callable[[], None] = lambda: None,
    *,
    grace_s: float = GRACE_S,
    exit_code: int | None = None,
) -> Iterator[Stop]:
    """Stop the deadline on the first signal while the block runs; a second signal kills the process.

    If the block does not end within the grace period, because a store does not respond, another thread calls `give_up`
    and exits the process. The exit code is `exit_code`, or else that of the signal.
    """
    stop, over = Stop(), threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the interface of a signal handler
        stop.signal = number
        deadline.stop()
        for each in before:
            signal.signal(each, signal.SIG_DFL)

    def watch() -> None:
        while not deadline.is_stopped:
            if over.wait(_TICK_S):
                return
        if not over.wait(grace_s):
            try:
                give_up()
            finally:
                exit_now(stop.exit_code if exit_code is None else exit_code)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, on_signal)
    threading.Thread(target=watch, name="stop", daemon=True).start()
    try:
        with pauses_until(deadline):
            yield stop
    finally:
        over.set()
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ending_on_sigterm() -> Iterator[None]:
    """End the command on SIGTERM as on Ctrl-C, so that it cleans up; a second SIGTERM kills the process."""

    def on_signal(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - the interface of a signal handler
        signal.signal(number, signal.SIG_DFL)
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def exit_now(exit_code: int) -> NoReturn:
    """Exit the process without waiting for its threads."""
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(exit_code)
