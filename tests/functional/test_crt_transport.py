"""The CRT transport between two clouds: the same result as over boto3, for all objects and faults."""

from __future__ import annotations

import os
import socket
import threading
from collections import Counter
from concurrent.futures import Future
from contextlib import suppress
from datetime import timedelta
from math import inf
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.functional.command import run
from tests.functional.harness import MIB, REGION, SOURCE, TARGET, Rig, boto3_only
from tests.functional.proxy import (
    Exchange,
    Fault,
    answering,
    cut,
    in_front_of,
    lose_answer,
    meanwhile,
    refuse,
    reset,
    shorten,
    without,
)
from tests.functional.test_fidelity import PROPERTIES, STRANGE_KEYS

from s3_syncer.cli.sweeps import local_sweep
from s3_syncer.core.key_folding import twins
from s3_syncer.crt import small_object_copy
from s3_syncer.crt.http_client import CrtHttpClient
from s3_syncer.stores.credentials import SigningKeys
from s3_syncer.transport.endpoint import BucketEndpoint


@pytest.fixture(autouse=True)
def _settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count objects as settled as soon as they are written: there is no other writer here."""
    monkeypatch.setattr(small_object_copy, "MTIME_SETTLE_TIME", timedelta(0))


@pytest.fixture(params=["crt", "boto3"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "boto3":
        monkeypatch.setattr(local_sweep, "crt_transports", boto3_only)
    way: str = request.param
    return way


def requests_of(rig: Rig) -> tuple[Counter[str], Counter[str]]:
    """Return the number of requests about objects on each side, by method."""
    sides = (rig.source_proxy, rig.target_proxy)
    source, target = (Counter(request.method for request in side.requests if request.key) for side in sides)
    return source, target


def test_every_property_arrives(rig: Rig, way: str) -> None:
    for name, properties in PROPERTIES.items():
        rig.put(name, name.encode(), **properties)
    rig.put("all", b"of them", **{k: v for p in PROPERTIES.values() for k, v in p.items()})
    rig.put("no ascii", b"", ContentDisposition='attachment; filename="Zürich €.txt"', RawExpires="später")
    rig.put("tagged", b"body", Tagging="stage=prod")
    assert run("migrate").code == 0
    assert rig.differences() == []
    rig.clear()
    assert run("migrate", "--full").code == 0
    assert rig.target_proxy.writes() == []


def test_strange_keys_are_copied(rig: Rig, way: str) -> None:
    for key in STRANGE_KEYS:
        rig.put(key, key.encode())
    ended = run("migrate")
    assert (ended.code, ended.out) == (0, "")
    assert rig.differences() == []


def twin_count(key: str) -> int:
    return sum(twin is not None for twin in twins("", key).values())


def test_an_ordinary_object_takes_one_get_and_one_put(rig: Rig) -> None:
    """One HEAD for all of them shows that the target keeps their headers and metadata names.

    The first key is copied over boto3. One GET for each fold that can concern it shows that the target does not fold.
    A listing, which is not counted here, shows that it keeps a blank.
    """
    for number in range(20):
        rig.put(f"key {number}", b"body", Metadata={"n": f"{number:02}"})
    rig.clear()
    assert run("migrate", "--no-tags").code == 0
    assert requests_of(rig) == ({"GET": 20, "HEAD": 1}, {"PUT": 20, "HEAD": 3, "GET": twin_count("key 0")})
    assert rig.differences() == []


@pytest.mark.parametrize(
    ("options", "source", "target"),
    [((), {"GET": 40}, {"PUT": 20, "HEAD": 1}), (("--no-tags",), {"GET": 20}, {"PUT": 20, "HEAD": 21})],
    ids=["and a read of its tags", "or a HEAD to see the tags of the target"],
)
def test_an_object_that_differs_takes_one_get_and_one_put(
    rig: Rig, options: tuple[str, ...], source: dict[str, int], target: dict[str, int]
) -> None:
    for number in range(20):
        rig.target.put_object(Bucket=TARGET, Key=f"key {number}", Body=b"before", Metadata={"n": "no"})
        rig.put(f"key {number}", b"afterwards", Metadata={"n": f"{number:02}"})
    rig.clear()
    assert run("migrate", *options).code == 0
    assert requests_of(rig) == (source, target)
    assert rig.differences() == []


def test_tag_sync_takes_one_more_get(rig: Rig) -> None:
    for number in range(20):
        rig.put(f"key {number}", b"body")
    rig.clear()
    assert run("migrate").code == 0
    assert requests_of(rig) == ({"GET": 41, "HEAD": 1}, {"PUT": 20, "HEAD": 3, "GET": twin_count("key 0")})


def refuse_conditions(exchange: Exchange) -> None:
    """Refuse each write with a condition, as a store that does not know them."""
    if "if-none-match" in exchange.request.headers:
        refuse(501, "NotImplemented")(exchange)
    else:
        exchange.forward()


@pytest.mark.parametrize(
    "fault", [None, without("If-None-Match"), refuse_conditions], ids=["honours", "ignores", "501"]
)
def test_the_tags_are_not_read_where_the_target_refuses_to_overwrite_an_object(rig: Rig, fault: Fault | None) -> None:
    """One object has tags, so the source is known to count them. The first such write is sent twice."""
    rig.put("key 00", b"body", Tagging="stage=prod")
    for number in range(1, 40):
        rig.put(f"key {number:02}", b"body")
    rig.clear()
    if fault is not None:
        rig.target_proxy.when(fault, "PUT", times=100)
    assert run("migrate", "--concurrency", "1").code == 0
    assert rig.differences() == []
    reads = sum("tagging" in request.query for request in rig.source_proxy.requests)
    writes = [request for request in rig.target_proxy.requests if request.method == "PUT"]
    conditional = sum("if-none-match" in request.headers for request in writes)
    assert len(writes) == 41
    if fault is None:
        assert reads < 10
        assert conditional > 30
    else:
        assert reads > 38
        assert 1 <= conditional <= 2


def test_tags_that_another_worker_writes_during_a_copy_stay(rig: Rig) -> None:
    """A worker of live sync has written the object with its new tags before the PUT of the sweep."""
    rig.put("key 00", b"body", Tagging="stage=prod")
    for number in range(1, 20):
        rig.put(f"key {number:02}", b"body")

    def overtake() -> None:
        rig.tag("key 15", {"colour": "red"})
        rig.target.put_object(Bucket=TARGET, Key="key 15", Body=b"body", Tagging="colour=red")

    rig.clear()
    rig.target_proxy.when(meanwhile(overtake), "PUT", key="key 15")
    assert run("migrate", "--concurrency", "1").code == 0
    assert rig.differences() == []
    writes = [request for request in rig.target_proxy.requests if (request.method, request.key) == ("PUT", "key 15")]
    assert [request.headers.get("if-none-match") for request in writes] == ["*"]


def test_a_young_object_is_checked_with_head(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_object_copy, "MTIME_SETTLE_TIME", timedelta(days=1))
    rig.put("key", b"body")
    assert run("migrate", "--no-tags").code == 0
    assert requests_of(rig) == ({"GET": 1, "HEAD": 1}, {"PUT": 1, "HEAD": 3, "GET": twin_count("key")})


def short(exchange: Exchange) -> None:
    """Leave the ETag out of the response of the target."""
    with exchange.ask() as response:
        exchange.reply(response.status, "")


@pytest.mark.parametrize(
    ("side", "fault"),
    [
        ("source", reset),
        ("source", cut(3)),
        ("source", shorten(3)),
        ("source", refuse(503, "SlowDown")),
        ("source", refuse(403, "AccessDenied")),
        ("source", refuse(412, "PreconditionFailed")),
        ("source", answering(ETag='"00000000000000000000000000000000"')),
        ("source", answering(Last_Modified="never")),
        ("target", reset),
        ("target", lose_answer),
        ("target", short),
        ("target", refuse(500, "InternalError")),
        ("target", refuse(400, "BadDigest")),
        ("target", refuse(403, "AccessDenied")),
    ],
)
def test_a_single_fault_is_repaired_over_boto3(rig: Rig, side: str, fault: Fault) -> None:
    for number in range(5):
        rig.put(f"key {number}", b"some bytes")
    proxy, method = (rig.source_proxy, "GET") if side == "source" else (rig.target_proxy, "PUT")
    proxy.when(fault, method, key="key 2")
    ended = run("migrate")
    assert (ended.code, ended.out) == (0, "")
    assert rig.differences() == []


def test_an_object_overwritten_during_its_copy_is_copied_again(rig: Rig) -> None:
    rig.put("key", b"first", Metadata={"n": "1"})
    rig.put("other", b"body")
    rig.target_proxy.when(meanwhile(lambda: rig.put("key", b"second", Metadata={"n": "2"})), "PUT", key="key")
    rig.target_proxy.when(meanwhile(lambda: rig.source.delete_object(Bucket=SOURCE, Key="other")), "PUT", key="other")
    assert run("migrate", "--delete").code == 0
    assert rig.differences() == []


def test_tags_written_during_a_copy_arrive(rig: Rig) -> None:
    rig.put("key", b"body")
    rig.target_proxy.when(meanwhile(lambda: rig.tag("key", {"colour": "red"})), "PUT", key="key")
    assert run("migrate").code == 0
    assert rig.differences() == []


def test_a_busy_store_gets_no_further_requests(rig: Rig) -> None:
    for number in range(50):
        rig.put(f"key {number:02}", b"body")
    rig.target_proxy.when(refuse(503, "SlowDown"), "PUT", times=6)
    assert run("migrate", "--no-tags", "--concurrency", "2").code == 0
    assert rig.differences() == []
    assert requests_of(rig)[0]["GET"] <= 50 + 2  # two copies were under way, and their reads are repeated


class Connected:
    """A connection that records its requests."""

    def __init__(self) -> None:
        self.requests: list[object] = []
        self.closed = False

    def close(self) -> None:
        self.closed = True

    def request(self, request: object, *_: object) -> object:
        self.requests.append(request)
        raise OSError("no server")


@pytest.mark.parametrize("late", ["signed", "connected"])
def test_a_request_that_expired_before_it_was_sent_is_never_sent(late: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 may have written since, and the old request would overwrite newer bytes."""
    signed, connected, connection = Future[object](), Future[Connected](), Connected()

    class Slow(CrtHttpClient):
        def connection(self) -> Any:
            return connected

    client = Slow(BucketEndpoint("http://127.0.0.1:1/bucket", REGION, ""), lambda: SigningKeys("key", "secret"))
    statuses: list[int] = []
    with monkeypatch.context() as patched:
        patched.setattr("s3_syncer.crt.http_client.auth.aws_sign_request", lambda *_: signed)
        client.send("PUT", "key", lambda response: statuses.append(response.status), body=b"old")
    if late == "connected":
        signed.set_result("request")
    for request in list(client._pending):
        request.expire_if_stalled(inf)
    assert statuses == [0]
    if late == "signed":
        signed.set_result("request")
    connected.set_result(connection)
    assert (connection.requests, statuses) == ([], [0])
    assert connection.closed is (late == "connected"), "a connection that comes too late is closed"


def options(port: int) -> list[int]:
    """Return TCP_NODELAY of each connection of this process to the port."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError), socket.socket(fileno=os.dup(int(entry.name))) as connection:  # if it is a connection
            if connection.getpeername()[1] == port:
                found.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds its connections in /proc")
def test_no_segment_of_a_request_waits_for_an_acknowledgement(rig: Rig) -> None:
    """The acknowledgement comes 40 ms later: small objects would take many times as long."""
    with in_front_of(rig.other.endpoint) as proxy:
        endpoint = BucketEndpoint(f"{proxy.endpoint}/{TARGET}", REGION, "")
        client = CrtHttpClient(endpoint, lambda: SigningKeys(rig.other.access_key_id, rig.other.secret_access_key))
        assert client.request("PUT", "key", body=bytes(50_000)).status == 200
        # An earlier test may have left connections to a proxy that had the same port.
        assert set(options(urlsplit(proxy.endpoint).port or 0)) == {1}


def test_callbacks_on_one_thread_share_their_python_state(rig: Rig) -> None:
    """A new state for each callback took a tenth of the CPU time of a small object."""
    endpoint = BucketEndpoint(f"{rig.other.endpoint}/{TARGET}", REGION, "")
    client = CrtHttpClient(endpoint, lambda: SigningKeys(rig.other.access_key_id, rig.other.secret_access_key))
    state, threads, new_states = threading.local(), set[int](), []
    for _ in range(3):
        done = threading.Event()

        def on_response(_: object, done: threading.Event = done) -> None:
            threads.add(threading.get_ident())
            if not hasattr(state, "exists"):
                new_states.append(state)
            state.exists = True
            done.set()

        client.send("HEAD", "key", on_response)
        assert done.wait(60)
    assert len(new_states) == len(threads)


def test_a_large_object_is_not_copied_as_a_small_one(rig: Rig) -> None:
    rig.put("key", b"x" * (small_object_copy.MAX_SIZE + 1))
    rig.put_parts("parts", b"1" * 5 * MIB, b"2")
    assert run("migrate").code == 0
    assert rig.differences() == []
    assert rig.target.head_object(Bucket=TARGET, Key="key")["ContentLength"] == small_object_copy.MAX_SIZE + 1
