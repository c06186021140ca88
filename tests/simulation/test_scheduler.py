"""The scheduler: order by seed, simulated time, kill, freeze and thaw."""

from __future__ import annotations

import pytest
from tests.simulation.scheduler import Deadlock, Endless, Killed, Scheduler, TaskFailed


def order_of_two_tasks(seed: int) -> str:
    scheduler, order = Scheduler(seed), []

    def task(name: str) -> None:
        for _ in range(3):
            scheduler.pause()
            order.append(name)

    for name in "ab":
        scheduler.spawn(task, name, group=name)
    scheduler.run()
    return "".join(order)


def test_a_seed_gives_one_order_and_seeds_give_all_orders() -> None:
    assert order_of_two_tasks(7) == order_of_two_tasks(7)
    assert len({order_of_two_tasks(seed) for seed in range(500)}) == 20  # 6! / (3! 3!)


def test_time_jumps_to_the_next_wake_up() -> None:
    scheduler, woken = Scheduler(1), []

    def task(seconds: float) -> None:
        scheduler.sleep(seconds)
        woken.append((seconds, scheduler.now))

    for seconds in (3600.0, 0.5, 60.0):
        scheduler.spawn(task, seconds, group="g")
    scheduler.run()
    assert woken == [(0.5, 0.5), (60.0, 60.0), (3600.0, 3600.0)]


def test_a_wait_ends_by_its_condition_or_its_timeout() -> None:
    scheduler = Scheduler(1)
    box: list[int] = []
    results: list[tuple[float, bool, float]] = []

    def waiter(timeout: float) -> None:
        results.append((timeout, scheduler.block(lambda: bool(box), timeout), scheduler.now))

    scheduler.spawn(waiter, 1.0, group="g")
    scheduler.spawn(waiter, 9.0, group="g")
    scheduler.call_later(5.0, lambda: box.append(1))
    scheduler.run()
    assert results == [(1.0, False, 1.0), (9.0, True, 5.0)]


def test_a_killed_task_makes_no_further_call() -> None:
    scheduler, seen = Scheduler(1), []

    def task() -> None:
        try:
            scheduler.sleep(10)
            seen.append("after the kill")
        finally:
            seen.append("finally")
            try:
                scheduler.pause()  # a request of the `finally` block
                seen.append("request")
            except Killed:
                seen.append("killed again")
                raise

    def killer() -> None:
        scheduler.sleep(1)
        scheduler.kill("victim")

    victim = scheduler.spawn(task, group="victim")
    scheduler.spawn(killer, group="killer")
    scheduler.run()
    assert seen == ["finally", "killed again"]
    assert victim.done


def test_a_task_can_kill_its_own_group_at_a_call() -> None:
    scheduler, seen = Scheduler(1), []

    def request() -> None:
        scheduler.kill("victim")
        seen.append("after the kill")

    scheduler.spawn(request, group="victim")
    scheduler.spawn(lambda: scheduler.sleep(1), group="victim")
    scheduler.run()
    assert seen == []


def test_a_frozen_group_goes_on_after_the_thaw_at_the_time_of_the_thaw() -> None:
    scheduler, seen = Scheduler(1), []

    def task() -> None:
        scheduler.sleep(1)
        seen.append(scheduler.now)

    def aws() -> None:
        scheduler.freeze("environment")
        scheduler.sleep(300)
        assert seen == []
        scheduler.thaw("environment")

    scheduler.spawn(task, group="environment")
    scheduler.spawn(aws, group="aws")
    scheduler.run()
    assert seen == [300.0]


def test_tasks_that_wait_for_each_other_are_a_deadlock() -> None:
    scheduler = Scheduler(1)
    scheduler.spawn(lambda: scheduler.park(label="for Godot"), name="Vladimir", group="g")
    with pytest.raises(Deadlock, match="Vladimir waits: for Godot"):
        scheduler.run()
    scheduler.close()


def test_a_history_without_end_is_an_error() -> None:
    scheduler = Scheduler(1, max_steps=100)

    def task() -> None:
        while True:
            scheduler.pause()

    scheduler.spawn(task, group="g")
    with pytest.raises(Endless):
        scheduler.run()
    scheduler.close()


def test_an_exception_that_leaves_a_task_ends_the_history() -> None:
    scheduler = Scheduler(1)
    scheduler.spawn(lambda: 1 / 0, group="g")
    with pytest.raises(TaskFailed, match="ZeroDivisionError"):
        scheduler.run()
    scheduler.close()


def test_close_unwinds_the_tasks_that_are_left() -> None:
    scheduler, seen = Scheduler(1), []

    def task() -> None:
        try:
            scheduler.sleep(1000)
        finally:
            seen.append("unwound")

    scheduler.spawn(task, group="g")
    scheduler.call_later(1.0, lambda: seen.append("late"))
    scheduler.run(until=lambda: "late" in seen)
    scheduler.close()
    assert seen == ["late", "unwound"]
