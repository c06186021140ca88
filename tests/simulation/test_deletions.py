"""Deletions of live sync in simulated time: waiting, held, released and discarded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from s3_syncer.settings import DeletionQueues

from .processes import (
    BULK,
    DEAD_LETTERS,
    DELETIONS,
    HELD_DELETIONS,
    QUEUE,
    SETTINGS,
    LambdaService,
    World,
    act_on_held_deletions,
)
from .scheduler import Scheduler
from .sqs import Sqs
from .store import Store
from .threads import running, simulated

KEYS = [f"{number:02}" for number in range(24)]
DELAY_S, HOLD_ABOVE = 60.0, 10


class Mirror:
    """A source and a target with the same objects, and the function between them."""

    def __init__(self, scheduler: Scheduler, *, count_lag_s: float) -> None:
        self.scheduler, self.sqs = scheduler, Sqs(scheduler)
        self.sqs.count_lag_s = count_lag_s
        self.sqs.create(DEAD_LETTERS)
        for queue, delay_s in ((QUEUE, 0.0), (BULK, 0.0), (DELETIONS, DELAY_S)):
            self.sqs.create(queue, dead_letter_url=DEAD_LETTERS, delay_s=delay_s)
        self.sqs.create(HELD_DELETIONS)
        #: The keys that were deleted from the target, in order.
        self.deleted: list[str] = []
        self.source = Store("source", scheduler, on_change=lambda *change: self.sqs.notify(QUEUE, "source", *change))
        self.target = Store("target", scheduler, on_change=self._on_change)
        settings = replace(SETTINGS, deletion_queues=DeletionQueues(DELETIONS, HELD_DELETIONS, HOLD_ABOVE))
        self.world = World(scheduler, self.source, self.target, self.sqs, settings=settings)
        for key in KEYS:
            self.source.write(key, b"1")
        LambdaService(self.world, batch_size=10).start()
        self.settle()

    def settle(self) -> None:
        """Wait until the queues with workers are empty, and the guard counts again."""
        self.scheduler.sleep(100.0)
        while any(self.sqs.messages(queue) for queue in (QUEUE, BULK, DELETIONS)):
            self.scheduler.sleep(10.0)
        self.scheduler.sleep(100.0)

    def _on_change(self, key: str, event: str) -> None:
        if event.startswith("ObjectRemoved"):
            self.deleted.append(key)


def run(story: Callable[[Mirror], None], *, count_lag_s: float = 0.0) -> None:
    """Run the story in simulated time."""
    with simulated():
        scheduler = Scheduler(0, max_steps=10**6)
        with running(scheduler):
            try:
                main = scheduler.spawn(
                    lambda: story(Mirror(scheduler, count_lag_s=count_lag_s)), name="application", group="application"
                )
                scheduler.run(until=lambda: main.done)
            finally:
                scheduler.close()


def test_an_object_that_comes_back_within_the_delay_is_never_deleted() -> None:
    def story(mirror: Mirror) -> None:
        mirror.source.remove("00")
        mirror.scheduler.sleep(DELAY_S / 2)
        mirror.source.write("00", b"2")
        mirror.settle()
        assert mirror.deleted == []
        assert mirror.target.objects["00"].body == b"2"

    run(story)


def test_few_deletions_are_done_after_the_delay() -> None:
    def story(mirror: Mirror) -> None:
        for key in KEYS[:5]:
            mirror.source.remove(key)
        mirror.scheduler.sleep(DELAY_S - 1)
        assert mirror.deleted == []
        mirror.settle()
        assert sorted(mirror.deleted) == KEYS[:5]

    run(story)


@pytest.mark.parametrize("count_lag_s", [0.0, 30.0])
def test_a_mass_deletion_is_held_as_a_whole_until_it_is_released(count_lag_s: float) -> None:
    """Also if the counts of SQS lag by half of the delay."""

    def story(mirror: Mirror) -> None:
        for key in KEYS[1:]:
            mirror.source.remove(key)
        mirror.settle()
        assert mirror.deleted == []
        assert len(mirror.sqs.messages(HELD_DELETIONS)) == len(KEYS) - 1

        mirror.source.remove(KEYS[0])  # the guard stays shut
        mirror.settle()
        assert mirror.deleted == []

        mirror.scheduler.join(act_on_held_deletions(mirror.world, "release"))
        mirror.settle()
        assert sorted(mirror.deleted) == KEYS
        assert mirror.sqs.messages(HELD_DELETIONS) == []

    run(story, count_lag_s=count_lag_s)


def test_discarded_deletions_leave_the_objects_and_open_the_guard() -> None:
    def story(mirror: Mirror) -> None:
        for key in KEYS[1:]:
            mirror.source.remove(key)
        mirror.settle()
        mirror.scheduler.join(act_on_held_deletions(mirror.world, "discard"))
        mirror.settle()
        assert mirror.deleted == []
        mirror.source.remove(KEYS[0])
        mirror.settle()
        assert mirror.deleted == [KEYS[0]]

    run(story)


def test_held_deletions_that_expire_leave_the_objects() -> None:
    """The guard then opens for new deletions only."""

    def story(mirror: Mirror) -> None:
        for key in KEYS[1:]:
            mirror.source.remove(key)
        mirror.settle()
        mirror.sqs.expire(HELD_DELETIONS, 20)
        mirror.source.remove(KEYS[0])
        mirror.settle()
        assert mirror.deleted == [KEYS[0]]

    run(story)
