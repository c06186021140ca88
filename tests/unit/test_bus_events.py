"""The events have the documented fields, come once for each transition, and never fail the work."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError
from botocore.parsers import ResponseParserError
from tests.support.clock import FakeClock

from devtools.bootstrap import ROOT
from s3_syncer.core.circuit_breaker import CircuitBreaker
from s3_syncer.core.errors import Permanent, Transient
from s3_syncer.queue import bus_events, event_bus
from s3_syncer.queue.bus_events import BusEvent
from s3_syncer.queue.deletion_guard import SHUT_S, DeletionGuard
from s3_syncer.queue.dispositions import DeadLetter, disposition_for_error
from s3_syncer.queue.event_bus import EventBus
from s3_syncer.settings import Settings, function_settings
from s3_syncer.settings_reader import SettingsError
from s3_syncer.wiring import build_notify

ARN = "arn:aws:events:eu-west-1:123456789012:event-bus/operations"

SETTINGS = Settings(
    source_bucket="photos",
    source_prefix="2026/",
    target_endpoint="https://s3.example.com",
    target_region="eu-1",
    target_bucket="mirror",
    target_credentials="secret",
    event_bus_arn=ARN,
)

COUNTS = {
    "dry_run": False,
    **dict.fromkeys(("keys", "changed", "deleted", "different", "failed", "bytes", "duration_s"), 1),
}

EVENTS = [
    bus_events.dead_letters([DeadLetter("AccessDenied, request ID 1", "2026/a", reason="AccessDenied")]),
    bus_events.deletions_held(10_001, 10_000),
    bus_events.circuit_opened("the bucket does not exist"),
    bus_events.sweep_ended("migrate", "equal", COUNTS),
    bus_events.sweep_ended("migrate", "failed", COUNTS, error="the source does not respond"),
]


class Client:
    """EventBridge, which notes the entries. It fails with `error`, or fails the entry with `code`."""

    def __init__(self, error: Exception | None = None, code: str = "") -> None:
        self.entries: list[dict[str, Any]] = []
        self._error, self._code = error, code

    def put_events(self, *, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        if self._error is not None:
            raise self._error
        self.entries += Entries
        if self._code:
            return {"FailedEntryCount": 1, "Entries": [{"ErrorCode": self._code, "ErrorMessage": "not now"}]}
        return {"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Client], EventBus]:
    def use(client: Client) -> EventBus:
        monkeypatch.setattr(event_bus, "event_client", lambda arn: client)
        return EventBus(SETTINGS)

    return use


def documented_fields() -> dict[str, set[str]]:
    """Return the fields of docs/events.md by detail type; those of all events have the key ""."""
    text = (ROOT / "docs" / "events.md").read_text()
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    found = {
        section.split("\n")[0].strip("`"): {
            name for row in re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)
        }
        for section in sections
    }
    return {"": found.pop("Fields of all events"), **{title: fields for title, fields in found.items() if fields}}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.detail_type)
def test_event_has_the_fields_of_its_documentation(use: Callable[[Client], EventBus], event: BusEvent) -> None:
    use(client := Client()).send(event)
    (entry,) = client.entries
    assert (entry["EventBusName"], entry["Source"], entry["DetailType"]) == (ARN, "s3-syncer", event.detail_type)
    detail, documented = json.loads(entry["Detail"]), documented_fields()
    expected = documented[""] | documented[event.detail_type]
    assert set(detail) <= expected
    assert expected - set(detail) <= {"error"}
    assert (detail["version"], detail["source_bucket"], detail["source_prefix"]) == (1, "photos", "2026/")


def test_every_detail_type_is_documented() -> None:
    assert set(documented_fields()) - {""} == {event.detail_type for event in EVENTS}


def test_dead_letters_are_counted_by_reason_without_the_request_id() -> None:
    letters = [
        disposition_for_error(Permanent(reason, request_id=f"{number}"), 1, key=f"{number}")
        for number, reason in enumerate(["denied", "too large", "denied"])
    ]
    detail = bus_events.dead_letters([letter for letter in letters if isinstance(letter, DeadLetter)]).detail
    assert detail == {
        "count": 3,
        "reasons": [{"reason": "denied", "count": 2}, {"reason": "too large", "count": 1}],
        "keys": ["0", "1", "2"],
    }


def test_largest_event_fits_into_a_request(use: Callable[[Client], EventBus]) -> None:
    keys = [f"{number:02}" + "\x00" * 1022 for number in range(99)]
    letters = [DeadLetter("", key, reason=key * 5) for key in keys]
    use(client := Client()).send(bus_events.dead_letters(letters))
    assert len(client.entries[0]["Detail"]) < 200 * 1024


@pytest.mark.parametrize(
    "client",
    [
        Client(error=ClientError({"Error": {"Code": "AccessDeniedException", "Message": "denied"}}, "PutEvents")),
        Client(error=EndpointConnectionError(endpoint_url="https://events.example.com")),
        Client(code="ThrottlingException"),
        Client(error=ReadTimeoutError(endpoint_url="https://events.example.com")),
        Client(error=ResponseParserError("not now")),
        Client(error=Transient("not now")),
    ],
)
def test_event_that_cannot_be_sent_is_logged_and_fails_nothing(
    use: Callable[[Client], EventBus], client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    use(client).send(EVENTS[0])
    (record,) = caplog.records
    assert record.message == "event not sent"
    assert record.__dict__["detail_type"] == "Dead Letters"
    assert re.search("denied|Could not connect|Read timeout|not now", record.__dict__["reason"])


def test_without_a_bus_no_client_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_bus, "event_client", lambda arn: pytest.fail("a client"))
    notify = build_notify(Settings("source", "https://s3.example.com", "eu-1", "mirror", "secret"))
    notify(EVENTS[0])
    assert notify is bus_events.no_bus
    build_notify(SETTINGS)  # the client comes with the first event


def test_arn_that_names_no_bus_is_refused() -> None:
    with pytest.raises(SettingsError, match="S3_SYNCER_EVENT_BUS_ARN must be the ARN of an event bus"):
        function_settings({"S3_SYNCER_EVENT_BUS_ARN": "operations"})


def test_guard_reports_once_that_it_shuts() -> None:
    clock, counts, reported = FakeClock(), [11], list[int]()
    guard = DeletionGuard(lambda: counts[0], 10, clock=clock, on_shut=reported.append)
    for _ in range(3):
        assert guard.is_shut()
        clock.now += SHUT_S
    assert reported == [11]
    counts[0] = 10
    assert not guard.is_shut()
    counts[0] = 12
    clock.now += SHUT_S
    assert guard.is_shut()
    assert reported == [11, 12]


def test_circuit_reports_once_that_it_opens() -> None:
    clock, reported = FakeClock(), list[str]()
    circuit = CircuitBreaker(first_s=1, max_s=8, clock=clock, on_open=reported.append)
    for reason in ("one", "two", "three"):
        circuit.record_failure(reason)
        clock.now += 10
    assert reported == ["one"]
    circuit.record_success()
    circuit.record_failure("four")
    assert reported == ["one", "four"]
