"""The delete guard with real queues: the function, and the commands for what it holds."""

from __future__ import annotations

import json
import signal
import threading
from math import inf

import pytest
from tests.functional.command import Ended, run, started
from tests.functional.harness import TARGET, Context, Rig
from tests.functional.proxy import held
from tests.support.patience import PATIENCE_S

KEYS = [f"{number:02}" for number in range(30)]


@pytest.fixture
def guarded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """Yield the function with a delete guard of 20, and 30 objects that only the target has."""
    for variable, name in {
        "BULK_QUEUE_URL": "bulk",
        "DELETIONS_QUEUE_URL": "deletions",
        "HELD_DELETIONS_QUEUE_URL": "held-deletions",
    }.items():
        monkeypatch.setenv(variable, rig.sqs.create_queue(QueueName=name)["QueueUrl"])
    monkeypatch.setenv("HOLD_DELETIONS_ABOVE", "20")
    for key in KEYS:
        rig.target.put_object(Bucket=TARGET, Key=key, Body=b"1")
    return rig


def work(rig: Rig, name: str) -> list[str]:
    """Invoke the function for all messages of a queue, as Lambda does; return the logged actions."""
    url, actions = rig.sqs.get_queue_url(QueueName=name)["QueueUrl"], []
    while messages := rig.sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageSystemAttributeNames=["All"]
    ).get("Messages"):
        records = [
            {
                "messageId": message["MessageId"],
                "body": message["Body"],
                "receiptHandle": message["ReceiptHandle"],
                "attributes": message["Attributes"],
                "eventSourceARN": f"arn:aws:sqs:us-east-1:123456789012:{name}",
            }
            for message in messages
        ]
        assert rig.handle({"Records": records}, Context(PATIENCE_S + 1e9)) == {"batchItemFailures": []}
        for message in messages:
            rig.sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        actions += [line["action"] for line in rig.read_log() if "action" in line]
    return actions


def objects(rig: Rig) -> int:
    return rig.target.list_objects_v2(Bucket=TARGET)["KeyCount"]


def deletions(*arguments: str) -> Ended:
    return run("deletions", *arguments)


def test_a_mass_deletion_is_held_listed_and_released(guarded: Rig) -> None:
    assert set(guarded.sync(*KEYS).actions.values()) == {"deferred"}
    assert work(guarded, "deletions") == ["held"] * 30
    assert objects(guarded) == 30

    status = deletions("status", "--json")
    assert (status.code, json.loads(status.out)) == (1, {"held": 30, "waiting": 0})
    listed = deletions("list", "--limit", "1000", "--json")
    assert (listed.code, sorted(each["keys"][0] for each in json.loads(listed.out))) == (1, KEYS)

    ended = deletions("release", "--yes")
    assert (ended.code, ended.out) == (0, "30 deletions released\n")
    assert work(guarded, "bulk") == ["delete"] * 30
    assert objects(guarded) == 0
    assert deletions("status").out == "0\theld\n0\twaiting\n"


def test_discarded_deletions_leave_the_objects(guarded: Rig) -> None:
    guarded.sync(*KEYS)
    work(guarded, "deletions")
    ended = deletions("discard", "--yes", "--json")
    assert (ended.code, json.loads(ended.out)) == (0, {"done": 30, "kept": 0, "errors": []})
    assert work(guarded, "bulk") == []
    assert objects(guarded) == 30
    assert deletions("status").code == 0


def counts(rig: Rig) -> tuple[int, int]:
    """Return the numbers of visible and of hidden messages that are held."""
    url = rig.sqs.get_queue_url(QueueName="held-deletions")["QueueUrl"]
    names = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    attributes = rig.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    visible, hidden = (int(attributes[name]) for name in names)
    return visible, hidden


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_release_that_ends_early_leaves_the_rest_visible(guarded: Rig, number: signal.Signals) -> None:
    guarded.sync(*KEYS)
    work(guarded, "deletions")
    released = threading.Event()
    guarded.source_proxy.when(held(released), operation="SendMessage", times=inf)
    with started("deletions", "release", "--yes") as command:
        command.wait_until(lambda: counts(guarded) == (0, 30))
        command.send(number)
        if number == signal.SIGKILL:
            command.ended()
            guarded.clear()
            assert "note: about 30 messages are hidden from this command" in deletions("list").err
        else:
            released.set()
            assert command.ended().code == 128 + number
            visible, hidden = counts(guarded)
            assert (hidden, visible < 30) == (0, True)


def test_a_message_of_another_form_stays_and_is_counted(guarded: Rig) -> None:
    url = guarded.sqs.get_queue_url(QueueName="held-deletions")["QueueUrl"]
    guarded.sqs.send_message(QueueUrl=url, MessageBody="no JSON")
    for command in ("release", "discard"):
        ended = deletions(command, "--yes")
        assert (ended.code, ended.out) == (
            0,
            f"0 deletions {command}{'d' if command == 'release' else 'ed'}, 1 message left on the queue: "
            "see `s3-syncer deletions list`\n",
        )


def test_few_deletions_are_done(guarded: Rig) -> None:
    guarded.sync(*KEYS[:20])
    assert work(guarded, "deletions") == ["delete"] * 20
    assert objects(guarded) == 10


def test_a_release_asks_before_it_deletes(guarded: Rig) -> None:
    guarded.sync(*KEYS)
    work(guarded, "deletions")
    ended = deletions("release")
    assert ended.code == 1
    assert "Delete the objects of about 30 held deletions from the target?" in ended.err
    assert deletions("status").out.startswith("30\theld")


def test_the_commands_need_the_queues(guarded: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HELD_DELETIONS_QUEUE_URL")
    ended = deletions("list")
    assert ended.code == 2
    assert "--held-deletions-queue-url" in ended.err
    assert guarded.queue_is_empty()


def test_an_error_of_sqs_ends_the_command_with_one_line(guarded: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELD_DELETIONS_QUEUE_URL", f"{guarded.queue_url}-missing")
    ended = deletions("list")
    assert ended.code == 3
    assert ended.err.startswith("s3-syncer: ")
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize("command", ["release", "discard", "list", "status"])
def test_deletions_are_not_released_into_the_queue_that_holds_them(
    guarded: Rig, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("BULK_QUEUE_URL", guarded.sqs.get_queue_url(QueueName="held-deletions")["QueueUrl"])
    ended = deletions(command)
    assert (ended.code, "--bulk-queue-url must differ from --held-deletions-queue-url" in ended.err) == (2, True)
