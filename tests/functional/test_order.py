"""`migrate --order`: objects are copied by their sizes, and the last pass is an ordinary migration."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path

import pytest
from tests.functional.command import run, started
from tests.functional.harness import TARGET, Rig
from tests.functional.proxy import delayed, held, refuse

from s3_syncer.core import listing_diff, size_order

#: Sizes in bytes by key, with one object of each class in each folder. The order of the keys is another one.
SIZES = {f"{folder}/{size:04}": size for folder in "abc" for size in (3000, 0, 100, 20)}

#: Makes the classes as small in a child process.
SMALL_CLASSES = "from s3_syncer.core import size_order; size_order.BOUNDS = (10, 50, 1000)"


@pytest.fixture(autouse=True)
def _small_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(size_order, "BOUNDS", (10, 50, 1000))


@pytest.fixture
def filled(rig: Rig) -> Rig:
    for key, size in SIZES.items():
        rig.put(key, bytes(size))
    rig.clear()
    return rig


def sizes_written(rig: Rig) -> list[int]:
    """Return the sizes of the objects in the order in which they were written."""
    return [SIZES[write.key] for write in rig.target_proxy.writes()]


@pytest.mark.parametrize(("order", "is_descending"), [("size", False), ("size-desc", True)])
def test_objects_are_copied_in_the_order_of_their_sizes(filled: Rig, order: str, is_descending: bool) -> None:
    ended = run("migrate", "--order", order)
    assert (ended.code, ended.out) == (0, "")
    assert "equal: 12 keys compared, 12 copied, 0 failed" in ended.err
    assert sizes_written(filled) == sorted(SIZES.values(), reverse=is_descending)
    assert filled.differences() == []


def test_a_second_run_copies_nothing(filled: Rig) -> None:
    run("migrate")
    filled.clear()
    assert "equal: 12 keys compared, 0 failed" in run("migrate", "--order", "size").err
    assert sizes_written(filled) == []


def test_several_processes_keep_to_the_order(filled: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing_diff, "PAGE_KEYS", 2)
    filled.source_proxy.when(delayed(0.05), times=1e9)
    eager = {"S3_SYNCER_SPAWN_AFTER_CPU": "0", "S3_SYNCER_SPAWN_AFTER_KEYS": "0"}
    ended = run("migrate", "--order", "size-desc", "--processes", "2", **eager)
    assert (ended.code, ended.out) == (0, "")
    assert sizes_written(filled) == sorted(SIZES.values(), reverse=True)


def test_filters_and_deletions_are_those_of_a_migration_by_key(filled: Rig) -> None:
    for key, size in (("a/gone", 3000), ("b/gone", 0), ("c/gone", 0)):
        filled.target.put_object(Bucket=TARGET, Key=key, Body=bytes(size))
    arguments = ("--exclude", "/c/**", "--delete", "--max-delete", "1")
    ended = run("migrate", "--order", "size-desc", *arguments)
    assert (ended.code, len(ended.named)) == (1, 1)
    assert "8 copied, 1 deleted, 1 extra, 0 failed" in ended.err
    assert len(set(filled.target_keys()) & {"a/gone", "b/gone", "c/gone"}) == 2
    assert "c/3000" not in filled.target_keys()


def test_without_deletions_a_key_of_the_target_alone_is_one_note(filled: Rig) -> None:
    filled.target.put_object(Bucket=TARGET, Key="a/gone", Body=b"old")
    ended = run("migrate", "--order", "size")
    assert (ended.code, ended.out) == (0, "")
    assert "keys that only the target has: 1." in ended.err


def test_a_key_that_fails_is_listed_once(filled: Rig, tmp_path: Path) -> None:
    filled.target_proxy.when(refuse(400, "InvalidArgument"), "PUT", key="b/0020", times=1e9)
    report = tmp_path / "report.json"
    ended = run("migrate", "--order", "size", "--report", str(report))
    assert (ended.code, list(ended.named)) == (1, ["b/0020"])
    assert "11 copied, 1 failed" in ended.err
    assert [finding["key"] for finding in json.loads(report.read_text())["failures"]] == ["b/0020"]


def test_a_stopped_run_continues_where_it_was(filled: Rig) -> None:
    """The command is stopped while an object of the second class is held."""
    over = threading.Event()
    filled.target_proxy.when(held(over), "PUT", key="a/0020", times=1)
    with started("migrate", "--order", "size", before=SMALL_CLASSES) as command:
        command.wait_until(lambda: 20 in sizes_written(filled))
        command.stop(signal.SIGINT)
        over.set()
        ended = command.ended()
    assert (ended.code, ended.out) == (130, "")
    assert set(sizes_written(filled)) == {0, 20}
    assert run("migrate", "--order", "size").code == 0
    assert filled.differences() == []


def test_a_dry_run_lists_each_key_once(filled: Rig) -> None:
    ended = run("migrate", "--order", "size", "--dry-run")
    assert (ended.code, sorted(ended.named)) == (0, sorted(SIZES))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--files-from", "-"), "--order size does not work with --files-from: the file has no sizes"),
        (("--inventory", "s3://reports/manifest.json"), "--order size does not work with --inventory: its keys"),
        (("--workers", "queue", "--queue-url", "https://queue"), "--order size does not work with --workers queue"),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_an_order_that_cannot_be_kept_is_refused(rig: Rig, arguments: tuple[str, ...], reason: str) -> None:
    ended = run("migrate", "--order", "size", *arguments)
    assert (ended.code, reason in ended.err) == (2, True)
