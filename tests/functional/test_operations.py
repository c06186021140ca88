"""The commands for operators on moto: real queues, a real log, and both stores."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from tests.functional.command import Ended, run, started
from tests.functional.harness import REGION, SECRET, SOURCE, TARGET, Rig
from tests.functional.proxy import Exchange, Fault
from tests.support.module_outputs import module_outputs, terraform_output

LOG_GROUP = "/aws/lambda/s3-syncer"

Command = Callable[..., Ended]


@pytest.fixture
def outputs(rig: Rig, tmp_path: Path) -> Path:
    """Return a file with the outputs of the module."""
    environment = {
        **{name: value for name, value in rig.environment().items() if not name.startswith("AWS_")},
        "TARGET_SECRET_ARN": SECRET,
        "SYNC_TAGS": "true",
    }
    outputs = module_outputs(
        "s3-syncer",
        environment=environment,
        queue_arn=f"arn:aws:sqs:{REGION}:123456789012:s3-syncer",
        queue_url=rig.queue_url,
        bulk_queue_url=rig.queue_url,
        dead_letter_queue_url=rig.dead_letter_url,
        log_group_name=LOG_GROUP,
    )
    file = tmp_path / "outputs.json"
    file.write_text(terraform_output(s3_syncer=outputs))
    return file


@pytest.fixture
def command(rig: Rig, outputs: Path) -> Command:
    """Return a function that runs a command with nothing but the outputs of the module."""
    without = dict.fromkeys(["TARGET_SECRET_ARN", "SYNC_TAGS", *rig.environment()])
    without = {name: None for name in without if not name.startswith("AWS_")}

    def run_command(*arguments: str) -> Ended:
        return run("--outputs", str(outputs), *arguments, **without)

    return run_command


@pytest.fixture
def log(rig: Rig) -> Callable[..., None]:
    """Return a function that writes a line into the log of the function."""
    client: Any = rig.aws.client("logs")
    client.create_log_group(logGroupName=LOG_GROUP)
    client.create_log_stream(logGroupName=LOG_GROUP, logStreamName="one")

    def write(**fields: Any) -> None:
        event = {"timestamp": round(time.time() * 1000) - 1000, "message": json.dumps(fields)}
        client.put_log_events(logGroupName=LOG_GROUP, logStreamName="one", logEvents=[event])

    return write


def add_letter(rig: Rig, key: str, error: str) -> None:
    body = json.dumps({"s3-syncer": {"work": "keys", "keys": [key]}})
    attribute: Any = {"error": {"DataType": "String", "StringValue": error}}
    rig.sqs.send_message(QueueUrl=rig.dead_letter_url, MessageBody=body, MessageAttributes=attribute)


def test_dead_letters_are_listed_and_a_part_is_sent_back(rig: Rig, command: Command) -> None:
    for number in range(12):
        add_letter(rig, f"a/{number}", f"PutObject: AccessDenied, request ID {number}")
    add_letter(rig, "b", "EntityTooLarge")

    listed = command("dead-letters", "list")
    assert listed.code == 1
    assert "12\tPutObject: AccessDenied\n\ta/" in listed.out
    assert "1\tEntityTooLarge\n\tb, " in listed.out

    assert command("dead-letters", "redrive", "--reason", "accessdenied").out.startswith("12 dead letters sent back, 1")
    found = {json.loads(message["Body"])["s3-syncer"]["keys"][0] for message in rig.receive(10)}
    assert found <= {f"a/{number}" for number in range(12)}
    assert found

    shown = command("dead-letters", "show", "--json")
    assert [letter["keys"] for letter in json.loads(shown.out)] == [["b"]]
    assert command("dead-letters", "discard", "--key", "b", "--yes").out.startswith("1 dead letter discarded")
    assert command("dead-letters", "list").code == 0


def messages(rig: Rig, url: str) -> tuple[int, int]:
    """Return the numbers of visible and of hidden messages of a queue."""
    names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    attributes = rig.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    visible, hidden = (int(attributes[name]) for name in names)
    return visible, hidden


@pytest.mark.parametrize("operation", ["ReceiveMessage", "SendMessageBatch"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_redrive_that_ends_early_loses_and_hides_no_letter(
    rig: Rig, outputs: Path, number: signal.Signals, operation: str
) -> None:
    """SQS hides a letter with its response, also with one that comes after the signal."""
    for key in range(30):
        add_letter(rig, str(key), "AccessDenied")
    may_respond = threading.Event()
    rig.source_proxy.when(late(may_respond), operation=operation)
    with started("--outputs", str(outputs), "dead-letters", "redrive") as redrive:
        redrive.wait_until(lambda: messages(rig, rig.dead_letter_url)[1] == 10)
        redrive.send(number)
        may_respond.set()
        ended = redrive.ended()
    assert ended.code == (-number if number == signal.SIGKILL else 128 + number)
    assert "Traceback" not in ended.err
    visible, hidden = messages(rig, rig.dead_letter_url)
    assert visible + hidden + sum(messages(rig, rig.queue_url)) >= 30
    assert hidden == (10 if number == signal.SIGKILL else 0)


def late(may_respond: threading.Event) -> Fault:
    """Forward the request at once, and its response once the event is set."""

    def fault(exchange: Exchange) -> None:
        with exchange.ask() as response:
            body = response.read().decode()
            while not may_respond.is_set() and exchange.delay(0.01):
                pass
            exchange.reply(response.status, body, dict(response.getheaders()))

    return fault


@pytest.mark.parametrize("arguments", [("status",), ("explain", "1"), ("dead-letters", "list")])
def test_a_command_that_only_reads_letters_hides_none_after_a_stop(
    rig: Rig, outputs: Path, log: Callable[..., None], arguments: tuple[str, ...]
) -> None:
    log(action="copy", key="a", lag_ms=1500)
    for key in range(30):
        add_letter(rig, str(key), "AccessDenied")
    may_respond = threading.Event()
    rig.source_proxy.when(late(may_respond), operation="ReceiveMessage")
    with started("--outputs", str(outputs), *arguments) as command:
        command.wait_until(lambda: messages(rig, rig.dead_letter_url)[1] == 10)
        command.send(signal.SIGTERM)
        may_respond.set()
        assert command.ended().code == 128 + signal.SIGTERM
    assert messages(rig, rig.dead_letter_url) == (30, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("arguments", "begun", "said"),
    [(("sweep",), "The range is on the queue.", "stopped: The workers continue"), (("drain",), "", "")],
)
def test_a_stop_of_a_command_that_waits_leaves_the_queue_as_it_is(
    rig: Rig,
    outputs: Path,
    log: Callable[..., None],
    number: signal.Signals,
    arguments: tuple[str, ...],
    begun: str,
    said: str,
) -> None:
    log(action="copy", key="a", lag_ms=1500)
    rig.sqs.send_message(QueueUrl=rig.queue_url, MessageBody="{}")
    with started("--outputs", str(outputs), *arguments) as command:
        polls = {"sweep": "FilterLogEvents", "drain": "GetQueueAttributes"}[arguments[0]]
        command.wait_until(lambda: [each.operation for each in rig.source_proxy.requests].count(polls) > 1)
        command.send(number)
        ended = command.ended()
    assert ended.code == 128 + number, ended
    assert (begun in ended.err, said in ended.err, "Traceback" in ended.err) == (True, True, False), ended
    assert messages(rig, rig.queue_url) == (2 if begun else 1, 0)


def test_discard_asks_first_and_needs_a_selection(rig: Rig, command: Command) -> None:
    add_letter(rig, "b", "EntityTooLarge")
    assert command("dead-letters", "discard").code == 2
    refused = command("dead-letters", "discard", "--all")
    assert refused.code == 1
    assert "Discard 1 dead letter?" in refused.err
    assert command("dead-letters", "list").code == 1


def test_discard_leaves_a_letter_that_comes_after_its_question(
    rig: Rig, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_letter(rig, "b", "EntityTooLarge")
    monkeypatch.setattr(click, "confirm", lambda *_, **__: add_letter(rig, "c", "EntityTooLarge"))
    ended = command("dead-letters", "discard", "--all")
    assert ended.out == "1 dead letter discarded, 1 left on the queue\n"


def test_status_names_failures_and_dead_letters(rig: Rig, command: Command, log: Callable[..., None]) -> None:
    add_letter(rig, "b", "EntityTooLarge")
    log(action="copy", key="a", lag_ms=1500)
    log(action="retry", key="c", reason="no response", lag_ms=9000)
    ended = command("status", "--json")
    assert ended.code == 1
    status = json.loads(ended.out)
    assert status["lag"]["changes"] == 1
    assert [failure["example"] for failure in status["failures"]] == ["c"]
    assert [group["reason"] for group in status["dead_letters"]] == ["EntityTooLarge"]
    assert "the function cannot be read" in " ".join(status["notes"]), "moto has no such function"
    lines = command("status").out.splitlines()
    assert any("dead letters" in line for line in lines)
    assert [line for line in lines if line != line.rstrip()] == [], "no line ends with blanks"


def test_explain_shows_both_objects_the_decision_and_the_log(
    rig: Rig, command: Command, log: Callable[..., None]
) -> None:
    rig.put("k", b"new content", ContentType="image/jpeg")
    rig.target.put_object(Bucket=TARGET, Key="k", Body=b"old")
    log(action="retry", key="k", reason="no response", attempts=2)
    before = rig.target.head_object(Bucket=TARGET, Key="k")["LastModified"]
    ended = command("explain", "k")
    assert ended.code == 1
    assert "source     11 bytes" in ended.out
    assert "target     3 bytes" in ended.out
    assert "now        it would be copied over the object of the target" in ended.out
    assert "message    queued" in ended.out
    assert "retry  no response  delivery 2" in ended.out
    assert rig.target.head_object(Bucket=TARGET, Key="k")["LastModified"] == before

    assert command("sync", "k").code == 0
    assert command("explain", "k", "--json").code == 0


def test_explain_of_a_missing_target_bucket_is_no_copy(rig: Rig, command: Command) -> None:
    rig.put("k", b"content")
    rig.target.delete_bucket(Bucket=TARGET)
    ended = command("explain", "k")
    rig.target.create_bucket(Bucket=TARGET)
    assert ended.code == 3
    assert "unknown: " in ended.out
    assert "NoSuchBucket" in ended.out


def test_cost_counts_the_objects_of_the_source(rig: Rig, command: Command) -> None:
    for number in range(3):
        rig.put(f"k{number}", b"x" * 1000)
    ended = command("cost", "--json")
    assert json.loads(ended.out)["objects"]["bytes"] == 3000


def test_sweep_without_waiting_sends_the_range(rig: Rig, command: Command, log: Callable[..., None]) -> None:
    ended = command("sweep", "--after", "a", "--until", "b", "--full", "--detach")
    assert ended.code == 0, ended.err
    (message,) = rig.receive(10)
    work = json.loads(message["Body"])["s3-syncer"]
    assert (work["after"], work["until"], work["full"], work["delete"]) == ("a", "b", True, False)


def test_drain_ends_when_the_queues_are_empty(rig: Rig, command: Command) -> None:
    assert "queue are empty" in command("drain", "--settled", "0.1").out
    add_letter(rig, "b", "EntityTooLarge")
    ended = command("drain", "--settled", "0.1")
    assert ended.code == 1
    assert "dead letters are left" in ended.err


def test_check_needs_no_option_but_the_module(rig: Rig, command: Command) -> None:
    rig.source.put_object(Bucket=SOURCE, Key="k", Body=b"")
    assert command("check").named == {"k": "missing: absent from the target"}
