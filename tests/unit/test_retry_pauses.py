"""The pauses of boto3 between two attempts end when the process is asked to stop."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.retries.standard import ExponentialBackoff
from tests.support.patience import PATIENCE_S

from s3_syncer.cli import retry_pauses
from s3_syncer.cli.retry_pauses import SHORT_PAUSE_S, pauses_until
from s3_syncer.cli.signals import handle_signals
from s3_syncer.cli.sweeps.process_messages import Stop
from s3_syncer.cli.sweeps.process_sweep import _Child
from s3_syncer.core import fence
from s3_syncer.core.deadline import Deadline, OutOfTime


class Busy:
    """A store that is always busy, so that boto3 pauses for `pause_s` before each repeat."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, pause_s: float) -> None:
        self.is_pausing = threading.Event()
        self.error: list[BaseException] = []

        def delay(*_: object) -> float:
            self.is_pausing.set()
            return pause_s

        monkeypatch.setattr(ExponentialBackoff, "delay_amount", delay)
        self.client = boto3.client(
            "s3",
            region_name="us-east-1",
            aws_access_key_id="id",
            aws_secret_access_key="key",
            config=Config(retries={"mode": "standard", "total_max_attempts": 3}),
        )
        self.client.meta.events.register("before-send.s3", self._respond)

    def _respond(self, request: Any, **_: Any) -> AWSResponse:
        return AWSResponse(request.url, 503, {}, Raw())

    def request(self) -> None:
        """Make a request of a bucket, and keep its error."""
        try:
            with fence.request():
                self.client.head_object(Bucket="bucket", Key="key")
        except BaseException as error:
            self.error.append(error)

    def begin_pause(self) -> None:
        """Make a request in another thread, and return once it pauses."""
        self._thread = threading.Thread(target=self.request, daemon=True)
        self._thread.start()
        assert self.is_pausing.wait(PATIENCE_S)

    def expect_stop(self) -> None:
        """Assert that the pause ends, and the request with it."""
        self._thread.join(PATIENCE_S)
        assert [type(error) for error in self.error] == [OutOfTime]


class Raw:
    """The empty body of a response."""

    def stream(self, **_: Any) -> list[bytes]:
        return []


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Busy:
    return Busy(monkeypatch, 3600.0)


def test_a_signal_ends_a_pause(busy: Busy) -> None:
    with handle_signals(Deadline()):
        busy.begin_pause()
        signal.raise_signal(signal.SIGINT)
        busy.expect_stop()


def test_a_stop_of_another_process_of_the_sweep_ends_a_pause(busy: Busy) -> None:
    class Channel:
        """The messages of the parent: one, which asks to stop."""

        def messages(self) -> Iterator[Stop]:
            busy.begin_pause()
            yield Stop()
            busy.expect_stop()

        def send(self, message: object) -> None: ...

    _Child(Channel(), None, None).run()  # type: ignore[arg-type]


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the pauses in place of sleeping. Other threads of the process still sleep."""
    slept: list[float] = []
    monkeypatch.setattr(retry_pauses, "time", SimpleNamespace(**vars(time) | {"sleep": slept.append}))
    return slept


def test_a_short_pause_goes_on_after_a_stop(slept: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    busy, deadline = Busy(monkeypatch, SHORT_PAUSE_S), Deadline()
    deadline.stop()
    with pauses_until(deadline):
        busy.request()
    assert isinstance(busy.error[0], ClientError)
    assert slept == [SHORT_PAUSE_S] * 2


def test_a_client_of_another_service_keeps_its_pauses(slept: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    busy, deadline = Busy(monkeypatch, 3600.0), Deadline()
    deadline.stop()
    with pauses_until(deadline), pytest.raises(ClientError):
        busy.client.head_object(Bucket="bucket", Key="key")  # outside of a fenced request, as those to SQS
    assert slept == [3600.0] * 2
