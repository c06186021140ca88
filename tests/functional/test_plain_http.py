"""Requests over `http.client`: only a whole response counts, and given-up work sends nothing."""

from __future__ import annotations

import hashlib
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from socket import socket
from socketserver import BaseRequestHandler, ThreadingTCPServer
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.httpsession import create_urllib3_context, get_cert_path

from s3_syncer.core import fence
from s3_syncer.core.deadline import OutOfTime
from s3_syncer.core.fence import Fence
from s3_syncer.stores.credentials import SigningKeys
from s3_syncer.transport import stream_http
from s3_syncer.transport.endpoint import BucketEndpoint
from s3_syncer.transport.plain_http import PlainHttpClient
from s3_syncer.transport.protocols import NO_RESPONSE
from s3_syncer.transport.stream_http import StreamingHttpClient

KEYS = SigningKeys("key", "secret", None)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nETag: one\r\n\r\nbody"


class Server(ThreadingTCPServer):
    """Responds with the same bytes to each request, and keeps the requests."""

    daemon_threads = True

    def __init__(self, answer: bytes, *, closes: bool) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        self.answer, self.closes = answer, closes
        self.requests: list[bytes] = []
        self.connections = 0
        self.got_one, self.closed = threading.Event(), threading.Semaphore(0)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.closed.release()


class Connection(BaseRequestHandler):
    server: Server

    def handle(self) -> None:
        self.server.connections += 1
        with suppress(OSError):
            while request := _read_request(self.request):
                self.server.requests.append(request)
                self.server.got_one.set()
                self.request.sendall(self.server.answer)
                if self.server.closes:
                    return


def _read_request(connection: socket) -> bytes:
    read = b""
    while b"\r\n\r\n" not in read:
        if not (block := connection.recv(65536)):
            return b""
        read += block
    head, _, body = read.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


@contextmanager
def serving(answer: bytes, *, closes: bool = False) -> Iterator[tuple[Server, PlainHttpClient]]:
    with Server(answer, closes=closes) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server, client_of(server)
        finally:
            server.shutdown()
            thread.join()


def client_of(server: Server, keys: Callable[[], SigningKeys] = lambda: KEYS) -> PlainHttpClient:
    return PlainHttpClient(StreamingHttpClient(endpoint_of(server), "", keys))


def endpoint_of(server: Server) -> BucketEndpoint:
    return BucketEndpoint(f"http://127.0.0.1:{server.server_address[1]}/bucket", "us-east-1", "")


def test_a_response_has_its_status_its_headers_in_lower_case_and_its_body() -> None:
    with serving(ANSWER) as (server, client):
        for _ in range(2):
            response = client.request("GET", "a key", headers=[("range", "bytes=0-3")])
            assert (response.status, response.headers["etag"], response.body) == (200, "one", b"body")
        assert server.requests[0].startswith(b"GET /bucket/a%20key HTTP/1.1\r\n")
        assert server.connections == 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n", b"body"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nbody", b"body"),
        (b"HTTP/1.1 200 OK\r\n\r\nbody", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbody", None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\nd", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nmore body", None),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nmore body", None),
        (b"HTTP/1.1 102 Processing\r\n\r\n" + ANSWER, None),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + ANSWER, b"body"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 9\r\n\r\nbody", None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity, chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n", None),
        (b"HTTP/1.1 nonsense\r\n\r\n", None),
        (b"", None),
    ],
    ids=[
        "chunks",
        "to the end",
        "no end",
        "cut off",
        "cut off chunk",
        "long",
        "long to the end",
        "not the last",
        "continue",
        "two lengths",
        "two encodings",
        "no HTTP",
        "nothing",
    ],
)
def test_a_response_that_is_not_whole_or_too_long_counts_as_none(answer: bytes, expected: bytes | None) -> None:
    with serving(answer, closes=True) as (_, client):
        response = client.request("GET", "key", max_body=8)
        assert (response.body if response.status else None) == expected


def test_the_bytes_of_a_header_are_read_as_botocore_reads_them() -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Amz-Meta-A: \xc3\xa4\r\nX-Amz-Meta-B: 1\r\nx-amz-meta-b: 2\r\n\r\n"
    )
    with serving(answer) as (_, client):
        found = client.request("HEAD", "key").headers
        assert (found["x-amz-meta-a"].encode("latin-1"), found["x-amz-meta-b"]) == (b"\xc3\xa4", "1, 2")


def test_a_put_is_signed_with_the_hash_of_its_body_and_an_empty_one_has_a_length() -> None:
    with serving(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as (server, client):
        for body in (b"body", b""):
            assert client.request("PUT", "key", body=body).status == 200
            head = server.requests[-1].lower()
            assert f"x-amz-content-sha256: {hashlib.sha256(body).hexdigest()}\r\n".encode() in head
            assert f"content-length: {len(body)}\r\n".encode() in head
            assert head.endswith(b"\r\n\r\n" + body)


def test_a_request_that_cannot_be_sent_has_no_response() -> None:
    with serving(ANSWER) as (server, client):
        assert client.request("PUT", "key", headers=[("x-amz-meta-a", "1\r\nhost: other")]) == NO_RESPONSE
        assert server.requests == []
    assert client.request("GET", "key") == NO_RESPONSE, "no server"


@pytest.mark.parametrize("refuse", [KeyError, OSError], ids=["a fault", "no credentials"])
def test_without_keys_to_sign_a_request_has_no_response(refuse: type[Exception]) -> None:
    def keys() -> SigningKeys:
        raise refuse

    with serving(ANSWER) as (server, _):
        assert client_of(server, keys).request("GET", "key") == NO_RESPONSE
        assert server.requests == []


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_nothing_is_sent_for_work_that_was_given_up(method: str) -> None:
    work = Fence()
    with serving(ANSWER) as (server, client), fence.fenced(work), fence.request("key"):
        work.close()
        with pytest.raises(OutOfTime):
            client.request(method, "key")
        assert server.requests == []


def _give_up(work: Fence, server: Server) -> None:
    server.got_one.wait(60)
    work.close()


@pytest.mark.parametrize(
    ("answer", "act", "uncertain"),
    [(ANSWER, None, False), (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", _give_up, True)],
    ids=["answered", "given up"],
)
def test_a_write_without_a_response_makes_its_key_uncertain(
    answer: bytes, act: Callable[[Fence, Server], None] | None, uncertain: bool
) -> None:
    work = Fence()
    with serving(answer) as (server, client), fence.fenced(work), fence.request("key"):
        if act is not None:
            threading.Thread(target=act, args=(work, server), daemon=True).start()
        response = client.request("PUT", "key", body=b"body")
    assert (response.status == 0) is uncertain
    assert work.uncertain == (frozenset({"key"}) if uncertain else frozenset())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 102 Processing\r\n\r\n" + ANSWER,
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 9\r\n\r\nbody",
        b"HTTP/1.1 200 OK\r\nETag: one\r\n\r\nbody",
    ],
    ids=["not the last", "two lengths", "no length"],
)
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_no_request_gets_the_response_to_another_one(method: str, answer: bytes) -> None:
    with serving(answer) as (server, client):
        client.request(method, "key")
        server.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother"
        assert client.request("GET", "other key").body == b"other"
        assert server.connections == 2


def test_a_connection_that_was_idle_for_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time of day passes while a function is frozen."""
    now = 1e9
    monkeypatch.setattr(stream_http, "time", SimpleNamespace(time=lambda: now))
    with serving(ANSWER) as (server, client):
        for idle_s, connections in ((0.0, 1), (stream_http.MAX_IDLE_S, 1), (stream_http.MAX_IDLE_S + 1, 2)):
            now += idle_s
            assert client.request("GET", "key").status == 200
            assert server.connections == connections


def test_after_a_kept_connection_without_a_response_the_rest_is_not_used_again() -> None:
    """All connections of a function may be gone after it was frozen. Only one request waits for its end."""
    with serving(ANSWER) as (server, _):
        connections = StreamingHttpClient(endpoint_of(server), "", lambda: KEYS)
        client = PlainHttpClient(connections)
        with connections.begin("GET", "a", body=b"") as one, connections.begin("GET", "b", body=b"") as two:
            for request in (one, two):
                assert (request.response()[0], request.read(9)) == (200, b"body")
        assert server.connections == 2
        server.answer = b"HTTP/1.1 nonsense\r\n\r\n"
        assert client.request("GET", "key") == NO_RESPONSE
        server.answer = ANSWER
        assert client.request("GET", "key").status == 200
        assert server.connections == 3


def test_a_fault_of_this_program_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def keys() -> SigningKeys:
        raise KeyError

    with serving(ANSWER) as (server, _):
        assert client_of(server, keys).request("GET", "key") == NO_RESPONSE
    assert [record.message for record in caplog.records] == ["unexpected failure"]


def test_certificates_are_checked_as_botocore_checks_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.13 and later refuse more of them by default."""
    made = ssl.create_default_context

    def strict(**options: Any) -> ssl.SSLContext:
        context = made(**options)
        context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
        return context

    monkeypatch.setattr(ssl, "create_default_context", strict)
    endpoint = BucketEndpoint("https://127.0.0.1/bucket", "us-east-1", str(get_cert_path(True)))
    context = StreamingHttpClient(endpoint, "", lambda: KEYS)._context()
    assert context.verify_flags == create_urllib3_context().verify_flags
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_a_connection_that_the_store_has_closed_is_not_used_again() -> None:
    with serving(ANSWER, closes=True) as (server, client):
        for _ in range(3):
            assert client.request("GET", "key").status == 200
            assert server.closed.acquire(timeout=60)
        assert server.connections == 3
