"""`s3-syncer serve` loses no message when its process is stopped or killed, or when a store fails."""

from __future__ import annotations

import json
import signal
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import Any

import pytest
from tests.functional.command import Ended, Started, run, started
from tests.functional.harness import MIB, QUEUE, Rig, notification
from tests.functional.proxy import Proxy, admit, held, refuse, silent

from localcloud.servers import free_port
from s3_syncer.core.fence import LATE_WRITE_S
from s3_syncer.service.heartbeat import EXTENSIONS_PER_TIMEOUT

pytestmark = pytest.mark.real_store

#: Visibility timeout in seconds that does not end during a test, however busy the machine is.
VISIBILITY_S = 120

#: Visibility timeout in seconds for a test that waits for a second delivery. An extension may be three quarters of it
#: late.
SOON_S = 8


@contextmanager
def serving(*arguments: str, **environment: str) -> Iterator[Started]:
    """Run the command. A poll takes one second at most, so that no test waits for the end of a poll.

    After a stop, work has a minute to abort its upload, unless the test says otherwise.
    """
    times = ("--receive-wait", "1", "--abort-grace", "60")
    given = ("--visibility-timeout", str(VISIBILITY_S), "--shutdown-grace", "2", *times, *arguments)
    with started("serve", *given, **environment) as command:
        yield command


def ask(rig: Rig, *keys: str) -> None:
    for key in keys:
        rig.sqs.send_message(QueueUrl=rig.queue_url, MessageBody=notification(key))


def stop(command: Started) -> Ended:
    command.send(signal.SIGTERM)
    return command.ended()


def lines(ended: Ended, action: str | None = None) -> list[dict[str, Any]]:
    """Return the log lines of an action, or all; every printed line must be JSON."""
    found = [json.loads(line) for line in ended.out.splitlines()]
    return [line for line in found if action is None or line.get("action") == action]


def puts(rig: Rig) -> list[str]:
    return [request.key for request in rig.target_proxy.requests if request.method == "PUT"]


def asked(proxy: Proxy, operation: str) -> int:
    return sum(request.operation == operation for request in proxy.requests)


def health(port: int) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


# -- working -----------------------------------------------------------------------------------------------------------


def test_serve_processes_messages_until_it_is_stopped(rig: Rig) -> None:
    keys = [f"key {number:02}" for number in range(30)]
    for key in keys[:20]:
        rig.put(key, key.encode(), Tagging="a=b", Metadata={"colour": "blue"})
    ask(rig, *keys[:20], "absent")
    with serving() as command:
        command.wait_until(lambda: rig.target_keys() == keys[:20])
        for key in keys[20:]:
            rig.put(key, key.encode())
        ask(rig, *keys[20:])
        command.wait_until(lambda: rig.queue_is_empty())
        ended = stop(command)
    assert (ended.code, ended.err) == (0, "")
    assert rig.differences() == []
    assert {line["key"] for line in lines(ended, "copy")} == set(keys)
    assert [line["key"] for line in lines(ended, "unchanged")] == ["absent"]
    assert {"done": 31, "returned": 0, "dead_letters": 0}.items() <= lines(ended)[-1].items()
    assert rig.aws.secret_access_key not in ended.out
    assert rig.other.secret_access_key not in ended.out


def test_failed_messages_are_retried_or_dead_lettered_as_by_the_function(rig: Rig) -> None:
    rig.put("good", b"body")
    rig.put("bad", b"body")
    rig.put("archived", b"body", StorageClass="GLACIER")
    rig.target_proxy.when(refuse(400, "BadDigest"), "PUT", key="bad", times=2)  # over awscrt, then once over boto3
    ask(rig, "good", "bad", "archived")
    with serving() as command:
        command.wait_until(lambda: rig.target_keys() == ["bad", "good"] and rig.queue_is_empty())
        ended = stop(command)
    assert ended.code == 0
    assert [letter.key for letter in rig.dead_letters()] == ["archived"]
    assert [(line["action"], line["attempts"]) for line in lines(ended) if line.get("key") == "bad"] == [
        ("retry", 1),
        ("copy", 2),
    ]


def test_a_range_is_swept_and_its_failed_keys_return_to_the_queue(rig: Rig) -> None:
    keys = [f"key {number:03}" for number in range(50)]
    for key in keys:
        rig.put(key, key.encode())
    rig.target_proxy.when(refuse(400, "BadDigest"), "PUT", key=keys[7], times=3)  # twice over awscrt, once over boto3
    rig.sqs.send_message(QueueUrl=rig.queue_url, MessageBody=json.dumps({"s3-syncer": {"work": "range"}}))
    with serving() as command:
        command.wait_until(lambda: rig.target_keys() == keys and rig.queue_is_empty())
        ended = stop(command)
    assert rig.differences() == []
    assert [line["failed"] for line in lines(ended, "range")] == [1]
    written = [request for request in rig.target_proxy.requests if request.method == "PUT"]
    by_crt = [request for request in written if "boto" not in request.headers.get("user-agent", "").lower()]
    assert {request.key for request in by_crt} == set(keys), "ordinary objects are copied over awscrt"
    assert [request.key for request in written if request not in by_crt] == [keys[7]]


def test_a_copy_longer_than_the_visibility_timeout_is_delivered_once(rig: Rig) -> None:
    rig.put("slow", b"body")
    go_on = threading.Event()
    rig.target_proxy.when(held(go_on), "PUT")
    ask(rig, "slow")
    with serving("--visibility-timeout", str(SOON_S)) as command:
        command.wait_until(lambda: asked(rig.source_proxy, "ChangeMessageVisibilityBatch") > EXTENSIONS_PER_TIMEOUT)
        go_on.set()
        command.wait_until(lambda: rig.target_keys() == ["slow"] and rig.queue_is_empty())
        ended = stop(command)
    assert puts(rig) == ["slow"], "sent once"
    assert [line["attempts"] for line in lines(ended, "copy")] == [1]


def test_a_failed_visibility_extension_is_repeated_in_time(rig: Rig) -> None:
    rig.put("slow", b"body")
    go_on = threading.Event()
    rig.target_proxy.when(held(go_on), "PUT")
    rig.source_proxy.when(refuse(500, "InternalFailure"), operation="ChangeMessageVisibilityBatch", times=3)
    ask(rig, "slow")
    with serving("--visibility-timeout", str(2 * SOON_S)) as command:
        command.wait_until(lambda: asked(rig.source_proxy, "ChangeMessageVisibilityBatch") > 3)
        go_on.set()
        command.wait_until(lambda: rig.target_keys() == ["slow"] and rig.queue_is_empty())
        ended = stop(command)
    assert any(line["message"] == "visibility not extended" for line in lines(ended))
    assert [line["attempts"] for line in lines(ended, "copy")] == [1], "the next extension succeeded"


def test_a_message_that_could_not_be_deleted_is_delivered_again_and_found_unchanged(rig: Rig) -> None:
    rig.put("key", b"body")
    rig.source_proxy.when(refuse(500, "InternalFailure"), operation="DeleteMessageBatch", times=3)
    ask(rig, "key")
    with serving("--visibility-timeout", str(SOON_S)) as command:
        command.wait_until(lambda: rig.queue_is_empty())
        ended = stop(command)
    assert any(line["message"] == "message not deleted" for line in lines(ended))
    assert [(line["action"], line["attempts"]) for line in lines(ended) if "key" in line] == [
        ("copy", 1),
        ("unchanged", 2),
    ]
    assert puts(rig) == ["key"]


# -- stopped and killed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_aborts_the_upload_in_flight_and_releases_its_message(rig: Rig, number: signal.Signals) -> None:
    rig.put("large", b"x" * 70 * MIB)
    go_on = threading.Event()
    rig.target_proxy.when(held(go_on), "PUT", query="partNumber", times=inf)
    ask(rig, "large")
    with serving("--concurrency", "1", "--memory", "64", "--shutdown-grace", "1") as command:
        command.wait_until(lambda: len(puts(rig)) >= 1)
        assert rig.uploads() == ["large"]
        command.stop(number, times=2)  # once to receive no more, and once at the end of the grace
        go_on.set()
        ended = command.ended()
    assert (ended.code, ended.err) == (0, "")
    assert rig.uploads() == rig.target_keys() == []
    assert not rig.queue_is_empty()
    assert lines(ended)[-1]["returned"] == 1

    rig.clear()
    with serving() as another:  # at once: the message was released
        another.wait_until(lambda: rig.target_keys() == ["large"] and rig.queue_is_empty())
        assert stop(another).code == 0
    assert rig.differences() == []


def test_after_a_stop_work_that_ends_within_the_grace_is_done(rig: Rig) -> None:
    keys = [f"key {number}" for number in range(8)]
    for key in keys:
        rig.put(key, b"body")
    go_on = threading.Event()
    rig.target_proxy.when(held(go_on), "PUT", times=inf)
    ask(rig, *keys)
    with serving("--concurrency", "4", "--shutdown-grace", "60") as command:
        command.wait_until(lambda: len(puts(rig)) >= 4)
        command.stop(signal.SIGTERM)
        go_on.set()
        ended = command.ended()
    assert ended.code == 0
    assert lines(ended)[-1]["done"] == len(rig.target_keys()) == 4, "work in flight ended, and no more began"
    assert len(rig.receive(8)) == 4, "the other messages are still in the queue"


def test_a_stop_does_not_wait_for_a_store_that_sends_no_response(rig: Rig) -> None:
    rig.put("key", b"body")
    rig.target_proxy.when(silent, "PUT", times=inf)
    ask(rig, "key")
    with serving("--shutdown-grace", "1", "--abort-grace", "1") as command:
        command.wait_until(lambda: len(puts(rig)) >= 1)
        ended = stop(command)
    assert ended.code == 0
    assert rig.delays()[-1] == LATE_WRITE_S, "the target may still receive the write"
    assert rig.receive(1) == []
    rig.end_delays()
    assert len(rig.receive(1)) == 1, "the message was released, not deleted"


def test_a_second_signal_ends_the_process_at_once(rig: Rig) -> None:
    rig.put("key", b"body")
    rig.target_proxy.when(silent, "PUT", times=inf)
    ask(rig, "key")
    with serving("--shutdown-grace", "60") as command:
        command.wait_until(lambda: len(puts(rig)) >= 1)
        command.stop(signal.SIGTERM)
        assert command.insist(signal.SIGTERM).code == -signal.SIGTERM


def test_messages_of_a_killed_process_are_delivered_to_another(rig: Rig) -> None:
    rig.put("large", b"x" * 70 * MIB)
    rig.put("small", b"body")
    rig.target_proxy.when(silent, "PUT", query="partNumber", times=inf)
    ask(rig, "large", "small")
    with serving("--memory", "64", "--visibility-timeout", str(SOON_S)) as command:
        command.wait_until(lambda: puts(rig).count("large") >= 1 and rig.target_keys() == ["small"])
        command.wait_until(lambda: asked(rig.source_proxy, "ChangeMessageVisibilityBatch") >= 1)
        command.send(signal.SIGKILL)
        assert command.ended().code == -9
    rig.clear()
    with serving() as another:  # the visibility timeout of the queue itself is five minutes
        another.wait_until(lambda: rig.target_keys() == ["large", "small"] and rig.queue_is_empty())
        ended = stop(another)
    assert [(line["key"], line["attempts"]) for line in lines(ended, "copy")] == [("large", 2)]
    assert rig.differences() == []


# -- what cannot work --------------------------------------------------------------------------------------------------


def test_an_unusable_store_is_tried_with_one_message_per_pause(rig: Rig) -> None:
    """Each failed delivery brings a message nearer to the dead-letter queue: try only one."""
    keys = [f"key {number:02}" for number in range(20)]
    for key in keys:
        rig.put(key, b"body")
    rig.target_proxy.when(admit("nobody's"), times=inf)
    ask(rig, *keys)
    port = free_port()
    pauses = ("--pause-first", "0.8", "--pause-max", "1.6")
    with serving("--concurrency", "4", "--health-port", str(port), *pauses) as command:
        command.wait_until(lambda: asked(rig.source_proxy, "ReceiveMessage") >= 4)
        status, body = health(port)
        assert (status, body["status"]) == (200, "degraded"), "a new process has the same problem"
        assert "InvalidAccessKeyId" in body["reason"]
        tried = {request.key for request in rig.target_proxy.requests}
        rig.target_proxy.clear()
        received = asked(rig.source_proxy, "ReceiveMessage")
        command.wait_until(lambda: rig.target_keys() == keys and rig.queue_is_empty())
        assert health(port)[1]["status"] == "ok"
        ended = stop(command)
    assert len(tried) <= 4 + received - 1, "one in each slot, then one per pause"
    assert 2 <= len(lines(ended, "circuit-open")) <= received + 1
    assert len(lines(ended, "circuit-closed")) == 1
    assert rig.dead_letters() == []
    assert ended.code == 0


def test_polling_continues_after_the_queue_failed_for_a_while(rig: Rig) -> None:
    rig.put("key", b"body")
    rig.source_proxy.when(refuse(500, "InternalFailure"), operation="ReceiveMessage", times=3)
    ask(rig, "key")
    with serving("--pause-first", "0.5") as command:
        command.wait_until(lambda: rig.target_keys() == ["key"] and rig.queue_is_empty())
        ended = stop(command)
    assert [line["reason"].split(":")[0] for line in lines(ended, "circuit-open")] != []
    assert rig.differences() == []


@pytest.mark.parametrize("name", ["no-such-queue", QUEUE])
def test_serve_does_not_start_with_an_unusable_queue(rig: Rig, name: str) -> None:
    if name == QUEUE:
        rig.source_proxy.when(refuse(400, "AccessDenied"), operation="GetQueueAttributes", times=inf)
    ended = run("serve", QUEUE_URL=rig.queue_url.replace(QUEUE, name))
    assert ended.code == 3
    assert [line["message"] for line in lines(ended)] == ["started"]
    assert len(ended.err.splitlines()) == 1
    assert ended.err.startswith(f"s3-syncer: cannot use the queue {rig.queue_url.replace(QUEUE, name)}: ")


def test_serve_does_not_start_when_the_health_port_is_taken(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = run("serve", "--health-port", str(port))
    assert ended.code == 3
    assert ended.err == f"s3-syncer: cannot listen on 127.0.0.1:{port}: Address already in use\n"


def test_health_endpoint_shows_the_messages_in_flight_and_done(rig: Rig) -> None:
    rig.put("key", b"body")
    go_on = threading.Event()
    rig.target_proxy.when(held(go_on), "PUT")
    ask(rig, "key")
    port = free_port()
    with serving(S3_SYNCER_HEALTH_PORT=str(port)) as command:
        command.wait_until(lambda: len(puts(rig)) >= 1)
        status, body = health(port)
        assert (status, body["status"], body["in_flight"], body["done"]) == (200, "ok", 1, 0)
        go_on.set()
        command.wait_until(lambda: health(port)[1]["done"] == 1)
        command.wait_until(lambda: health(port)[1]["in_flight"] == 0)
        command.send(signal.SIGTERM)
        assert command.ended().code == 0


def test_every_missing_option_is_named(rig: Rig) -> None:
    ended = run("serve", QUEUE_URL=None, DEAD_LETTER_QUEUE_URL=None, TARGET_BUCKET=None)
    assert ended.code == 2
    for name in ("--queue-url", "--dead-letter-queue-url", "--target-bucket"):
        assert f"{name} is not set" in ended.err
