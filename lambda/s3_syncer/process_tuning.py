"""Tune the memory allocator of glibc and the garbage collector of Python for copying."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

from .core.units import MIB

#: https://man7.org/linux/man-pages/man3/mallopt.3.html
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8


def return_large_buffers() -> None:
    """Return buffers of 1 MiB and more to the operating system as soon as they are free.

    By default, glibc keeps such buffers after it has seen the first one: up to 32 MiB each, for each thread that had
    one. Together they are more than the memory budget of the copies.
    """
    _mallopt(_M_MMAP_THRESHOLD, MIB)


def limit_malloc_arenas() -> None:
    """Make all threads allocate from one heap. Call this before any thread starts.

    By default, each thread has a separate heap, and freed buffers of parts stay in all heaps. Copies with a budget of
    96 MiB took 670 MB so, and take 250 MB with one heap.
    """
    _mallopt(_M_ARENA_MAX, 1)


def relax_gc() -> None:
    """Make Python search for reference cycles seldom. Call this before most modules are imported.

    Keys of listings come and go by the ten thousand and form no cycles. The search took a seventh of the CPU time of a
    comparison without changes, and a tenth of that of the imports.
    """
    gc.set_threshold(20_000, 10, 10)


def spare_imported_modules() -> None:
    """Make Python search for no reference cycles in what exists already: the modules, which stay in use."""
    gc.freeze()


def _mallopt(parameter: int, value: int) -> None:
    with suppress(AttributeError, OSError, TypeError):  # the C library is not glibc
        ctypes.CDLL(None).mallopt(parameter, value)
