"""Wait for a condition on the emulated clouds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

# Seconds. Every wait takes some seconds on an idle machine.
PATIENCE_S = 300


def eventually(look: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """Wait for the first true result, and return it."""
    deadline = time.monotonic() + patience_s
    while not (answer := look()):
        assert time.monotonic() < deadline, f"the condition did not become true within {patience_s} s"
        time.sleep(0.2)
    return answer
