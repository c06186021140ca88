"""Make the objects of the product smaller for the simulation, and its checks rarer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from unittest.mock import patch

from s3_syncer import wiring
from s3_syncer.core import listing_diff
from s3_syncer.core.multipart import Limits
from s3_syncer.core.units import KIB
from s3_syncer.queue import waiting
from s3_syncer.stores import request_limiter
from s3_syncer.sync import distributed_copy, page_executor, range_sweep, transfer

#: Constants of the product by module and name, with their simulated values.
SCALED = (
    (distributed_copy, "ITEM_SIZE", 8 * KIB),
    (range_sweep, "MAX_OBJECT_IN_RANGE", 10 * KIB),
    (transfer, "RESUME_MIN", 8 * KIB),
    # Limits of the bucket that a restore writes to.
    (wiring, "USUAL_LIMITS", Limits(min_part=1 * KIB)),
    # Keys of a page, so that a sweep has several pages.
    (listing_diff, "PAGE_KEYS", 2),
    # Seconds after which the rest of a range is cut into parts, as soon as a page is listed.
    (wiring, "RangeSweeper", partial(range_sweep.RangeSweeper, slice_s=1.0)),
    # Seconds after which a worker checks an upload of another worker. The check is repeated for an hour.
    (distributed_copy, "RECHECK_MIN_S", 300),
    # Seconds within which a wait notices a stop. Each check is a step of the scheduler.
    (waiting, "_TICK_S", 5.0),
    (page_executor, "_TICK_S", 5.0),
    (request_limiter, "_TICK_S", 5.0),
)


@contextmanager
def scaled_down() -> Iterator[None]:
    """Replace the constants."""
    with ExitStack() as stack:
        for module, name, value in SCALED:
            stack.enter_context(patch.object(module, name, value))
        yield
