"""Two separate stores that start once and are emptied around every test, each with a proxy.

The source is moto's server with S3, SQS and Secrets Manager. The target is a second one, or the limited store
`rclone serve s3`. The function runs in this process, with the environment that Lambda sets.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest
from botocore.retries.standard import ExponentialBackoff
from tests.functional.harness import SOURCE, Account, Rig, boto3_only
from tests.functional.proxy import in_front_of
from tests.support.clock import OffsetClock
from tests.support.odd_store import OddStore
from tests.support.patience import PATIENCE_S

import s3_syncer
from localcloud import servers
from localcloud.ceph import Ceph
from s3_syncer import lambda_handler
from s3_syncer.cli.sweeps import local_sweep, outage
from s3_syncer.core import concurrency_limit, deadline
from s3_syncer.core.backoff import Backoff
from s3_syncer.crt import http_client
from s3_syncer.crt.factory import crt_transports
from s3_syncer.stores import request_limiter


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    with servers.running(servers.moto(), tmp_path_factory.mktemp("aws")) as server:
        yield Account(server.endpoint)


@pytest.fixture(scope="session")
def other(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """Yield the target: moto, or Ceph RGW with `--real-store`."""
    if request.config.getoption("--real-store"):
        yield ceph_account(request.getfixturevalue("ceph_cluster"))
        return
    with servers.running(servers.moto(), tmp_path_factory.mktemp("other")) as server:
        yield Account(server.endpoint)


@pytest.fixture(scope="session")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    account = Account("")
    program = servers.rclone(account.access_key_id, account.secret_access_key)
    with servers.running(program, tmp_path_factory.mktemp("rclone")) as server:
        yield Account(server.endpoint, account.access_key_id, account.secret_access_key, is_moto=False)


@pytest.fixture
def rig(
    aws: Account, other: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Rig]:
    """Yield the function between two stores that behave like AWS."""
    with ExitStack() as cleanup:
        for account in (aws, other):
            account.empty()
            cleanup.callback(account.empty)
        yield cleanup.enter_context(_rig(aws, other, monkeypatch, capsys))


@pytest.fixture
def lesser(
    aws: Account, rclone: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Rig]:
    """Yield the function between AWS and a limited store, which has no tags."""
    with ExitStack() as cleanup:
        for account in (aws, rclone):
            account.empty()
            cleanup.callback(account.empty)
        monkeypatch.setenv("SYNC_TAGS", "false")
        yield cleanup.enter_context(_rig(aws, rclone, monkeypatch, capsys))


@pytest.fixture
def odd_store() -> Iterator[OddStore]:
    """Yield a store to which the test adds quirks: see `tests/support/quirks`."""
    with OddStore() as store:
        yield store


@pytest.fixture
def odd(
    aws: Account, odd_store: OddStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Rig]:
    """Yield the function between AWS and `odd_store`."""
    with ExitStack() as cleanup:
        aws.empty()
        cleanup.callback(aws.empty)
        yield cleanup.enter_context(_rig(aws, Account(odd_store.endpoint), monkeypatch, capsys))


@pytest.fixture
def odd_source(odd: Rig, odd_store: OddStore, monkeypatch: pytest.MonkeyPatch) -> OddStore:
    """Let the odd store be the source of the command and of the function, too."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", odd_store.endpoint)
    odd_store.objects.buckets[SOURCE] = {}
    return odd_store


def ceph_account(cluster: Ceph) -> Account:
    return Account(cluster.endpoint, cluster.access_key_id, cluster.secret_access_key, is_moto=False)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> OffsetClock:
    """Yield the clock of the deadlines, so that a deadline passes when the test moves the clock."""
    clock = OffsetClock()
    monkeypatch.setattr(deadline, "time", clock)
    return clock


@pytest.fixture(params=["boto3", "plain", "crt"])
def each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test with boto3 alone, over `http.client` as in the function, and over awscrt as in `serve`."""
    if request.param == "boto3":
        monkeypatch.setattr(lambda_handler, "plain_transports", boto3_only)
    elif request.param == "crt":
        monkeypatch.setattr(lambda_handler, "plain_transports", partial(crt_transports, concurrency=2))
    way: str = request.param
    return way


@pytest.fixture(params=["crt", "boto3"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the command over awscrt and streams, and over boto3 alone."""
    if request.param == "boto3":
        monkeypatch.setattr(local_sweep, "crt_transports", boto3_only)
    return str(request.param)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the pauses between the attempts of the SDK and of a command; their number is unchanged."""
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda self, context: 0.0)
    monkeypatch.setattr(outage, "REPEAT", Backoff(0.001, 0.001))
    monkeypatch.setattr(outage, "PAUSE_FIRST_S", 0.01)
    monkeypatch.setattr(outage, "PAUSE_MAX_S", 0.1)
    monkeypatch.setattr(concurrency_limit, "PAUSE", Backoff(0.001, 0.001))
    monkeypatch.setattr(request_limiter, "_TICK_S", 0.01)
    monkeypatch.setattr(http_client, "_WATCH_INTERVAL_S", 0.05)


@pytest.fixture(autouse=True, scope="session")
def _quick_collections() -> None:
    """Exclude the objects that exist before the first test from garbage collection, which saves time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_work_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Wait until no thread or process of the test is running, because the next test uses the same stores.

    The patches of the test stay until then: with the SDK's pauses, a retry would take minutes to end.
    """
    # A command freezes what exists when it starts. Frozen objects keep the idle threads of their pools.
    freeze = gc.freeze
    monkeypatch.setattr(gc, "freeze", lambda: None)
    before = _threads()
    yield
    end = time.monotonic() + PATIENCE_S
    while left := _threads() - before:
        assert time.monotonic() < end, f"still running: {left}"
        gc.collect()  # idle threads end with the pool that they belong to
        for thread in left:
            thread.join(0.1)
    freeze()  # what is left belongs to the session, and the next collection takes less time without it
    assert multiprocessing.active_children() == []


def _threads() -> set[threading.Thread]:
    """Return Python's threads, without the dummy that a callback creates for awscrt's thread."""
    return {thread for thread in threading.enumerate() if not isinstance(thread, threading._DummyThread)}


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """Restore the logger after the test, because its handler uses the standard output of the test."""
    log = logging.getLogger(s3_syncer.__name__)
    handlers, level, propagate = log.handlers[:], log.level, log.propagate
    yield
    log.handlers[:], log.propagate = handlers, propagate
    log.setLevel(level)


@contextmanager
def _rig(
    aws: Account, other: Account, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Rig]:
    with in_front_of(aws.endpoint) as source_proxy, in_front_of(other.endpoint) as target_proxy:
        rig = Rig(aws, other, source_proxy, target_proxy, printed=lambda: capsys.readouterr().out)
        rig.furnish()
        for name in set(os.environ):
            if name.startswith("AWS_") or name.lower().endswith("_proxy"):
                monkeypatch.delenv(name)
        for name, value in rig.environment().items():
            monkeypatch.setenv(name, value)
        yield rig
        rig.close()
        rig.read_log()
        for account in (aws, other):
            assert account.secret_access_key not in "".join(rig.transcript), "a secret got into the log"
