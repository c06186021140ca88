"""Turn termination signals into exceptions, so that started processes are stopped on every exit."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

TERMINATIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupt_on_termination() -> None:
    """Raise KeyboardInterrupt for every termination signal, instead of ending the process immediately."""
    for number in TERMINATIONS:
        signal.signal(number, signal.default_int_handler)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Ignore termination signals in this block, so that a second Ctrl-C does not interrupt the cleanup."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in TERMINATIONS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def communicate(process: subprocess.Popen[Any], patience_s: float) -> tuple[Any, Any]:
    """Wait for a child. An interrupt interrupts the child, interrupts it again, and then kills it.

    Terraform and pytest clean up after the first interrupt. If they are killed, their children stay behind. The child
    needs a separate session, because a Ctrl-C in the terminal would reach it too.
    """
    try:
        return process.communicate()
    except BaseException:
        with held():
            for _ in range(2):
                process.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.communicate(timeout=patience_s)
                    break
            process.kill()
        raise
