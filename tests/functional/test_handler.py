"""The Lambda function acknowledges no message before its work is done, and loses none."""

from __future__ import annotations

import json
import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from math import inf
from typing import Any
from urllib.parse import quote_plus, unquote_plus

import pytest
from tests.functional.harness import SOURCE, Context, Rig, notification
from tests.functional.proxy import Exchange, Fault, held, refuse, reset
from tests.support.clock import OffsetClock

import s3_syncer
from s3_syncer import __version__, lambda_handler
from s3_syncer.core.deadline import Deadline
from s3_syncer.core.fence import LATE_WRITE_S
from s3_syncer.queue.dispositions import Disposition, Message
from s3_syncer.queue.worker import Worker
from s3_syncer.stores.bucket import Bucket

pytestmark = pytest.mark.real_store


def test_only_failed_messages_return_to_the_queue(rig: Rig) -> None:
    for key in ("good", "bad", "also good"):
        rig.put(key, b"body")
    rig.target_proxy.when(refuse(503, "SlowDown"), "PUT", key="bad", times=inf)
    delivery = rig.sync("good", "bad", "also good", "absent")
    assert [key_of(body) for body in delivery.returned] == ["bad"]
    assert delivery.actions == {"good": "copy", "bad": "retry", "also good": "copy", "absent": "unchanged"}
    assert rig.target_keys() == ["also good", "good"]


def key_of(body: str) -> str:
    """Return the key of a notification with one record."""
    (record,) = json.loads(body)["Records"]
    return unquote_plus(record["s3"]["object"]["key"])


def test_a_message_with_several_records_is_done_when_all_of_them_are(rig: Rig) -> None:
    for key in ("one", "two"):
        rig.put(key, b"body")
    rig.target_proxy.when(refuse(503, "SlowDown"), "PUT", key="two", times=inf)
    delivery = rig.deliver(notification("one", "two"))
    assert len(delivery.returned) == 1
    rig.clear()
    assert rig.deliver(*delivery.returned).actions == {"one": "unchanged", "two": "copy"}
    assert rig.differences() == []


def test_a_key_in_several_messages_is_converged_once(rig: Rig) -> None:
    rig.put("key", b"body")
    delivery = rig.deliver(*(notification("key", "key") for _ in range(5)))
    assert [line["action"] for line in delivery.log] == ["copy"]
    assert [write.key for write in rig.target_proxy.writes()] == ["key"]
    assert rig.queue_is_empty()


def test_all_messages_of_a_failed_key_return_to_the_queue(rig: Rig) -> None:
    rig.put("key", b"body")
    rig.target_proxy.when(refuse(503, "SlowDown"), "PUT", times=inf)
    assert len(rig.sync("key", "key", "key").returned) == 3


def test_a_large_batch_is_done_in_one_invocation(rig: Rig) -> None:
    """The batch is larger than a batch request of SQS, so the messages are released with several requests."""
    bodies = {f"key {number:02}": random.randbytes(number) for number in range(12)}
    for key, body in bodies.items():
        rig.put(key, body)
    rig.target_proxy.when(refuse(503, "SlowDown"), "PUT", times=inf)
    delivery = rig.sync(*bodies)
    assert len(delivery.returned) == len(bodies)
    assert len(rig.delays()) == len(bodies)
    rig.clear()
    assert rig.deliver(*delivery.returned).returned == []
    assert rig.differences() == []


def test_test_events_are_acknowledged(rig: Rig) -> None:
    body = json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": SOURCE})
    delivery = rig.deliver(body)
    assert delivery.returned == []
    assert rig.dead_letters() == []
    assert rig.queue_is_empty()


def test_every_kind_of_message_copies_its_key(rig: Rig) -> None:
    keys = ("s3 + %", "event bridge + %", "own + %", "sns + %")
    for key in keys:
        rig.put(key, key.encode())
    bridge = {
        "version": "0",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "time": "2026-01-01T00:00:00Z",
        "detail": {"bucket": {"name": SOURCE}, "object": {"key": keys[1]}},
    }
    own = {"s3-syncer": {"work": "keys", "keys": [keys[2]]}}
    topic = {"Type": "Notification", "Message": notification(keys[3])}
    bodies = (notification(keys[0]), *(json.dumps(content) for content in (bridge, own, topic)))
    assert rig.deliver(*bodies).actions == dict.fromkeys(keys, "copy")
    assert rig.differences() == []


def slow_when_time_is_over(
    clock: OffsetClock, go_on: threading.Event, others_done: Callable[[], bool] = lambda: True
) -> Fault:
    """Let the deadline pass while the store holds the request, once the other requests are done."""

    def fault(exchange: Exchange) -> None:
        while not others_done():
            if not exchange.delay(0.01):
                exchange.reset()
                return
        clock.advance()
        held(go_on)(exchange)

    return fault


def test_at_the_deadline_only_a_message_with_a_write_in_flight_waits(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, clock: OffsetClock, caplog: pytest.LogCaptureFixture
) -> None:
    keys = [f"key {number:02}" for number in range(24)]  # eight at a time
    for key in keys:
        rig.put(key, key.encode())
    monkeypatch.setattr(lambda_handler, "RESERVE_S", 4.0)
    go_on = threading.Event()
    rig.handle({"Records": []}, Context(time.monotonic() + 900))  # the first event configures the log
    logging.getLogger(s3_syncer.__name__).addHandler(caplog.handler)

    def four_are_done() -> bool:
        return [record.message for record in caplog.records].count("copy") == 4

    rig.target_proxy.when(slow_when_time_is_over(clock, go_on, four_are_done), "PUT", skip=4, times=inf)
    delivery = rig.sync(*keys)
    assert 0 < len(delivery.returned) < len(keys)
    in_flight = set([r.key for r in rig.target_proxy.requests if r.method == "PUT"][4:])
    go_on.set()
    clock.ahead_s = 0
    delays = Counter(rig.delays())
    assert delays.keys() == {0, LATE_WRITE_S}
    assert delays.total() == len(delivery.returned)
    again = rig.receive(delays[0])
    at_once = {message["Body"] for message in again}
    assert len(at_once) == delays[0], "visible again at once"
    waiting = {key_of(body) for body in delivery.returned if body not in at_once}
    assert in_flight <= waiting, "the target may still receive their writes"
    assert len(waiting) <= 8, "the other keys have not been begun"
    rig.end_delays()
    again += rig.receive(len(waiting))
    assert sorted(message["Body"] for message in again) == sorted(delivery.returned)
    rig.clear()
    assert rig.invoke(again).returned == []
    assert rig.differences() == []
    assert rig.queue_is_empty()


def test_half_of_the_reserve_is_left_to_release_messages(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, clock: OffsetClock
) -> None:
    ends: list[float] = []

    def noting(
        self: Worker, messages: Iterable[Message], deadline: Deadline, *, grace_s: float
    ) -> dict[str, Disposition]:
        ends.append(deadline.at + grace_s - began)
        return {}

    class Remaining(int):
        def get_remaining_time_in_millis(self) -> int:
            return self * 1000

    monkeypatch.setattr(Worker, "run", noting)
    began = time.monotonic()
    monkeypatch.setattr(clock, "monotonic", lambda: began)
    for remaining_s in (900, 60, 20):
        rig.handle({"Records": []}, Remaining(remaining_s))
    assert ends == pytest.approx([900 - 7.5, 60 - 7.5, 20 - 2.5])


def test_without_remaining_time_no_request_is_sent(rig: Rig) -> None:
    rig.put("key", b"body")
    delivery = rig.sync("key", remaining_s=0)
    assert delivery.actions == {"key": "retry"}
    assert len(delivery.returned) == 1
    assert rig.target_proxy.requests == []


SQS_FAULTS = {"denied": refuse(400, "AccessDenied"), "failing": refuse(500, "InternalFailure"), "reset": reset}


@pytest.mark.parametrize("fault", SQS_FAULTS.values(), ids=SQS_FAULTS.keys())
def test_a_message_returns_when_its_dead_letter_cannot_be_sent(rig: Rig, fault: Fault) -> None:
    rig.source_proxy.when(fault, operation="SendMessage", times=inf)
    delivery = rig.deliver("not understood")
    assert delivery.returned == ["not understood"]
    assert all(1 <= delay <= 2 for delay in rig.delays())
    assert rig.dead_letters() == []
    rig.clear()
    assert rig.deliver("not understood").returned == []
    assert len(rig.dead_letters()) >= 1


@pytest.mark.parametrize("fault", SQS_FAULTS.values(), ids=SQS_FAULTS.keys())
def test_a_failed_visibility_change_affects_nothing_else(rig: Rig, fault: Fault) -> None:
    rig.put("good", b"body")
    rig.put("bad", b"body")
    rig.target_proxy.when(refuse(503, "SlowDown"), "PUT", key="bad", times=inf)
    for operation in ("ChangeMessageVisibility", "ChangeMessageVisibilityBatch"):
        rig.source_proxy.when(fault, operation=operation, times=inf)
    delivery = rig.sync("good", "bad")
    assert len(delivery.returned) == 1
    assert any("backoff" in line["message"] for line in delivery.log)
    assert not rig.queue_is_empty()


def test_a_bug_loses_no_message(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.put("key", b"body")
    rig.put("other", b"body")
    head = Bucket.head

    def broken(self: Bucket, key: str, **options: bool) -> object:
        if key == "key":
            raise ZeroDivisionError
        return head(self, key, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Bucket, "head", broken)
        delivery = rig.sync("key", "other")
    assert len(delivery.returned) == 1
    assert delivery.actions == {"key": "retry", "other": "copy"}
    assert any("ZeroDivisionError" in line.get("exception", "") for line in delivery.log)


def test_the_first_log_line_of_a_process_has_the_versions(rig: Rig) -> None:
    for _ in range(2):
        rig.handle({"Records": []}, Context(time.monotonic() + 900))
    (line,) = rig.read_log()
    assert line["message"] == "started"
    assert {"s3_syncer", "python", "boto3", "botocore"} <= line.keys()


def test_each_decision_is_one_json_line(rig: Rig) -> None:
    began = time.time()
    rig.put("bad", b"body", StorageClass="GLACIER")
    keys = ("bad", "line\nend", "\u2028 \x85 ü")
    rig.put(keys[2], b"12345")
    log = rig.sync(*keys).log
    assert sorted(line["key"] for line in log) == sorted(keys)
    for line in log:
        assert {"timestamp", "level", "message", "action", "key", "reason"} <= line.keys()
        assert {"bytes", "duration_ms", "lag_ms", "attempts"} <= line.keys()
        assert began - 1 <= datetime.fromisoformat(line["timestamp"]).timestamp() <= time.time() + 1
        assert 0 <= line["duration_ms"] < 60_000
        assert line["lag_ms"] is None if line["action"] == "unchanged" else 0 <= line["lag_ms"] < 60_000
        assert line["attempts"] == 1
    levels = {line["key"]: (line["action"], line["level"]) for line in log}
    # moto responds to a key with a line break as a web server does, without an error code. Its listing decides.
    assert levels == {keys[0]: ("dead-letter", "ERROR"), keys[1]: ("unchanged", "INFO"), keys[2]: ("copy", "INFO")}


def test_the_log_has_the_bytes_and_the_lag(rig: Rig) -> None:
    rig.put("key", b"12345")
    event = json.loads(notification("key"))
    event["Records"][0]["eventTime"] = "2026-01-01T00:00:00.000Z"
    (line,) = rig.deliver(json.dumps(event)).log
    assert (line["action"], line["bytes"], line["level"]) == ("copy", 5, "INFO")
    assert line["lag_ms"] == pytest.approx((time.time() - 1767225600) * 1000, abs=60_000)


def test_the_request_id_of_a_failure_is_a_log_field_and_no_part_of_the_reason(rig: Rig) -> None:
    """Logs Insights groups failures by their reason."""
    for key in ("busy", "denied"):
        rig.put(key, b"body")

    def failure(status: int, code: str, request_id: str) -> Fault:
        body = f"<Error><Code>{code}</Code><Message>injected</Message></Error>"
        return lambda exchange: exchange.reply(status, body, {"x-amz-request-id": request_id})

    rig.target_proxy.when(failure(503, "SlowDown", "4K2"), "PUT", key="busy", times=inf)
    rig.target_proxy.when(failure(400, "InvalidArgument", "7Q9"), "PUT", key="denied", times=inf)
    lines = {line["key"]: line for line in rig.sync("busy", "denied").log}
    assert {key: line["request_id"] for key, line in lines.items()} == {"busy": "4K2", "denied": "7Q9"}
    assert lines["busy"]["reason"].endswith("(injected)")
    # The message of the store is the whole reason, because only the status says what an unknown code means.
    assert lines["denied"]["reason"].endswith(" InvalidArgument: injected")
    (letter,) = rig.dead_letters()
    assert letter.error.endswith(" InvalidArgument: injected, request ID 7Q9")


def test_nothing_below_the_log_level_is_logged(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "ERROR")
    rig.put("key", b"body")
    rig.put("archived", b"body", StorageClass="GLACIER")
    assert [line["level"] for line in rig.sync("key", "archived").log] == ["ERROR"]


def test_an_invalid_environment_loses_no_message(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The invocation fails, so Lambda returns the whole batch to the queue."""
    monkeypatch.delenv("TARGET_BUCKET")
    monkeypatch.setenv("SYNC_TAGS", "maybe")
    with pytest.raises(ValueError, match=r"TARGET_BUCKET is not set.*SYNC_TAGS"):
        rig.sync("key")
    assert not rig.queue_is_empty()


# -- S3 Batch Operations -----------------------------------------------------------------------------------------------


def batch_event(version: str, *keys: str) -> dict[str, Any]:
    """Return an event as S3 Batch Operations sends it. S3 sends one task an event so far."""
    where = {"s3BucketArn": f"arn:aws:s3:::{SOURCE}"} if version == "1.0" else {"s3Bucket": SOURCE}
    return {
        "invocationSchemaVersion": version,
        "invocationId": "invocation",
        "job": {"id": "job"} if version == "1.0" else {"id": "job", "userArguments": {}},
        "tasks": [{"taskId": f"task {key}", "s3Key": quote_plus(key), "s3VersionId": None, **where} for key in keys],
    }


def results_of(rig: Rig, event: dict[str, Any], remaining_s: float = 60) -> dict[str, tuple[str, str]]:
    response: Any = rig.handle(event, Context(time.monotonic() + remaining_s))
    assert json.loads(json.dumps(response)) == response
    assert response["invocationSchemaVersion"] == event["invocationSchemaVersion"]
    return {each["taskId"]: (each["resultCode"], each["resultString"]) for each in response["results"]}


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_each_task_of_a_job_has_a_result(rig: Rig, version: str) -> None:
    rig.put("a + %", b"body", Metadata={"colour": "blue"})
    rig.put("refused", b"body")
    rig.put("busy", b"body")
    rig.target_proxy.when(refuse(400, "InvalidArgument"), "PUT", key="refused", times=inf)
    rig.target_proxy.when(refuse(503, "SlowDown"), "PUT", key="busy", times=inf)
    results = results_of(rig, batch_event(version, "a + %", "gone", "refused", "busy"))
    assert {task: code for task, (code, _) in results.items()} == {
        "task a + %": "Succeeded",
        "task gone": "Succeeded",
        "task refused": "PermanentFailure",
        "task busy": "TemporaryFailure",
    }
    assert "InvalidArgument" in results["task refused"][1]
    assert "SlowDown" in results["task busy"][1]
    assert rig.target_keys() == ["a + %"]
    assert rig.queue_is_empty()
    assert rig.dead_letters() == [], "the report of the job names the failed tasks"
    rig.clear()
    assert results_of(rig, batch_event(version, "busy", "refused")) == {
        "task busy": ("Succeeded", "equal"),
        "task refused": ("Succeeded", "equal"),
    }
    assert rig.differences() == []


def test_a_task_that_runs_out_of_time_is_a_temporary_failure(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, clock: OffsetClock
) -> None:
    rig.put("slow", b"body")
    monkeypatch.setattr(lambda_handler, "RESERVE_S", 1.0)
    go_on = threading.Event()
    rig.target_proxy.when(slow_when_time_is_over(clock, go_on), "PUT")
    (result,) = results_of(rig, batch_event("2.0", "slow")).values()
    go_on.set()
    assert result == ("TemporaryFailure", "no time left before the deadline")


@pytest.mark.usefixtures("each_way")
def test_every_request_to_a_store_has_the_user_agent(rig: Rig) -> None:
    rig.put("k")
    rig.sync("k")
    requests = [*rig.source_proxy.requests, *rig.target_proxy.requests]
    assert {r.method for r in requests} == {"HEAD", "GET", "PUT", "POST"}
    assert {r.headers["user-agent"].partition(" ")[0] for r in requests} == {f"s3-syncer/{__version__}"}
