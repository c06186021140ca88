"""`--files-from` and `--since`: only the named or recent keys are looked at."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote_plus

import pytest
from tests.functional.command import run
from tests.functional.harness import SOURCE, TARGET, Rig
from tests.functional.proxy import rewritten
from tests.support.odd_requests import Quirk
from tests.support.odd_store import OddStore
from tests.support.quirks.listings import lists_in_order_without_case, lists_in_utf_16_order, lists_start_after_itself

from s3_syncer.sync.named_keys import MIN_KEYS_PER_PAGE


@pytest.fixture
def names(tmp_path: Path) -> Path:
    return tmp_path / "names"


def write(path: Path, *keys: str) -> str:
    path.write_text("".join(f"{key}\n" for key in keys))
    return str(path)


def test_only_the_named_keys_are_copied(rig: Rig, names: Path) -> None:
    for key in ("a", "#b", " c ", "d"):
        rig.put(key, key.encode())
    ended = run("migrate", "--files-from", write(names, "#b", " c ", "#b"))
    assert (ended.code, rig.target_keys()) == (0, [" c ", "#b"])
    assert "2 keys compared, 2 copied" in ended.err


def test_a_named_key_is_relative_to_the_source_prefix(rig: Rig, names: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_PREFIX", "in/")
    monkeypatch.setenv("TARGET_PREFIX", "out/")
    rig.put("in/a", b"1")
    rig.put("a", b"2")
    assert run("migrate", "--files-from", write(names, "a")).code == 0
    assert rig.target_keys() == ["out/a"]
    rig.put("in/a", b"3")
    assert run("sync", "--files-from", str(names)).code == 0
    assert rig.target_body("out/a") == b"3"


def test_a_key_that_is_gone_stays_unless_deletes_are_on(rig: Rig, names: Path) -> None:
    for key in ("gone", "other"):
        rig.target.put_object(Bucket=TARGET, Key=key)
    write(names, "gone")
    ended = run("migrate", "--files-from", str(names))
    assert (ended.code, rig.target_keys()) == (0, ["gone", "other"])
    assert run("check", "--files-from", str(names)).named == {"gone": "extra: absent from the source"}
    assert run("migrate", "--files-from", str(names), "--delete").code == 0
    assert rig.target_keys() == ["other"], "a key that the file does not name stays"


def test_sync_deletes_a_named_key_that_is_gone(rig: Rig, names: Path) -> None:
    for key in ("gone", "other"):
        rig.target.put_object(Bucket=TARGET, Key=key)
    assert run("sync", "--files-from", write(names, "gone")).code == 0
    assert rig.target_keys() == ["other"]


def test_sync_without_a_key_is_wrong_usage(rig: Rig) -> None:
    ended = run("sync")
    assert (ended.code, "give at least one KEY, or --files-from" in ended.err) == (2, True)


def test_a_name_that_neither_bucket_has_is_a_note(rig: Rig, names: Path) -> None:
    rig.put("a")
    ended = run("migrate", "--files-from", write(names, "a", "missing"))
    assert ended.code == 0
    assert "note: named keys that neither bucket has: 1, such as 'missing'" in ended.err


def test_a_file_of_which_neither_bucket_has_any_name_fails(rig: Rig, names: Path) -> None:
    rig.put("in/a")
    for command in (["check"], ["migrate"], ["migrate", "--dry-run"]):
        ended = run(*command, "--files-from", write(names, "a", "b"))
        reason = "neither bucket has any of the named keys: each must be relative to the source prefix"
        assert (ended.code, ended.named) == (1, {"a": f"failed: {reason}"})
        assert "different: 0 keys compared, 1 failed" in ended.err
    assert run("check", "--one-way", "--exclude", "in/*", "--files-from", write(names, "in/a", "b")).code == 0
    assert run("check", "--files-from", write(names)).code == 0, "the file names no key"


def test_the_failures_of_a_report_are_named_again(rig: Rig, names: Path, tmp_path: Path) -> None:
    for key in ("good", "bad", "bad # line"):
        rig.put(key, b"1")
    assert run("migrate", "--exclude", "bad*").code == 0
    report = tmp_path / "report.json"
    assert run("check", "--report", str(report)).code == 1
    rig.put("new")
    ended = run("migrate", "--files-from", str(report))
    assert (ended.code, rig.target_keys()) == (0, ["bad", "bad # line", "good"])


def test_standard_input_and_an_object_of_s3_name_keys(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("a", "b", "c"):
        rig.put(key)
    rig.source.put_object(Bucket=SOURCE, Key="names.jsonl", Body=json.dumps({"key": "a"}).encode() + b"\n")
    assert run("migrate", "--files-from", f"s3://{SOURCE}/names.jsonl").code == 0
    monkeypatch.setattr("s3_syncer.cli.sweeps.key_files.standard_input", lambda: BytesIO(b"b\n"))
    assert run("migrate", "--files-from", "-").code == 0
    assert rig.target_keys() == ["a", "b"]
    ended = run("migrate", "--files-from", f"s3://{SOURCE}/missing")
    assert ended.code == 3
    assert f"s3://{SOURCE}/missing cannot be read" in ended.err


def test_keys_that_are_close_together_are_listed(rig: Rig, names: Path) -> None:
    keys = [f"key-{number:03}" for number in range(100)]
    for key in keys:
        rig.source.put_object(Bucket=SOURCE, Key=key)
        rig.target.put_object(Bucket=TARGET, Key=key)
    assert run("check", "--files-from", write(names, *reversed(keys))).code == 0
    for proxy in (rig.source_proxy, rig.target_proxy):
        assert [r.method for r in proxy.requests if r.key] == []
        assert sum("list-type" in r.query for r in proxy.requests) <= 2


def test_keys_that_are_far_apart_are_looked_up_one_by_one(rig: Rig, names: Path) -> None:
    for number in range(5):
        rig.source.put_object(Bucket=SOURCE, Key=f"key-{number}")
        rig.target.put_object(Bucket=TARGET, Key=f"key-{number}")
    assert run("check", "--files-from", write(names, "key-1", "key-3")).code == 0
    assert sorted((r.method, r.key) for r in rig.source_proxy.requests if r.key) == [
        ("HEAD", "key-1"),
        ("HEAD", "key-3"),
    ]
    assert sorted(r.query["prefix"][0] for r in rig.target_proxy.requests if "list-type" in r.query) == [
        "key-1",
        "key-3",
    ]


@pytest.mark.parametrize("quirk", [lists_in_utf_16_order, lists_start_after_itself, lists_in_order_without_case])
def test_odd_listings_of_the_target_hide_no_named_key(odd: Rig, odd_store: OddStore, names: Path, quirk: Quirk) -> None:
    keys = [f"folder/{letter}{number:02}" for letter in "a\uffee\U0001f600" for number in range(10)]
    for key in keys:
        odd.put(key, key.encode())
    odd.put("other")
    with odd_store.having(quirk):
        assert run("migrate", "--files-from", write(names, *keys)).code == 0
        assert run("check", "--files-from", str(names)).code == 0
    assert odd_store.keys(TARGET) == sorted(keys)


def test_a_source_that_lists_each_version_hides_no_change(rig: Rig, names: Path) -> None:
    keys = [f"key {number:02}" for number in range(MIN_KEYS_PER_PAGE)]
    for key in keys:
        rig.put(key, b"old")
    assert run("migrate").code == 0
    old = {entry["Key"]: entry for entry in rig.source.list_objects_v2(Bucket=SOURCE)["Contents"]}
    for key in keys:
        rig.put(key, b"new")

    def change(xml: str) -> str:
        """List the version before the current one, too."""
        for entry in re.findall("<Contents>.*?</Contents>", xml, re.DOTALL):
            version = old[unquote_plus(re.findall("<Key>(.*?)</Key>", entry)[0])]
            before = re.sub("<ETag>.*?</ETag>", f"<ETag>{version['ETag']}</ETag>", entry)
            before = re.sub("(<LastModified>).*?<", rf"\g<1>{version['LastModified']:%Y-%m-%dT%H:%M:%SZ}<", before)
            xml = xml.replace(entry, entry + before)
        return xml

    rig.source_proxy.when(rewritten(change), "GET", query="list-type", times=1e9)
    assert run("migrate", "--files-from", write(names, *keys)).code == 0
    assert {rig.target_body(key) for key in keys} == {b"new"}


def test_a_name_without_utf_8_fails_alone(rig: Rig, names: Path) -> None:
    rig.put("a")
    names.write_bytes(b"a\n\xff\n")
    ended = run("migrate", "--files-from", str(names))
    assert (ended.code, rig.target_keys()) == (1, ["a"])
    assert "1 failed" in ended.err


def test_a_missing_file_is_wrong_usage(rig: Rig) -> None:
    ended = run("migrate", "--files-from", "/no/such/file")
    assert (ended.code, "does not exist" in ended.err) == (2, True)


def test_named_keys_can_be_read(rig: Rig, names: Path) -> None:
    rig.put("a", b"1")
    rig.put("b", b"1")
    assert run("migrate").code == 0
    ended = run("check", "--download", "--ignore-checksums", "--files-from", write(names, "a"))
    assert ended.code == 0
    assert "equal keys: 1 by their bytes" in ended.err


def test_since_selects_the_keys_that_the_source_changed(odd_source: OddStore, odd: Rig, odd_store: OddStore) -> None:
    now = time.time()
    for key, age_s in (("week", 7 * 86400), ("day", 86400), ("now", 0)):
        odd_store.put(SOURCE, key, b"1", modified=now - age_s)
    hours_ago = datetime.fromtimestamp(now - 3 * 3600, UTC)
    for since in ("2h", "90m", "5400s", ".5d", hours_ago.isoformat(), hours_ago.replace(tzinfo=None).isoformat()):
        assert set(run("check", "--since", since).named) == {"now"}
    assert set(run("check", "--since", "3d").named) == {"now", "day"}
    assert set(run("check", "--since", "2026-01-01").named) == {"now", "day", "week"}
    assert run("migrate", "--since", "3d").code == 0
    assert odd_store.keys(TARGET) == ["day", "now"]


def test_since_finds_no_deletion(rig: Rig) -> None:
    rig.target.put_object(Bucket=TARGET, Key="extra")
    assert run("check", "--since", "5m").code == 0
    ended = run("migrate", "--since", "5m", "--delete")
    assert (ended.code, "--since does not work with --delete" in ended.err) == (2, True)
    assert rig.target_keys() == ["extra"]


@pytest.mark.parametrize("since", ["yesterday", "5", "-5m", "5x", "999999d", "9" * 400 + "d"])
def test_what_is_no_time_is_wrong_usage(rig: Rig, since: str) -> None:
    ended = run("check", f"--since={since}")
    assert (ended.code, "is not a time: write 2026-11-29" in ended.err) == (2, True)


@pytest.mark.parametrize("option", [["--since", "5m"], ["--files-from", "-"]])
def test_the_workers_of_a_queue_get_all_keys(rig: Rig, option: list[str]) -> None:
    ended = run("migrate", "--workers", "queue", "--bulk-queue-url", "http://127.0.0.1/q", *option)
    assert (ended.code, f"{option[0]} does not work with --workers queue" in ended.err) == (2, True)
