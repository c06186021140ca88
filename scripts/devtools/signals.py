"""Termination as an exception, so that what was started is stopped on every way out."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

TERMINATIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def interrupt_on_termination() -> None:
    """Every wish that this process end unwinds it as Ctrl-C does, instead of ending it on the spot."""
    for number in TERMINATIONS:
        signal.signal(number, signal.default_int_handler)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Nothing interrupts this block: for cleaning up, which an impatient second Ctrl-C must not cut short."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in TERMINATIONS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def communicate(process: subprocess.Popen[Any], patience_s: float) -> tuple[Any, Any]:
    """Waits for a child; when interrupted, interrupts it in turn, and again, before it kills it.

    Terraform and pytest clean up at the first interrupt; killed, they would leave their own children behind. The
    child needs a session of its own, or a Ctrl-C would have reached it already.
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
