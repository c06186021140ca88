"""Test that no request that a test leaves in the proxy reaches the store of the next test."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from tests.functional.proxy import Fault, Proxy, delayed, in_front_of, silent
from tests.support.patience import PATIENCE_S

REQUEST = b"PUT /bucket/key HTTP/1.1\r\nHost: store\r\nContent-Length: 4\r\n\r\nbody"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class RecordingServer:
    """A server that records its requests, and responds when the test allows it."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests: list[bytes] = []
        self.reached, self.may_respond = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                if not (data := connection.recv(65536)):
                    return
                while not data.endswith(b"body"):
                    data += connection.recv(65536)
                self.requests.append(data)
                self.reached.set()
                self.may_respond.wait(PATIENCE_S)
                connection.sendall(RESPONSE)

    def close(self) -> None:
        self.may_respond.set()
        socket.create_connection(self._listener.getsockname()).close()
        self._thread.join()
        self._listener.close()


@pytest.fixture
def store() -> Iterator[RecordingServer]:
    store = RecordingServer()
    yield store
    store.close()


def send(proxy: Proxy, data: bytes = REQUEST) -> socket.socket:
    """Send the data, and do not wait for a response."""
    client = socket.create_connection(("127.0.0.1", int(proxy.endpoint.rpartition(":")[2])))
    client.sendall(data)
    return client


def wait_for_request(proxy: Proxy) -> None:
    end = time.monotonic() + PATIENCE_S
    while not proxy.requests:
        assert time.monotonic() < end
        time.sleep(0.001)


@contextmanager
def no_thread_left() -> Iterator[None]:
    """Wait until every thread that the block started has ended, so that none can send a request later."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), thread


@pytest.mark.parametrize("fault", [delayed(600), silent], ids=["late", "never"])
@pytest.mark.parametrize("gone", [False, True], ids=["waiting", "gone"])
def test_delayed_request_does_not_reach_the_store_after_the_end(
    store: RecordingServer, fault: Fault, gone: bool
) -> None:
    with no_thread_left(), in_front_of(store.endpoint) as proxy:
        proxy.when(fault)
        client = send(proxy)
        wait_for_request(proxy)
        if gone:
            client.close()
    assert store.requests == []


def test_close_waits_for_requests_that_the_store_has_received(store: RecordingServer) -> None:
    with ThreadPoolExecutor() as pool, in_front_of(store.endpoint) as proxy, send(proxy):
        assert store.reached.wait(PATIENCE_S)
        end = pool.submit(proxy.close)
        with pytest.raises(TimeoutError):
            end.result(timeout=0.2)
        store.may_respond.set()
        end.result(timeout=PATIENCE_S)


def test_settle_waits_for_requests_of_closed_connections(store: RecordingServer) -> None:
    store.may_respond.set()
    with in_front_of(store.endpoint) as proxy:
        proxy.when(delayed(0.2), times=2)
        for _ in range(3):
            send(proxy).close()
        proxy.settle()
        assert len(store.requests) == 3


def test_settle_does_not_wait_for_an_idle_connection(store: RecordingServer) -> None:
    with in_front_of(store.endpoint) as proxy, send(proxy, b""):
        proxy.settle()
        assert proxy.requests == []


def test_half_a_request_never_reaches_the_store(store: RecordingServer) -> None:
    with in_front_of(store.endpoint) as proxy:
        send(proxy, REQUEST[:-1]).close()
        proxy.settle()
    assert store.requests == []


def test_expect_100_continue_is_answered_immediately(store: RecordingServer) -> None:
    head = REQUEST.removesuffix(b"\r\n\r\nbody") + b"\r\nExpect: 100-continue\r\n\r\n"
    store.may_respond.set()
    with in_front_of(store.endpoint) as proxy, send(proxy, head) as client:
        client.settimeout(PATIENCE_S)
        assert client.recv(65536).startswith(b"HTTP/1.1 100")
        client.sendall(b"body")
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
