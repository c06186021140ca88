"""End the pauses of boto3 between two attempts of a request when the process is asked to stop.

boto3 pauses for up to 16 s before it repeats a request to a busy store, and has no option to end a pause.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import botocore.endpoint

from ..core import fence
from ..core.deadline import Deadline

#: Longest pause in seconds that goes on after a stop: a sweep that was stopped still checks its last copies.
SHORT_PAUSE_S = 1.0


@contextmanager
def pauses_until(deadline: Deadline) -> Iterator[None]:
    """Make long pauses inside the block raise OutOfTime as soon as the deadline passes, in all threads.

    Only the requests to buckets have such pauses. A request to SQS may be the last one about a message, and its pauses
    are short.
    """

    def pause(seconds: float) -> None:
        if seconds <= SHORT_PAUSE_S or fence.current_request() is None:
            time.sleep(seconds)
        else:
            deadline.sleep(seconds)

    module: Any = botocore.endpoint
    before, module.time = module.time, SimpleNamespace(**vars(time) | {"sleep": pause})
    try:
        yield
    finally:
        module.time = before
