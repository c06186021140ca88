"""A sweep in several processes: each key once, one report, and an error if a process is lost."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from tests.functional.command import run, started
from tests.functional.harness import MIB, TARGET, Rig
from tests.functional.proxy import delayed, held, refuse

from s3_syncer.cli.output.stats import SweepStats
from s3_syncer.core import listing_diff
from s3_syncer.sync.outcome import Outcome

#: Makes pages so small that a range can be shared.
SMALL_PAGES = "from s3_syncer.core import listing_diff; listing_diff.PAGE_KEYS = 10"


@pytest.fixture(autouse=True)
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the other processes at once."""
    monkeypatch.setenv("S3_SYNCER_SPAWN_AFTER_CPU", "0")
    monkeypatch.setenv("S3_SYNCER_SPAWN_AFTER_KEYS", "0")
    monkeypatch.setattr(listing_diff, "PAGE_KEYS", 10)


@pytest.fixture
def keys(rig: Rig) -> list[str]:
    keys = [f"{number % 10}/{number:03}" for number in range(300)]
    for key in keys:
        rig.put(key, key.encode())
    rig.source_proxy.when(delayed(0.05), times=1e9)
    return keys


def test_every_key_is_copied_and_counted_once(
    rig: Rig, keys: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, from_child = tmp_path / "report.json", list[str]()
    changed = SweepStats.on_changed

    def noting(stats: SweepStats, key: str, outcome: Outcome) -> None:
        if threading.current_thread().name == "process events":
            from_child.append(key)
        elif stats.changed > 30 and len(from_child) < 10:  # the other process may start slowly
            time.sleep(1)
        changed(stats, key, outcome)

    monkeypatch.setattr(SweepStats, "on_changed", noting)
    ended = run("migrate", "--processes", "2", "--concurrency", "2", "--report", str(report))
    assert (ended.code, ended.out) == (0, "")
    assert "equal: 300 keys compared, 300 copied, 0 failed" in ended.err
    assert rig.differences() == []
    content = json.loads(report.read_text())
    assert (content["keys"], content["actions"]) == (300, {"copy": 300})
    assert 10 <= len(from_child) < 300


@pytest.mark.parametrize("processes", ["1", "2"])
def test_large_objects_do_not_delay_the_keys_after_them(rig: Rig, processes: str) -> None:
    """More pages than a range has in flight have a large object, which is held until all else has arrived."""
    large, over, in_time = [f"{folder}/0 large" for folder in range(6)], threading.Event(), False
    others = {f"{folder}/{number:03}" for folder in range(6) for number in range(30)}
    for key in others:
        rig.put(key, key.encode())
    for key in large:
        rig.put(key, bytes(MIB + 1))
        rig.source_proxy.when(held(over), "GET", key=key, query="", times=1e9)
    rig.source_proxy.when(delayed(0.05), times=1e9)

    def watch() -> None:
        nonlocal in_time
        end = time.monotonic() + 60
        while time.monotonic() < end and not in_time:
            in_time = {write.key for write in rig.target_proxy.writes()} >= others
            time.sleep(0.05)
        over.set()

    watching = threading.Thread(target=watch)
    watching.start()
    ended = run("migrate", "--no-tags", "--processes", processes, "--concurrency", "8")
    watching.join()
    assert in_time, "small objects waited for large ones"
    assert (ended.code, ended.out) == (0, "")
    assert rig.differences() == []


def test_differences_of_all_processes_are_listed(rig: Rig, keys: list[str]) -> None:
    ended = run("check", "--processes", "2", "--exclude", "9/**")
    assert ended.code == 1
    assert ended.named == {key: "missing: absent from the target" for key in keys if not key.startswith("9/")}


@pytest.mark.parametrize("most", [0, 7, 200])
def test_delete_limit_holds_for_all_processes_together(rig: Rig, keys: list[str], most: int) -> None:
    extra = [f"{key}-extra" for key in keys[:100]]
    for key in extra:
        rig.target.put_object(Bucket=TARGET, Key=key)
    ended = run("migrate", "--delete", "--max-delete", str(most), "--processes", "2", "--concurrency", "2")
    left = max(0, 100 - most)
    assert ended.code == (1 if left else 0)
    assert len(ended.named) == left
    assert len(set(rig.target_keys()) & set(extra)) == left


def children_of(parent: int) -> list[int]:
    """Return the child processes of the command. A process that ends meanwhile is left out."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (entry / "cmdline").read_text(errors="replace")
            above = int((entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
            if above == parent and "multiprocessing" in words and "spawn_main" in words:
                found.append(int(entry.name))
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the processes in /proc")
def test_killed_process_is_an_error(rig: Rig, keys: list[str]) -> None:
    rig.target_proxy.when(delayed(0.2), "PUT", times=1e9)
    with started("migrate", "--processes", "2", "--concurrency", "1", before=SMALL_PAGES) as command:
        mine: list[int] = []

        def there() -> bool:
            mine[:] = children_of(command.id)
            return bool(mine) and len(rig.target_proxy.writes()) > 20

        command.wait_until(there)
        os.kill(mine[0], signal.SIGKILL)
        ended = command.ended()
    assert ended.code == 3
    assert "a process of the sweep ended with -9" in ended.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_stops_all_processes_gracefully(rig: Rig, keys: list[str], number: signal.Signals, code: int) -> None:
    rig.target_proxy.when(delayed(0.1), "PUT", times=1e9)
    with started("migrate", "--processes", "2", "--concurrency", "1", before=SMALL_PAGES) as command:
        command.wait_until(lambda: len(rig.target_proxy.writes()) > 20)
        command.send(number)
        ended = command.ended()
    assert ended.code == code
    assert "stopped: " in ended.err
    assert run("migrate").code == 0
    assert rig.differences() == []


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_to_a_starting_process_has_no_effect(rig: Rig, keys: list[str], number: signal.Signals) -> None:
    """A terminal sends SIGINT also to a process that starts, before it can ignore signals."""
    with started("migrate", "--processes", "2", "--concurrency", "1", before=SMALL_PAGES) as command:
        command.wait_until(lambda: bool(children_of(command.id)))
        os.kill(children_of(command.id)[0], number)
        ended = command.ended()
    assert (ended.code, ended.out) == (0, "")
    assert "Traceback" not in ended.err
    assert rig.differences() == []


def test_store_that_becomes_unusable_is_one_line(rig: Rig, keys: list[str]) -> None:
    rig.target_proxy.when(refuse(403, "InvalidAccessKeyId"), skip=100, times=1e9)
    ended = run("migrate", "--processes", "2", "--concurrency", "2")
    assert ended.code == 3
    (error,) = (line for line in ended.err.splitlines() if line.startswith("s3-syncer: "))  # no progress lines
    assert "InvalidAccessKeyId" in error
