"""The lane between two clouds: the same outcome as the common path, whatever the objects and whatever happens."""

from __future__ import annotations

import os
import socket
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
)
from tests.functional.test_fidelity import PROPERTIES, STRANGE_KEYS

from s3_syncer.cli import local_sweep
from s3_syncer.crt import small_object_copy
from s3_syncer.crt.endpoint import BucketEndpoint
from s3_syncer.crt.http_client import CrtHttpClient
from s3_syncer.stores.credentials import SigningKeys


@pytest.fixture(autouse=True)
def _rested(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects that are read as soon as they are written count as old: nobody else writes here."""
    monkeypatch.setattr(small_object_copy, "MTIME_SETTLE_TIME", timedelta(0))


@pytest.fixture(params=["crt", "boto3"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "boto3":
        monkeypatch.setattr(local_sweep, "crt_transports", boto3_only)
    way: str = request.param
    return way


def asked(rig: Rig) -> tuple[Counter[str], Counter[str]]:
    """The requests about objects on each side, by method."""
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


def test_strange_keys_are_ordinary(rig: Rig, way: str) -> None:
    for key in STRANGE_KEYS:
        rig.put(key, key.encode())
    ended = run("migrate")
    assert (ended.code, ended.out) == (0, "")
    assert rig.differences() == []


def test_an_ordinary_object_costs_a_get_and_a_put(rig: Rig) -> None:
    for number in range(20):
        rig.put(f"key {number}", b"body", Metadata={"n": str(number)})
    rig.clear()
    assert run("migrate", "--no-tags").code == 0
    assert asked(rig) == ({"GET": 20}, {"PUT": 20})
    assert rig.differences() == []


def test_one_that_differs_costs_no_more(rig: Rig) -> None:
    for number in range(20):
        rig.target.put_object(Bucket=TARGET, Key=f"key {number}", Body=b"before", Metadata={"n": "0"})
        rig.put(f"key {number}", b"afterwards", Metadata={"n": str(number)})
    rig.clear()
    assert run("migrate", "--no-tags").code == 0
    assert asked(rig) == ({"GET": 20}, {"PUT": 20})
    assert rig.differences() == []


def test_with_tags_it_costs_a_look_at_them_as_well(rig: Rig) -> None:
    for number in range(20):
        rig.put(f"key {number}", b"body")
    rig.clear()
    assert run("migrate").code == 0
    assert asked(rig) == ({"GET": 40}, {"PUT": 20})


def test_what_is_fresh_is_looked_at_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_object_copy, "MTIME_SETTLE_TIME", timedelta(days=1))
    rig.put("key", b"body")
    assert run("migrate", "--no-tags").code == 0
    assert asked(rig) == ({"GET": 1, "HEAD": 1}, {"PUT": 1, "HEAD": 1})


def short(exchange: Exchange) -> None:
    """A target that has lost the answer's ETag."""
    with exchange.ask() as answer:
        exchange.reply(answer.status, "")


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
def test_whatever_goes_wrong_once_the_common_path_makes_good(rig: Rig, side: str, fault: Fault) -> None:
    for number in range(5):
        rig.put(f"key {number}", b"some bytes")
    proxy, method = (rig.source_proxy, "GET") if side == "source" else (rig.target_proxy, "PUT")
    proxy.when(fault, method, key="key 2")
    ended = run("migrate")
    assert (ended.code, ended.out) == (0, "")
    assert rig.differences() == []


def test_an_object_overwritten_under_its_copy_is_copied_again(rig: Rig) -> None:
    rig.put("key", b"first", Metadata={"n": "1"})
    rig.put("other", b"body")
    rig.target_proxy.when(meanwhile(lambda: rig.put("key", b"second", Metadata={"n": "2"})), "PUT", key="key")
    rig.target_proxy.when(meanwhile(lambda: rig.source.delete_object(Bucket=SOURCE, Key="other")), "PUT", key="other")
    assert run("migrate", "--delete").code == 0
    assert rig.differences() == []


def test_tags_written_under_a_copy_arrive(rig: Rig) -> None:
    rig.put("key", b"body")
    rig.target_proxy.when(meanwhile(lambda: rig.tag("key", {"colour": "red"})), "PUT", key="key")
    assert run("migrate").code == 0
    assert rig.differences() == []


def test_a_store_that_is_busy_is_not_pressed(rig: Rig) -> None:
    for number in range(50):
        rig.put(f"key {number:02}", b"body")
    rig.target_proxy.when(refuse(503, "SlowDown"), "PUT", times=6)
    assert run("migrate", "--no-tags", "--concurrency", "2").code == 0
    assert rig.differences() == []
    assert asked(rig)[0]["GET"] <= 50 + 2  # read in vain: what the lane had under way


class Connected:
    """A connection that notes what it is asked for."""

    def __init__(self) -> None:
        self.requests: list[object] = []
        self.closed = False

    def close(self) -> None:
        self.closed = True

    def request(self, request: object, *_: object) -> object:
        self.requests.append(request)
        raise OSError("nobody there")


@pytest.mark.parametrize("late", ["signed", "connected"])
def test_what_was_given_up_before_it_was_sent_is_never_sent(late: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others have written since, and it would be written over with what was read before."""
    signed, connected, connection = Future[object](), Future[Connected](), Connected()

    class Slow(CrtHttpClient):
        def connection(self) -> Any:
            return connected

    sending = Slow(BucketEndpoint("http://127.0.0.1:1/bucket", REGION, ""), lambda: SigningKeys("key", "secret"))
    statuses: list[int] = []
    with monkeypatch.context() as patched:
        patched.setattr("s3_syncer.crt.http_client.auth.aws_sign_request", lambda *_: signed)
        sending.send("PUT", "key", lambda answer: statuses.append(answer.status), body=b"old")
    if late == "connected":
        signed.set_result("request")
    for request in list(sending._pending):
        request.expire_if_stalled(inf)
    assert statuses == [0]
    if late == "signed":
        signed.set_result("request")
    connected.set_result(connection)
    assert (connection.requests, statuses) == ([], [0])
    assert connection.closed is (late == "connected"), "one that was waited for is not left open"


def options(port: int) -> list[int]:
    """TCP_NODELAY of each connection of this process to the port."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError), socket.socket(fileno=os.dup(int(entry.name))) as connection:  # if it is a connection
            if connection.getpeername()[1] == port:
                found.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds its connections in /proc")
def test_no_piece_of_a_request_waits_for_an_acknowledgement(rig: Rig) -> None:
    """It would come 40 ms later, so that small objects took many times as long."""
    with in_front_of(rig.other.endpoint) as proxy:
        place = BucketEndpoint(f"{proxy.endpoint}/{TARGET}", REGION, "")
        client = CrtHttpClient(place, lambda: SigningKeys(rig.other.access_key_id, rig.other.secret_access_key))
        assert client.request("PUT", "key", body=bytes(50_000)).status == 200
        assert options(urlsplit(proxy.endpoint).port or 0) == [1]


def test_a_larger_object_is_for_the_common_path(rig: Rig) -> None:
    rig.put("key", b"x" * (small_object_copy.MAX_SIZE + 1))
    rig.put_parts("parts", b"1" * 5 * MIB, b"2")
    assert run("migrate").code == 0
    assert rig.differences() == []
    assert rig.target.head_object(Bucket=TARGET, Key="key")["ContentLength"] == small_object_copy.MAX_SIZE + 1
