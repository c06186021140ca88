"""The simulated threads, and their replacement in the product."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, FIRST_EXCEPTION
from pathlib import Path
from types import ModuleType

import pytest
from tests.simulation import threads
from tests.simulation.scheduler import Scheduler

import s3_syncer
from s3_syncer.core import circuit_breaker, deadline
from s3_syncer.service import heartbeat
from s3_syncer.sync import transfer

#: Modules with code that the simulation does not run: it needs a terminal, processes, sockets or the threads of awscrt.
NOT_SIMULATED = (
    "s3_syncer.__main__",
    "s3_syncer.cli",
    "s3_syncer.transport.endpoint",
    "s3_syncer.crt.http_client",
    "s3_syncer.crt.stream_copy",
    "s3_syncer.transport.stream_http",
    "s3_syncer.crt.tcp_nodelay",
    "s3_syncer.doctor",
    "s3_syncer.operations",
    "s3_syncer.service.health",
    "s3_syncer.stores.fenced_requests",
)

#: Standard modules that block, or that depend on chance. No simulated module of the product may use them.
FORBIDDEN = {"asyncio", "multiprocessing", "queue", "secrets", "select", "selectors", "signal", "socket", "subprocess"}


def simulate(function: Callable[[], object], seed: int = 1) -> None:
    scheduler = Scheduler(seed)
    with threads.running(scheduler):
        main = scheduler.spawn(function, name="main", group="process")
        try:
            scheduler.run(until=lambda: main.done)
        finally:
            scheduler.close()


def test_a_pool_runs_as_many_at_a_time_as_it_has_threads() -> None:
    busy, most = 0, 0

    def work(number: int) -> int:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        threads.sleep(1)
        busy -= 1
        return number * 2

    def main() -> None:
        with threads.ThreadPoolExecutor(3) as pool:
            assert list(pool.map(work, range(9))) == [number * 2 for number in range(9)]
        assert threads.monotonic() == 3.0

    simulate(main)
    assert most == 3


@pytest.mark.parametrize(
    ("return_when", "timeout", "done"),
    [(FIRST_COMPLETED, None, 1), (FIRST_EXCEPTION, None, 2), ("ALL_COMPLETED", None, 3), ("ALL_COMPLETED", 2.5, 2)],
)
def test_wait_returns_as_the_real_one(return_when: str, timeout: float | None, done: int) -> None:
    def work(seconds: float) -> None:
        threads.sleep(seconds)
        if seconds == 2:
            raise ValueError

    def main() -> None:
        pool = threads.ThreadPoolExecutor(3)
        futures = [pool.submit(work, seconds) for seconds in (1, 2, 3)]
        result = threads.wait(futures, timeout, return_when)
        assert (len(result.done), len(result.not_done)) == (done, 3 - done)

    simulate(main)


def test_a_future_in_the_queue_of_a_pool_can_be_cancelled_and_a_running_one_cannot() -> None:
    def main() -> None:
        pool = threads.ThreadPoolExecutor(1)
        running, waiting = pool.submit(threads.sleep, 1), pool.submit(threads.sleep, 1)
        threads.sleep(0.5)
        assert (running.cancel(), waiting.cancel()) == (False, True)

    simulate(main)


@pytest.mark.parametrize("seed", range(20))
def test_a_lock_excludes_and_a_condition_wakes(seed: int) -> None:
    def main() -> None:
        changed = threads.Condition()
        items: list[int] = []
        inside: list[int] = []

        def take() -> None:
            with changed:
                assert changed.wait_for(lambda: bool(items), timeout=60)
                inside.append(items.pop())
                assert len(inside) == 1
                threads.sleep(1)  # with the lock held
                inside.clear()

        pool = threads.ThreadPoolExecutor(3)
        futures = [pool.submit(take) for _ in range(3)]
        for number in range(3):
            threads.sleep(0.3)
            with changed:
                items.append(number)
                changed.notify()
        for future in futures:
            future.result()

    simulate(main, seed)


def test_each_task_has_its_own_local_values() -> None:
    def main() -> None:
        local, seen = threads.Local(), []

        def work(number: int) -> None:
            local.value = number
            threads.sleep(1)
            seen.append(local.value)

        with threads.ThreadPoolExecutor(3) as pool:
            list(pool.map(work, range(3)))
        assert sorted(seen) == [0, 1, 2]
        assert not hasattr(local, "value")

    simulate(main)


def test_the_product_runs_on_simulated_threads_and_on_real_ones_afterwards() -> None:
    defaults = circuit_breaker.CircuitBreaker.__init__.__kwdefaults__
    assert defaults is not None
    with threads.simulated():
        assert vars(transfer)["ThreadPoolExecutor"] is threads.ThreadPoolExecutor
        assert vars(heartbeat)["time"].monotonic is threads.monotonic
        assert defaults["clock"] is threads.monotonic

        def main() -> None:
            assert isinstance(deadline.Deadline()._stopped, threads.Event)  # a default factory
            deadline.Deadline.after(60).sleep(30)
            assert threads.monotonic() == pytest.approx(30)

        simulate(main)
    assert vars(heartbeat)["time"] is time
    assert defaults["clock"] is time.monotonic
    assert isinstance(deadline.Deadline()._stopped, threading.Event)


def product_modules() -> list[ModuleType]:
    names = [found.name for found in pkgutil.walk_packages(s3_syncer.__path__, "s3_syncer.")]
    return [importlib.import_module(name) for name in names if not name.startswith(NOT_SIMULATED)]


@pytest.mark.parametrize("module", product_modules(), ids=lambda module: module.__name__)
def test_the_product_uses_no_primitive_that_would_stop_the_simulation(module: ModuleType) -> None:
    assert module.__file__
    covered = {real.__name__: set(names) for real, names in threads.NAMES.items()}
    unknown = [use for use in uses(ast.parse(Path(module.__file__).read_text())) if not is_covered(use, covered)]
    assert not unknown, f"{module.__name__} uses {unknown}: add them to tests/simulation/threads.py"


def is_covered(use: str, covered: dict[str, set[str]]) -> bool:
    module, _, name = use.rpartition(".")
    if module in covered:
        return name in covered[module] or name in ("Executor", "FIRST_COMPLETED", "FIRST_EXCEPTION")
    return use.split(".")[0] not in FORBIDDEN


def uses(tree: ast.Module) -> Iterator[str]:
    """Return the dotted names that a module imports, and the attributes of imported modules that it reads."""
    imported: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                imported[alias.asname or alias.name] = alias.name
                if alias.name in FORBIDDEN:
                    yield alias.name
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in imported:
            yield f"{imported[node.value.id]}.{node.attr}"


def test_the_check_of_the_primitives_finds_one() -> None:
    found = list(uses(ast.parse("import threading, queue\nfrom time import sleep\nthreading.Barrier(2)\n")))
    covered = {"threading": {"Lock"}, "time": {"sleep"}}
    assert [use for use in found if not is_covered(use, covered)] == ["queue", "threading.Barrier"]
