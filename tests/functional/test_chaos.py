"""The parts of `scripts/chaos`: the faults of its proxy, what it reads from the logs, and its verdict."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.support.patience import PATIENCE_S

from localcloud.chaos import proxy, report, worker_logs, workers
from localcloud.chaos.background import Background
from localcloud.chaos.chance import seeded
from localcloud.chaos.tally import Tally
from localcloud.verify import Difference

BODY = b"the body of a response"

#: The errors of a client after its connection was broken.
BROKEN = (http.client.HTTPException, ConnectionError)


class Store(ThreadingHTTPServer):
    """A server that records the requests, and responds with `BODY`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), StoreHandler)
        self.requests: list[tuple[str, str, bytes]] = []
        self.received = threading.Semaphore(0)


class StoreHandler(BaseHTTPRequestHandler):
    server: Store

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.command, self.path, body))
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)
        self.server.received.release()

    do_GET = do_PUT

    def log_message(self, format: str, *args: object) -> None:
        pass


class Turbulence(proxy.Turbulence):
    """Chooses the fault of the test for every request."""

    fault: proxy.Fault | None = None

    def choose(self, request: proxy.Request) -> tuple[str, proxy.Fault] | None:
        return None if self.fault is None else ("the fault", self.fault)


@pytest.fixture
def store() -> Iterator[Store]:
    with Store() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def turbulence() -> Turbulence:
    return Turbulence(seeded("a test"))


@pytest.fixture
def tally() -> Tally:
    return Tally()


@pytest.fixture
def front(store: Store, turbulence: Turbulence, tally: Tally, tmp_path: Path) -> Iterator[proxy.Proxy]:
    endpoint = f"http://127.0.0.1:{store.server_port}"
    with closing(proxy.Proxy("target", endpoint, turbulence, tally, tmp_path / "proxy.log")) as started:
        yield started


def request(front: proxy.Proxy, method: str = "PUT", body: bytes = b"new") -> tuple[int, bytes]:
    """Send one request on a new connection, and return the status and the body of the response."""
    with closing(connect(front)) as connection:
        connection.request(method, "/bucket/a%20key?tagging", body)
        response = connection.getresponse()
        return response.status, response.read()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def send(connection: http.client.HTTPConnection) -> None:
    connection.request("GET", "/")
    connection.getresponse()


def connect(front: proxy.Proxy) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(front.endpoint).netloc, timeout=PATIENCE_S)


def test_request_without_a_fault_passes_unchanged(front: proxy.Proxy, store: Store) -> None:
    assert request(front) == (200, BODY)
    assert store.requests == [("PUT", "/bucket/a%20key?tagging", b"new")]


@pytest.mark.parametrize(
    ("fault", "sent"),
    [(proxy.reset_before_request, 0), (proxy.lose_response, 1), (proxy.cut_response, 1)],
)
def test_cut_connection(
    front: proxy.Proxy, store: Store, turbulence: Turbulence, fault: proxy.Fault, sent: int
) -> None:
    turbulence.fault = fault
    with pytest.raises(BROKEN):
        request(front)
    assert len(store.requests) == sent


def test_repeated_request_reaches_the_store_twice(front: proxy.Proxy, store: Store, turbulence: Turbulence) -> None:
    turbulence.fault = proxy.repeat
    assert request(front) == (200, BODY)
    assert len(store.requests) == 2


def test_refused_request_does_not_reach_the_store(front: proxy.Proxy, store: Store, turbulence: Turbulence) -> None:
    turbulence.fault = proxy.error(503, "SlowDown")
    status, body = request(front)
    assert (status, b"<Code>SlowDown</Code>" in body) == (503, True)
    assert store.requests == []


def test_delayed_request_reaches_the_store_after_its_client_is_gone(
    front: proxy.Proxy, store: Store, turbulence: Turbulence
) -> None:
    """A killed worker leaves such a write behind."""
    may_continue = threading.Event()

    def held(exchange: proxy.Exchange) -> None:
        may_continue.wait(PATIENCE_S)
        proxy.delay(0.0)(exchange)

    turbulence.fault = held
    connection = connect(front)
    connection.request("PUT", "/bucket/key", b"late")
    connection.close()
    assert store.requests == []
    may_continue.set()
    assert store.received.acquire(timeout=PATIENCE_S)
    assert store.requests == [("PUT", "/bucket/key", b"late")]


def test_refused_connections_work_again_at_the_same_address(front: proxy.Proxy) -> None:
    """Twice, because the second outage stops a listener that was started again."""
    for _ in range(2):
        address = front.endpoint
        front.refuse_connections()
        with pytest.raises(ConnectionRefusedError):
            request(front)
        front.recover()
        assert front.endpoint == address
        assert request(front) == (200, BODY)


def test_refused_connections_break_the_connections_that_exist(front: proxy.Proxy) -> None:
    with closing(connect(front)) as connection:
        connection.request("GET", "/")
        connection.getresponse().read()
        front.refuse_connections()
        with pytest.raises(BROKEN):
            send(connection)


def test_unavailable_store_responds_503_until_it_recovers(front: proxy.Proxy, store: Store) -> None:
    front.respond_unavailable()
    assert request(front)[0] == 503
    assert store.requests == []
    front.recover()
    assert request(front) == (200, BODY)


def test_silent_store_breaks_the_connection_when_it_recovers(front: proxy.Proxy, store: Store, tally: Tally) -> None:
    front.fall_silent()
    with closing(connect(front)) as connection:
        connection.request("PUT", "/bucket/key", b"lost")
        wait_until(lambda: tally["requests in an outage/target"] == 1)
        front.recover()
        with pytest.raises(BROKEN):
            connection.getresponse()
    assert store.requests == []
    assert request(front) == (200, BODY)


def test_error_of_a_json_service_has_its_format(front: proxy.Proxy, turbulence: Turbulence) -> None:
    turbulence.fault = proxy.error(503, "ServiceUnavailable")
    with closing(connect(front)) as connection:
        connection.request("POST", "/", b"{}", {"X-Amz-Target": "AmazonSQS.SendMessage"})
        assert json.loads(connection.getresponse().read())["__type"] == "ServiceUnavailable"


def test_log_has_every_fault_and_write_and_no_ordinary_read(
    front: proxy.Proxy, turbulence: Turbulence, tmp_path: Path
) -> None:
    request(front, "GET")
    request(front, "PUT")
    turbulence.fault = proxy.error(503, "SlowDown")
    request(front, "GET")
    front.close()
    lines = (tmp_path / "proxy.log").read_text().splitlines()
    assert [line.split()[1] for line in lines] == ["PUT", "GET"]
    assert lines[1].endswith("the fault")


def test_same_seed_chooses_the_same_faults() -> None:
    write = proxy.Request("PUT", "/", Message(), b"")
    one, same, other = (proxy.Turbulence(seeded(seed), rate=0.1) for seed in (1, 1, 2))
    names = [[chosen[0] if (chosen := each.choose(write)) else "" for _ in range(5000)] for each in (one, same, other)]
    assert names[0] == names[1] != names[2]
    assert set(names[0]) == {name for name, _, _ in proxy.FAULTS} | {proxy.DELAYED, proxy.DELAYED_WRITE, ""}


def test_writes_are_delayed_more_often_than_reads() -> None:
    turbulence = proxy.Turbulence(seeded("a test"), rate=0.1)
    delayed = {
        method: sum(
            chosen is not None and chosen[0].startswith("delayed")
            for chosen in (turbulence.choose(proxy.Request(method, "/", Message(), b"")) for _ in range(1000))
        )
        for method in ("PUT", "GET")
    }
    assert delayed["PUT"] > 5 * delayed["GET"] > 0


def test_held_request_is_shorter_than_the_visibility_of_its_message() -> None:
    """Otherwise the write of a killed worker lands after its message was handled again."""
    extended_every_s = workers.SERVICE_VISIBILITY_S / 4
    assert workers.SERVICE_VISIBILITY_S - extended_every_s > proxy.HOLD_MAX_S
    assert workers.QUEUE_VISIBILITY_S - workers.FUNCTION_TIMEOUT_S > proxy.HOLD_MAX_S


def test_failure_of_a_thread_is_raised() -> None:
    def fail() -> None:
        raise ValueError("no")

    background = Background(fail)
    background.start()
    background.stop()
    with pytest.raises(ValueError, match="no"):
        background.check()


def test_decisions_are_read_from_the_logs(tmp_path: Path) -> None:
    lines = [
        {"action": "copy", "key": "a", "lag_ms": 1500},
        {"action": "retry", "key": "b", "lag_ms": 90_000},  # its message returns, so this is not its last lag
        {"action": "delete", "key": "c", "lag_ms": 2500},
        {"message": "serving"},
    ]
    log = tmp_path / "service.log"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"action": "copy", "ke')
    decisions = worker_logs.read([log])
    assert decisions.actions == {"copy": 1, "retry": 1, "delete": 1}
    assert (decisions.largest_lag_s, decisions.lag_key) == (2.5, "c")


GOOD = report.Verdict(
    objects=10,
    equal_after_s=1.0,
    drained_after_s=2.0,
    differences=(),
    repaired=0,
    last_migration=0,
    dead_letters=(),
    uploads=0,
)


def test_only_equal_buckets_without_messages_are_good() -> None:
    assert GOOD.is_good
    assert replace(GOOD, uploads=3, repaired=2).is_good
    bad = (
        {"differences": [Difference("k", "presence", "present", "absent")]},
        {"dead_letters": ["a letter"]},
        {"drained_after_s": None},
        {"last_migration": 1},
    )
    assert not any(replace(GOOD, **change).is_good for change in bad)


def test_table_names_what_was_done_and_survived() -> None:
    tally = Tally()
    tally.count("changes/object written", 1200)
    tally.count("kills/SIGKILL of a service", 3)
    tally.add_duration("outages of the target: no response", 12.4)
    tally.add_duration("outages of the target: no response", 30.0)
    rows = dict(report.rows(tally, worker_logs.Decisions(), GOOD, minutes=10))
    assert rows["changes"] == "1,200"
    assert rows["SIGKILL of a service"] == "3"
    assert rows["outages of the target: no response"] == "2, 42 s in all, longest 30 s"
    assert rows["result"] == "both buckets are equal"
