"""Tune the memory allocator of glibc and the garbage collector of Python for copying."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

from .core.multipart import MIB

#: https://man7.org/linux/man-pages/man3/mallopt.3.html
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8


def return_large_buffers() -> None:
    """Makes buffers of a MiB and more go back to the system as soon as they are free.

    Left to itself, it learns from the first of them that such buffers are common, and keeps them, up to 32 MiB each,
    for every thread that had one: more than the budget that they were held against.
    """
    _mallopt(_M_MMAP_THRESHOLD, MIB)


def limit_malloc_arenas() -> None:
    """Lets all threads allocate from one heap. To be called before there are threads.

    It would give each thread a heap of its own, and the buffers of parts, freed by whatever thread, would stay in all
    of them: copies that may fill 96 MiB were seen to take 670 MB, and take 250 MB with one.
    """
    _mallopt(_M_ARENA_MAX, 1)


def relax_gc() -> None:
    """Lets Python look for garbage in cycles seldom, and not among what has been imported, which stays.

    Pages of keys come and go by the ten thousand and make no cycles: to look at them again and again was a seventh of
    the processor time of a comparison without changes.
    """
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


def _mallopt(parameter: int, value: int) -> None:
    with suppress(AttributeError, OSError, TypeError):  # another library
        ctypes.CDLL(None).mallopt(parameter, value)
