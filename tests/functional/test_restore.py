"""`s3-syncer restore` between two emulated clouds: the drill, what stays, races, and live sync."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any

import pytest
from tests.functional.command import run, started
from tests.functional.harness import MIB, SOURCE, TARGET, Rig, empty_bucket
from tests.functional.proxy import held, meanwhile

from localcloud import verify

pytestmark = pytest.mark.real_store

NEW = "the-new-bucket"


def fill(rig: Rig) -> None:
    """Put objects of every kind into the source."""
    for key in ("a", "folder/", "with space", "ünïcödé/日本", "per%cent+plus"):
        rig.put(key, key.encode(), RawMetadata={"by": "ä tool"}, ContentType="text/x", CacheControl="no-store")
    rig.put("tagged", b"tagged", Tagging="colour=red&n=1", RawExpires="never", ContentLanguage="de")
    rig.put("empty")
    rig.put("bare", b"bare", ContentType="binary/octet-stream")
    rig.put("large", b"5" * (3 * MIB), ContentDisposition="attachment")
    rig.put_parts("parts", b"1" * 5 * MIB, b"2" * 100, Metadata={"parts": "2"})
    rig.tag("parts", {"in": "parts"})


def seen(rig: Rig, bucket: str = SOURCE) -> Any:
    return verify.read_bucket(rig.source, bucket)


def etags(rig: Rig, bucket: str = SOURCE) -> dict[str, str]:
    return {each["Key"]: each["ETag"] for each in rig.source.list_objects_v2(Bucket=bucket).get("Contents", [])}


def test_a_lost_source_comes_back_to_the_byte(rig: Rig, way: str) -> None:
    fill(rig)
    before, etags_before = seen(rig), etags(rig)
    assert run("migrate").code == 0
    empty_bucket(rig.source, SOURCE)
    rig.clear()

    ended = run("restore")

    assert (ended.code, ended.out) == (0, "")
    assert re.match(r"equal: 10 keys compared, 10 restored, 0 failed, 8\.4 MB sent", ended.err)
    assert list(verify.differences(before, seen(rig))) == []
    assert etags(rig) == etags_before
    assert rig.differences() == []
    assert not [request for request in rig.target_proxy.requests if request.method in ("PUT", "POST", "DELETE")]


def test_a_second_run_writes_nothing(rig: Rig, way: str) -> None:
    fill(rig)
    assert run("migrate").code == 0
    empty_bucket(rig.source, SOURCE)
    assert run("restore").code == 0
    rig.clear()
    assert run("restore").code == run("restore", "--full").code == 0
    assert [request for request in rig.source_proxy.writes() if not request.operation] == []


def restored(rig: Rig) -> list[str]:
    """Return the keys that were written to the source, each write."""
    return [request.key for request in rig.source_proxy.requests if request.method == "PUT" and not request.operation]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_restore_continues_after_a_stop(rig: Rig, tmp_path: Path, number: signal.Signals) -> None:
    for key in range(30):
        rig.put(f"key {key:02}", b"body")
    before = seen(rig)
    assert run("migrate").code == 0
    empty_bucket(rig.source, SOURCE)
    rig.clear()
    may_write, report = threading.Event(), tmp_path / "report.json"
    rig.source_proxy.when(held(may_write), "PUT", operation="", skip=8, times=inf)
    with started("restore", "--concurrency", "4", "--report", str(report)) as command:
        command.wait_until(lambda: len(restored(rig)) >= 9)
        if number == signal.SIGKILL:
            command.send(number)
        else:
            command.stop(number)
            may_write.set()
        ended = command.ended()
    may_write.set()
    rig.source_proxy.settle()
    done = etags(rig)
    assert 8 <= len(done) < 30
    if number != signal.SIGKILL:
        assert ended.code == 128 + number
        first, second = ended.err.splitlines()[:2]
        assert first.startswith("stopped: ")
        assert f"{len(done)} restored" in first
        assert second.startswith("Run the same command again to continue")
        assert json.loads(report.read_text())["result"] == "stopped"
        assert {*restored(rig)} == {*done}, "every write that was begun ends"
    rig.clear()
    again = run("restore")
    assert (again.code, again.out) == (0, "")
    assert sorted(restored(rig)) == sorted({f"key {key:02}" for key in range(30)} - {*done})
    assert list(verify.differences(before, seen(rig))) == []


def uploads_to_source(rig: Rig) -> list[str]:
    return [each["Key"] for each in rig.source.list_multipart_uploads(Bucket=SOURCE).get("Uploads", [])]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_stop_within_a_large_object_leaves_no_part_of_it(rig: Rig, number: signal.Signals) -> None:
    rig.put_parts("large", *[b"x" * 8 * MIB] * 5)
    before = seen(rig)
    assert run("migrate").code == 0
    empty_bucket(rig.source, SOURCE)
    rig.clear()
    may_write = threading.Event()
    rig.source_proxy.when(held(may_write), "PUT", query="partNumber", times=inf)
    with started("restore", "--concurrency", "1", "--memory", "64") as command:
        command.wait_until(lambda: bool(restored(rig)))
        if number == signal.SIGKILL:
            command.send(number)
        else:
            command.stop(number)
            may_write.set()
        command.ended()
    may_write.set()
    rig.source_proxy.settle()
    assert etags(rig) == {}
    assert uploads_to_source(rig) == (["large"] if number == signal.SIGKILL else [])
    rig.clear()
    assert run("restore").code == 0
    assert list(verify.differences(before, seen(rig))) == []


def test_several_processes_restore_together(rig: Rig) -> None:
    keys = [f"{letter}/{number}" for letter in "abcdef" for number in range(12)]
    for key in keys:
        rig.put(key, key.encode(), Metadata={"by": "me"})
    assert run("migrate").code == 0
    empty_bucket(rig.source, SOURCE)
    ended = run("restore", "--processes", "2", "--spawn-after-cpu", "0", "--spawn-after-keys", "1")
    assert ended.code == 0
    assert "72 restored" in ended.err
    assert rig.differences() == []


def test_a_new_bucket_gets_the_objects_below_a_prefix(rig: Rig) -> None:
    for key in ("in/a", "in/b/c", "out"):
        rig.put(key, key.encode())
    assert run("migrate").code == 0
    rig.source.create_bucket(Bucket=NEW)
    assert run("restore", "--to-bucket", NEW, "--prefix", "in/", "--exclude", "c").code == 0
    assert etags(rig, NEW).keys() == {"in/a"}
    assert rig.source_keys() == ["in/a", "in/b/c", "out"]


def test_objects_that_differ_stay_and_are_listed(rig: Rig, way: str) -> None:
    for key in ("equal", "content", "size", "tags", "lost"):
        rig.put(key, b"old")
    assert run("migrate").code == 0
    rig.source.delete_object(Bucket=SOURCE, Key="lost")
    rig.put("content", b"new")
    rig.put("size", b"newer")
    rig.tag("tags", {"n": "1"})
    rig.put("only here")

    ended = run("restore", "--full")

    assert ended.code == 1
    assert ended.named == {"content": "differs: content", "size": "differs: size", "tags": "differs: tags"}
    assert "note: keys that only the bucket has: 1. They stay." in ended.err
    assert "note: objects that differ stay." in ended.err
    assert etags(rig).keys() == {"content", "equal", "lost", "only here", "size", "tags"}
    assert rig.source.get_object(Bucket=SOURCE, Key="content")["Body"].read() == b"new"

    planned = run("restore", "--full", "--overwrite", "--dry-run")
    assert planned.code == 0
    assert {what for what, _, _ in (line.split("\t") for line in planned.out.splitlines())} == {"would be replaced"}

    assert run("restore", "--full", "--overwrite").code == 0
    assert rig.source.get_object(Bucket=SOURCE, Key="content")["Body"].read() == b"old"
    assert "only here" in etags(rig)
    rig.source.delete_object(Bucket=SOURCE, Key="only here")
    assert rig.differences() == []


def test_a_dry_run_lists_and_writes_nothing(rig: Rig) -> None:
    rig.put("a", b"a")
    assert run("migrate").code == 0
    rig.source.delete_object(Bucket=SOURCE, Key="a")
    ended = run("restore", "--dry-run")
    assert (ended.code, ended.out) == (0, "would be restored\ta\tabsent from the bucket\n")
    assert rig.source_keys() == []


@pytest.mark.parametrize("size", [3, 3 * MIB, 6 * MIB])
def test_a_writer_between_the_listing_and_the_write_never_loses(rig: Rig, way: str, size: int) -> None:
    parts = [b"1" * (5 * MIB), b"2" * (size - 5 * MIB)] if size > 5 * MIB else [b"1" * size]
    rig.put_parts("key", *parts) if len(parts) > 1 else rig.put("key", *parts)
    assert run("migrate").code == 0
    empty_bucket(rig.source, SOURCE)
    rig.source_proxy.when(meanwhile(lambda: rig.put("key", b"of another program")), "PUT")
    ended = run("restore")
    assert (ended.code, ended.named) == (1, {"key": "differs: size"})
    assert rig.source.get_object(Bucket=SOURCE, Key="key")["Body"].read() == b"of another program"
    assert not rig.source.list_multipart_uploads(Bucket=SOURCE).get("Uploads")


def test_the_storage_class_is_that_of_the_option(rig: Rig, way: str) -> None:
    rig.put("a", b"a")
    rig.put_parts("parts", b"1" * 5 * MIB, b"2")
    assert run("migrate").code == 0
    empty_bucket(rig.source, SOURCE)
    assert run("restore", "--storage-class", "STANDARD_IA").code == 0
    listed = rig.source.list_objects_v2(Bucket=SOURCE)["Contents"]
    assert {each["StorageClass"] for each in listed} == {"STANDARD_IA"}


def test_live_sync_neither_copies_restored_objects_nor_deletes_them(rig: Rig, way: str) -> None:
    fill(rig)
    keys = rig.source_keys()
    assert run("migrate").code == 0
    markers = {key: rig.target_head(key)["Metadata"].get("s3-syncer-source-etag") for key in keys}
    empty_bucket(rig.source, SOURCE)
    assert run("restore").code == 0
    rig.clear()
    # An event for each write of the restore, and those of the deletions before it, which come late.
    delivery = rig.sync(*keys, *keys)
    assert set(delivery.actions.values()) == {"unchanged"}
    assert rig.target_proxy.writes() == []
    assert {key: rig.target_head(key)["Metadata"].get("s3-syncer-source-etag") for key in keys} == markers
    assert rig.source_keys() == keys


def test_live_sync_copies_an_object_with_another_etag_once(rig: Rig) -> None:
    """The mirror has the object in one piece, and no common part size explains the ETag that it had."""
    rig.target.put_object(
        Bucket=TARGET, Key="key", Body=b"bytes", Metadata={"s3-syncer-source-etag": f"{'5' * 32}-3", "by": "me"}
    )
    ended = run("restore")
    assert "note: restored objects with another ETag than before: 1." in ended.err
    assert rig.source.head_object(Bucket=SOURCE, Key="key")["Metadata"] == {"by": "me"}
    actions = [rig.sync("key").actions["key"] for _ in range(3)]
    assert actions in (["update", "unchanged", "unchanged"], ["unchanged"] * 3)
    assert run("check", "--full").code == run("restore", "--full").code == 0


def test_an_archived_or_unreadable_mirror_is_named(rig: Rig) -> None:
    rig.target.delete_bucket(Bucket=TARGET)
    ended = run("restore")
    assert ended.code == 3
    assert "NoSuchBucket" in ended.err or "does not exist" in ended.err


# -- as of a moment ----------------------------------------------------------------------------------------------------


def version_mirror(rig: Rig) -> None:
    rig.target.put_bucket_versioning(Bucket=TARGET, VersioningConfiguration={"Status": "Enabled"})


def moment() -> str:
    """Return the present, in a second in which nothing is written: times of versions have whole seconds."""
    time.sleep(1.1)
    now = datetime.now(UTC).isoformat()
    time.sleep(1.1)
    return now


def test_the_versions_of_a_moment_come_back(rig: Rig, way: str) -> None:
    version_mirror(rig)
    fill(rig)
    before, etags_before = seen(rig), etags(rig)
    assert run("migrate").code == 0
    then = moment()
    for key in ("a", "large", "parts", "tagged"):
        rig.put(key, b"spoiled")
    rig.source.delete_object(Bucket=SOURCE, Key="bare")
    rig.put("new", b"new")
    assert run("migrate", "--delete").code == 0
    rig.source.create_bucket(Bucket=NEW)

    assert run("restore", "--as-of", then, "--to-bucket", NEW).code == 0
    assert list(verify.differences(before, seen(rig, NEW))) == []
    assert etags(rig, NEW) == etags_before

    assert run("restore", "--as-of", then, "--overwrite").code == 0
    rig.source.delete_object(Bucket=SOURCE, Key="new")
    assert list(verify.differences(before, seen(rig))) == []


def test_a_key_that_was_deleted_then_does_not_come_back(rig: Rig) -> None:
    version_mirror(rig)
    rig.put("a", b"a")
    rig.put("b", b"b")
    assert run("migrate").code == 0
    moment()  # moto lists the versions and the delete markers of one second in no order
    rig.source.delete_object(Bucket=SOURCE, Key="a")
    assert run("migrate", "--delete").code == 0
    then = moment()
    rig.put("a", b"later")
    assert run("migrate").code == 0
    empty_bucket(rig.source, SOURCE)
    assert run("restore", "--as-of", then).code == 0
    assert rig.source_keys() == ["b"]


def test_a_mirror_without_versions_has_no_past(rig: Rig) -> None:
    ended = run("restore", "--as-of", "1h")
    assert ended.code == 3
    assert f"the bucket {TARGET} of the mirror has no versions" in ended.err


@pytest.mark.parametrize(("text", "mistake"), [("yesterday", "is not a time"), ("2999-01-01", "is in the future")])
def test_a_wrong_moment_is_an_error(rig: Rig, text: str, mistake: str) -> None:
    ended = run("restore", "--as-of", text)
    assert (ended.code, mistake in ended.err) == (2, True)


# -- named keys --------------------------------------------------------------------------------------------------------


def test_only_the_named_keys_come_back(rig: Rig, way: str, tmp_path: Path) -> None:
    fill(rig)
    assert run("migrate").code == 0
    empty_bucket(rig.source, SOURCE)
    rig.put("bare", b"changed since")
    names = tmp_path / "names"
    names.write_text("tagged\nparts\nbare\nnever there\n")

    ended = run("restore", "--files-from", str(names))

    assert (ended.code, ended.named) == (1, {"bare": "differs: size"})
    assert "different: 3 keys compared, 2 restored, 1 differs, 0 failed" in ended.err
    assert "named keys that neither bucket has: 1, such as 'never there'" in ended.err
    assert rig.source_keys() == ["bare", "parts", "tagged"]
    assert run("restore", "--files-from", str(names), "--overwrite").code == 0
    assert rig.source.get_object(Bucket=SOURCE, Key="bare")["Body"].read() == b"bare"


def test_the_missing_keys_of_a_report_come_back(rig: Rig, tmp_path: Path) -> None:
    """A report names the keys that only the mirror has, and filters apply to them as well."""
    for key in ("a", "b", "c.tmp", "stays"):
        rig.put(key, key.encode())
    assert run("migrate").code == 0
    for key in ("a", "b", "c.tmp"):
        rig.source.delete_object(Bucket=SOURCE, Key=key)
    report = str(tmp_path / "report.json")
    assert run("check", "--report", report).code == 1
    rig.clear()
    assert run("restore", "--files-from", report, "--exclude", "*.tmp").code == 0
    assert rig.source_keys() == ["a", "b", "stays"]
    assert "stays" not in {request.key for request in rig.source_proxy.requests}


def test_the_named_keys_of_a_moment_come_back(rig: Rig, tmp_path: Path) -> None:
    """Each named key is looked up in the listing of the versions."""
    rig.target.put_bucket_versioning(Bucket=TARGET, VersioningConfiguration={"Status": "Enabled"})
    for key in ("a", "b"):
        rig.put(key, b"old")
    assert run("migrate").code == 0
    then = moment()
    for key in ("a", "b"):
        rig.source.delete_object(Bucket=SOURCE, Key=key)
    assert run("migrate", "--delete").code == 0
    names = tmp_path / "names"
    names.write_text("a\n")
    assert run("restore", "--files-from", str(names), "--as-of", then).code == 0
    assert rig.source_keys() == ["a"]


def test_named_keys_and_a_prefix_do_not_work_together(rig: Rig) -> None:
    ended = run("restore", "--files-from", "-", "--prefix", "photos/")
    assert (ended.code, "--prefix does not work with --files-from" in ended.err) == (2, True)
