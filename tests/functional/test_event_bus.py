"""Dead letters and the ends of sweeps arrive on an event bus, and a bus that is gone fails nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from math import inf
from typing import Any

import pytest
from tests.functional.command import run
from tests.functional.harness import REGION, SOURCE, TARGET, Context, Rig
from tests.functional.proxy import refuse

from s3_syncer import lambda_handler

ARN = f"arn:aws:events:{REGION}:123456789012:event-bus/operations"


@pytest.fixture
def received(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Create a bus. Return a reader of the events that it has accepted."""
    events = rig.aws.client("events")
    events.create_event_bus(Name="operations")
    monkeypatch.setenv("S3_SYNCER_EVENT_BUS_ARN", ARN)

    def read() -> list[dict[str, Any]]:
        requests = [each for each in rig.source_proxy.requests if each.operation == "PutEvents"]
        entries = [entry for request in requests for entry in request.content["Entries"]]
        assert all(entry["EventBusName"] == ARN for entry in entries)
        return [{**entry, "Detail": json.loads(entry["Detail"])} for entry in entries]

    yield read
    events.delete_event_bus(Name="operations")


def test_batch_with_dead_letters_sends_one_event(rig: Rig, received: Callable[[], list[dict[str, Any]]]) -> None:
    for key in ("good", "too large", "also too large"):
        rig.put(key, b"body")
    for key in ("too large", "also too large"):
        rig.target_proxy.when(refuse(400, "EntityTooLarge"), "PUT", key=key, times=inf)
    delivery = rig.sync("good", "too large", "also too large")
    assert "event not sent" not in {line["message"] for line in delivery.log}
    (event,) = received()
    assert (event["Source"], event["DetailType"]) == ("s3-syncer", "Dead Letters")
    detail = event["Detail"]
    assert (detail["version"], detail["source_bucket"], detail["target_bucket"]) == (1, SOURCE, TARGET)
    assert (detail["count"], sorted(detail["keys"])) == (2, ["also too large", "too large"])
    (reason,) = detail["reasons"]
    assert (reason["count"], "EntityTooLarge" in reason["reason"]) == (2, True)
    assert len(rig.dead_letters()) == 2


def test_batch_without_dead_letters_sends_no_event(rig: Rig, received: Callable[[], list[dict[str, Any]]]) -> None:
    rig.put("good", b"body")
    rig.sync("good")
    assert received() == []


def test_dead_letter_arrives_although_the_bus_is_gone(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3_SYNCER_EVENT_BUS_ARN", ARN.replace("operations", "gone"))
    rig.put("too large", b"body")
    rig.target_proxy.when(refuse(400, "EntityTooLarge"), "PUT", key="too large", times=inf)
    delivery = rig.sync("too large")
    assert delivery.returned == []
    assert len(rig.dead_letters()) == 1
    (line,) = (line for line in delivery.log if line["message"] == "event not sent")
    assert line["level"] == "WARNING"


def test_sweep_sends_an_event_at_its_end(rig: Rig, received: Callable[[], list[dict[str, Any]]]) -> None:
    rig.put("one", b"body")
    rig.put("two", b"body")
    assert run("migrate").code == 0
    rig.target.delete_object(Bucket=TARGET, Key="two")
    assert run("check").code == 1
    migrated, checked = received()
    assert {event["DetailType"] for event in (migrated, checked)} == {"Sweep Finished"}
    assert (migrated["Detail"]["command"], migrated["Detail"]["result"]) == ("migrate", "equal")
    assert (migrated["Detail"]["changed"], migrated["Detail"]["bytes"], migrated["Detail"]["dry_run"]) == (2, 8, False)
    assert (checked["Detail"]["command"], checked["Detail"]["result"]) == ("check", "different")
    assert (checked["Detail"]["different"], checked["Detail"]["keys"]) == (1, 2)


def test_sweep_that_cannot_end_sends_its_error(rig: Rig, received: Callable[[], list[dict[str, Any]]]) -> None:
    rig.put("one", b"body")
    rig.target_proxy.when(refuse(403, "InvalidAccessKeyId"), "GET", times=inf)
    assert run("migrate", "--outage-timeout", "0").code == 3
    (event,) = received()
    assert event["DetailType"] == "Sweep Failed"
    assert event["Detail"]["result"] == "failed"
    assert "InvalidAccessKeyId" in event["Detail"]["error"]


def doctor(rig: Rig) -> dict[str, tuple[str, str]]:
    """Return the status and the finding of each check of the event bus, from the doctor of the function."""
    report: dict[str, Any] = lambda_handler.handler({"doctor": True}, Context(time.monotonic() + 900))  # type: ignore[assignment]
    return {
        check["check"]: (check["status"], check["finding"])
        for check in report["checks"]
        if check["group"] == "Event bus"
    }


def test_doctor_asks_for_the_permission_and_sends_no_event(
    rig: Rig, received: Callable[[], list[dict[str, Any]]]
) -> None:
    assert doctor(rig) == {"events:PutEvents": ("ok", "not denied: an invalid request got InvalidArgument")}
    rig.source_proxy.when(refuse(400, "AccessDeniedException"), operation="PutEvents")
    assert doctor(rig)["events:PutEvents"][0] == "problem"


def test_doctor_checks_no_bus_where_none_is_set(rig: Rig) -> None:
    assert doctor(rig) == {}
