"""Responses of the health endpoint."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from localcloud.servers import free_port
from s3_syncer.service.health import Health, Status, health_endpoint


def health(status: Status) -> Health:
    return Health(status, "because", in_flight=1, done=2, returned=3, dead_letters=4, last_poll_s=0.5)


def get(port: int, path: str = "/health") -> tuple[int, bytes, str | None]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            return answer.status, answer.read(), answer.headers["Content-Type"]
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers["Content-Type"]


@contextmanager
def running(status: Status) -> Iterator[int]:
    with health_endpoint(lambda: health(status), "127.0.0.1", 0) as port:
        yield port


@pytest.mark.parametrize(("status", "code"), [("ok", 200), ("degraded", 200), ("stopping", 200), ("stuck", 503)])
def test_status_code_is_503_only_when_a_new_process_may_help(status: Status, code: int) -> None:
    with running(status) as port:
        status_code, body, kind = get(port)
    assert (status_code, kind) == (code, "application/json")
    assert json.loads(body) == {
        "status": status,
        "reason": "because",
        "in_flight": 1,
        "done": 2,
        "returned": 3,
        "dead_letters": 4,
        "last_poll_s": 0.5,
    }


def test_any_other_path_is_404() -> None:
    with running("ok") as port:
        assert get(port, "/")[0] == 404
        assert get(port, "/health/../etc")[0] == 404


def test_a_client_that_sends_nothing_blocks_no_other_client() -> None:
    with running("ok") as port, socket.create_connection(("127.0.0.1", port)):
        assert get(port)[0] == 200


def test_a_port_in_use_is_an_error_that_names_it() -> None:
    with (
        running("ok") as port,
        pytest.raises(OSError, match=f"^cannot listen on 127.0.0.1:{port}: "),
        health_endpoint(lambda: health("ok"), "127.0.0.1", port),
    ):
        pass


def test_the_port_is_free_again_afterwards() -> None:
    port = free_port()
    for _ in range(2):
        with health_endpoint(lambda: health("ok"), "127.0.0.1", port) as taken:
            assert get(taken)[0] == 200
