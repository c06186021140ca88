"""Writes of work that was given up: none is sent, and one that may arrive late is awaited.

The rules are in core/fence.py. SIGSTOP is what Lambda does to an environment between two invocations, and SIGCONT
what it does at the next one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.functional.command import run, started
from tests.functional.harness import MIB, Rig, notification
from tests.functional.proxy import Exchange, Fault, lose_answer, reset
from tests.support.patience import PATIENCE_S, eventually

import localcloud
from s3_syncer.core.fence import LATE_WRITE_S

#: Seconds of an invocation. A request that is held uses them up; work that is not held gets another invocation.
INVOCATION_S = 4

#: Visibility timeout in seconds for a test that waits for a second delivery.
SOON_S = 4


class Environment:
    """An execution environment of the function, as a process that a test freezes and thaws."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def invoke(self, messages: list[dict[str, Any]], seconds: float) -> list[str]:
        """Invoke the function, and return the IDs of the messages that it returned to the queue."""
        records = [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": message["Attributes"],
            }
            for message in messages
        ]
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"event": {"Records": records}, "seconds": seconds}) + "\n")
        self._process.stdin.flush()
        response = json.loads(self._process.stdout.readline())
        return [failure["itemIdentifier"] for failure in response["batchItemFailures"]]

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        """Wait until all threads of the environment have ended, those that were given up included."""
        self._process.communicate(timeout=PATIENCE_S)


@contextmanager
def environment() -> Iterator[Environment]:
    scripts = str(Path(localcloud.__file__).parent.parent)
    process = subprocess.Popen(
        [sys.executable, "-m", "localcloud.chaos.lambda_environment"],
        env={**os.environ, "PYTHONPATH": scripts},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield Environment(process)
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.communicate()


class Outage:
    """A front end that takes a request and never passes it on. Much later it drops the connection."""

    def __init__(self) -> None:
        self.reached, self.over = threading.Event(), threading.Event()

    def __call__(self, exchange: Exchange) -> None:
        self.reached.set()
        while not self.over.is_set() and exchange.delay(0.01):
            pass
        exchange.reset()


@pytest.fixture
def outage() -> Iterator[Outage]:
    outage = Outage()
    yield outage
    outage.over.set()


def written(rig: Rig, key: str = "k") -> list[str]:
    return [request.method for request in rig.target_proxy.writes() if request.key == key]


def late_checks(rig: Rig) -> Mapping[str, int]:
    """Return the delay in seconds of each message that was sent for a key."""
    sent = [entry for request in rig.source_proxy.requests for entry in request.content.get("Entries", [])]
    return {entry["MessageBody"]: entry.get("DelaySeconds", 0) for entry in sent if "MessageBody" in entry}


def put(rig: Rig) -> None:
    rig.put("k", b"version 1")


def put_in_parts(rig: Rig) -> None:
    rig.put_parts("k", b"1" * 5 * MIB, b"1")


def change_tags(rig: Rig) -> None:
    """Change the tags alone: those of a new object go along with its PUT."""
    rig.put("k", b"version 1")
    assert rig.sync("k").returned == []
    rig.tag("k", {"version": "1"})


def delete(rig: Rig) -> None:
    rig.put("k", b"version 0")
    assert rig.sync("k").returned == []
    rig.source.delete_object(Bucket="the-source", Key="k")


@pytest.mark.parametrize(
    ("change", "request_held"),
    [
        pytest.param(put, {"method": "PUT", "query": ""}, id="PUT"),
        pytest.param(delete, {"method": "DELETE"}, id="DELETE"),
        pytest.param(put_in_parts, {"method": "POST", "query": "uploadId"}, id="completion of an upload"),
        pytest.param(put_in_parts, {"method": "PUT", "query": "partNumber"}, id="part"),
        pytest.param(change_tags, {"method": "PUT", "query": "tagging"}, id="tags"),
    ],
)
def test_a_thawed_environment_writes_nothing_for_work_that_it_gave_up(
    change: Callable[[Rig], None], request_held: dict[str, str], rig: Rig, outage: Outage
) -> None:
    change(rig)
    rig.clear()
    rig.target_proxy.when(outage, key="k", **request_held)
    rig.sqs.send_message(QueueUrl=rig.queue_url, MessageBody=notification("k"))
    (message,) = rig.receive(1)
    with environment() as frozen:
        while not outage.reached.is_set():  # on a busy machine, an invocation may end before the write
            assert frozen.invoke([message], INVOCATION_S) == [message["MessageId"]]
        frozen.freeze()
        is_upload_only = request_held.get("query") == "partNumber"
        assert rig.delays()[-1] == (0 if is_upload_only else LATE_WRITE_S)

        assert rig.invoke([message]).returned == [], "another environment gets the message"
        rig.put("k", b"version 2")
        assert rig.sync("k").returned == []
        assert rig.differences() == []

        before = written(rig)
        frozen.thaw()
        outage.over.set()
        rig.put("other")
        rig.sqs.send_message(QueueUrl=rig.queue_url, MessageBody=notification("other"))
        assert frozen.invoke(rig.receive(1), PATIENCE_S) == []
        frozen.end()
    assert written(rig) == before
    assert rig.differences() == []


def test_a_key_with_a_lost_response_is_compared_again_later(rig: Rig, each_way: str) -> None:
    rig.put("k", b"body")
    rig.target_proxy.when(lose_answer, "PUT", key="k")
    delivery = rig.sync("k")
    assert delivery.actions == {"k": "copy"}
    assert [line["delay_s"] for line in delivery.log if line.get("message") == "late check"] == [LATE_WRITE_S]
    (body,) = late_checks(rig)
    assert late_checks(rig)[body] == LATE_WRITE_S
    rig.clear()
    delivery = rig.deliver(body)
    assert delivery.actions == {"k": "unchanged"}
    assert written(rig) == []
    assert late_checks(rig) == {}, "a comparison without a write needs no other one"


@pytest.mark.parametrize("fault", [reset, lose_answer], ids=["not received", "not answered"])
def test_a_key_without_any_response_returns_later(fault: Fault, rig: Rig, each_way: str) -> None:
    rig.put("k", b"body")
    rig.target_proxy.when(fault, "PUT", key="k", times=100)
    assert len(rig.sync("k").returned) == 1
    assert rig.delays() == [LATE_WRITE_S]
    assert late_checks(rig) == {}


def test_an_ordinary_event_makes_no_further_request(rig: Rig, each_way: str) -> None:
    rig.put("k", b"body")
    rig.sync("k")
    assert late_checks(rig) == {}
    assert rig.delays() == []


def test_a_command_names_the_keys_with_a_lost_response(rig: Rig) -> None:
    rig.put("k", b"body")
    rig.put("other", b"body")
    rig.target_proxy.when(lose_answer, "PUT", key="k")
    ended = run("migrate")
    assert ended.code == 0
    assert "keys with a write without a response: 1." in ended.err
    assert rig.differences() == []
    assert "without a response" not in run("check").err
    rig.put("k", b"another body")
    rig.target_proxy.when(lose_answer, "PUT", key="k")
    ended = run("sync", "k")
    assert ended.code == 0
    assert "keys with a write without a response: 1." in ended.err


# -- the service, over awscrt ------------------------------------------------------------------------------------------


def test_a_resumed_process_writes_nothing_for_messages_that_others_have(rig: Rig, outage: Outage) -> None:
    rig.put("k", b"version 1")
    rig.target_proxy.when(outage, "PUT", key="k")
    rig.sqs.send_message(QueueUrl=rig.queue_url, MessageBody=notification("k"))
    with started("serve", "--receive-wait", "1", "--visibility-timeout", str(SOON_S)) as command:
        command.wait_until(outage.reached.is_set)
        command.send(signal.SIGSTOP)
        again: list[dict[str, Any]] = []
        eventually(lambda: again.extend(rig.receive(1)) or again)  # the visibility timeout has ended
        assert rig.invoke(again).returned == []
        rig.put("k", b"version 2")
        assert rig.sync("k").returned == []
        before = written(rig)
        command.send(signal.SIGCONT)
        outage.over.set()
        command.send(signal.SIGTERM)
        assert command.ended().code == 0
    assert written(rig) == before
    assert rig.differences() == []


def test_a_stopped_service_gives_an_uncertain_key_time(rig: Rig, outage: Outage) -> None:
    rig.put("k", b"body")
    rig.target_proxy.when(outage, "PUT", key="k")
    rig.sqs.send_message(QueueUrl=rig.queue_url, MessageBody=notification("k"))
    with started("serve", "--receive-wait", "1", "--shutdown-grace", "0", "--abort-grace", "1") as command:
        command.wait_until(outage.reached.is_set)
        command.send(signal.SIGTERM)
        ended = command.ended()
    assert ended.code == 0
    assert rig.delays()[-1] == LATE_WRITE_S
    assert written(rig) == ["PUT"], "and it is not repeated over boto3"
