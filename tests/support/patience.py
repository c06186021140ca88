"""The limit of every wait in a test for what happens in another thread or process."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Seconds. No step of a test takes as long, however busy the machine is, so a wait that reaches the limit has failed.
#: Below the `timeout` of pytest in pyproject.toml, so that the failure names the wait.
PATIENCE_S = 240


def eventually(condition: Callable[[], object]) -> None:
    """Wait until the condition is true."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "the condition did not become true"
        time.sleep(0.01)
