"""What SIGINT and SIGTERM do: end the work in good order, or, when it does not end, at least end."""

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

#: Seconds that work in flight may take to end after a signal: ECS kills a task 30 s after it asked it to stop.
GRACE_S = 20.0


class Stop:
    """The signal that came, if one did."""

    signal: int | None = None

    @property
    def exit_code(self) -> int:
        assert self.signal is not None
        return 128 + self.signal


@contextmanager
def stoppable(
    deadline: Deadline,
    give_up: Callable[[], None] = lambda: None,
    *,
    grace_s: float | None = None,
    exit_code: int | None = None,
) -> Iterator[Stop]:
    """Lets the first signal end the deadline, and a second one the process.

    When the block does not end within the grace, a store that does not answer holding it up, `give_up` is called from
    a thread of its own and the process ends, with `exit_code` if it is not to be the signal's.
    """
    stop, over = Stop(), threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the interface of a signal handler
        stop.signal = number
        deadline.stop()
        for each in before:
            signal.signal(each, signal.SIG_DFL)

    def watch() -> None:
        while not deadline.is_stopped:
            if over.wait(0.5):
                return
        if not over.wait(GRACE_S if grace_s is None else grace_s):
            try:
                give_up()
            finally:
                leave(stop.exit_code if exit_code is None else exit_code)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, ask)
    threading.Thread(target=watch, name="stop", daemon=True).start()
    try:
        yield stop
    finally:
        over.set()
        for number, handler in before.items():
            signal.signal(number, handler)


def leave(exit_code: int) -> NoReturn:
    """Ends the process now, without the wait for threads that were left to end by themselves."""
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(exit_code)
