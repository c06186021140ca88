"""Sizes for simulated objects of some KiB, in place of the product's MiB, so that bytes cost no time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from unittest.mock import patch

from s3_syncer.core.multipart import Limits
from s3_syncer.core.units import KIB
from s3_syncer.sync import distributed_copy, range_sweep, transfer

#: Constants of the product by module and name, with their simulated values.
SCALED = (
    (distributed_copy, "ITEM_SIZE", 8 * KIB),
    (range_sweep, "MAX_OBJECT_IN_RANGE", 10 * KIB),
    (transfer, "RESUME_MIN", 8 * KIB),
    (transfer, "Limits", partial(Limits, min_part=1 * KIB)),
)


@contextmanager
def scaled_down() -> Iterator[None]:
    """Replace the constants."""
    with ExitStack() as stack:
        for module, name, value in SCALED:
            stack.enter_context(patch.object(module, name, value))
        yield
