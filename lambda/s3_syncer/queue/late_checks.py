"""The check of a key after a write without a response: see `core/fence.py`.

A late check that finds the key equal writes nothing, and ends the row. One that writes, and gets no response again, is
followed by another. Each of them repairs a difference, so without a bound they would hide a network that drops
responses. A late check that starts a distributed copy ends the row, because the bounds of that copy apply. A key that
fails while another worker has its message gets late checks without a bound: a process was suspended before each.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from ..core.errors import Permanent
from ..core.fence import LATE_WRITE_S
from ..core.work_items import KeyWork

logger = logging.getLogger(__name__)

#: Late checks of one key in a row, each after a write without a response. They take 75 minutes.
MAX_LATE_CHECKS = 5

#: The result of a key after too many late checks. Its last write was confirmed, and may be followed by a late one.
NO_RESPONSES = Permanent(
    f"the target did not respond to a write of this key {MAX_LATE_CHECKS + 1} times in a row, so a late write may "
    "still replace the object: check the network to the target, then redrive this message",
    "NoResponses",
)


def late_checks(keys: Iterable[str], checks: int, *, released: bool = False) -> list[KeyWork]:
    """Return and log the checks of keys that had `checks` late checks in a row.

    They are delivered when no write of these keys can take effect any more. `released` is as for `KeyWork`.
    """
    works = [KeyWork((key,), delay_s=LATE_WRITE_S, late_checks=checks + 1, released=released) for key in keys]
    for work in works:
        extra = {"key": work.keys[0], "reason": "a write has no response", "delay_s": work.delay_s}
        logger.warning("late check", extra=extra)
    return works
