"""What SIGINT and SIGTERM do: end the work in good order, or, when it does not end, at least end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from ..deadline import Deadline

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
def stoppable(deadline: Deadline, give_up: Callable[[], None] = lambda: None) -> Iterator[Stop]:
    """Lets the first signal end the deadline, and a second one the process.

    When the block does not end within the grace, a store that does not answer holding it up, `give_up` is called from
    a thread of its own and the process ends.
    """
    stop, over = Stop(), threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the interface of a signal handler
        stop.signal = number
        deadline.stop()
        for each in before:
            signal.signal(each, signal.SIG_DFL)

    def watch() -> None:
        while not deadline.stopped:
            if over.wait(0.5):
                return
        if not over.wait(GRACE_S):
            try:
                give_up()
            finally:
                os._exit(stop.exit_code)

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
