"""The proxy of these tests: nothing that a test leaves behind in it reaches the store of the next one."""

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
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Store:
    """Notes what reaches it, and answers when it is let."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.asked: list[bytes] = []
        self.reached, self.may_answer = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                if not (asked := connection.recv(65536)):
                    return
                while not asked.endswith(b"body"):
                    asked += connection.recv(65536)
                self.asked.append(asked)
                self.reached.set()
                self.may_answer.wait(PATIENCE_S)
                connection.sendall(ANSWER)

    def close(self) -> None:
        self.may_answer.set()
        socket.create_connection(self._listener.getsockname()).close()
        self._thread.join()
        self._listener.close()


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store()
    yield store
    store.close()


def ask(proxy: Proxy, data: bytes = REQUEST) -> socket.socket:
    """Sends it, and does not wait for an answer."""
    client = socket.create_connection(("127.0.0.1", int(proxy.endpoint.rpartition(":")[2])))
    client.sendall(data)
    return client


def wait_for_request(proxy: Proxy) -> None:
    end = time.monotonic() + PATIENCE_S
    while not proxy.requests:
        assert time.monotonic() < end
        time.sleep(0.001)


@contextmanager
def nobody_left() -> Iterator[None]:
    """Whoever the block has started is waited for, and gone: nobody can ask a store later on."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE_S)
        assert not thread.is_alive(), thread


@pytest.mark.parametrize("fault", [delayed(600), silent], ids=["late", "never"])
@pytest.mark.parametrize("gone", [False, True], ids=["waiting", "gone"])
def test_what_is_delayed_does_not_reach_the_store_after_the_end(store: Store, fault: Fault, gone: bool) -> None:
    with nobody_left(), in_front_of(store.endpoint) as proxy:
        proxy.when(fault)
        asking = ask(proxy)
        wait_for_request(proxy)
        if gone:
            asking.close()
    assert store.asked == []


def test_the_end_waits_for_what_the_store_has_been_asked(store: Store) -> None:
    with ThreadPoolExecutor() as pool, in_front_of(store.endpoint) as proxy, ask(proxy):
        assert store.reached.wait(PATIENCE_S)
        end = pool.submit(proxy.close)
        with pytest.raises(TimeoutError):
            end.result(timeout=0.2)
        store.may_answer.set()
        end.result(timeout=PATIENCE_S)


def test_what_was_sent_by_those_who_have_gone_can_be_waited_for(store: Store) -> None:
    store.may_answer.set()
    with in_front_of(store.endpoint) as proxy:
        proxy.when(delayed(0.2), times=2)
        for _ in range(3):
            ask(proxy).close()
        proxy.settle()
        assert len(store.asked) == 3


def test_a_connection_that_rests_is_not_waited_for(store: Store) -> None:
    with in_front_of(store.endpoint) as proxy, ask(proxy, b""):
        proxy.settle()
        assert proxy.requests == []


def test_half_a_request_never_reaches_the_store(store: Store) -> None:
    with in_front_of(store.endpoint) as proxy:
        ask(proxy, REQUEST[:-1]).close()
        proxy.settle()
    assert store.asked == []


def test_who_asks_whether_to_go_on_is_told_at_once(store: Store) -> None:
    head = REQUEST.removesuffix(b"\r\n\r\nbody") + b"\r\nExpect: 100-continue\r\n\r\n"
    store.may_answer.set()
    with in_front_of(store.endpoint) as proxy, ask(proxy, head) as asking:
        asking.settimeout(PATIENCE_S)
        assert asking.recv(65536).startswith(b"HTTP/1.1 100")
        asking.sendall(b"body")
        assert asking.recv(65536).startswith(b"HTTP/1.1 200")
