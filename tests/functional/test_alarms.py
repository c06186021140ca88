"""The alarms of the module go off when they should, from the log lines of the real function.

The metric filters and alarms come from a plan of the module. A simulated clock moves by the pauses of the SDK and by
the delays that the function sets, so that hours of an outage take seconds.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any

import pytest
from botocore.retries.standard import ExponentialBackoff
from tests.functional.harness import MIB, SECRET, TARGET, Rig, notification
from tests.functional.proxy import Exchange, refuse
from tests.support.clock import FakeClock
from tests.support.patience import PATIENCE_S

from devtools import terraform
from devtools.bootstrap import ROOT
from localcloud.cloudwatch import Alarm, MetricFilter
from s3_syncer import lambda_handler
from s3_syncer.core.circuit_breaker import CircuitBreaker
from s3_syncer.core.work_items import KeyWork, RangeWork
from s3_syncer.logs import JsonFormatter, log_json
from s3_syncer.operations.log_lines import LogLine
from s3_syncer.operations.status import Lag, lag_of
from s3_syncer.queue import batch_items, dispositions, waiting
from s3_syncer.service.service import ServiceOptions
from s3_syncer.stores import availability

HOUR_S = 3600

#: Seconds from the first failure in which the alarm on retries must go off.
NOTICED_S = 300

#: Attempts of one request: a transport makes one, and boto3 six.
ATTEMPTS = 7

#: Start of the simulation, in seconds since 1970: a full minute.
START = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


@dataclass(frozen=True)
class Monitoring:
    """The metric filters of the function by metric, and the alarms on these metrics by name, as planned."""

    filters: Mapping[str, MetricFilter]
    alarms: Mapping[str, tuple[str, Alarm]]

    def changes(self, alarm: str, lines: list[tuple[float, Any]], end_s: float) -> list[tuple[float, bool]]:
        """Return the times since the start at which the alarm changed, with True for the state ALARM."""
        metric, evaluated = self.alarms[alarm]
        read = self.filters[metric]
        points = [(time, value) for time, line in lines for value in read.values([line])]
        return [(time - START, is_on) for time, is_on in evaluated.changes(points, START, START + end_s)]


@pytest.fixture(scope="session")
def monitoring(tmp_path_factory: pytest.TempPathFactory) -> Monitoring:
    """Plan the module with its defaults, on the mocked provider of the Terraform tests."""
    tool = terraform.prepare(tmp_path_factory.mktemp("terraform"))
    tool.run("init", "-backend=false", "-no-color", cwd=ROOT)
    output = tool.run("test", "-json", "-verbose", f"-filter={Path('tests/alarm_defaults.tftest.hcl')}", cwd=ROOT)
    messages = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    (plan,) = (each["test_plan"] for each in messages if "test_plan" in each and each["@testrun"] == "alarm_defaults")
    planned = {each["address"]: each["change"]["after"] for each in plan["resource_changes"]}
    filters = {
        filter["metric_transformation"][0]["name"]: MetricFilter(
            filter["pattern"], filter["metric_transformation"][0]["value"]
        )
        for address, filter in planned.items()
        if address.startswith("aws_cloudwatch_log_metric_filter.worker")
    }
    alarms = {}
    for address, alarm in planned.items():
        if address.startswith("aws_cloudwatch_metric_alarm.sync") and alarm["metric_name"] in filters:
            assert alarm["comparison_operator"] == "GreaterThanThreshold"
            assert alarm["treat_missing_data"] == "notBreaching"
            alarms[alarm["alarm_name"].removeprefix("s3-syncer-")] = (
                alarm["metric_name"],
                Alarm(
                    alarm["statistic"],
                    alarm["threshold"],
                    alarm["period"],
                    alarm["evaluation_periods"],
                    alarm["datapoints_to_alarm"],
                ),
            )
    return Monitoring(filters, alarms)


class TimedLog(logging.Handler):
    """The log lines, with the times of the simulated clock."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        self.lines: list[tuple[float, Any]] = []
        self._clock = clock

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((self._clock.now, json.loads(self.format(record))))


@dataclass
class Simulation:
    """One message, its deliveries, and the log lines with the times of the simulated clock."""

    rig: Rig
    clock: FakeClock
    lines: list[tuple[float, Any]]

    def send(self, body: str) -> None:
        self.rig.sqs.send_message(QueueUrl=self.rig.queue_url, MessageBody=body)
        (self._message,) = self.rig.receive(1)
        self._deliveries = 0

    def deliver(self) -> bool:
        """Deliver the message, and move the clock to its next delivery. Return True if it is done."""
        self._deliveries += 1
        self._message["Attributes"]["ApproximateReceiveCount"] = str(self._deliveries)
        delays = len(self.rig.delays())
        delivery = self.rig.invoke([self._message])
        if not delivery.returned:
            return True
        (delay_s,) = self.rig.delays()[delays:]
        self.clock.now += delay_s
        return False

    def deliver_until(self, end_s: float) -> None:
        while self.clock.now < START + end_s:
            assert not self.deliver()


class WallClock(FakeClock):
    """A time of day that only the test moves, in place of the module `time` of the workers."""

    def time(self) -> float:
        return self.now


@pytest.fixture(params=["shortest", "longest"])
def simulation(request: pytest.FixtureRequest, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulation]:
    """Return a simulation with the shortest or the longest random delays of the function and the SDK."""
    clock = WallClock(START)
    jitter = {"shortest": 0.0, "longest": 1.0}[request.param]
    redelivery_delay_s = dispositions.redelivery_delay_s

    def pause(self: ExponentialBackoff, context: Any) -> float:
        clock.now += jitter * min(2 ** (context.attempt_number - 1), 20)  # botocore's formula
        return 0.0

    for module in (batch_items, waiting):
        monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(dispositions, "redelivery_delay_s", lambda attempt: redelivery_delay_s(attempt, lambda: jitter))
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", pause)
    monkeypatch.setattr(availability, "SHARE_FAILURE_S", 0.0)  # the deliveries are milliseconds apart
    rig.put("key", b"body")
    log = TimedLog(clock)
    queue_logger = logging.getLogger("s3_syncer.queue")  # the function replaces the handlers of its parent
    queue_logger.addHandler(log)
    yield Simulation(rig, clock, log.lines)
    queue_logger.removeHandler(log)


def change_at(time_s: float, *keys: str) -> str:
    """Return an event of the simulated time."""
    event = json.loads(notification(*keys))
    for record in event["Records"]:
        record["eventTime"] = datetime.fromtimestamp(time_s, UTC).isoformat()
    return json.dumps(event)


def empty_secret(rig: Rig) -> None:
    rig.secrets.put_secret_value(SecretId=SECRET, SecretString="{}")


OUTAGES: dict[str, Callable[[Rig], None]] = {
    "dead target": lambda rig: rig.target_proxy.hang_up(),
    "target out of service": lambda rig: rig.target_proxy.when(refuse(503, "ServiceUnavailable"), times=inf),
    "revoked keys": lambda rig: rig.target_proxy.when(refuse(403, "InvalidAccessKeyId"), times=inf),
    "empty secret": empty_secret,
    "denied secret": lambda rig: rig.source_proxy.when(
        refuse(400, "AccessDeniedException"), operation="GetSecretValue", times=inf
    ),
    "failing writes": lambda rig: rig.target_proxy.when(refuse(500, "InternalError"), "PUT", times=inf),
}


@pytest.mark.parametrize("outage", OUTAGES.values(), ids=OUTAGES.keys())
def test_an_outage_raises_the_alarm_within_five_minutes_and_keeps_it(
    outage: Callable[[Rig], None], simulation: Simulation, monitoring: Monitoring
) -> None:
    """The only change fails at every delivery, so hours later its lines are 15 minutes apart."""
    outage(simulation.rig)
    simulation.send(change_at(START, "key"))
    simulation.deliver_until(3 * HOUR_S)
    ((noticed_s, is_on),) = monitoring.changes("retries", simulation.lines, 3 * HOUR_S)
    assert is_on
    assert noticed_s <= NOTICED_S
    ((late_s, is_on),) = monitoring.changes("lag", simulation.lines, 3 * HOUR_S)
    assert is_on
    assert late_s <= 1800 + 900 + NOTICED_S, "max_lag_s, and the longest delay until the next line"


@dataclass
class Stall:
    """A target that accepts connections and sends no response for some time of the simulated clock.

    It holds each request until then, and breaks the connection. The waits of the worker move the clock.
    """

    simulation: Simulation
    duration_s: float
    methods: frozenset[str] = frozenset({"GET", "HEAD", "PUT", "POST"})
    _is_over: threading.Event = field(default_factory=threading.Event)
    _is_reached: threading.Event = field(default_factory=threading.Event)

    def hold(self, exchange: Exchange) -> None:
        self._is_reached.set()
        while not self._is_over.is_set() and exchange.delay(0.01):
            pass
        exchange.reset()

    def wait(self, futures: Iterable[Future[Any]], timeout: float) -> Any:
        """Move the clock, once a request has reached the target, instead of waiting."""
        if not futures:  # the work of a batch without keys
            return wait(futures)
        assert self._is_reached.wait(PATIENCE_S)
        if self._is_over.is_set():
            return wait(futures, timeout=PATIENCE_S)
        self.simulation.clock.now += timeout
        if self.simulation.clock.now >= self._ends_at:
            self._is_over.set()
        return wait(futures, timeout=0)

    def begin(self) -> None:
        self._ends_at = self.simulation.clock.now + self.duration_s
        self._is_over.clear()
        self._is_reached.clear()


#: Seconds for which one invocation waits for a target that never responds. A request and the request that confirms its
#: error have six attempts each, of 60 s.
SILENCE_S = 2 * 6 * 60


@pytest.fixture
def stall(simulation: Simulation, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Stall]:
    def make(duration_s: float, method: str = "") -> Stall:
        stall = Stall(simulation, duration_s)
        simulation.rig.target_proxy.when(stall.hold, method, times=inf)
        monkeypatch.setattr(waiting, "wait", stall.wait)
        return stall

    return make


@pytest.mark.parametrize("method", ["", "PUT"], ids=["every request", "writes"])
def test_a_target_that_never_responds_raises_the_alarm_within_five_minutes_and_keeps_it(
    method: str, stall: Callable[..., Stall], simulation: Simulation, monitoring: Monitoring
) -> None:
    """Its first failure is logged after twelve minutes: each request has a timeout and is repeated."""
    silent = stall(SILENCE_S, method)
    simulation.send(change_at(START, "key"))
    while simulation.clock.now < START + 3 * HOUR_S:
        silent.begin()
        assert not simulation.deliver()
    first = next(time for time, line in simulation.lines if line["action"] == "retry")
    assert first - START >= SILENCE_S
    ((noticed_s, is_on),) = monitoring.changes("retries", simulation.lines, 3 * HOUR_S)
    assert is_on
    assert noticed_s <= NOTICED_S
    ((late_s, is_on),) = monitoring.changes("lag", simulation.lines, 3 * HOUR_S)
    assert is_on
    assert late_s <= 1800 + 900 + NOTICED_S


@pytest.mark.parametrize("work", [KeyWork(("key",)), RangeWork()], ids=["keys", "range"])
def test_a_target_that_never_responds_to_work_without_an_event_raises_the_alarm_too(
    work: KeyWork | RangeWork, stall: Callable[..., Stall], simulation: Simulation, monitoring: Monitoring
) -> None:
    silent = stall(SILENCE_S)
    simulation.send(work.to_json())
    silent.begin()
    assert not simulation.deliver()
    noticed_s, is_on = monitoring.changes("retries", simulation.lines, HOUR_S)[0]
    assert is_on
    assert noticed_s <= NOTICED_S
    assert monitoring.changes("lag", simulation.lines, HOUR_S) == []


def test_a_large_object_raises_the_alarm_on_lag_only(
    simulation: Simulation, monitoring: Monitoring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parts are progress, so nothing fails. It is late after max_lag_s, which is before its end."""
    rig, clock = simulation.rig, simulation.clock
    begun, may_end = threading.Semaphore(0), threading.Semaphore(0)

    def part(exchange: Exchange) -> None:
        begun.release()
        assert may_end.acquire(timeout=PATIENCE_S)
        exchange.forward()

    def wait_for_a_part(futures: Iterable[Future[Any]], timeout: float) -> Any:
        """Let the next part take a minute."""
        while (waited := wait(futures, timeout=0.01)).not_done:
            if begun.acquire(blocking=False):
                clock.now += 60
                may_end.release()
                break
        return waited

    monkeypatch.setattr(lambda_handler, "THREADS", 1)  # one part after the other
    monkeypatch.setattr(waiting, "wait", wait_for_a_part)
    rig.put("key", bytes(200 * MIB))
    rig.target_proxy.when(part, "PUT", query="partNumber", times=inf)
    simulation.send(change_at(START - 1700, "key"))
    assert simulation.deliver()
    *waits, (ended_at, end) = simulation.lines
    ended_s = ended_at - START
    assert end["action"] == "copy"
    assert [(line["action"], line["idle_s"]) for _, line in waits] == [("waiting", 60)] * int(ended_s // 60)
    assert monitoring.changes("retries", simulation.lines, 6 * HOUR_S) == []
    late_s, is_on = monitoring.changes("lag", simulation.lines, 6 * HOUR_S)[0]
    assert is_on
    assert late_s < ended_s


def test_both_alarms_end_after_the_outage(simulation: Simulation, monitoring: Monitoring) -> None:
    simulation.rig.target_proxy.hang_up()
    simulation.send(change_at(START, "key"))
    simulation.deliver_until(3 * HOUR_S)
    simulation.rig.target_proxy.listen()
    assert simulation.deliver()
    for alarm in ("retries", "lag"):
        states = [is_on for _, is_on in monitoring.changes(alarm, simulation.lines, 5 * HOUR_S)]
        assert states == [True, False]


@pytest.mark.parametrize("work", [KeyWork(("key",)), RangeWork()], ids=["keys", "range"])
def test_messages_without_an_event_raise_the_alarm_too(
    work: KeyWork | RangeWork, simulation: Simulation, monitoring: Monitoring
) -> None:
    simulation.rig.target_proxy.when(refuse(403, "InvalidAccessKeyId"), times=inf)
    simulation.send(work.to_json())
    simulation.deliver_until(3 * HOUR_S)
    ((noticed_s, is_on),) = monitoring.changes("retries", simulation.lines, 3 * HOUR_S)
    assert is_on
    assert noticed_s <= NOTICED_S
    assert monitoring.changes("lag", simulation.lines, 3 * HOUR_S) == []


def test_a_healthy_mirror_raises_no_alarm(simulation: Simulation, monitoring: Monitoring) -> None:
    """Some requests fail, and a key needs a second delivery. Then nothing changes for hours."""
    rig = simulation.rig
    rig.target_proxy.when(refuse(503, "SlowDown"), times=2)
    simulation.send(change_at(START, "key"))
    assert simulation.deliver()
    rig.put("key", b"another body")
    rig.target_proxy.when(refuse(500, "InternalError"), "PUT", times=ATTEMPTS)
    simulation.send(change_at(simulation.clock.now, "key"))
    assert not simulation.deliver()
    assert simulation.deliver()
    rig.source.delete_object(Bucket="the-source", Key="key")
    simulation.send(change_at(simulation.clock.now, "key"))
    assert simulation.deliver()
    assert [line["action"] for _, line in simulation.lines] == ["copy", "retry", "update", "delete"]
    for alarm in ("retries", "lag"):
        assert monitoring.changes(alarm, simulation.lines, 6 * HOUR_S) == []


def test_a_short_failure_during_a_burst_raises_no_alarm(simulation: Simulation, monitoring: Monitoring) -> None:
    """A change that waited ten minutes in a long queue may fail once."""
    simulation.rig.target_proxy.when(refuse(500, "InternalError"), "PUT", times=ATTEMPTS)
    simulation.send(change_at(START - 600, "key"))
    assert not simulation.deliver()
    assert simulation.deliver()
    lags = list(monitoring.filters["SyncLag"].values(line for _, line in simulation.lines))
    assert len(lags) == 2
    assert min(lags) >= 600_000
    for alarm in ("retries", "lag"):
        assert monitoring.changes(alarm, simulation.lines, 6 * HOUR_S) == []


def test_a_late_change_raises_the_alarm_on_lag(simulation: Simulation, monitoring: Monitoring) -> None:
    simulation.send(change_at(START - 1801, "key"))
    assert simulation.deliver()
    assert [is_on for _, is_on in monitoring.changes("lag", simulation.lines, HOUR_S)] == [True, False]
    assert monitoring.changes("retries", simulation.lines, HOUR_S) == []


def test_a_late_event_of_an_equal_key_raises_no_alarm(simulation: Simulation, monitoring: Monitoring) -> None:
    """The mirror had the change in time: another event of the key, or a sweep, brought it."""
    simulation.send(change_at(START, "key"))
    assert simulation.deliver()
    simulation.send(change_at(START - 1801, "key"))
    assert simulation.deliver()
    assert [line["action"] for _, line in simulation.lines] == ["copy", "unchanged"]
    assert monitoring.changes("lag", simulation.lines, HOUR_S) == []
    assert lag_of([log_line(line) for _, line in simulation.lines]) == Lag(1, 0, 0, 0)


def test_status_and_alarm_know_the_lag_of_a_copy_by_several_workers(monitoring: Monitoring) -> None:
    """Only the worker that completes the upload knows when the mirror had the change."""
    copied = {"action": "complete", "key": "key", "bytes": 7, "lag_ms": 9000}
    checked = {"action": "unchanged", "key": "key", "bytes": 0, "lag_ms": None}
    assert list(monitoring.filters["SyncLag"].values([copied, checked])) == [9000]
    assert lag_of([log_line(copied), log_line(checked)]) == Lag(1, 9, 9, 9)


def log_line(fields: Mapping[str, Any]) -> LogLine:
    return LogLine(START, "group", fields, json.dumps(fields))


def test_dead_letters_count_as_no_lag(simulation: Simulation, monitoring: Monitoring) -> None:
    """The error names the object, so it is permanent at once. A lone denial comes back."""
    simulation.rig.target_proxy.when(refuse(400, "EntityTooLarge"), "PUT", times=inf)
    simulation.send(change_at(START - 1801, "key"))
    assert simulation.deliver()
    assert [line["action"] for _, line in simulation.lines] == ["dead-letter"]
    assert list(monitoring.filters["SyncLag"].values(line for _, line in simulation.lines)) == []


def test_the_metrics_count_what_the_log_says(simulation: Simulation, monitoring: Monitoring) -> None:
    simulation.rig.target.put_object(Bucket=TARGET, Key="gone", Body=b"1")
    simulation.rig.put("key", b"12345")
    simulation.send(change_at(START, "key", "gone"))
    assert simulation.deliver()
    lines = [line for _, line in simulation.lines]
    lines += [{"action": action, "bytes": 7} for action in ("held", "retry", "dead-letter", "complete", "unchanged")]
    sums = {name: sum(read.values(lines)) for name, read in monitoring.filters.items()}
    assert {name: sums[name] for name in ("ObjectsSynced", "BytesSynced", "ObjectsDeleted")} == {
        "ObjectsSynced": 2,
        "BytesSynced": 12,
        "ObjectsDeleted": 1,
    }
    assert [sums[name] for name in ("DeletionsHeld", "Retries", "DeadLetters")] == [1, 1, 1]


@pytest.fixture
def service_lines(capsys: pytest.CaptureFixture[str]) -> Callable[[float], list[tuple[float, Any]]]:
    """Return a function that fails the circuit breaker of a service for some time, and returns the log."""
    clock = FakeClock(START)
    breaker = CircuitBreaker(
        first_s=ServiceOptions.pause_first_s, max_s=ServiceOptions.pause_max_s, log=True, clock=clock
    )

    def fail(duration_s: float) -> list[tuple[float, Any]]:
        log_json("INFO")
        lines = []
        while clock.now < START + duration_s:
            breaker.record_failure("InvalidAccessKeyId")
            lines.append((clock.now, json.loads(capsys.readouterr().out)))
            clock.now += breaker.retry_in_s()
        breaker.record_success()
        return lines

    return fail


def test_a_service_that_pauses_raises_the_alarm_within_five_minutes_and_keeps_it(
    service_lines: Callable[[float], list[tuple[float, Any]]], monitoring: Monitoring
) -> None:
    """A service receives one message at a time as a trial, so each message may fail once only."""
    ((noticed_s, is_on),) = monitoring.changes("retries", service_lines(6 * HOUR_S), 6 * HOUR_S)
    assert is_on
    assert noticed_s <= NOTICED_S


def test_a_service_that_pauses_for_half_a_minute_raises_no_alarm(
    service_lines: Callable[[float], list[tuple[float, Any]]], monitoring: Monitoring
) -> None:
    assert monitoring.changes("retries", service_lines(30), HOUR_S) == []


def test_the_window_of_the_alarms_is_longer_than_the_delay_of_any_retry(monitoring: Monitoring) -> None:
    """Otherwise an alarm ends and starts again between two lines of an outage."""
    for alarm in ("retries", "lag"):
        _, evaluated = monitoring.alarms[alarm]
        window_s = evaluated.period_s * evaluated.evaluation_periods
        assert window_s >= dispositions.REDELIVERY.delay_s(100, lambda: 1.0) + 900, "and than an invocation takes"
