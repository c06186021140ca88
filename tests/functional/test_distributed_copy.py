"""Distributed copies between two stores: items on a real queue, each processed by one invocation."""

from __future__ import annotations

import json
import signal
import threading
from collections import Counter
from math import inf
from typing import Any

import pytest
from tests.functional.command import started
from tests.functional.harness import SOURCE, TARGET, Delivery, Rig, notification
from tests.functional.proxy import held, meanwhile, refuse
from tests.support.clock import OffsetClock

from s3_syncer import lambda_handler
from s3_syncer.sync import distributed_copy as parts_module

pytestmark = pytest.mark.real_store

MIB = 1024 * 1024
PART = 5 * MIB


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Distribute objects above 8 MiB, with one part in an item and a recheck without delay."""
    monkeypatch.setenv("DISTRIBUTED_COPY_THRESHOLD_MB", "8")
    monkeypatch.setattr(parts_module, "ITEM_SIZE", PART)
    monkeypatch.setattr(parts_module, "RECHECK_MIN_S", 0)


def put_large(rig: Rig, seed: int = 0, **properties: Any) -> str:
    return rig.put_parts("large", *(bytes([seed + number]) * PART for number in range(4)), b"end", **properties)


def work_off(rig: Rig, *, invocations: int = 60) -> list[Delivery]:
    """Invoke the function for each message until none is left."""
    done = []
    while messages := rig.receive(1):
        done.append(rig.invoke(messages))
        assert len(done) < invocations, "the work does not end"
    return done


def actions(done: list[Delivery]) -> Counter[str]:
    return Counter(line["action"] for delivery in done for line in delivery.log if "action" in line)


def send(rig: Rig) -> None:
    rig.sqs.send_message(QueueUrl=rig.queue_url, MessageBody=notification("large"))


def test_a_large_object_is_copied_by_many_items_and_is_equal(rig: Rig) -> None:
    etag = put_large(rig, Metadata={"a": "b"}, ContentType="text/plain", Tagging="colour=red")
    send(rig)
    done = work_off(rig)
    assert rig.differences() == []
    assert rig.target_head("large")["ETag"].strip('"') == etag
    assert actions(done)["part"] == 4, "the last part is sent with the creation of the upload"
    assert actions(done)["complete"] == 1
    assert rig.uploads() == []
    assert rig.dead_letters() == []


def test_every_part_is_sent_once_though_every_message_is_delivered_twice(rig: Rig) -> None:
    put_large(rig)
    send(rig)
    while messages := rig.receive(1):
        for _ in range(2):
            rig.invoke(messages)
    assert rig.differences() == []
    sent = [request.query["partNumber"][0] for request in rig.target_proxy.writes() if "partNumber" in request.query]
    assert Counter(sent) == Counter("12345")
    assert rig.uploads() == []


def test_a_source_that_changes_during_the_copy_is_copied_again(rig: Rig) -> None:
    put_large(rig)
    rig.target_proxy.when(meanwhile(lambda: put_large(rig, seed=100)), "PUT", key="large", query="partNumber", skip=2)
    send(rig)
    work_off(rig)
    assert rig.target_body("large")[:3] == bytes([100]) * 3
    assert rig.differences() == []
    assert rig.uploads() == []


def test_a_source_deleted_during_the_copy_is_deleted_from_the_target(rig: Rig) -> None:
    put_large(rig)
    gone = meanwhile(lambda: rig.source.delete_object(Bucket=SOURCE, Key="large"))
    rig.target_proxy.when(gone, "PUT", key="large", query="partNumber", skip=2)
    send(rig)
    work_off(rig)
    assert rig.target_keys() == []
    assert rig.uploads() == []


def test_an_upload_that_is_aborted_from_outside_is_created_again(rig: Rig) -> None:
    put_large(rig)

    def abort() -> None:
        (upload,) = rig.target.list_multipart_uploads(Bucket=TARGET)["Uploads"]
        rig.target.abort_multipart_upload(Bucket=TARGET, Key="large", UploadId=upload["UploadId"])

    rig.target_proxy.when(meanwhile(abort), "PUT", key="large", query="partNumber", skip=2)
    send(rig)
    work_off(rig)
    assert rig.differences() == []
    assert rig.uploads() == []


def test_a_rejected_part_becomes_a_dead_letter_at_once(rig: Rig) -> None:
    put_large(rig)
    rig.target_proxy.when(refuse(400, "EntityTooLarge"), "PUT", key="large", query="partNumber", times=inf)
    send(rig)
    assert len(work_off(rig)) == 1
    (letter,) = rig.dead_letters()
    assert letter.key == "large"
    assert "EntityTooLarge" in letter.error
    assert rig.uploads() == []


def test_a_denied_part_becomes_a_dead_letter_when_the_store_has_served_another_key(rig: Rig) -> None:
    """Until then it may deny every key: the creation of an upload does not show that it takes bytes."""
    put_large(rig)
    rig.target_proxy.when(refuse(403, "AccessDenied"), "PUT", key="large", query="partNumber", times=inf)
    send(rig)
    for _ in range(2):
        assert rig.invoke(rig.receive(1)).actions == {"large": "retry"}
        assert rig.uploads() == []
        rig.end_delays()
    (denied,) = rig.receive(1)
    rig.put("other")
    assert rig.sync("other").actions == {"other": "copy"}
    assert rig.invoke([denied]).actions == {"large": "dead-letter"}
    (letter,) = rig.dead_letters()
    assert "AccessDenied" in letter.error
    assert rig.uploads() == []


def test_parts_that_fail_permanently_are_given_up(rig: Rig) -> None:
    put_large(rig)
    rig.target_proxy.when(refuse(400, "EntityTooLarge"), "PUT", key="large", query="partNumber", skip=1, times=inf)
    send(rig)
    done = work_off(rig)
    assert rig.target_keys() == []
    assert rig.uploads() == []
    letters = rig.dead_letters()
    assert all("EntityTooLarge" in letter.error and letter.key == "large" for letter in letters)
    assert actions(done)["dead-letter"] == len(letters) == 2, (
        "an item, and the message of the key, when it creates another upload"
    )


@pytest.mark.parametrize("query", ["uploads", "uploadId"])
def test_without_a_listing_of_uploads_one_function_copies_the_object(rig: Rig, query: str) -> None:
    put_large(rig)
    rig.target_proxy.when(refuse(403, "AccessDenied"), "GET", query=query, times=inf)
    send(rig)
    done = work_off(rig)
    assert actions(done)["copy"] == 1
    assert rig.differences() == []
    assert rig.uploads() == []


def test_an_item_returns_the_parts_that_it_has_no_time_for(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, clock: OffsetClock
) -> None:
    monkeypatch.setattr(parts_module, "ITEM_SIZE", 100 * PART)
    monkeypatch.setattr(lambda_handler, "THREADS", 1)
    put_large(rig)
    send(rig)
    (first,) = rig.receive(1)
    rig.invoke([first])
    messages = {json.loads(message["Body"])["s3-syncer"]["work"]: message for message in rig.receive(2)}
    rig.clear()
    rig.target_proxy.when(meanwhile(clock.advance), "PUT", query="partNumber", skip=1)
    rig.invoke([messages["parts"]])
    assert len(rig.target_proxy.writes()) == 2
    (rest,) = rig.receive(1)
    assert json.loads(rest["Body"])["s3-syncer"]["work"] == "parts"
    rig.sqs.change_message_visibility(QueueUrl=rig.queue_url, ReceiptHandle=rest["ReceiptHandle"], VisibilityTimeout=0)
    clock.ahead_s = 0
    rig.sqs.change_message_visibility(
        QueueUrl=rig.queue_url, ReceiptHandle=messages["keys"]["ReceiptHandle"], VisibilityTimeout=0
    )
    work_off(rig)
    assert rig.differences() == []
    assert rig.uploads() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=str)
def test_a_migration_stopped_in_a_large_object_does_not_send_its_parts_again(rig: Rig, number: signal.Signals) -> None:
    etag = rig.put_parts("large", *(bytes([part]) * PART for part in range(8)))
    go_on = threading.Event()
    rig.target_proxy.when(held(go_on), "PUT", query="partNumber", skip=3, times=inf)
    smaller = "import s3_syncer.sync.transfer\ns3_syncer.sync.transfer.RESUME_MIN = 1"

    def sent() -> list[str]:
        return [asked.query["partNumber"][0] for asked in rig.target_proxy.writes() if "partNumber" in asked.query]

    with started("migrate", "--concurrency", "1", before=smaller) as command:
        command.wait_until(lambda: len(sent()) >= 4)
        if number == signal.SIGKILL:
            command.send(number)
            command.ended()
            go_on.set()
        else:
            command.stop(number)
            go_on.set()
            command.ended()
    rig.target_proxy.settle()
    assert rig.uploads() == ["large"]
    answer = rig.target.list_multipart_uploads(Bucket=TARGET)["Uploads"][0]
    kept = rig.target.list_parts(Bucket=TARGET, Key="large", UploadId=answer["UploadId"])["Parts"]
    assert len(kept) == 4
    rig.clear()
    with started("migrate", before=smaller) as command:
        assert command.ended().code == 0
    assert sorted(sent(), key=int) == [str(part) for part in range(len(kept) + 1, 9)]
    assert rig.target_head("large")["ETag"].strip('"') == etag
    assert rig.differences() == []
    assert rig.uploads() == []
