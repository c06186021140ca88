"""How a process of the command takes and gives back memory: what copies need, and not many times that."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

#: https://man7.org/linux/man-pages/man3/mallopt.3.html
_M_ARENA_MAX = -8


def share_heap() -> None:
    """Lets all threads allocate from one heap, where the C library is glibc. To be called before there are threads.

    It would give each thread a heap of its own, and the buffers of parts, freed by whatever thread, would stay in all
    of them: copies that may fill 96 MiB were seen to take 670 MB, and take 250 MB with one.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def spare_collector() -> None:
    """Lets Python look for garbage in cycles seldom, and not among what has been imported, which stays.

    Pages of keys come and go by the ten thousand and make no cycles: to look at them again and again was a seventh of
    the processor time of a comparison without changes.
    """
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
