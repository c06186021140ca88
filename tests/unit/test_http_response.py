"""The reader of HTTP responses: each way to end a body, in pieces of any size, and bytes to refuse."""

from __future__ import annotations

import pytest

from s3_syncer.crt.http_response import MAX_HEAD, MalformedResponse, ResponseReader

OK = b"HTTP/1.1 200 OK\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n"


def read(data: bytes, *, method: str = "GET", piece: int = 1 << 20, ends: bool = False) -> ResponseReader:
    """Return the reader after it was given the bytes in pieces, and the end of the connection if `ends`."""
    reader = ResponseReader(method)
    for start in range(0, len(data), piece):
        reader.feed(data[start : start + piece])
    if ends:
        reader.end()
    return reader


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1 << 20])
@pytest.mark.parametrize(
    ("data", "ends"),
    [
        (OK + b"Content-Length: 5\r\n\r\nhello", False),
        (OK + b"Content-Length: 5, 5\r\n\r\nhello", False),
        (OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", False),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", False),
        (OK + b"Transfer-Encoding: Chunked\r\n\r\n2\r\nhe\r\n003;a=b\r\nllo\r\n0\r\nX-Trailer: a\r\n\r\n", False),
        (OK + b"\r\nhello", True),
        (b"HTTP/1.0 200\r\n\r\nhello", True),
        (
            b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 103 Early\r\n\r\n" + OK + b"Content-Length: 5\r\n\r\nhello",
            False,
        ),
    ],
    ids=["length", "length twice", "two lengths", "chunked", "chunks", "to the end", "HTTP 1.0", "after interim ones"],
)
def test_a_body_ends_where_the_head_says(data: bytes, ends: bool, piece: int) -> None:
    reader = read(data, piece=piece, ends=ends)
    assert (reader.status, reader.body, reader.is_done) == (200, b"hello", True)


@pytest.mark.parametrize(
    ("data", "method"),
    [
        (OK + b"Content-Length: 5\r\n\r\n", "HEAD"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n", "HEAD"),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "DELETE"),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "GET"),
        (OK + b"Content-Length: 0\r\n\r\n", "PUT"),
    ],
)
def test_some_responses_have_no_body(data: bytes, method: str) -> None:
    reader = read(data, method=method)
    assert (reader.body, reader.is_done, reader.is_last) == (b"", True, False)


def test_names_are_in_lower_case_and_repeated_headers_are_joined() -> None:
    reader = read(OK + b'Content-Length: 0\r\nX-A: 1\r\nx-a:2 \r\nETag:\t "z\xc3\xbc"\r\nEmpty:\r\n\r\n')
    assert reader.headers == {"content-length": "0", "x-a": "1, 2", "etag": '"zü"', "empty": ""}


@pytest.mark.parametrize(
    ("head", "is_last"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", False),
    ],
)
def test_a_connection_is_kept_unless_the_store_closes_it(head: bytes, is_last: bool) -> None:
    assert read(head).is_last is is_last


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        OK + b"no colon\r\n\r\n",
        OK + b"a b: c\r\n\r\n",
        OK + b" folded: c\r\n\r\n",
        OK + b"A: b\nC: d\r\n\r\n",
        OK + b"A: b\rC: d\r\n\r\n",
        OK + b"A: b\0\r\n\r\n",
        OK + b"A: \xff\r\n\r\n",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: 5, 6\r\n\r\n",
        OK + b"Content-Length: five\r\n\r\n",
        OK + b"Content-Length:\r\n\r\n",
        OK + b"Transfer-Encoding: gzip\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nfive\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nmore",
        OK + b"Content-Length: 1\r\n\r\nab",
        OK + b"A: " + b"b" * MAX_HEAD + b"\r\n\r\n",
        OK + b"A: " + b"b" * MAX_HEAD,
    ],
)
def test_what_is_not_certainly_a_response_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedResponse):
        read(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        OK,
        OK + b"Content-Length: 5\r\n\r\nhell",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
)
def test_a_response_that_breaks_off_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedResponse):
        read(data, ends=True)


def test_the_bytes_of_the_body_are_counted() -> None:
    reader = ResponseReader("GET")
    assert reader.feed(OK + b"Transfer-Enco") == 0
    assert reader.feed(b"ding: chunked\r\n\r\n5\r\nhel") == 3
    assert reader.feed(b"lo\r\n0\r\n\r\n") == 2
