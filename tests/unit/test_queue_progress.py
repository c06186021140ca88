"""When the work of a fleet is done: no sooner than it is, and, whatever fails for ever, at last."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.clock import FakeClock

from s3_syncer.cli.queue_progress import Coverage, Line, Watch, wait
from s3_syncer.cli.stats import Tally
from s3_syncer.core.deadline import Deadline, OutOfTime
from s3_syncer.core.errors import Retryable, StoreUnusable, SyncError

IDLE_S, SILENCE_S = 60.0, 900.0


class Watched:
    """A watch, the tally it fills, and the clock it goes by."""

    def __init__(self) -> None:
        self.tally, self.clock = Tally(), FakeClock()
        self.watch = Watch(self.tally, idle_s=IDLE_S, silence_s=SILENCE_S, clock=self.clock)

    def after(self, seconds: float, backlog: int, *lines: Line) -> bool:
        """Whether all is done after so many seconds more, with this on the queue and these new lines in the log."""
        self.clock.now += seconds
        self.watch.read(lines)
        return self.watch.over(backlog)


def swept(after: str = "", until: str | None = None, **counts: int) -> dict[str, Any]:
    none = {"keys": 0, "changed": 0, "deleted": 0, "bytes": 0, "failed": 0}
    return {"action": "range", "after": after, "until": until, **none, **counts}


def copied(key: str, lag_ms: int | None) -> dict[str, Any]:
    return {"action": "copy", "key": key, "reason": "absent from the target", "bytes": 7, "lag_ms": lag_ms}


RETRY = {"action": "retry", "key": "poisoned", "reason": "SlowDown", "bytes": 0, "lag_ms": None}

# -- the queue ---------------------------------------------------------------------------------------------------------


def test_an_empty_queue_is_believed_after_a_while() -> None:
    watched = Watched()
    assert not watched.after(0, 0), "what was sent is not to be seen yet"
    assert not watched.after(IDLE_S - 1, 0)
    assert watched.after(1, 0)


def test_a_message_that_shows_up_begins_the_while_again() -> None:
    watched = Watched()
    assert not watched.after(IDLE_S - 1, 0)
    assert not watched.after(1, 1)
    assert not watched.after(IDLE_S - 1, 0)
    assert watched.after(1, 0)


def test_a_busy_queue_is_waited_for_as_long_as_ranges_are_left() -> None:
    watched = Watched()
    assert not watched.after(100 * SILENCE_S, 5, swept("", "m"))


# -- the log -----------------------------------------------------------------------------------------------------------


def test_live_sync_on_the_queue_is_not_waited_for() -> None:
    watched = Watched()
    assert not watched.after(10, 3, swept("", "m"), swept("m", None))
    assert watched.watch.swept
    assert not watched.after(SILENCE_S - 1, 3, copied("live", lag_ms=200))
    assert watched.after(1, 3, copied("live", lag_ms=300))


def test_what_a_range_has_handed_on_is_waited_for() -> None:
    watched = Watched()
    assert not watched.after(10, 3, swept())
    assert not watched.after(SILENCE_S - 1, 3, copied("large", lag_ms=None))
    assert not watched.after(SILENCE_S - 1, 3)
    assert watched.after(1, 3)


@pytest.mark.parametrize("action", ["part", "complete"])
def test_parts_of_a_large_object_are_waited_for(action: str) -> None:
    watched = Watched()
    line = {"action": action, "key": "huge", "bytes": 3}
    assert not watched.after(10, 3, swept())
    assert not watched.after(SILENCE_S - 1, 3, line)
    assert not watched.after(SILENCE_S - 1, 3)
    assert watched.tally.bytes == (3 if action == "complete" else 0)


def test_a_key_that_is_tried_again_and_again_is_not_waited_for_ever() -> None:
    watched = Watched()
    assert not watched.after(10, 1, swept())
    assert not watched.after(SILENCE_S / 2, 1, RETRY)
    assert watched.after(SILENCE_S / 2, 1, RETRY)


def test_the_log_is_counted() -> None:
    watched = Watched()
    dead = {"action": "dead-letter", "key": "poisoned", "reason": "the key is refused", "bytes": 0, "lag_ms": None}
    lines = [swept("", "m", keys=10, changed=6, deleted=2, bytes=40), swept("m", None, keys=5, changed=1, bytes=2)]
    watched.after(1, 4, *lines, copied("large", lag_ms=None), copied("live", lag_ms=5), dead, RETRY)
    tally = watched.tally
    assert (tally.keys, tally.bytes, dict(tally.actions)) == (15, 49, {"copy": 6, "delete": 2})
    assert [(finding.key, finding.reason) for finding in tally.failures] == [("poisoned", "the key is refused")]
    assert tally.backlog == 4


def test_a_line_of_another_version_is_read_as_far_as_it_goes() -> None:
    watched = Watched()
    watched.after(1, 0, {"action": "range", "after": "", "until": None, "keys": 3, "changed": 2, "failed": 0}, {"x": 1})
    assert (watched.tally.keys, watched.tally.changes, watched.watch.swept) == (3, 2, True)


# -- stretches of keys -------------------------------------------------------------------------------------------------

KEY = st.text(min_size=1, max_size=3)


@given(st.lists(KEY, max_size=20), st.randoms(use_true_random=False))
def test_stretches_that_meet_leave_no_key_out(cuts: list[str], chance: random.Random) -> None:
    ends: list[str | None] = [*sorted(set(cuts)), None]
    stretches = list(zip(["", *ends], ends, strict=False))
    chance.shuffle(stretches)
    coverage = Coverage()
    for after, until in stretches:
        assert not coverage.whole
        assert after is not None
        coverage.add(after, until)
    assert coverage.whole


@given(st.lists(st.tuples(KEY | st.just(""), KEY | st.none()), max_size=12), KEY)
def test_covered_is_what_some_stretch_covers(stretches: list[tuple[str, str | None]], key: str) -> None:
    coverage = Coverage()
    for after, until in stretches:
        coverage.add(after, until)
    covered = any(after < key and (until is None or key <= until) for after, until in stretches)
    assert covered == any(a < key and (u is None or key <= u) for a, u in coverage._stretches)
    assert not coverage.whole or covered


# -- the wait ----------------------------------------------------------------------------------------------------------


class Script:
    """A fleet that answers as it is told, and then for ever as it did last."""

    def __init__(self, *backlogs: int | SyncError) -> None:
        self._backlogs = list(backlogs)
        self.asked = 0

    def lines(self) -> Iterable[Line]:
        return ()

    def backlog(self) -> int:
        self.asked += 1
        now = self._backlogs.pop(0) if len(self._backlogs) > 1 else self._backlogs[0]
        if isinstance(now, SyncError):
            raise now
        return now


def waited(fleet: Script, deadline: Deadline | None = None, idle_s: float = 0.005) -> None:
    wait(fleet, Watch(Tally(), idle_s=idle_s), deadline or Deadline.after(60), interval_s=0.01)


def test_the_wait_ends_with_the_work() -> None:
    fleet = Script(3, 2, 1, 0)
    waited(fleet)
    assert fleet.asked == 4


def test_what_may_pass_is_outlasted_and_counts_as_busy() -> None:
    fleet = Script(Retryable("throttled"), Retryable("throttled"), 0)
    waited(fleet)
    assert fleet.asked == 3


def test_what_will_not_pass_ends_the_wait() -> None:
    with pytest.raises(StoreUnusable, match="no such queue"):
        waited(Script(StoreUnusable("no such queue")))


def test_a_signal_ends_the_wait() -> None:
    deadline = Deadline()
    deadline.stop()
    with pytest.raises(OutOfTime):
        waited(Script(1), deadline)
