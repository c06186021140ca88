"""Ranges shared between sweepers: every key is swept once, and the first failure ends the whole run."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from string import ascii_lowercase

import pytest
from tests.support.patience import PATIENCE_S

from s3_syncer.cli.sweeps.work_stealing import Range, WorkStealingScheduler
from s3_syncer.core.deadline import Deadline
from s3_syncer.core.errors import StoreUnusable
from s3_syncer.core.listing_diff import Unordered

PAGE = 10


class Keys:
    """Keys in order."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = sorted(keys)

    def after(self, after: str, until: str | None = None) -> list[str]:
        return [key for key in self.keys if key > after and (until is None or key <= until)]

    def first_behind(self, points: Sequence[str]) -> list[str | None]:
        places = [bisect_right(self.keys, point) for point in points]
        return [self.keys[place] if place < len(self.keys) else None for place in places]


class SlowSweeper:
    """Sweeps page by page, with a short sleep for each page.

    After a page it waits for `waits_until`, a release request or the deadline.
    """

    is_available = True
    has_spare_capacity = True

    def __init__(
        self,
        keys: Keys,
        *,
        fails_at: str = "",
        error: Exception | None = None,
        waits_until: Callable[[], object] = lambda: True,
    ) -> None:
        self._keys, self._fails_at, self._error, self._may_go_on = keys, fails_at, error, waits_until
        self.swept: Counter[str] = Counter()
        self.threads: set[str] = set()
        self._lock = threading.Lock()

    def sweep(
        self, range_: Range, deadline: Deadline, release_request: Deadline, release_rest: Callable[[str], None]
    ) -> str | None:
        after = range_.after
        while True:
            page = self._keys.after(after, range_.until)[:PAGE]
            time.sleep(0.001)
            with self._lock:
                self.swept.update(page)
                self.threads.add(threading.current_thread().name)
            if self._error and self._fails_at in page:
                raise self._error
            if len(page) < PAGE:
                return None
            after = page[-1]
            end = time.monotonic() + PATIENCE_S
            while not (self._may_go_on() or release_request.passed() or deadline.passed()):
                assert time.monotonic() < end, "the condition did not become true"
                time.sleep(0.001)
            if deadline.passed():
                return after
            if release_request.passed():
                release_rest(after)
                return None


SPACES = {
    "nothing": [],
    "one": ["key"],
    "a page": [f"{n}" for n in range(9)],
    "in a row": [f"key {n:06}" for n in range(3000)],
    "folders": [f"{a}/{b}/{n:03}" for a in ("logs", "photos") for b in range(12) for n in range(80)],
    "one folder holds most": ["a", *(f"m/{n:05}" for n in range(2000)), "z"],
    "going on from each other": ["a" * n for n in range(1, 300)],
    "beyond ascii": [f"{chr(0x4E00 + n % 700)}{n}" for n in range(2000)] + ["\U0010ffff" * n for n in range(1, 5)],
}


@pytest.mark.parametrize("several", [1, 2, 8])
@pytest.mark.parametrize("space", SPACES)
def test_every_key_is_swept_once(space: str, several: int) -> None:
    keys = Keys(SPACES[space])
    slow = SlowSweeper(keys)
    assert WorkStealingScheduler([slow] * several, keys.first_behind).run([Range()], Deadline()) is None
    assert slow.swept == Counter(keys.keys)


def test_idle_slots_take_a_part_of_the_range() -> None:
    keys = Keys(SPACES["in a row"])
    slow = SlowSweeper(keys, waits_until=lambda: len(slow.threads) == 4)
    WorkStealingScheduler([slow] * 4, keys.first_behind).run([Range()], Deadline())
    assert len(slow.threads) == 4
    assert slow.swept == Counter(keys.keys)


def test_sweeper_without_spare_capacity_takes_one_range() -> None:
    keys = Keys(SPACES["in a row"])
    slow = SlowSweeper(keys)
    slow.has_spare_capacity = False
    WorkStealingScheduler([slow] * 4, keys.first_behind).run([Range()], Deadline())
    assert len(slow.threads) == 1


def test_sweeper_takes_part_as_soon_as_it_is_available() -> None:
    keys = Keys(SPACES["in a row"])

    def the_other_has_done_some() -> bool:
        other.is_available = one.swept.total() > len(keys.keys) // 3
        return not other.is_available or other.swept.total() > len(keys.keys) // 10

    one, other = SlowSweeper(keys, waits_until=the_other_has_done_some), SlowSweeper(keys)
    one.has_spare_capacity = other.has_spare_capacity = other.is_available = False
    WorkStealingScheduler([one, one, other, other], keys.first_behind).run([Range()], Deadline())
    assert one.swept + other.swept == Counter(keys.keys)
    assert one.swept.total() > len(keys.keys) // 3
    assert other.swept.total() > len(keys.keys) // 10


def test_released_rest_goes_to_an_idle_sweeper_before_spare_capacity() -> None:
    """Fails in about half of the runs if `_may_take` returns only `has_spare_capacity` for a busy sweeper."""
    keys, taken = Keys([f"{folder}/{number:03}" for folder in "ab" for number in range(100)]), dict[str, str]()

    class Logged(SlowSweeper):
        """Logs the start of each range. The first range makes the other sweeper available, and is released."""

        def __init__(self, name: str) -> None:
            super().__init__(keys)
            self._name = name

        def sweep(
            self, range_: Range, deadline: Deadline, release_request: Deadline, release_rest: Callable[[str], None]
        ) -> str | None:
            taken[range_.after] = self._name
            if range_ == Range():
                other.is_available = True
                wait_for(release_request.passed)
            unfinished = super().sweep(range_, deadline, release_request, release_rest)
            wait_for(lambda: len(taken) > 1)  # or the slot that released the rest would itself be idle
            return unfinished

    one, other = Logged("one"), Logged("other")
    other.is_available = False
    WorkStealingScheduler([*[one] * 8, other], keys.first_behind).run([Range()], Deadline())
    whole, first_part = sorted(taken)[:2]
    assert (taken[whole], taken[first_part]) == ("one", "other")
    assert one.swept + other.swept == Counter(keys.keys)


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "the condition did not become true"
        time.sleep(0.001)


def test_slot_that_released_its_rest_is_not_asked_again() -> None:
    """It may have a large object in flight."""
    keys = Keys(SPACES["in a row"])

    class Lingering(SlowSweeper):
        def sweep(
            self, range_: Range, deadline: Deadline, release_request: Deadline, release_rest: Callable[[str], None]
        ) -> str | None:
            first = not self.swept
            unfinished = super().sweep(range_, deadline, release_request, release_rest)
            end = time.monotonic() + PATIENCE_S
            while first and self.swept.total() < len(keys.keys):
                assert time.monotonic() < end, "the condition did not become true"
                time.sleep(0.001)
            return unfinished

    slow = Lingering(keys, waits_until=lambda: len(slow.threads) == 4)
    assert WorkStealingScheduler([slow] * 4, keys.first_behind).run([Range()], Deadline()) is None
    assert slow.swept == Counter(keys.keys)


def test_unexpected_error_is_not_taken_for_the_end() -> None:
    keys = Keys(SPACES["in a row"])

    class Faulty(SlowSweeper):
        @property
        def is_available(self) -> bool:
            raise AttributeError("a bug")

    with pytest.raises(AttributeError, match="a bug"):
        WorkStealingScheduler([Faulty(keys)] * 2, keys.first_behind).run([Range()], Deadline())


def test_stop_returns_the_key_to_continue_after() -> None:
    keys, deadline = Keys(SPACES["in a row"]), Deadline()

    def stop() -> bool:
        if slow.swept.total() > len(keys.keys) // 3:
            deadline.stop()
        return True

    slow = SlowSweeper(keys, waits_until=stop)
    rest = WorkStealingScheduler([slow] * 4, keys.first_behind).run([Range()], deadline)
    assert rest is not None
    assert slow.swept.keys() >= {key for key in keys.keys if key <= rest}
    assert slow.swept.total() < len(keys.keys)


def test_no_range_is_started_after_a_stop() -> None:
    keys, deadline = Keys([f"{letter}/{n:03}" for letter in ascii_lowercase for n in range(30)]), Deadline()
    late: list[Range] = []

    class Late(SlowSweeper):
        def sweep(
            self, range_: Range, deadline: Deadline, release_request: Deadline, release_rest: Callable[[str], None]
        ) -> str | None:
            if deadline.passed():
                late.append(range_)
            return super().sweep(range_, deadline, release_request, release_rest)

    def stop() -> bool:
        if len(scheduler._pending) > 2:
            deadline.stop()
        return True

    slow = Late(keys, waits_until=stop)
    scheduler = WorkStealingScheduler([slow] * 2, keys.first_behind)
    assert scheduler.run([Range()], deadline) is not None
    assert scheduler._pending
    assert len(late) < 2, "at most the range that the other slot was about to start"


@pytest.mark.parametrize("error", [StoreUnusable("gone"), Unordered("not in order"), ValueError("a bug")])
def test_first_failure_ends_the_whole_run(error: Exception) -> None:
    keys = Keys(SPACES["in a row"])
    # After the failure, the sweeper continues only when its deadline passes.
    slow = SlowSweeper(keys, fails_at="key 001500", error=error, waits_until=lambda: "key 001500" not in slow.swept)
    with pytest.raises(type(error)) as raised:
        WorkStealingScheduler([slow] * 4, keys.first_behind).run([Range()], Deadline())
    assert raised.value is error
    assert slow.swept.total() < len(keys.keys)
