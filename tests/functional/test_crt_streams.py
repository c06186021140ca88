"""Large objects streamed between two clouds: the same result as over boto3, whatever happens."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable
from functools import cache
from math import inf

import pytest
from tests.functional.command import run, started
from tests.functional.harness import MIB, SECRET, SOURCE, TARGET, Account, Rig, boto3_only, secret
from tests.functional.proxy import (
    Exchange,
    Fault,
    admit,
    answering,
    cut,
    held,
    lose_answer,
    meanwhile,
    refuse,
    reset,
    shorten,
    without,
)

from s3_syncer.cli.commands import sync as sync_command
from s3_syncer.cli.sweeps import local_sweep
from s3_syncer.crt import stream_copy
from s3_syncer.stores import credentials
from s3_syncer.stores.protocols import BucketLocation
from s3_syncer.sync import transfer
from s3_syncer.transport import pauses, sides, stream_http
from s3_syncer.transport.endpoint import BucketEndpoint

PART = 5 * MIB
WHOLE = stream_copy.MIN_SIZE + 1

#: Seconds after which a stalled socket is closed by default.
STALL_TIMEOUT_S = stream_http.STALL_TIMEOUT_S


@cache
def body_of(size: int, seed: int = 0) -> bytes:
    return random.Random(size + seed).randbytes(size)


def parts_of(count: int, seed: int = 0) -> list[bytes]:
    return [body_of(PART, seed + number) for number in range(1, count)] + [body_of(1000, seed)]


@pytest.fixture(params=["streams", "boto3"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Stream objects, or copy them over boto3: the result must be the same."""
    if request.param == "boto3":
        monkeypatch.setattr(local_sweep, "crt_transports", boto3_only)
        monkeypatch.setattr(sync_command, "stream_transports", boto3_only)
    way: str = request.param
    return way


def streamed(rig: Rig) -> list[bool]:
    """Return for each PUT that reached the target: True if it was a stream."""
    writes = [request for request in rig.target_proxy.writes() if request.method == "PUT"]
    return [request.headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD" for request in writes]


def test_large_objects_arrive_with_all_properties(rig: Rig, way: str) -> None:
    properties = {"ContentType": "video/mp4", "Metadata": {"a": "b"}, "RawExpires": "never", "Tagging": "x=y"}
    for key in ("parts", "a/../b//c +%41?&=ü"):
        rig.put_parts(key, *parts_of(3), **properties)
    rig.put("whole", body_of(WHOLE), **properties)
    rig.put("whole, no ascii", body_of(WHOLE), ContentDisposition='attachment; filename="Zürich €.txt"')
    rig.put("own parts", body_of(transfer.WHOLE_MAX + 1), **properties)
    rig.put_parts("uneven", body_of(6 * MIB), body_of(PART), body_of(10))
    ended = run("migrate")
    assert (ended.code, ended.out) == (0, "")
    assert rig.differences() == []
    assert rig.uploads() == []
    rig.clear()
    assert run("migrate", "--full").code == 0
    assert rig.target_proxy.writes() == []


def test_no_part_and_no_large_object_is_held_in_memory_as_a_whole(rig: Rig) -> None:
    rig.put_parts("parts", *parts_of(3))
    rig.put("whole", body_of(WHOLE))
    rig.clear()
    assert run("migrate").code == 0
    assert streamed(rig) == [True] * 4
    assert rig.differences() == []


def test_sync_streams_large_objects(rig: Rig) -> None:
    rig.put_parts("parts", *parts_of(2))
    rig.clear()
    assert run("sync", "parts").code == 0
    assert streamed(rig) == [True] * 2
    assert rig.differences() == []


def test_the_endpoint_of_a_bucket_is_found_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CRT client and the streaming client share the endpoint."""
    names: list[str] = []
    endpoint = sides.bucket_endpoint

    def noted(location: BucketLocation) -> BucketEndpoint:
        names.append(location.name)
        return endpoint(location)

    monkeypatch.setattr(sides, "bucket_endpoint", noted)
    assert run("migrate").code == 0
    assert sorted(names) == sorted([SOURCE, TARGET])


def test_a_limited_store_accepts_streams_over_plain_http(lesser: Rig) -> None:
    lesser.put_parts("parts", *parts_of(3))
    lesser.put("whole", body_of(WHOLE))
    lesser.clear()
    assert run("migrate", "--no-tags").code == 0
    assert streamed(lesser) == [True] * 4
    assert lesser.target_body("parts") == b"".join(parts_of(3))
    assert lesser.target_body("whole") == body_of(WHOLE)


FAULTS = [
    ("source", reset),
    ("source", cut(3 * MIB)),
    ("source", shorten(3 * MIB)),
    ("source", refuse(503, "SlowDown")),
    ("source", refuse(403, "AccessDenied")),
    ("source", refuse(412, "PreconditionFailed")),
    ("source", answering(ETag='"00000000000000000000000000000000"')),
    ("target", reset),
    ("target", lose_answer),
    ("target", refuse(500, "InternalError")),
    ("target", refuse(503, "SlowDown")),
    ("target", refuse(400, "BadDigest")),
    ("target", refuse(403, "AccessDenied")),
]


@pytest.mark.parametrize(("side", "fault"), FAULTS)
def test_a_single_fault_is_repaired(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, way: str, side: str, fault: Fault
) -> None:
    monkeypatch.setattr(pauses, "PAUSE_S", -1.0)  # every pause is over at once, for all threads
    rig.put_parts("parts", *parts_of(4))
    rig.put("whole", body_of(WHOLE))
    proxy, method = (rig.source_proxy, "GET") if side == "source" else (rig.target_proxy, "PUT")
    proxy.when(fault, method, key="parts", query="" if side == "source" else "partNumber", skip=1)
    proxy.when(fault, method, key="whole", query="", skip=int(side == "source"))  # behind the first look
    ended = run("migrate")
    if way == "boto3" and ended.code != 0:  # boto3 does not repeat a request with a body that broke off
        ended = run("migrate")
    assert (ended.code, ended.out) == (0, "")
    assert rig.differences() == []
    assert rig.uploads() == []


def test_the_etag_of_the_target_reveals_a_damaged_part(rig: Rig) -> None:
    """The network, or a store that checks nothing, may damage a part on its way."""

    def damaged(exchange: Exchange) -> None:
        exchange._body = b"?" + exchange._body[1:]
        exchange.forward()

    rig.put_parts("parts", *parts_of(3))
    rig.target_proxy.when(damaged, "PUT", key="parts", query="partNumber", skip=1)
    assert run("migrate").code == 0
    assert rig.differences() == []
    assert streamed(rig).count(False) == 1, "once more, over boto3"


def test_an_object_with_bytes_that_do_not_have_its_etag_is_never_written(rig: Rig) -> None:
    def damaged(exchange: Exchange) -> None:
        with exchange.ask() as response:
            body = response.read()
            exchange._begin(response.status, dict(response.getheaders()))
            exchange._handler.wfile.write(b"?" + body[1:])

    rig.put("whole", body_of(WHOLE))
    rig.source_proxy.when(damaged, "GET", key="whole", query="", times=inf)
    assert "is not the source's ETag" in run("migrate").named["whole"]
    assert rig.target_keys() == []


def test_a_part_with_an_etag_that_is_not_its_md5_is_sent_again(rig: Rig) -> None:
    rig.put_parts("parts", *parts_of(3))
    wrong = answering(ETag='"00000000000000000000000000000000"')
    rig.target_proxy.when(wrong, "PUT", key="parts", query="partNumber", skip=1)
    assert run("migrate").code == 0
    assert sorted(streamed(rig)) == [False, True, True, True]
    assert rig.differences() == []


def test_a_secret_rotated_during_a_copy(rig: Rig, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.setattr(credentials, "SECRET_FRESH_S", 0.0)
    rig.put_parts("parts", *parts_of(5))
    fresh = Account(rig.other.endpoint)

    def rotate() -> None:
        rig.secrets.put_secret_value(SecretId=SECRET, SecretString=secret(fresh))
        rig.target_proxy.when(admit(fresh.access_key_id), times=inf)

    rig.source_proxy.when(meanwhile(rotate), "GET", key="parts", query="", skip=1)
    ended = run("migrate", "--concurrency", "1")
    assert (ended.code, ended.out) == (0, "")
    assert rig.differences() == []
    assert rig.uploads() == []


@pytest.mark.parametrize("store", ["with If-Match", "that ignores If-Match"])
def test_a_source_overwritten_during_a_copy_ends_equal(rig: Rig, way: str, store: str) -> None:
    rig.put_parts("parts", *parts_of(3))
    rig.put("whole", body_of(WHOLE))
    for key, change in (
        ("parts", lambda: rig.put_parts("parts", *parts_of(3, 9), Metadata={"new": "yes"})),
        ("whole", lambda: rig.put("whole", body_of(WHOLE, 9), Metadata={"new": "yes"})),
    ):
        once: Callable[[], object] = change
        rig.source_proxy.when(meanwhile(once), "GET", key=key, query="", skip=1 if key == "parts" else 0)
    if store == "that ignores If-Match":
        rig.source_proxy.when(without("If-Match"), "GET", query="", times=inf)
    assert run("migrate").code == 0
    assert rig.differences() == []
    assert rig.target_body("parts") == b"".join(parts_of(3, 9))
    assert rig.target_body("whole") == body_of(WHOLE, 9)
    assert rig.uploads() == []


class Stall:
    """A store that never responds to the first stream, and measures how long the client waits for it."""

    def __init__(self) -> None:
        self.waited_s = 0.0
        self._lock = threading.Lock()
        self._has_begun = False

    def __call__(self, exchange: Exchange) -> None:
        # boto3 and the CRT client wait for 60 s.
        is_stream = exchange.request.headers["user-agent"] == stream_http._USER_AGENT
        with self._lock:
            is_first, self._has_begun = is_stream and not self._has_begun, is_stream or self._has_begun
        if not is_first:
            exchange.forward()
            return
        began = time.monotonic()
        exchange.outlast()
        self.waited_s = time.monotonic() - began


@pytest.mark.parametrize(("side", "method"), [("source", "GET"), ("target", "PUT")])
def test_a_stalled_socket_is_closed(rig: Rig, monkeypatch: pytest.MonkeyPatch, side: str, method: str) -> None:
    monkeypatch.setattr(stream_http, "STALL_TIMEOUT_S", 2.0)
    monkeypatch.setattr(pauses, "PAUSE_S", -1.0)  # so that a stream comes to the target, however slow the source
    rig.put_parts("parts", *parts_of(3))
    rig.put("whole", body_of(WHOLE))
    stall = Stall()
    (rig.source_proxy if side == "source" else rig.target_proxy).when(stall, method, times=inf)
    assert run("migrate", "--no-tags").code == 0
    rig.source_proxy.settle()
    rig.target_proxy.settle()
    assert 0 < stall.waited_s < STALL_TIMEOUT_S
    assert rig.differences() == []


def test_the_bandwidth_limit_holds(rig: Rig, way: str) -> None:
    rig.put_parts("parts", *parts_of(4))
    began = time.monotonic()
    assert run("migrate", "--bwlimit", "8M").code == 0
    assert time.monotonic() - began > 1.2
    assert rig.differences() == []


def test_the_smallest_memory_suffices(rig: Rig, way: str) -> None:
    for number in range(3):
        rig.put_parts(f"parts {number}", *parts_of(4, number))
        rig.put(f"whole {number}", body_of(WHOLE, number))
    rig.source_proxy.when(refuse(503, "SlowDown"), "GET", query="", skip=3, times=3)
    assert run("migrate", "--memory", "64").code == 0
    assert rig.differences() == []


def test_nothing_is_streamed_through_a_proxy(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.put_parts("parts", *parts_of(2))
    rig.clear()
    monkeypatch.setattr("s3_syncer.stores.proxies.getproxies", lambda: {"http": "http://127.0.0.1:1"})
    monkeypatch.setattr("s3_syncer.stores.proxies.proxy_bypass", lambda _host: False)
    assert run("migrate").code == 0
    assert streamed(rig) == [False] * 2
    assert rig.differences() == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143)], ids=["SIGKILL", "SIGTERM"])
def test_a_copy_with_streamed_parts_is_resumed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, code: int
) -> None:
    monkeypatch.setattr(transfer, "RESUME_MIN", 1)
    rig.put_parts("parts", *parts_of(8))
    go_on = threading.Event()
    rig.target_proxy.when(held(go_on), "PUT", key="parts", query="partNumber", skip=2, times=inf)
    before = "import s3_syncer.sync.transfer as transfer; transfer.RESUME_MIN = 1"
    with started("migrate", "--no-tags", "--concurrency", "1", before=before) as command:
        command.wait_until(lambda: len(streamed(rig)) == 3)
        if number == signal.SIGKILL:
            command.send(number)
        else:
            command.stop(number)
            go_on.set()
        assert command.ended().code == code
    go_on.set()
    rig.target_proxy.settle()
    assert streamed(rig) == [True] * 3
    rig.clear()
    assert run("migrate", "--no-tags").code == 0
    assert streamed(rig) == [True] * 5
    assert rig.differences() == []
    assert rig.uploads() == []
