"""Work that was given up sends nothing more, and every write that may still take effect is known."""

from __future__ import annotations

import ast
import http.client
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSHTTPConnectionPool, AWSPreparedRequest, AWSResponse
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError, ReadTimeoutError, SSLError
from botocore.retries.standard import ExponentialBackoff
from tests.support.patience import PATIENCE_S

import s3_syncer
from s3_syncer.core import fence as fences
from s3_syncer.core.deadline import Deadline, OutOfTime
from s3_syncer.core.errors import SyncError
from s3_syncer.core.fence import Fence, Request, carried, fenced, request
from s3_syncer.settings import Credentials
from s3_syncer.stores.bucket import Bucket
from s3_syncer.stores.clients import target_client
from s3_syncer.stores.fenced_requests import connection_breaker

# -- the fence ---------------------------------------------------------------------------------------------------------


def test_a_thread_without_a_fence_is_never_refused() -> None:
    fences.check()
    with request("key"):
        fences.check()


def test_a_closed_fence_refuses_every_attempt() -> None:
    fence = Fence()
    with fenced(fence):
        fences.check()
        fence.close()
        with pytest.raises(OutOfTime):
            fences.check()
        with request("key"), pytest.raises(OutOfTime):
            fences.check()
    fences.check()  # outside the block


@pytest.mark.parametrize(
    "closed",
    [
        pytest.param(lambda: Fence(expires=Deadline(0.0)), id="expired"),
        pytest.param(lambda: Fence(is_held=lambda: False), id="the message belongs to another worker"),
        pytest.param(lambda: Fence(outer=Fence(expires=Deadline(0.0))), id="the outer fence is closed"),
    ],
)
def test_a_fence_counts_as_closed(closed: Callable[[], Fence]) -> None:
    fence = closed()
    with fenced(fence), request("key"), pytest.raises(OutOfTime):
        fences.check()
    assert not fence.uncertain, "a refused attempt was not sent"


def test_closing_the_outer_fence_ends_the_writes_of_the_inner_one() -> None:
    outer, broken = Fence(), threading.Event()
    inner = Fence(outer=outer)
    with fenced(inner), request("key") as write:
        fences.check()
        write.connect(broken.set)
        outer.close()
    assert broken.is_set()
    assert inner.uncertain == outer.uncertain == {"key"}


def test_a_connection_made_after_the_end_is_refused() -> None:
    """The fence closes between the question and the connection: nothing is sent on it."""
    fence = Fence()
    with fenced(fence), request("key") as write:
        fences.check()
        fence.close()
        with pytest.raises(OutOfTime):
            write.connect(lambda: None)


Steps = Callable[[Request], None]


@pytest.mark.parametrize(
    ("steps", "uncertain"),
    [
        pytest.param(lambda write: None, False, id="no attempt"),
        pytest.param(lambda write: (fences.check(), fences.answered()), False, id="answered"),
        pytest.param(lambda write: fences.check(), True, id="no response"),
        pytest.param(
            lambda write: (fences.check(), fences.check(), fences.answered()), True, id="no response, then repeated"
        ),
        pytest.param(
            lambda write: (fences.check(), fences.answered(), fences.check(), fences.answered()),
            False,
            id="a response that asks to repeat",
        ),
        pytest.param(lambda write: write.connect(lambda: None), False, id="only a part of the request is sent"),
    ],
)
def test_a_write_without_a_response_makes_its_key_uncertain(steps: Steps, uncertain: bool) -> None:
    fence = Fence()
    with fenced(fence), request("key") as write:
        steps(write)
    assert fence.uncertain == ({"key"} if uncertain else set())


def test_a_write_that_lands_after_its_fence_has_closed_makes_its_key_uncertain() -> None:
    # A service that was suspended in the middle of a PUT: the PUT lands, and no comparison may follow.
    held = [True]
    fence = Fence(is_held=lambda: held[0])
    with fenced(fence), request("landed"):
        fences.check()
        held[0] = False
        fences.answered()
    with fenced(fence), request("refused"), pytest.raises(OutOfTime):
        fences.check()
    assert fence.uncertain == {"landed"}


def test_a_read_makes_no_key_uncertain() -> None:
    fence = Fence()
    with fenced(fence):
        fences.check()
        fence.close()
    assert not fence.uncertain


def test_another_thread_has_the_fence_only_if_it_is_carried() -> None:
    fence = Fence()
    with ThreadPoolExecutor(1) as pool, fenced(fence):
        assert pool.submit(fences.current).result() is None
        assert pool.submit(carried(fences.current)).result() is fence
        assert pool.submit(fences.current).result() is None, "the next work of the thread has none"


def test_a_callback_has_no_part_in_the_request_of_the_thread_that_runs_it() -> None:
    """A thread that waits for a permit, or returns one, begins the requests of other copies."""
    fence = Fence()
    with fenced(fence):
        read = carried(fences.current_request)
        with fences.request("big") as write:
            assert read() is None
            assert fences.current_request() is write
            write.begin()
            carried(fences.check)()  # the other request begins, and gets its response
            carried(fences.answered)()
            fence.close()
            assert fence.uncertain == {"big"}


#: The places that hand work to another thread without a fence, each with its reason.
_WITHOUT_A_FENCE = {
    "queue/batch_items.py": "gives each item a fence of its own, in `_run_item`",
    "service/processor.py": "gives each message a fence of its own, in `_run_worker`",
    "cli/sweeps/work_stealing.py": "a command is not fenced: its process ends when it gives up",
    "operations/held_deletions.py": "the same, and it sends no request to a store",
}

#: Calls that look like it, each with its reason.
_OTHER_CALLS = {
    "sync/sweep.py: executor.submit(self._noting_uncertain(reconcile), page, deadline)": "`submit` carries it",
    "sync/sweep.py: self._keys.submit(self._busy_pages.add, -1)": "counts, and makes no request",
}


def _hand_overs(tree: ast.AST) -> Iterator[ast.Call]:
    """Yield the calls that hand a function to an executor."""
    for node in ast.walk(tree):
        is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if is_call and node.func.attr in ("submit", "map") and node.args:  # type: ignore[attr-defined]
            yield node  # type: ignore[misc]


def _is_carried(call: ast.Call) -> bool:
    first = call.args[0]
    return isinstance(first, ast.Call) and ast.unparse(first.func).rpartition(".")[2] == "carried"


def test_every_executor_carries_the_fence() -> None:
    package, bare = Path(s3_syncer.__file__).parent, list[str]()
    for path in sorted(package.rglob("*.py")):
        name, tree = str(path.relative_to(package)), ast.parse(path.read_text())
        uses = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id.endswith("Executor")]
        if uses and name not in _WITHOUT_A_FENCE:
            calls = [f"{name}: {ast.unparse(call)}" for call in _hand_overs(tree) if not _is_carried(call)]
            bare += [call for call in calls if call not in _OTHER_CALLS]
    assert not bare, f"pass the function through fence.carried: {bare}"


# -- boto3 -------------------------------------------------------------------------------------------------------------


class FakeSession:
    """The HTTP session of a client: it denies each read, and does what the test says at each write."""

    def __init__(self, *steps: Callable[[AWSPreparedRequest], AWSResponse]) -> None:
        self._steps, self.requests = list(steps), list[AWSPreparedRequest]()

    def send(self, request: AWSPreparedRequest) -> AWSResponse:
        if request.method == "GET":  # asks if the store fails as a whole
            return responds(403)(request)
        self.requests.append(request)
        return self._steps.pop(0)(request)


class _Body:
    """The body of each response, which has the XML that a completed upload needs."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield b"<CompleteMultipartUploadResult><ETag>etag</ETag></CompleteMultipartUploadResult>"


def responds(status: int) -> Callable[[AWSPreparedRequest], AWSResponse]:
    return lambda request: AWSResponse(request.url, status, {"ETag": '"etag"'}, _Body())


def fails(error: Exception, *, connected: bool = True) -> Callable[[AWSPreparedRequest], AWSResponse]:
    def step(request: AWSPreparedRequest) -> AWSResponse:
        if connected and (write := fences.current_request()) is not None:
            write.connect(lambda: None)
        raise error

    return step


BROKEN = ConnectionClosedError(endpoint_url="http://store")
TIMEOUT = ReadTimeoutError(endpoint_url="http://store")
UNREACHED = EndpointConnectionError(endpoint_url="http://store")
TLS = SSLError(endpoint_url="http://store", error="unexpected end")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Bucket, FakeSession]]:
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda self, context: 0.0)

    def build(*steps: Callable[[AWSPreparedRequest], AWSResponse]) -> tuple[Bucket, FakeSession]:
        clients, session = (
            target_client("http://store", "us-east-1", Credentials("id", "secret"), 1),
            FakeSession(*steps),
        )
        clients.lease().client._endpoint.http_session = session  # type: ignore[attr-defined]
        return Bucket("bucket", "prefix/", clients, tags=False), session

    return build


@pytest.mark.parametrize(
    ("steps", "uncertain"),
    [
        pytest.param([responds(200)], False, id="first attempt"),
        pytest.param([responds(503), responds(200)], False, id="a 503 was read"),
        pytest.param([fails(BROKEN), responds(200)], True, id="the connection broke"),
        pytest.param([fails(TIMEOUT), responds(200)], True, id="no response in time"),
        pytest.param([fails(TLS), responds(200)], True, id="TLS broke after the request"),
        pytest.param([fails(TLS, connected=False), responds(200)], False, id="TLS was refused"),
        pytest.param([fails(UNREACHED, connected=False), responds(200)], False, id="nothing was sent"),
        pytest.param([fails(BROKEN), responds(403)], True, id="then an error that was read"),
        pytest.param([fails(BROKEN)] * 6, True, id="never a response"),
        pytest.param([fails(UNREACHED, connected=False)] * 6, False, id="never a connection"),
    ],
)
def test_boto3_s_own_attempts_decide_on_the_key(
    steps: Sequence[Any], uncertain: bool, bucket: Callable[..., tuple[Bucket, FakeSession]]
) -> None:
    store, session = bucket(*steps)
    fence = Fence()
    with fenced(fence):
        try:
            store.complete_upload("key", "upload", {1: "etag"})
        except SyncError:
            assert len(steps) in (2, 6)
    assert len(session.requests) == len(steps)
    assert fence.uncertain == ({"key"} if uncertain else set()), "the key without the prefix of the bucket"


def test_boto3_repeats_no_request_of_work_that_was_given_up(
    bucket: Callable[..., tuple[Bucket, FakeSession]], monkeypatch: pytest.MonkeyPatch
) -> None:
    fence = Fence()

    def give_up(request: AWSPreparedRequest) -> AWSResponse:
        fence.close()
        raise BROKEN

    pauses: list[float] = []
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda self, context: pauses.append(1.0) or 0.0)
    store, session = bucket(give_up, responds(200))
    with fenced(fence), pytest.raises(OutOfTime):
        store.delete("key")
    assert len(session.requests) == 1
    assert fence.uncertain == {"key"}


@pytest.mark.parametrize(("method", "written_key"), [("PUT", "key"), ("GET", None)])
def test_the_connection_of_a_request_is_broken_when_its_work_is_given_up(method: str, written_key: str | None) -> None:
    """A real connection of boto3's class, to a store that never responds."""
    target_client("http://store", "us-east-1", Credentials("id", "secret"), 1).lease()  # sets the class
    fence, outcome = Fence(), list[BaseException]()
    with socket.create_server(("127.0.0.1", 0)) as store:
        pool = AWSHTTPConnectionPool("127.0.0.1", store.getsockname()[1], timeout=PATIENCE_S)

        def send() -> None:
            with fenced(fence), request(written_key):
                fences.check()
                try:
                    pool.urlopen(method, "/key", body=b"body", headers={}, retries=False)
                except Exception as error:
                    outcome.append(error)

        thread = threading.Thread(target=send)
        thread.start()
        taken, _ = store.accept()
        with taken:
            taken.settimeout(PATIENCE_S)
            assert taken.recv(1)
            fence.close()
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
    assert len(outcome) == 1
    assert fence.uncertain == ({written_key} - {None})


def test_a_broken_connection_drops_what_was_not_sent() -> None:
    """The peer reads nothing, so most of the body waits in this kernel."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = http.client.HTTPConnection("127.0.0.1", server.getsockname()[1])
        sender.connect()
        taken, _ = server.accept()
        sender.sock.setblocking(False)
        sent = sender.sock.send(bytes(64 * 1024 * 1024))
        connection_breaker(sender.sock)()
        assert sender.sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == struct.pack("ii", 1, 0)
        sender.close()
        with taken:
            taken.settimeout(PATIENCE_S)
            received, was_reset = 0, False
            try:
                while chunk := taken.recv(65536):
                    received += len(chunk)
            except ConnectionResetError:
                was_reset = True
        assert was_reset
        assert received < sent
