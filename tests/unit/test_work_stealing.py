"""Ranges shared out among several: every key is swept once, whoever sweeps it, and failures end it all."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from string import ascii_lowercase

import pytest
from tests.support.patience import PATIENCE_S

from s3_syncer.cli.work_stealing import Range, Spread
from s3_syncer.core.deadline import Deadline
from s3_syncer.core.errors import StoreUnusable
from s3_syncer.core.listing_diff import Unordered

PAGE = 10


class Keys:
    """Keys in order, and how often they are asked about."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = sorted(keys)

    def behind(self, after: str, until: str | None = None) -> list[str]:
        return [key for key in self.keys if key > after and (until is None or key <= until)]

    def first(self, points: Sequence[str]) -> list[str | None]:
        places = [bisect_right(self.keys, point) for point in points]
        return [self.keys[place] if place < len(self.keys) else None for place in places]


class Slow:
    """Sweeps page by page, taking a moment for each, and waiting until it may go on or give a share away."""

    wants_work = True
    could_do_more = True

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

    def sweep(self, range_: Range, deadline: Deadline, share: Deadline, hand_on: Callable[[str], None]) -> str | None:
        after = range_.after
        while True:
            page = self._keys.behind(after, range_.until)[:PAGE]
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
            while not (self._may_go_on() or share.passed() or deadline.passed()):
                assert time.monotonic() < end, "waited in vain"
                time.sleep(0.001)
            if deadline.passed():
                return after
            if share.passed():
                hand_on(after)
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
    slow = Slow(keys)
    assert Spread([slow] * several, keys.first).run(Range(), Deadline()) is None
    assert slow.swept == Counter(keys.keys)


def test_the_idle_take_a_share() -> None:
    keys = Keys(SPACES["in a row"])
    slow = Slow(keys, waits_until=lambda: len(slow.threads) == 4)
    Spread([slow] * 4, keys.first).run(Range(), Deadline())
    assert len(slow.threads) == 4
    assert slow.swept == Counter(keys.keys)


def test_nobody_takes_more_than_it_can_do() -> None:
    keys = Keys(SPACES["in a row"])
    slow = Slow(keys)
    slow.could_do_more = False
    Spread([slow] * 4, keys.first).run(Range(), Deadline())
    assert len(slow.threads) == 1


def test_others_take_part_once_there_is_enough_to_do() -> None:
    keys = Keys(SPACES["in a row"])

    def the_other_has_done_some() -> bool:
        other.wants_work = one.swept.total() > len(keys.keys) // 3
        return not other.wants_work or other.swept.total() > len(keys.keys) // 10

    one, other = Slow(keys, waits_until=the_other_has_done_some), Slow(keys)
    one.could_do_more = other.could_do_more = other.wants_work = False
    Spread([one, one, other, other], keys.first).run(Range(), Deadline())
    assert one.swept + other.swept == Counter(keys.keys)
    assert one.swept.total() > len(keys.keys) // 3
    assert other.swept.total() > len(keys.keys) // 10


@pytest.mark.parametrize("round_", range(10))
def test_who_has_nothing_to_do_comes_before_who_could_do_more(round_: int) -> None:
    keys = Keys([f"{folder}/{number:03}" for folder in "ab" for number in range(100)])

    class Slower(Slow):
        """Gives its first range away, and keeps what it has taken since until the other has some."""

        def sweep(
            self, range_: Range, deadline: Deadline, share: Deadline, hand_on: Callable[[str], None]
        ) -> str | None:
            first = not self.swept
            return super().sweep(range_, deadline, share if first else deadline, hand_on)

    one, other = Slower(keys, waits_until=lambda: other.swept.total() > 0), Slow(keys)
    Spread([*[one] * 8, other], keys.first).run(Range(), Deadline())
    assert one.swept + other.swept == Counter(keys.keys)


def test_who_has_handed_on_its_rest_keeps_nobody_waiting() -> None:
    """It may have a large object under way, and is not to be asked for more."""
    keys = Keys(SPACES["in a row"])

    class Lingering(Slow):
        def sweep(
            self, range_: Range, deadline: Deadline, share: Deadline, hand_on: Callable[[str], None]
        ) -> str | None:
            first = not self.swept
            unfinished = super().sweep(range_, deadline, share, hand_on)
            end = time.monotonic() + PATIENCE_S
            while first and self.swept.total() < len(keys.keys):
                assert time.monotonic() < end, "waited in vain"
                time.sleep(0.001)
            return unfinished

    slow = Lingering(keys, waits_until=lambda: len(slow.threads) == 4)
    assert Spread([slow] * 4, keys.first).run(Range(), Deadline()) is None
    assert slow.swept == Counter(keys.keys)


def test_no_fault_is_taken_for_an_end() -> None:
    keys = Keys(SPACES["in a row"])

    class Faulty(Slow):
        @property
        def wants_work(self) -> bool:
            raise AttributeError("a fault of ours")

    with pytest.raises(AttributeError, match="a fault of ours"):
        Spread([Faulty(keys)] * 2, keys.first).run(Range(), Deadline())


def test_a_stop_says_where_to_go_on() -> None:
    keys, deadline = Keys(SPACES["in a row"]), Deadline()

    def stop() -> bool:
        if slow.swept.total() > len(keys.keys) // 3:
            deadline.stop()
        return True

    slow = Slow(keys, waits_until=stop)
    rest = Spread([slow] * 4, keys.first).run(Range(), deadline)
    assert rest is not None
    assert slow.swept.keys() >= {key for key in keys.keys if key <= rest}
    assert slow.swept.total() < len(keys.keys)


def test_nothing_is_begun_after_a_stop() -> None:
    keys, deadline = Keys([f"{letter}/{n:03}" for letter in ascii_lowercase for n in range(30)]), Deadline()
    late: list[Range] = []

    class Late(Slow):
        def sweep(
            self, range_: Range, deadline: Deadline, share: Deadline, hand_on: Callable[[str], None]
        ) -> str | None:
            if deadline.passed():
                late.append(range_)
            return super().sweep(range_, deadline, share, hand_on)

    def stop() -> bool:
        if len(spread._state.waiting) > 2:
            deadline.stop()
        return True

    slow = Late(keys, waits_until=stop)
    spread = Spread([slow] * 2, keys.first)
    assert spread.run(Range(), deadline) is not None
    assert spread._state.waiting
    assert len(late) < 2, "at most what the other was about to begin"


@pytest.mark.parametrize("error", [StoreUnusable("gone"), Unordered("in disorder"), ValueError("a fault of ours")])
def test_what_one_fails_with_ends_it_all(error: Exception) -> None:
    keys = Keys(SPACES["in a row"])
    # Behind the failure nobody gives a share away or goes on, unless it is told to end.
    slow = Slow(keys, fails_at="key 001500", error=error, waits_until=lambda: "key 001500" not in slow.swept)
    with pytest.raises(type(error)) as raised:
        Spread([slow] * 4, keys.first).run(Range(), Deadline())
    assert raised.value is error
    assert slow.swept.total() < len(keys.keys)
