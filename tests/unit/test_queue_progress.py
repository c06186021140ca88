"""Decide that the work of the workers is done: never too early, and also if a message always fails."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.clock import FakeClock

from s3_syncer.cli.output.stats import SweepStats
from s3_syncer.cli.sweeps.queue_progress import Coverage, Line, QueueProgress, wait_until_done
from s3_syncer.core.deadline import Deadline, OutOfTime
from s3_syncer.core.errors import Retryable, StoreUnusable, SyncError

IDLE_S, SILENCE_S = 60.0, 900.0


class Observed:
    """A queue progress with its stats and its clock."""

    def __init__(self) -> None:
        self.stats, self.clock = SweepStats(), FakeClock()
        self.progress = QueueProgress(self.stats, idle_s=IDLE_S, silence_s=SILENCE_S, clock=self.clock)

    def after(self, seconds: float, backlog: int, *lines: Line) -> bool:
        """Return True if the work is done after these seconds, with this backlog and these new log lines."""
        self.clock.now += seconds
        self.progress.read(lines)
        return self.progress.is_done(backlog)


def swept(after: str = "", until: str | None = None, **counts: int) -> dict[str, Any]:
    none = {"keys": 0, "changed": 0, "deleted": 0, "bytes": 0, "failed": 0}
    return {"action": "range", "after": after, "until": until, **none, **counts}


def copied(key: str, lag_ms: int | None) -> dict[str, Any]:
    return {"action": "copy", "key": key, "reason": "absent from the target", "bytes": 7, "lag_ms": lag_ms}


RETRY = {"action": "retry", "key": "poisoned", "reason": "SlowDown", "bytes": 0, "lag_ms": None}

# -- the queue ---------------------------------------------------------------------------------------------------------


def test_empty_queue_counts_after_the_idle_timeout() -> None:
    observed = Observed()
    assert not observed.after(0, 0), "the counts may not show the new message yet"
    assert not observed.after(IDLE_S - 1, 0)
    assert observed.after(1, 0)


def test_new_message_restarts_the_idle_timeout() -> None:
    observed = Observed()
    assert not observed.after(IDLE_S - 1, 0)
    assert not observed.after(1, 1)
    assert not observed.after(IDLE_S - 1, 0)
    assert observed.after(1, 0)


def test_work_is_not_done_while_a_range_is_left() -> None:
    observed = Observed()
    assert not observed.after(100 * SILENCE_S, 5, swept("", "m"))


# -- the log -----------------------------------------------------------------------------------------------------------


def test_messages_of_live_sync_do_not_delay_the_end() -> None:
    observed = Observed()
    assert not observed.after(10, 3, swept("", "m"), swept("m", None))
    assert observed.progress.all_swept
    assert not observed.after(SILENCE_S - 1, 3, copied("live", lag_ms=200))
    assert observed.after(1, 3, copied("live", lag_ms=300))


def test_key_that_a_range_sent_to_the_queue_delays_the_end() -> None:
    observed = Observed()
    assert not observed.after(10, 3, swept())
    assert not observed.after(SILENCE_S - 1, 3, copied("large", lag_ms=None))
    assert not observed.after(SILENCE_S - 1, 3)
    assert observed.after(1, 3)


@pytest.mark.parametrize("action", ["part", "complete"])
def test_part_of_a_large_object_delays_the_end(action: str) -> None:
    observed = Observed()
    line = {"action": action, "key": "huge", "bytes": 3}
    assert not observed.after(10, 3, swept())
    assert not observed.after(SILENCE_S - 1, 3, line)
    assert not observed.after(SILENCE_S - 1, 3)
    assert observed.stats.bytes == (3 if action == "complete" else 0)


def test_key_that_is_retried_forever_does_not_delay_the_end() -> None:
    observed = Observed()
    assert not observed.after(10, 1, swept())
    assert not observed.after(SILENCE_S / 2, 1, RETRY)
    assert observed.after(SILENCE_S / 2, 1, RETRY)


def test_log_lines_are_counted() -> None:
    observed = Observed()
    dead = {"action": "dead-letter", "key": "poisoned", "reason": "the key is refused", "bytes": 0, "lag_ms": None}
    lines = [swept("", "m", keys=10, changed=6, deleted=2, bytes=40), swept("m", None, keys=5, changed=1, bytes=2)]
    live = [copied("live", lag_ms=5), {**copied("live-huge", lag_ms=5), "action": "complete"}]
    observed.after(1, 4, *lines, copied("large", lag_ms=None), *live, dead, RETRY)
    stats = observed.stats
    assert (stats.keys, stats.bytes, dict(stats.actions)) == (15, 49, {"copy": 6, "delete": 2})
    assert [(finding.key, finding.reason) for finding in stats.failures] == [("poisoned", "the key is refused")]
    assert stats.backlog == 4


def test_line_of_another_version_is_read_without_its_missing_fields() -> None:
    observed = Observed()
    observed.after(
        1, 0, {"action": "range", "after": "", "until": None, "keys": 3, "changed": 2, "failed": 0}, {"x": 1}
    )
    assert (observed.stats.keys, observed.stats.changed, observed.progress.all_swept) == (3, 2, True)


# -- intervals of keys -------------------------------------------------------------------------------------------------

KEY = st.text(min_size=1, max_size=3)


@given(st.lists(KEY, max_size=20), st.randoms(use_true_random=False))
def test_adjacent_intervals_cover_all_keys(cuts: list[str], chance: random.Random) -> None:
    ends: list[str | None] = [*sorted(set(cuts)), None]
    intervals = list(zip(["", *ends], ends, strict=False))
    chance.shuffle(intervals)
    coverage = Coverage()
    for after, until in intervals:
        assert not coverage.is_complete
        assert after is not None
        coverage.add(after, until)
    assert coverage.is_complete


@given(st.lists(st.tuples(KEY | st.just(""), KEY | st.none()), max_size=12), KEY)
def test_key_is_covered_if_an_interval_contains_it(intervals: list[tuple[str, str | None]], key: str) -> None:
    coverage = Coverage()
    for after, until in intervals:
        coverage.add(after, until)
    covered = any(after < key and (until is None or key <= until) for after, until in intervals)
    assert covered == any(a < key and (u is None or key <= u) for a, u in coverage._intervals)
    assert not coverage.is_complete or covered


# -- the wait ----------------------------------------------------------------------------------------------------------


class Script:
    """Workers with these backlogs at successive checks; the last backlog is repeated."""

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


def wait_for_end(workers: Script, deadline: Deadline | None = None, idle_s: float = 0.005) -> None:
    wait_until_done(
        workers,
        QueueProgress(SweepStats(), idle_s=idle_s),
        deadline or Deadline.after(60),
        interval_s=0.01,
        outage_timeout_s=900,
    )


def test_wait_ends_with_the_work() -> None:
    workers = Script(3, 2, 1, 0)
    wait_for_end(workers)
    assert workers.asked == 4


def test_retryable_error_counts_as_a_busy_queue() -> None:
    workers = Script(Retryable("throttled"), Retryable("throttled"), 0)
    wait_for_end(workers)
    assert workers.asked == 3


def test_queue_that_does_not_respond_ends_the_wait_after_the_outage_timeout() -> None:
    clock, workers = FakeClock(), Script(3, Retryable("no response"))
    progress = QueueProgress(SweepStats(), idle_s=1)

    class EachCheck(Deadline):
        def sleep(self, seconds: float) -> None:
            clock.now += seconds

    with pytest.raises(StoreUnusable, match=r"no response: gave up after 900 s \(--outage-timeout\)"):
        wait_until_done(workers, progress, EachCheck(), interval_s=10, outage_timeout_s=900, clock=clock)
    assert workers.asked == 91


def test_unusable_queue_ends_the_wait() -> None:
    with pytest.raises(StoreUnusable, match="no such queue"):
        wait_for_end(Script(StoreUnusable("no such queue")))


def test_signal_ends_the_wait() -> None:
    deadline = Deadline()
    deadline.stop()
    with pytest.raises(OutOfTime):
        wait_for_end(Script(1), deadline)


@pytest.mark.parametrize(
    ("swept", "is_complete"),
    [
        ([("b", "d")], True),
        ([("a", None)], True),
        ([("b", "c"), ("c", "e")], True),
        ([("b", "c")], False),
        ([("c", "d")], False),
        ([], False),
    ],
)
def test_coverage_of_a_part_is_complete_with_the_keys_of_that_part(
    swept: list[tuple[str, str | None]], is_complete: bool
) -> None:
    coverage = Coverage("b", "d")
    for after, until in swept:
        coverage.add(after, until)
    assert coverage.is_complete is is_complete
