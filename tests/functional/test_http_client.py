"""The HTTP client of the CRT transport, against a store that responds in its own way."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from math import inf

import pytest
from tests.functional.harness import REGION
from tests.support.patience import PATIENCE_S

from s3_syncer.core.deadline import OutOfTime
from s3_syncer.core.fence import Fence, fenced, request
from s3_syncer.crt.endpoint import BucketEndpoint
from s3_syncer.crt.http_client import CrtHttpClient
from s3_syncer.crt.protocols import HttpResponse
from s3_syncer.stores.credentials import SigningKeys

EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
FIVE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class Received:
    """A request that the store has read, and the connection to respond on."""

    def __init__(self, connection: socket.socket, head: bytes, body: bytes) -> None:
        self.connection, self.head, self.body = connection, head.decode(), body

    def respond(self, data: bytes) -> None:
        self.connection.sendall(data)


Answer = Callable[[Received], object]


class Store:
    """A server that gives each request to the next answer. The last one is for all further requests."""

    def __init__(self, *answers: Answer) -> None:
        self._answers, self._lock = list(answers), threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self.requests: list[Received] = []
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def endpoint(self) -> BucketEndpoint:
        return BucketEndpoint(f"http://127.0.0.1:{self._server.getsockname()[1]}/bucket", REGION, "")

    def close(self) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for connection in self._connections:
            connection.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                self.connections += 1
                self._connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            data = b""
            while block := connection.recv(65536):
                data += block
                head, end, body = data.partition(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head)
                if end and len(body) >= (int(length[1]) if length else 0):
                    self._answer(Received(connection, head, body))
                    data = b""

    def _answer(self, received: Received) -> None:
        with self._lock:
            self.requests.append(received)
            answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        answer(received)


@contextmanager
def store_that(*answers: Answer) -> Iterator[tuple[Store, CrtHttpClient]]:
    store = Store(*answers)
    try:
        yield store, CrtHttpClient(store.endpoint, lambda: SigningKeys("key", "secret"))
    finally:
        store.close()


def responds(data: bytes) -> Answer:
    return lambda received: received.respond(data)


def closes(data: bytes = b"") -> Answer:
    def answer(received: Received) -> None:
        received.respond(data)
        received.connection.shutdown(socket.SHUT_RDWR)

    return answer


def never(_received: Received) -> None:
    pass


def sent(
    client: CrtHttpClient, method: str, key: str, body: bytes = b"", max_body: float = inf
) -> Future[HttpResponse]:
    response: Future[HttpResponse] = Future()
    client.send(method, key, response.set_result, body=body, max_body=max_body)
    return response


def test_a_request_names_its_key_and_is_signed() -> None:
    with store_that(responds(FIVE)) as (store, client):
        response = client.request("PUT", "a b/ü", query="?tagging", headers=[("x-a", "1")], body=b"body")
    assert (response.status, response.body, response.headers) == (200, b"hello", {"content-length": "5"})
    (received,) = store.requests
    lines = received.head.split("\r\n")
    assert lines[0] == "PUT /bucket/a%20b/%C3%BC?tagging HTTP/1.1"
    assert {"x-a: 1", "content-length: 4"} <= {line.lower() for line in lines}
    assert re.search(r"(?i)authorization: AWS4-HMAC-SHA256 .*SignedHeaders=\S*host", received.head)
    assert received.body == b"body"


def test_a_connection_serves_one_request_after_the_other() -> None:
    with store_that(responds(EMPTY)) as (store, client):
        for number in range(10):
            assert client.request("GET", f"key {number}").status == 200
    assert store.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        responds(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
        closes(b"HTTP/1.1 200 OK\r\n\r\n"),
        closes(EMPTY),
    ],
    ids=["says that it closes", "ends the body by closing", "closes after the response"],
)
def test_a_connection_that_the_store_ends_is_not_used_again(answer: Answer) -> None:
    with store_that(answer, responds(EMPTY)) as (store, client):
        assert client.request("GET", "one").status == 200
        store.requests[0].connection.close()
        wait_until(lambda: not client._idle._connections)
        assert client.request("GET", "two").status == 200
    assert store.connections == 2


@pytest.mark.parametrize(
    "answer",
    [closes(), closes(FIVE[:-1]), responds(b"nonsense\r\n\r\n"), responds(EMPTY + b"more")],
    ids=["closes", "breaks off", "sends no HTTP", "sends more than the response"],
)
def test_a_broken_response_is_none_and_ends_its_connection(answer: Answer) -> None:
    with store_that(answer, responds(EMPTY)) as (store, client):
        assert client.request("GET", "one") == HttpResponse(0)
        assert client.request("GET", "two").status == 200
    assert store.connections == 2


def test_no_server_is_no_response() -> None:
    with store_that(never) as (store, client):
        store.close()
        assert client.request("GET", "key") == HttpResponse(0)


def test_a_response_that_is_too_large_is_cut_off() -> None:
    with store_that(responds(FIVE)) as (_, client):
        assert client.request("GET", "key", max_body=4) == HttpResponse(0)
        assert client.request("GET", "key", max_body=5).body == b"hello"


def test_large_bodies_go_both_ways() -> None:
    body = bytes(range(256)) * 4_000

    def echo(received: Received) -> None:
        received.respond(f"HTTP/1.1 200 OK\r\nContent-Length: {len(received.body)}\r\n\r\n".encode() + received.body)

    with store_that(echo) as (store, client):
        responses = [sent(client, "PUT", f"key {number}", body) for number in range(4)]
        assert [response.result(PATIENCE_S).body == body for response in responses] == [True] * 4
    assert {received.body == body for received in store.requests} == {True}


def test_a_response_before_the_end_of_the_body_is_the_response() -> None:
    """A store that is busy responds at once, and reads no further byte."""
    busy = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = BucketEndpoint(f"http://127.0.0.1:{server.getsockname()[1]}/bucket", REGION, "")
        response = sent(CrtHttpClient(endpoint, lambda: SigningKeys("key", "secret")), "PUT", "key", bytes(20 << 20))
        connection, _ = server.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(busy)
            assert response.result(PATIENCE_S).status == 503


@pytest.mark.parametrize("text", ["a\r\nb: c", "a\nb", "a\0b"])
def test_a_value_cannot_become_another_header(text: str) -> None:
    with store_that(responds(EMPTY)) as (store, client):
        assert client.request("PUT", "key", headers=[("x-a", text)]) == HttpResponse(0)
    assert store.requests == []


def test_work_that_was_given_up_ends_its_requests_and_sends_no_further_one() -> None:
    fence, waits = Fence(), threading.Event()
    with store_that(lambda _: waits.set()) as (store, client):
        with fenced(fence), request("key"):
            response = sent(client, "PUT", "key", b"body")
            assert waits.wait(PATIENCE_S)
            fence.close()
            assert response.result(PATIENCE_S) == HttpResponse(0)
        assert fence.uncertain == {"key"}
        with fenced(fence), pytest.raises(OutOfTime):
            fence.ensure_open()
        with fenced(fence):
            assert client.request("PUT", "other", body=b"body") == HttpResponse(0)
    assert len(store.requests) == 1


def test_a_request_without_progress_is_ended() -> None:
    waits = threading.Event()
    with store_that(lambda _: waits.set(), responds(EMPTY)) as (store, client):
        response = sent(client, "GET", "key")
        assert waits.wait(PATIENCE_S)
        for pending in list(client._pending):
            pending.expire_if_stalled(inf)
        assert response.result(PATIENCE_S) == HttpResponse(0)
        assert client.request("GET", "key").status == 200
    assert store.connections == 2


def test_a_response_may_send_the_next_request() -> None:
    """No thread waits: each callback begins the request after it."""
    ended, statuses = threading.Event(), list[int]()
    with store_that(responds(EMPTY)) as (store, client):

        def then(response: HttpResponse) -> None:
            statuses.append(response.status)
            if len(statuses) == 50:
                ended.set()
            else:
                client.send("GET", f"key {len(statuses)}", then)

        client.send("GET", "first", then)
        assert ended.wait(PATIENCE_S)
    assert (statuses, store.connections) == ([200] * 50, 1)


def test_many_threads_share_a_client() -> None:
    with store_that(responds(FIVE)) as (store, client):
        responses: list[HttpResponse] = []

        def work() -> None:
            for _ in range(20):
                responses.append(client.request("GET", "key"))

        threads = [threading.Thread(target=work) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert {response.body for response in responses} == {b"hello"}
        assert len(responses) == 16 * 20
    assert store.connections <= 16


def wait_until(condition: Callable[[], bool]) -> None:
    ended = threading.Event()
    for _ in range(int(PATIENCE_S * 100)):
        if condition():
            return
        ended.wait(0.01)
    raise AssertionError("the condition did not become true")
