"""Read two objects and compare their bytes.

The memory is bounded by a budget, whatever the sizes of the objects.
Each read is a range of one object, pinned to its ETag. Both reads of a range are in memory together, so their bytes are
compared directly, which proves more than equal hashes, and finds the place of the first difference.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from ..core.deadline import Deadline
from ..core.fence import carried
from ..core.model import ObjectState
from ..core.units import MIB
from .bandwidth import BandwidthLimiter
from .buffer_budget import BufferBudget
from .comparison import ReadableBucket

#: Bytes of one read. A smaller value costs more requests, a larger one more memory: two reads for each thread.
READ_SIZE = 8 * MIB

#: Ranges of one object in progress.
RANGES = 8


@dataclass(frozen=True, slots=True)
class _Range:
    start: int
    size: int


class ByteComparer:
    """Compares the bytes of objects of two buckets. Safe to share between threads.

    `memory` is the bytes of all buffers together, `threads` the ranges of large objects that are read at a time. The
    limit of `bandwidth` holds for the reads of both sides together.
    """

    def __init__(
        self, source: ReadableBucket, target: ReadableBucket, *, memory: int, bandwidth: BandwidthLimiter, threads: int
    ) -> None:
        self._source, self._target = source, target
        self._memory, self._bandwidth = BufferBudget(memory), bandwidth
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="read")
        self._read, self._lock = 0, threading.Lock()

    @property
    def bytes_read(self) -> int:
        """The bytes that were read from both sides together."""
        return self._read

    def first_difference(self, key: str, source: ObjectState, target: ObjectState, deadline: Deadline) -> int | None:
        """Return the position of the first byte that differs between two objects of equal size, or None.

        Raises Changed if one of them is another object by now, OutOfTime, and any other SyncError of a read.
        """

        def compare(range_: _Range) -> int | None:
            return self._compare(key, source, target, range_, deadline)

        ranges = _ranges(source.size)
        if source.size <= READ_SIZE:
            return next(filter(_is_found, map(compare, ranges)), None)
        running: deque[Future[int | None]] = deque()
        try:
            for range_ in ranges:
                running.append(self._pool.submit(carried(compare), range_))
                if len(running) == RANGES and (found := running.popleft().result()) is not None:
                    return found
            while running:
                if (found := running.popleft().result()) is not None:
                    return found
            return None
        finally:
            for future in running:
                future.cancel()
            wait(running)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _compare(
        self, key: str, source: ObjectState, target: ObjectState, range_: _Range, deadline: Deadline
    ) -> int | None:
        deadline.progress()
        deadline.check()
        with self._memory.hold(2 * range_.size):
            self._bandwidth.wait(2 * range_.size, deadline)
            ours = self._source.read(key, source.etag, range_.start, range_.size)
            theirs = self._target.read(key, target.etag, range_.start, range_.size)
            with self._lock:
                self._read += 2 * range_.size
            return None if ours == theirs else range_.start + _first_difference(ours, theirs)


def _is_found(position: int | None) -> bool:
    return position is not None


def _ranges(size: int) -> Iterator[_Range]:
    for start in range(0, size, READ_SIZE):
        yield _Range(start, min(READ_SIZE, size - start))


def _first_difference(ours: bytearray, theirs: bytearray) -> int:
    """Return the position of the first byte that differs. Halving keeps the comparisons in C."""
    start, end = 0, len(ours)
    while end - start > 1:
        middle = (start + end) // 2
        if ours[start:middle] == theirs[start:middle]:
            start = middle
        else:
            end = middle
    return start
