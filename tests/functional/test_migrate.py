"""`s3-syncer migrate` between two emulated clouds: complete runs, limits, failures, stops and output."""

from __future__ import annotations

import json
import random
import re
import signal
import socket
import struct
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from tests.functional.command import run, started
from tests.functional.harness import MIB, SOURCE, TARGET, Rig
from tests.functional.proxy import Exchange, Fault, admit, cut, held, refuse, rewritten, silent

from s3_syncer.cli.output import progress
from s3_syncer.cli.output.stats import Rates, SweepStats
from s3_syncer.cli.sweeps import run as run_module
from s3_syncer.core import listing_diff

pytestmark = pytest.mark.real_store

AWKWARD = [
    "a key with spaces",
    "a+b%20c?d=e&f#g",
    "//two//slashes",
    "../up/./here",
    "marker/",
    "unïcödé/日本/\U0001f600",
    "control\x01\x1b",
    "quotes'\"<>&",
    "trailing ",
]


def fill(rig: Rig, count: int, body: bytes = b"some bytes") -> list[str]:
    keys = [f"key {number:03}" for number in range(count)]
    for key in keys:
        rig.put(key, body)
    return keys


def puts(rig: Rig) -> list[str]:
    return [request.key for request in rig.target_proxy.requests if request.method == "PUT"]


# -- complete runs -----------------------------------------------------------------------------------------------------


def test_every_key_is_migrated_once(rig: Rig) -> None:
    for key in AWKWARD:
        rig.put(key, key.encode(), Metadata={"a": "b"}, ContentType="text/x", Tagging="a=b", RawExpires="never")
    rig.put("empty")
    rig.put_parts("parts", b"1" * 5 * MIB, b"2" * 100, ContentLanguage="de")
    rig.source_proxy.when(admit(rig.aws.access_key_id), times=1e9)
    rig.target_proxy.when(admit(rig.other.access_key_id), times=1e9)

    ended = run("migrate")

    assert (ended.code, ended.out) == (0, "")
    summary, note = ended.err.splitlines()
    assert re.fullmatch(r"equal: 11 keys compared, 11 copied, 0 failed, 5\.2 MB sent, 0:\d\d:\d\d", summary)
    assert note == "note: compared by size, ETag and time. --full also compares headers, metadata and tags."
    assert rig.differences() == []
    assert not rig.uploads()

    rig.target_proxy.requests.clear()
    assert run("migrate", "--full").code == run("check", "--full").code == 0
    assert rig.target_proxy.writes() == []


def test_only_keys_below_the_prefix_are_migrated(rig: Rig) -> None:
    for key in ("in/a", "in/b/c", "in/", "in", "out", "into"):
        rig.put(key, key.encode())
    rig.target.put_object(Bucket=TARGET, Key="other")
    assert run("migrate", "--source-prefix", "in/", "--target-prefix", "new/", "--delete").code == 0
    assert rig.target_keys() == ["new/a", "new/b/c", "other"]
    assert rig.target_body("new/b/c") == b"in/b/c"


def test_sweep_beside_live_writes_and_deletes_ends_equal(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing_diff, "PAGE_KEYS", 10)
    keys, rand, touched, over = fill(rig, 30), random.Random(7), set[str](), threading.Event()
    for key in rand.sample(keys, 15):
        rig.target.put_object(Bucket=TARGET, Key=key, Body=b"old")
    for number in range(10):
        rig.target.put_object(Bucket=TARGET, Key=f"key 1{number:02}")

    def owners() -> None:
        while not over.is_set():
            key, dice = rand.choice(keys[:20]), rand.random()
            touched.add(key)
            if dice < 0.3:
                rig.source.delete_object(Bucket=SOURCE, Key=key)
            elif dice < 0.5 and key in rig.source_keys():
                rig.tag(key, {"n": str(len(touched))})
            else:
                rig.put(key, f"written at {time.monotonic()}".encode(), Metadata={"n": str(len(touched))})

    thread = threading.Thread(target=owners, daemon=True)
    thread.start()
    first = run("migrate", "--delete")
    over.set()
    thread.join()
    assert first.code in (0, 1)
    assert touched
    assert {rig.target_body(key) for key in keys[20:]} == {b"some bytes"}

    rig.sync(*touched)  # live sync, late but complete

    assert rig.differences() == []
    assert run("migrate", "--delete", "--full").code == 0
    assert rig.differences() == []


def test_limited_store_is_migrated(lesser: Rig) -> None:
    for number in range(5):
        lesser.put(f"folder/key {number}", b"body", Metadata={"a": "b"})
    lesser.put_parts("parts", b"1" * 5 * MIB, b"2" * 100)
    assert run("migrate").code == 0
    lesser.target_proxy.requests.clear()
    assert run("migrate").code == run("check", "--full").code == 0
    assert lesser.target_proxy.writes() == []


@pytest.mark.parametrize("break_", ["no etags", "no order"])
def test_listings_without_etags_or_order_do_no_harm(rig: Rig, break_: str) -> None:
    def change(xml: str) -> str:
        if break_ == "no etags":
            return re.sub("<ETag>.*?</ETag>", "", xml)
        entries = re.findall("<Contents>.*?</Contents>", xml, re.DOTALL)
        return re.sub("<Contents>.*</Contents>", "".join(reversed(entries)), xml, flags=re.DOTALL)

    keys = fill(rig, 8)
    run("migrate")
    rig.put(keys[3], b"new")
    rig.target.delete_object(Bucket=TARGET, Key=keys[5])
    rig.target.put_object(Bucket=TARGET, Key="extra")
    rig.clear()
    rig.target_proxy.when(rewritten(change), "GET", query="list-type", times=1e9)

    ended = run("migrate", "--delete")

    assert set(puts(rig)) == {keys[3], keys[5]}
    if break_ == "no etags":
        assert (ended.code, rig.differences()) == (0, [])
    else:
        assert (ended.code, ended.named) == (1, {"extra": "extra: absent from the source"})
        assert "extra" in rig.target_keys()
        assert "note: the-target does not list its keys in the order of their bytes" in ended.err
        assert "comparing key by key, deleting nothing" in ended.err


def test_a_key_that_one_page_lists_many_times_is_copied_once(rig: Rig) -> None:
    """A store may list each version of an object as a separate entry."""
    keys = fill(rig, 3)

    def change(xml: str) -> str:
        return re.sub("<Contents>.*?</Contents>", lambda entry: 30 * entry[0], xml, flags=re.DOTALL)

    rig.source_proxy.when(rewritten(change), "GET", query="list-type", times=1e9)
    ended = run("migrate")
    assert sorted(puts(rig)) == keys
    assert (ended.code, rig.differences()) == (0, [])
    assert "comparing key by key, deleting nothing" in ended.err


# -- limits ------------------------------------------------------------------------------------------------------------


def test_dry_run_changes_nothing_and_lists_the_plan(rig: Rig) -> None:
    rig.put("missing", b"12345")
    rig.put("newer", b"new")
    for key in ("newer", "extra"):
        rig.target.put_object(Bucket=TARGET, Key=key)
    ended = run("migrate", "--dry-run", "--delete")
    assert ended.code == 0
    assert ended.named == {
        "missing": "would be copied: absent from the target",
        "newer": "would be updated: size",
        "extra": "would be deleted: absent from the source",
    }
    assert ended.err.startswith(
        "different: 3 keys compared, 1 would be updated, 1 would be deleted, 1 would be copied, 0 failed, 8 B to send"
    )
    ended = run("migrate", "-n")
    assert (ended.code, ended.named.keys()) == (0, {"missing", "newer"})
    assert "note: keys that only the target has: 1." in ended.err
    assert rig.target_proxy.writes() == []


def test_dry_run_that_cannot_read_a_key_exits_with_1(rig: Rig) -> None:
    for key in ("a", "b"):
        rig.put(key, b"new")
        rig.target.put_object(Bucket=TARGET, Key=key)
    rig.source_proxy.when(refuse(403, "AccessDenied"), "HEAD", key="a", times=1e9)
    ended = run("migrate", "--dry-run")
    assert ended.code == 1
    assert ended.named["b"] == "would be updated: size"
    assert ended.named["a"].startswith("failed: ")


def test_keys_are_deleted_only_on_request_and_up_to_the_limit(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing_diff, "PAGE_KEYS", 3)
    rig.put("key")
    for number in range(20):
        rig.target.put_object(Bucket=TARGET, Key=f"extra {number:02}")

    ended = run("migrate")
    assert (ended.code, ended.out, len(rig.target_keys())) == (0, "", 21)
    equal, note, _ = ended.err.splitlines()
    assert equal.startswith("equal: 21 keys compared, 1 copied, 0 failed")
    assert note == "note: keys that only the target has: 20. --delete deletes such keys."
    assert run("check").code == 1
    assert run("check", "--one-way").code == 0

    ended = run("migrate", "--delete", "--max-delete", "7")
    assert (ended.code, len(rig.target_keys())) == (1, 14)
    assert set(ended.named.values()) == {"extra: absent from the source, and the limit of 7 deletions is reached"}
    assert len(ended.named) == 13
    assert "7 deleted" in ended.err

    ended = run("migrate", "--delete")
    assert (ended.code, rig.target_keys()) == (0, ["key"])


def truncated(exchange: Exchange) -> None:
    """Return the same two keys for each page, truncated and without a continuation token.

    So the store continues the listing neither behind a StartAfter nor behind a Marker.
    """
    entry = "<LastModified>2026-01-01T00:00:00Z</LastModified><ETag>&quot;0&quot;</ETag><Size>0</Size>"
    entries = "".join(f"<Contents><Key>{key}</Key>{entry}</Contents>" for key in ("key 000", "key 001"))
    page = f"<Name>a-bucket</Name><IsTruncated>true</IsTruncated>{entries}"
    exchange.reply(200, f"<ListBucketResult>{page}</ListBucketResult>")


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("fault", [refuse(500, "InternalError"), cut(100), truncated], ids=["error", "cut", "no token"])
def test_incomplete_listing_deletes_nothing(rig: Rig, side: str, fault: Fault) -> None:
    for key in fill(rig, 3):
        rig.target.put_object(Bucket=TARGET, Key=key)
    rig.target.put_object(Bucket=TARGET, Key="zebra")
    proxy = rig.source_proxy if side == "source" else rig.target_proxy
    proxy.when(fault, "GET", key="", times=1e9)  # a listing in either version of the API
    ended = run("migrate", "--delete")
    assert (ended.code, ended.err.count("\n")) == (3, 1)
    assert f"list_objects_v2 in the-{side}" in ended.err
    assert "zebra" in rig.target_keys()


def test_forbidden_head_on_the_source_deletes_nothing(rig: Rig) -> None:
    rig.target.put_object(Bucket=TARGET, Key="extra")
    rig.source_proxy.when(refuse(403, "AccessDenied"), "HEAD", times=1e9)
    rig.source_proxy.when(refuse(403, "AccessDenied"), "GET", key="extra", times=1e9)
    ended = run("migrate", "--delete")
    assert ended.code == 1
    assert ended.named["extra"].startswith("failed: get_object in the-source: AccessDenied")
    assert rig.target_keys() == ["extra"]


def test_excluded_key_is_neither_copied_nor_deleted(rig: Rig) -> None:
    for key in ("a.jpg", "a.tmp", "folder/a.tmp"):
        rig.put(key)
    for key in ("b.jpg", "b.tmp"):
        rig.target.put_object(Bucket=TARGET, Key=key)
    assert run("migrate", "--exclude", "*.tmp", "--delete").code == 0
    assert rig.target_keys() == ["a.jpg", "b.tmp"]
    assert run("migrate", S3_SYNCER_INCLUDE="/folder/**\n/nothing").code == 0
    assert rig.target_keys() == ["a.jpg", "b.tmp", "folder/a.tmp"]


# -- failures ----------------------------------------------------------------------------------------------------------


def test_failed_key_does_not_stop_the_other_keys(rig: Rig, tmp_path: Path) -> None:
    keys = fill(rig, 8)
    rig.target_proxy.when(refuse(400, "KeyTooLongError"), "PUT", key=keys[2], times=1e9)
    rig.source_proxy.when(refuse(500, "InternalError"), "GET", key=keys[4], times=1e9)
    report = tmp_path / "report.json"
    ended = run("migrate", "--report", str(report))
    assert ended.code == 1
    assert ended.named.keys() == {keys[2], keys[4]}
    assert "KeyTooLongError: the key is longer than the store accepts" in ended.named[keys[2]]
    assert rig.target_keys() == [key for key in keys if key not in ended.named]
    failures = json.loads(report.read_text())["failures"]
    assert {f"failed: {failure['reason']}" for failure in failures} == set(ended.named.values())
    rig.clear()
    assert run("migrate").code == 0
    assert set(puts(rig)) == {keys[2], keys[4]}


#: An endpoint without a server. A free port of a higher number could be taken meanwhile.
NO_SERVER = "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"SOURCE_BUCKET": "no-such"}, "list_objects_v2 in no-such: NoSuchBucket: the bucket does not exist"),
        ({"TARGET_BUCKET": "no-such"}, "list_objects_v2 in no-such: NoSuchBucket: the bucket does not exist"),
        ({"TARGET_ENDPOINT": NO_SERVER}, "list_objects_v2 in the-target: the store does not respond"),
        ({"AWS_ENDPOINT_URL_S3": NO_SERVER}, "list_objects_v2 in the-source: the store does not respond"),
        ({"AWS_ENDPOINT_URL_S3": "nonsense"}, "cannot connect to the source: Invalid endpoint: nonsense"),
        ({"AWS_PROFILE": "no-such"}, "cannot connect to the source: The config profile (no-such) could not be found"),
        ({"AWS_ACCESS_KEY_ID": "somebody"}, "list_objects_v2 in the-source: InvalidAccessKeyId"),
        (
            {"TARGET_SECRET_ARN": "", "TARGET_ACCESS_KEY_ID": "somebody", "TARGET_SECRET_ACCESS_KEY": "else"},
            "list_objects_v2 in the-target: InvalidAccessKeyId",
        ),
        ({"TARGET_SECRET_ARN": "no-such"}, "the secret no-such cannot be read"),
        (
            {"AWS_DEFAULT_REGION": None, "AWS_REGION": None},
            "cannot connect to Secrets Manager: You must specify a region.",
        ),
        (
            {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None, "AWS_EC2_METADATA_DISABLED": "true"},
            "list_objects_v2 in the-source: no credentials: Unable to locate credentials",
        ),
    ],
    ids=str,
)
def test_unusable_store_or_credentials_are_one_line(
    rig: Rig, tmp_path: Path, wrong: dict[str, str | None], says: str
) -> None:
    fill(rig, 3)
    rig.source_proxy.when(
        lambda exchange: exchange.forward() if exchange.request.operation else admit(rig.aws.access_key_id)(exchange),
        times=1e9,
    )
    rig.target_proxy.when(admit(rig.other.access_key_id), times=1e9)
    report = tmp_path / "report.json"
    environment = {"AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere", **wrong}
    began = time.monotonic()
    ended = run("migrate", "--report", str(report), **environment)
    assert (ended.code, ended.out) == (3, "")
    assert ended.err.startswith("s3-syncer: ")
    assert says in ended.err
    assert ended.err.count("\n") == 1, ended.err
    assert rig.target_keys() == []
    assert time.monotonic() - began < 120  # 1 s on an idle machine
    content = json.loads(report.read_text())
    assert content["result"] == "failed"
    assert f"s3-syncer: {content['error']}\n" == ended.err


def test_store_that_becomes_unusable_stops_the_sweep_at_once(rig: Rig) -> None:
    fill(rig, 60)
    rig.target_proxy.when(refuse(403, "InvalidAccessKeyId"), skip=1 + 5, times=1e9)  # one listing and five writes
    ended = run("migrate", "--concurrency", "2")
    assert ended.code == 3
    assert ended.err.count("\n") == 1
    assert "InvalidAccessKeyId" in ended.err
    assert (
        len(puts(rig)) <= 5 + 2 + 2 * 2
    )  # two of the CRT transport, and of each thread its own and one retry with new credentials


def test_report_is_written_even_if_nothing_can_be_printed(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.put("key", b"body")
    report = tmp_path / "report.json"

    def fail(*arguments: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(run_module, "_summarize", fail)
    with suppress(BrokenPipeError):
        run("check", "--report", str(report))
    assert json.loads(report.read_text())["result"] == "different"


def test_invalid_report_path_is_an_error_before_the_sweep(rig: Rig) -> None:
    fill(rig, 1)
    for path, says in (("/nowhere/a.json", "does not exist"), ("report.txt", "must end in .json or .html")):
        ended = run("migrate", "--report", path)
        assert (ended.code, says in ended.err) == (2, True)
    assert rig.target_keys() == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_report_that_cannot_be_written_is_one_line(rig: Rig, tmp_path: Path) -> None:
    fill(rig, 1)
    report = tmp_path / "report.json"
    report.symlink_to("/dev/full")
    ended = run("migrate", "--report", str(report))
    assert ended.code == 3
    assert ended.err.splitlines()[-1] == f"s3-syncer: [Errno 28] No space left on device: '{report}'"
    assert rig.target_keys() == ["key 000"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_report_that_cannot_be_written_takes_no_finding_along(rig: Rig, tmp_path: Path) -> None:
    fill(rig, 1)
    report = tmp_path / "report.json"
    report.symlink_to("/dev/full")
    ended = run("check", "--report", str(report))
    assert (ended.code, ended.out) == (3, "missing\tkey 000\tabsent from the target\n")
    assert "different: 1 key compared, 1 missing" in ended.err


# -- stopped and run again ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)],
    ids=lambda value: str(value),
)
def test_run_after_a_stop_copies_nothing_twice(rig: Rig, tmp_path: Path, number: signal.Signals, code: int) -> None:
    fill(rig, 40)
    report, go_on = tmp_path / "report.json", threading.Event()
    rig.target_proxy.when(held(go_on), "PUT", skip=8, times=1e9)
    with started("migrate", "--concurrency", "4", "--report", str(report)) as command:
        command.wait_until(lambda: len(puts(rig)) >= 9)
        if number == signal.SIGKILL:
            command.send(number)
        else:
            command.stop(number)
            go_on.set()
        ended = command.ended()
    assert ended.code == code, ended.err
    go_on.set()
    rig.target_proxy.settle()
    done = set(rig.target_keys())
    assert 8 <= len(done) < 30

    if number != signal.SIGKILL:
        assert done == set(puts(rig)), "every started copy must be finished"
        assert ended.err.splitlines()[0].startswith("stopped: ")
        assert f"{len(done)} copied" in ended.err
        assert ended.err.splitlines()[1].startswith("Run the same command again to continue")
        assert json.loads(report.read_text())["result"] == "stopped"

    rig.clear()
    again = run("migrate")
    assert again.code == 0
    assert Counter(puts(rig)) == Counter(set(rig.source_keys()) - done)
    assert rig.differences() == []


def test_stop_aborts_the_multipart_upload_in_progress(rig: Rig) -> None:
    rig.put("large", b"x" * 40 * MIB)
    go_on = threading.Event()
    rig.target_proxy.when(held(go_on), "PUT", query="partNumber", times=1e9)
    with started("migrate", "--concurrency", "1", "--memory", "64") as command:
        command.wait_until(lambda: len(puts(rig)) >= 1)
        assert rig.uploads() == ["large"]
        command.stop(signal.SIGTERM)
        go_on.set()
        ended = command.ended()
    assert ended.code == 143
    assert rig.uploads() == rig.target_keys() == []
    rig.clear()
    assert run("migrate").code == 0
    assert rig.differences() == []


def test_stop_does_not_wait_for_a_silent_store(rig: Rig, tmp_path: Path) -> None:
    fill(rig, 5)
    report = tmp_path / "report.json"
    rig.target_proxy.when(silent, "PUT", times=1e9)
    with started("migrate", "--report", str(report), "--stop-grace", "0.5") as command:
        command.wait_until(lambda: len(puts(rig)) >= 1)
        command.send(signal.SIGTERM)
        ended = command.ended()
    assert ended.code == 143
    assert ended.err.startswith("stopped: ")
    assert json.loads(report.read_text())["result"] == "stopped"


def test_second_signal_ends_the_process_at_once(rig: Rig) -> None:
    fill(rig, 5)
    rig.target_proxy.when(silent, "PUT", times=1e9)
    with started("migrate") as command:
        command.wait_until(lambda: len(puts(rig)) >= 1)
        command.stop(signal.SIGINT)
        assert command.insist(signal.SIGINT).code == -signal.SIGINT


def test_stop_ends_the_wait_of_the_bandwidth_limit(rig: Rig) -> None:
    fill(rig, 5, b"x" * 10_000)
    with started("migrate", "--bwlimit", "1k") as command:
        command.wait_until(lambda: len(puts(rig)) >= 1)
        command.send(signal.SIGTERM)
        assert command.ended().code == 143


def test_connection_that_breaks_during_a_write_is_retried(rig: Rig) -> None:
    """The store closes its side and then resets the connection, so that the next write is a broken pipe."""
    rig.put("key", b"x" * 20 * MIB)
    with (
        BreakingRelay(rig.target_proxy.endpoint) as relay,
        started("migrate", TARGET_ENDPOINT=relay.endpoint) as command,
    ):
        ended = command.ended()
    assert relay.broken == 2
    assert ended.code == 0
    assert "\nequal: 1 key compared, 1 copied" in ended.err


class BreakingRelay:
    """A relay that resets the connection of the first uploads in the middle of their bodies."""

    def __init__(self, endpoint: str, breaks: int = 2) -> None:
        host, port = endpoint.removeprefix("http://").split(":")
        self._upstream, self._breaks, self.broken = (host, int(port)), breaks, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> BreakingRelay:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # this wakes the accepting thread, which a close does not
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._upstream) as store:
            threading.Thread(target=self._pump, args=(store, client), daemon=True).start()
            while data := self._received(client):
                if data.startswith(b"PUT") and self.broken < self._breaks:
                    self.broken += 1
                    client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                    client.recv(65536)
                    client.shutdown(socket.SHUT_WR)
                    time.sleep(0.2)
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    break
                store.sendall(data)
            store.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _received(client: socket.socket) -> bytes:
        try:
            return client.recv(65536)
        except OSError:
            return b""

    @staticmethod
    def _pump(store: socket.socket, client: socket.socket) -> None:
        try:
            while data := store.recv(65536):
                client.sendall(data)
        except OSError:
            return


# -- output and bandwidth ----------------------------------------------------------------------------------------------


def test_bandwidth_limit_is_kept(rig: Rig) -> None:
    fill(rig, 10, b"x" * 100_000)
    began = time.monotonic()
    assert run("migrate", "--bwlimit", "500k").code == 0
    assert 1.5 < time.monotonic() - began < 60  # the first object does not wait


def line_shown(monkeypatch: pytest.MonkeyPatch, times: int = 1) -> threading.Event:
    """Return an event that is set after the progress was shown that many times."""
    shown, asked = threading.Event(), list[int]()
    recent = SweepStats.recent_rates

    def noting(stats: SweepStats) -> Rates:
        asked.append(1)
        if len(asked) > times:  # the line of the previous call has been shown
            shown.set()
        return recent(stats)

    monkeypatch.setattr(SweepStats, "recent_rates", noting)
    return shown


def test_json_log_has_one_line_for_each_decision(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_S", 0.05)
    fill(rig, 3)
    rig.target_proxy.when(held(line_shown(monkeypatch)), "PUT", key="key 000")
    rig.put("control\x01\x1b", b"1")
    rig.target.put_object(Bucket=TARGET, Key="extra")
    rig.target_proxy.when(refuse(403, "AccessDenied"), "PUT", key="key 001", times=1e9)
    ended = run("migrate", "--log-format", "json")
    lines = [json.loads(line) for line in ended.out.splitlines()]
    assert (ended.code, ended.err) == (1, "")
    assert {(line["action"], line["key"]) for line in lines if "action" in line} == {
        ("copy", "control\x01\x1b"),
        ("copy", "key 000"),
        ("copy", "key 002"),
        ("failed", "key 001"),
        ("extra", "extra"),
    }
    assert {line["message"] for line in lines[1:] if "action" not in line} == {"progress", "summary"}
    assert lines[0]["message"] == "started", "the first line of a process has the versions"
    assert {"timestamp", "level", "message"} <= set.intersection(*(set(line) for line in lines))
    assert lines[-1]["message"] == "summary"
    names = ("result", "full", "keys", "changed", "different", "target_only", "failed", "bytes")
    assert {name: lines[-1][name] for name in names} == {
        "result": "different",
        "full": False,
        "keys": 5,
        "changed": 3,
        "different": 0,
        "target_only": 1,
        "failed": 1,
        "bytes": 21,
    }


def test_verbose_prints_each_changed_key(rig: Rig) -> None:
    keys = fill(rig, 2)
    ended = run("migrate", "-v")
    assert sorted(ended.out.splitlines()) == [f"copy {key}: absent from the target" for key in keys]


def test_without_a_terminal_a_line_is_printed_at_intervals(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_S", 0.1)
    fill(rig, 2)
    rig.target_proxy.when(held(line_shown(monkeypatch, times=2)), "PUT", times=2)
    ended = run("migrate")
    lines = ended.err.splitlines()
    assert len(lines) >= 3
    rates = r"0 copied · 0 B sent · 0 objects/s · 0 B/s · 0 keys compared · 0 keys/s"
    requests = r"up to \d+ source and \d+ target requests at a time"
    assert re.fullmatch(f"{rates} · {requests} · 0 failed", lines[0])


def test_run_writes_both_reports(rig: Rig, tmp_path: Path) -> None:
    rig.put("<script>alert(1)</script>", b"12345")
    page, data = tmp_path / "report.html", tmp_path / "report.json"
    assert run("migrate", "--report", str(page), "--report", str(data)).code == 0
    content = json.loads(data.read_text())
    assert (content["result"], content["keys"], content["bytes"], content["actions"]) == ("equal", 1, 5, {"copy": 1})
    assert content["source"] == "s3://the-source/"
    assert content["target"] == f"{rig.target_proxy.endpoint}/the-target/"
    assert content["samples"][-1]["bytes"] == 5
    assert "equal</span>" in page.read_text()
    assert rig.other.secret_access_key not in page.read_text() + data.read_text()


def test_misspelt_source_prefix_deletes_nothing(rig: Rig) -> None:
    rig.put("photos/a")
    options = ("migrate", "--source-prefix", "photo/", "--target-prefix", "copy/")
    rig.target.put_object(Bucket=TARGET, Key="copy/a", Body=b"x")
    ended = run(*options, "--delete")
    assert ended.code == 3
    assert "no key of the source begins with 'photo/', so --delete would delete every key" in ended.err
    assert rig.target_keys() == ["copy/a"]
    assert run(*options, "--delete", "--dry-run").code == 0
    assert run(*options, "--delete", "--max-delete", "1").code == 0
    assert rig.target_keys() == []


def test_source_prefix_without_keys_on_both_sides_is_equal(rig: Rig) -> None:
    rig.put("photos/a")
    assert run("migrate", "--source-prefix", "photo/", "--target-prefix", "copy/", "--delete").code == 0
