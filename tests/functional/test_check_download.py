"""`s3-syncer check --download` reads both sides, where nothing else proves that the bytes are equal."""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.functional.command import Ended, run, started
from tests.functional.harness import SOURCE, TARGET, Rig
from tests.functional.proxy import Request, answering, meanwhile, refuse
from tests.support import odd_requests
from tests.support.odd_store import OddStore
from tests.support.patience import PATIENCE_S

from s3_syncer.cli.sweeps.resume_file import ResumeFile
from s3_syncer.core import listing_diff
from s3_syncer.core.units import MIB

MARKED = "marked"
PARTS = (b"a" * 5 * MIB, b"b" * 3 * MIB)


def flip(store: OddStore, key: str, offset: int, bucket: str = TARGET) -> None:
    """Change a byte of an object below the store, which notices nothing: the ETag and the metadata stay."""
    stored = store.objects.buckets[bucket][key]
    stored.body = stored.body[:offset] + bytes([stored.body[offset] ^ 1]) + stored.body[offset + 1 :]


@pytest.fixture
def mirrored(odd: Rig) -> Rig:
    """Return two equal buckets: three objects with equal ETags, and one with a marker."""
    for number in range(3):
        odd.put(f"key {number}", b"body")
    odd.put_parts(MARKED, *PARTS)
    assert run("migrate").code == 0
    odd.source_proxy.requests.clear()
    return odd


def as_marked(rig: Rig, odd_store: OddStore) -> None:
    """Let the target have the marked object as a single PUT, so that its ETag is another one."""
    stored = odd_store.objects.buckets[TARGET][MARKED]
    source = rig.source.head_object(Bucket=SOURCE, Key=MARKED)["ETag"].strip('"')
    odd_store.put(TARGET, MARKED, stored.body, metadata={"s3-syncer-source-etag": source})


@pytest.fixture
def marked(mirrored: Rig, odd_store: OddStore) -> Rig:
    as_marked(mirrored, odd_store)
    odd_store.clear()
    return mirrored


def checked(*arguments: str, report: Path) -> tuple[Ended, Mapping[str, Any]]:
    ended = run("check", "--download", *arguments, "--report", str(report))
    return ended, json.loads(report.read_text())


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return tmp_path / "report.json"


def source_reads(rig: Rig) -> list[Request]:
    return [r for r in rig.source_proxy.requests if r.method == "GET" and r.key and not r.query]


def bodies(rig: Rig, odd_store: OddStore) -> tuple[set[str], set[str]]:
    """Return the keys of which each side was read."""
    return {r.key for r in source_reads(rig)}, {r.key for r in odd_store.asked("GetObject")}


def test_only_what_nothing_proves_is_read(marked: Rig, odd_store: OddStore, report: Path) -> None:
    ended, written = checked(report=report)
    assert (ended.code, ended.out) == (0, "")
    assert bodies(marked, odd_store) == ({MARKED}, {MARKED})
    assert written["proofs"] == {"bytes": 1, "checksum": 0, "etag": 3, "marker": 0, "time": 0}
    assert written["bytes_read"] == 16 * MIB
    assert (written["result"], written["sample"]) == ("equal", None)
    lines = ended.err.splitlines()
    assert lines[0] == "reading up to 8.4 MB in 1 of 4 objects from each store: 16.8 MB in all"
    assert lines[1].startswith("equal: 4 keys compared, 0 failed, 16.8 MB read, 0 B to send")
    assert lines[2] == "equal keys: 1 by their bytes, 3 by equal ETags"


@pytest.mark.parametrize("offset", [0, 5 * MIB + 17, 8 * MIB - 1])
def test_one_flipped_byte_behind_the_marker_is_found(
    marked: Rig, odd_store: OddStore, report: Path, offset: int
) -> None:
    flip(odd_store, MARKED, offset)
    assert run("check", "--full").code == 0, "nothing else finds it"
    ended, written = checked(report=report)
    reason = f"the bytes differ from offset {offset:,} on, behind an unchanged ETag marker"
    assert (ended.code, ended.named) == (1, {MARKED: f"differs: {reason}"})
    assert (written["result"], written["proofs"]["bytes"]) == ("different", 0)


def test_a_flipped_byte_behind_an_equal_etag_is_found_if_checksums_are_ignored(
    marked: Rig, odd_store: OddStore, report: Path
) -> None:
    flip(odd_store, "key 1", 2)
    assert run("check", "--download").code == 0
    ended, written = checked("--ignore-checksums", report=report)
    reason = "the bytes differ from offset 2 on, although both stores have the same ETag"
    assert (ended.code, ended.named) == (1, {"key 1": f"differs: {reason}"})
    assert written["proofs"] == {"bytes": 3, "checksum": 0, "etag": 0, "marker": 0, "time": 0}


def test_a_damaged_source_is_found_too(odd_source: OddStore, odd: Rig, odd_store: OddStore) -> None:
    odd_store.put(SOURCE, "key", b"body", etag="1-2")
    odd_store.put(TARGET, "key", b"body", metadata={"s3-syncer-source-etag": "1-2"})
    assert run("check", "--download").code == 0
    flip(odd_store, "key", 1, bucket=SOURCE)
    assert run("check", "--download").named.keys() == {"key"}


def test_a_deleted_and_a_missing_key_are_differences_as_ever(marked: Rig, odd_store: OddStore) -> None:
    marked.source.delete_object(Bucket=SOURCE, Key="key 0")
    marked.put("new", b"1")
    ended = run("check", "--download")
    assert (ended.code, ended.named) == (
        1,
        {"key 0": "extra: absent from the source", "new": "missing: absent from the target"},
    )


def test_bytes_prove_an_object_of_another_tool(odd: Rig, odd_store: OddStore, report: Path) -> None:
    odd.put_parts("key", *PARTS)
    odd_store.put(TARGET, "key", b"".join(PARTS))
    assert run("check", "--full").named["key"].startswith("unproven: ")
    ended, written = checked("--full", report=report)
    assert (ended.code, ended.out, written["proofs"]["bytes"]) == (0, "", 1)
    flip(odd_store, "key", 1)
    assert run("check", "--download", "--full").code == 1


@pytest.mark.parametrize(("name", "is_proof"), [("crc64nvme", True), ("sha256", True), ("crc32", False)])
def test_equal_checksums_save_the_read(
    marked: Rig, odd_store: OddStore, report: Path, name: str, is_proof: bool
) -> None:
    header = f"x-amz-checksum-{name}"
    marked.source_proxy.when(answering(**{header: "abc="}), "HEAD", times=1e9)
    stored = odd_store.objects.buckets[TARGET][MARKED]
    stored.headers[header] = "abc="
    ended, written = checked(report=report)
    assert ended.code == 0
    assert written["proofs"]["checksum" if is_proof else "bytes"] == 1
    assert bodies(marked, odd_store) == ((set(), set()) if is_proof else ({MARKED}, {MARKED}))
    heads = [*odd_store.asked("HeadObject", MARKED)]
    assert {head.headers.get("x-amz-checksum-mode") for head in heads} == {"ENABLED"}


def test_no_other_command_asks_for_checksums(marked: Rig, odd_store: OddStore) -> None:
    assert run("check", "--full").code == 0
    assert all("x-amz-checksum-mode" not in head.headers for head in odd_store.asked("HeadObject"))


@pytest.mark.parametrize("query", ["tagging", ""])
def test_a_key_that_changes_during_the_comparison_or_the_read_is_checked_again(
    marked: Rig, odd_store: OddStore, report: Path, query: str
) -> None:
    def rewrite() -> None:
        marked.put_parts(MARKED, b"c" * 5 * MIB, b"d" * 3 * MIB)
        odd_store.objects.buckets[TARGET][MARKED].body = b"c" * 5 * MIB + b"d" * 3 * MIB
        as_marked(marked, odd_store)

    marked.source_proxy.when(meanwhile(rewrite), "GET", key=MARKED, query=query, times=1)
    ended, written = checked(report=report)
    assert (ended.code, ended.out, written["proofs"]["bytes"]) == (0, "", 1)


def test_a_key_that_keeps_changing_is_named_and_no_difference(marked: Rig, odd_store: OddStore, report: Path) -> None:
    count = 0

    def rewrite() -> None:
        nonlocal count
        count += 1
        body = bytes([count]) * 5 * MIB, b"d" * 3 * MIB
        marked.put_parts(MARKED, *body)
        odd_store.objects.buckets[TARGET][MARKED].body = b"".join(body)
        as_marked(marked, odd_store)

    marked.source_proxy.when(meanwhile(rewrite), "GET", key=MARKED, query="", times=1e9)
    ended, written = checked(report=report)
    assert ended.code == 1
    assert ended.named[MARKED].startswith("unproven: changed while it was read, 5 times")
    assert (written["result"], written["proofs"]["bytes"]) == ("unproven", 0)


def test_both_reads_are_pinned_to_an_etag(marked: Rig, odd_store: OddStore) -> None:
    assert run("check", "--download").code == 0
    reads = source_reads(marked)
    assert reads
    assert all("if-match" in {name.lower() for name in read.headers} for read in reads)
    assert all("if-match" in read.headers for read in odd_store.asked("GetObject"))


def test_archived_objects_are_named_and_not_proven(mirrored: Rig, odd_store: OddStore, report: Path) -> None:
    as_marked(mirrored, odd_store)
    mirrored.source_proxy.when(answering(**{"x-amz-storage-class": "GLACIER"}), "HEAD", key=MARKED, times=1e9)
    ended, written = checked(report=report)
    assert (ended.code, ended.named) == (
        1,
        {MARKED: "archived: the object of the source is in GLACIER, so its bytes cannot be read"},
    )
    assert sum(written["proofs"].values()) == 3
    assert run("check", "--download", "--skip-archived").code == 0


def test_objects_that_may_not_be_read_fail(marked: Rig, report: Path) -> None:
    marked.source_proxy.when(refuse(403, "AccessDenied"), "GET", key=MARKED, times=1e9)
    ended, written = checked(report=report)
    assert ended.code == 1
    assert ended.named[MARKED].startswith("failed: ")
    assert sum(written["proofs"].values()) == 3


def test_a_sample_reads_a_part_and_says_what_it_proves(odd: Rig, odd_store: OddStore, report: Path) -> None:
    for number in range(60):
        odd.source.put_object(Bucket=SOURCE, Key=f"key {number}", Body=b"body")
        odd_store.put(TARGET, f"key {number}", b"body", etag="0-1")
    ended, written = checked("--sample", "20%", report=report)
    sample, proofs = written["sample"], written["proofs"]
    assert ended.code == 0
    assert 0 < proofs["bytes"] < 60
    assert proofs["bytes"] + proofs["time"] == 60
    assert (sample["read"], sample["of"], sample["share"]) == (proofs["bytes"], 60, 0.2)
    number, read = sample["one_damaged_in"], sample["read"]
    assert 1 - (1 - 1 / number) ** read >= sample["confidence"] == 0.99
    said = f"sample: read {read} of 60 objects (20 %, --sample-seed {sample['seed']}). If 1 in {number} of them were"
    assert said in ended.err
    assert f"at least 99 %: 1 - (1 - 1/{number})^{read}" in ended.err
    before = bodies(odd, odd_store)
    odd_store.clear()
    odd.source_proxy.requests.clear()
    again, repeated = checked("--sample", "20%", "--sample-seed", str(sample["seed"]), report=report)
    assert (again.code, repeated["sample"], bodies(odd, odd_store)) == (0, sample, before)


def test_the_estimate_is_made_without_a_read(marked: Rig, odd_store: OddStore, tmp_path: Path) -> None:
    ended = run("check", "--download", "--estimate")
    assert (ended.code, ended.out) == (0, "")
    assert ended.err == "reading up to 8.4 MB in 1 of 4 objects from each store: 16.8 MB in all\n"
    assert bodies(marked, odd_store) == (set(), set())
    ended = run("check", "--download", "--ignore-checksums", "--exclude", MARKED, "--estimate")
    assert ended.err == "reading up to 12 B in 3 of 4 objects from each store: 24 B in all\n"
    ended = run("check", "--download", "--exclude", MARKED, "--estimate")
    assert ended.err == "none of 4 objects must be read\n"


def test_a_resume_file_that_cannot_be_written_is_wrong_usage(rig: Rig, tmp_path: Path) -> None:
    ended = run("check", "--download", "--resume", str(tmp_path / "no-folder" / "progress"))
    assert ended.code == 2
    assert "progress' cannot be used: No such file or directory. Name another file" in ended.err


@pytest.mark.parametrize("option", [["--sample", "1%"], ["--ignore-checksums"], ["--estimate"], ["--resume", "x"]])
def test_options_without_the_one_that_they_need_are_wrong_usage(rig: Rig, option: list[str]) -> None:
    ended = run("check", *option)
    assert ended.code == 2
    assert f"{option[0]} has no effect without --download" in ended.err


def test_a_seed_without_a_sample_is_wrong_usage(rig: Rig) -> None:
    assert "without --sample" in run("check", "--download", "--sample-seed", "1").err


@pytest.mark.parametrize("share", ["0%", "101%", "1", "one"])
def test_only_a_percentage_is_a_sample(rig: Rig, share: str) -> None:
    ended = run("check", "--download", "--sample", share)
    assert (ended.code, "write 1%, 0.1% or 100%" in ended.err) == (2, True)


#: Keys of a page of the comparison: few, because a run reads every object.
PAGE = 100

#: Source that gives a child process the same pages.
SMALL_PAGES = f"from s3_syncer.core import listing_diff; listing_diff.PAGE_KEYS = {PAGE}"

#: Keys of two and a half pages.
MANY = [f"key {number:05}" for number in range(PAGE * 5 // 2)]


@pytest.fixture
def many(odd: Rig, odd_store: OddStore, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """Return objects on several pages, one damaged; only their bytes prove them."""
    monkeypatch.setattr(listing_diff, "PAGE_KEYS", PAGE)
    for key in MANY:
        odd_store.put(SOURCE, key, b"body", etag="1-2")
        odd_store.put(TARGET, key, b"body", metadata={"s3-syncer-source-etag": "1-2"})
    flip(odd_store, "key 00003", 1)
    return odd


def test_a_stopped_check_continues_and_reports_both_parts(
    odd_source: OddStore, many: Rig, odd_store: OddStore, tmp_path: Path, report: Path
) -> None:
    progress = tmp_path / "progress"
    stalled, may_continue = threading.Event(), threading.Event()

    def stall(request: odd_requests.Request, store: odd_requests.Store) -> odd_requests.Response:
        if request.operation == "GetObject" and request.key >= MANY[2 * PAGE]:
            stalled.set()
            may_continue.wait(PATIENCE_S)
        return store(request)

    arguments = ("check", "--download", "--resume", str(progress), "--report", str(report))
    with odd_store.having(stall), started(*arguments, "--concurrency", "2", before=SMALL_PAGES) as command:
        command.wait_until(stalled.is_set)
        command.stop(signal.SIGINT)
        may_continue.set()
        stopped = command.ended()
    assert stopped.code == 130
    assert "Run the same command again to continue" in stopped.err
    first = json.loads(report.read_text())
    assert first["result"] == "stopped"
    read_before = {r.key for r in odd_store.asked("GetObject") if r.bucket == TARGET}
    odd_store.clear()
    ended = run(*arguments)
    second = json.loads(report.read_text())
    assert (ended.code, set(ended.named)) == (1, {"key 00003"})
    assert (second["keys"], second["proofs"]["bytes"]) == (len(MANY), len(MANY) - 1)
    read_after = {r.key for r in odd_store.asked("GetObject") if r.bucket == TARGET}
    assert read_before | read_after == set(MANY)
    assert len(read_after) < len(MANY), "what the first run has done is not read again"
    assert not progress.exists()


def test_the_file_of_another_check_is_refused(marked: Rig, tmp_path: Path) -> None:
    progress = tmp_path / "progress"
    progress.write_text(json.dumps({"check": {"source": "s3://other/"}}) + "\n")
    ended = run("check", "--download", "--resume", str(progress))
    assert ended.code == 2
    assert re.search(r"belongs to a check with another source", ended.err.replace("\n", " "))
    assert progress.exists()


def test_the_file_of_a_check_without_object_locks_does_not_continue_one_with_them(
    marked: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ResumeFile, "delete", ResumeFile.close)
    arguments = ("check", "--download", "--resume", str(tmp_path / "progress"))
    assert run(*arguments).code == 0
    ended = run(*arguments, "--object-lock")
    assert ended.code == 2
    assert "belongs to a check with another object_lock" in ended.err.replace("\n", " ")


def test_the_html_report_counts_the_proofs(marked: Rig, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert run("check", "--download", "--report", str(page)).code == 0
    assert "Equal by their bytes<td>1" in page.read_text()
    assert "Equal by equal ETags<td>3" in page.read_text()
