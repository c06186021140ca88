"""What the C library does with memory that is free again."""

from __future__ import annotations

import ctypes
from contextlib import suppress

from .layout import MIB

#: https://man7.org/linux/man-pages/man3/mallopt.3.html
_M_MMAP_THRESHOLD = -3


def give_back_buffers() -> None:
    """Makes buffers of a MiB and more go back to the system as soon as they are free, where the C library is glibc.

    Left to itself, it learns from the first of them that such buffers are common, and keeps up to 64 MiB for every
    thread that had one: more than the budget that they were held against.
    """
    with suppress(AttributeError, OSError, TypeError):  # another library, which has no such habit
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, MIB)
