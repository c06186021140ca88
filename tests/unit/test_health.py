"""What is answered to whoever asks whether the service is well."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from localcloud.servers import free_port
from s3_syncer.service.health import Health, Status, serving


def health(status: Status) -> Health:
    return Health(status, "because", in_flight=1, done=2, returned=3, dead_letters=4, last_poll_s=0.5)


def get(port: int, path: str = "/health") -> tuple[int, bytes, str | None]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            return answer.status, answer.read(), answer.headers["Content-Type"]
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers["Content-Type"]


@contextmanager
def answering(status: Status) -> Iterator[int]:
    with serving(lambda: health(status), "127.0.0.1", 0) as port:
        yield port


@pytest.mark.parametrize(("status", "code"), [("ok", 200), ("degraded", 200), ("stopping", 200), ("stuck", 503)])
def test_only_what_a_new_process_may_mend_is_unhealthy(status: Status, code: int) -> None:
    with answering(status) as port:
        answered, body, kind = get(port)
    assert (answered, kind) == (code, "application/json")
    assert json.loads(body) == {
        "status": status,
        "reason": "because",
        "in_flight": 1,
        "done": 2,
        "returned": 3,
        "dead_letters": 4,
        "last_poll_s": 0.5,
    }


def test_nothing_else_is_answered() -> None:
    with answering("ok") as port:
        assert get(port, "/")[0] == 404
        assert get(port, "/health/../etc")[0] == 404


def test_a_client_that_says_nothing_keeps_nobody_else_waiting() -> None:
    with answering("ok") as port, socket.create_connection(("127.0.0.1", port)):
        assert get(port)[0] == 200


def test_a_port_that_is_taken_is_named() -> None:
    with (
        answering("ok") as port,
        pytest.raises(OSError, match=f"^nothing can be answered at 127.0.0.1:{port}: "),
        serving(lambda: health("ok"), "127.0.0.1", port),
    ):
        pass


def test_afterwards_the_port_is_free_again() -> None:
    port = free_port()
    for _ in range(2):
        with serving(lambda: health("ok"), "127.0.0.1", port) as taken:
            assert get(taken)[0] == 200
