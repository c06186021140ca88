"""`s3-syncer sync KEY...` makes these keys equal, and prints what was done and why."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest
from tests.functional.command import run, started
from tests.functional.harness import TARGET, Rig
from tests.functional.proxy import held, meanwhile, page, refuse

pytestmark = pytest.mark.real_store


def test_each_key_is_made_equal_and_printed_with_its_action(rig: Rig) -> None:
    for key in ("copied", "updated", "tagged", "equal"):
        rig.put(key, b"old")
    rig.put("deleted")
    assert run("migrate").code == 0
    rig.target.delete_object(Bucket=TARGET, Key="copied")
    rig.put("updated", b"newer")
    rig.tag("tagged", {"a": "b"})
    rig.source.delete_object(Bucket="the-source", Key="deleted")

    ended = run("sync", "copied", "updated", "tagged", "equal", "deleted", "never was")

    assert ended.code == 0
    assert ended.out.splitlines() == [
        "copy\tcopied\tabsent from the target",
        "update\tupdated\tsize",
        "tags\ttagged\ttags",
        "unchanged\tequal\tequal",
        "delete\tdeleted\tabsent from the source",
        "unchanged\tnever was\tabsent on both sides",
    ]
    assert rig.differences() == []


def test_no_delete_keeps_the_key_and_exits_with_1(rig: Rig) -> None:
    rig.target.put_object(Bucket=TARGET, Key="lost")
    ended = run("sync", "--no-delete", "lost")
    assert (ended.code, ended.named) == (1, {"lost": "kept: deleted from the source, and deletes are off"})
    assert rig.target_keys() == ["lost"]


def test_failed_key_does_not_stop_the_other_keys(rig: Rig) -> None:
    for key in ("a", "b", "c"):
        rig.put(key)
    rig.target_proxy.when(refuse(403, "AccessDenied", "not this one"), "PUT", key="b", times=9)
    ended = run("sync", "a", "b", "c")
    assert ended.code == 1
    assert ended.named["b"].startswith("failed: put_object in the-target: AccessDenied: access denied (not this one)")
    assert rig.target_keys() == ["a", "c"]


def test_a_page_instead_of_a_response_fails_one_key(rig: Rig) -> None:
    for key in ("put", "head", "c"):
        rig.put(key)
    rig.target.put_object(Bucket=TARGET, Key="head", Body=b"old")
    rig.target_proxy.when(page, "PUT", key="put", times=9)
    rig.target_proxy.when(page, key="head", times=9)
    ended = run("sync", "put", "head", "c")
    assert ended.code == 1
    assert ended.named == {
        "put": "failed: put_object in the-target: the response is not an S3 response",
        "head": "failed: head_object in the-target: the response is not an S3 response",
        "c": "copy: absent from the target",
    }


@pytest.mark.parametrize(
    ("redirection", "code"), [(">&-", 0), (">&- 2>&-", 0), (">/dev/full", 3), (">/dev/full 2>&1", 3)]
)
def test_an_unusable_standard_output_does_not_stop_the_command(rig: Rig, redirection: str, code: int) -> None:
    for key in ("a", "b"):
        rig.put(key)
    ended = subprocess.run(["sh", "-c", f"exec {sys.executable} -m s3_syncer sync a b {redirection}"], check=False)
    assert (ended.returncode, rig.target_keys()) == (code, ["a", "b"])


def test_key_includes_the_source_prefix(rig: Rig) -> None:
    rig.put("in/key")
    ended = run("sync", "--source-prefix", "in/", "--target-prefix", "out/", "in/key")
    assert (ended.code, ended.named) == (0, {"in/key": "copy: absent from the target"})
    assert rig.target_keys() == ["out/key"]
    for key in ("key", "in/", "out/key"):
        ended = run("sync", "--source-prefix", "in/", key)
        assert ended.code == 2
        assert f"{key!r} is not below the source prefix 'in/'" in ended.err


def test_empty_key_is_one_clear_error(rig: Rig) -> None:
    ended = run("sync", "")
    assert ended.code == 2
    assert "a KEY is empty: write the name of an object" in ended.err


def test_unusable_store_is_one_line(rig: Rig) -> None:
    rig.source.delete_bucket(Bucket="the-source")
    ended = run("sync", "a", "b")
    assert (ended.code, ended.out) == (3, "")
    assert ended.err.count("\n") == 1
    assert "NoSuchBucket: the bucket does not exist" in ended.err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_stops_between_two_keys(rig: Rig, number: signal.Signals, code: int) -> None:
    for key in ("a", "b"):
        rig.put(key)
    go_on = threading.Event()
    rig.target_proxy.when(held(go_on), "PUT", key="a")
    with started("sync", "a", "b") as command:
        command.wait_until(lambda: bool(rig.target_proxy.writes()))
        command.stop(number)
        go_on.set()
        ended = command.ended()
    assert (ended.code, ended.named, ended.err) == (code, {"a": "copy: absent from the target"}, "")
    assert rig.target_keys() == ["a"]


@pytest.mark.parametrize(("there", "action"), [(False, "undo"), (True, "kept")], ids=["brought", "updated"])
def test_no_delete_leaves_no_late_copy_unnamed(rig: Rig, there: bool, action: str) -> None:
    """The source deletes the key during its copy. The command removes only a copy that it brought."""
    if there:
        rig.target.put_object(Bucket=TARGET, Key="key", Body=b"older")
    rig.put("key")
    delete = meanwhile(lambda: rig.source.delete_object(Bucket="the-source", Key="key"))
    rig.target_proxy.when(delete, "PUT", key="key")
    ended = run("sync", "--no-delete", "key")
    assert (ended.code, ended.out.split("\t")[0]) == (int(there), action)
    assert rig.target_keys() == (["key"] if there else [])
