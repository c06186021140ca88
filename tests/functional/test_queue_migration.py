"""`s3-syncer migrate --workers queue`: its message, its wait for the workers, and its result."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, cast

import pytest
from tests.functional.command import Ended, run, started
from tests.functional.harness import TARGET, Rig
from tests.functional.proxy import refuse

from s3_syncer.cli.sweeps import queue_migration
from s3_syncer.cli.sweeps.queue_migration import LOG_DELAY_MS, MAX_PAGES, QueueMigrationConfig, QueueMonitor
from s3_syncer.core.errors import Retryable, StoreUnusable, SyncError
from s3_syncer.stores.clients import queue_client

LOG_GROUP = "/aws/lambda/s3-syncer"

MIGRATE = ("migrate", "--workers", "queue", "--idle-timeout", "2")


@pytest.fixture
def log(rig: Rig) -> Any:
    """Return a CloudWatch Logs client, with the log group of the workers."""
    client = rig.aws.client("logs")
    client.create_log_group(logGroupName=LOG_GROUP)
    client.create_log_stream(logGroupName=LOG_GROUP, logStreamName="one")
    return client


def run_with_worker(rig: Rig, *arguments: str, log: Any = None) -> Ended:
    """Run the command as a child process, and work off the queue here until the command ends."""

    def tell(lines: Sequence[Mapping[str, Any]]) -> None:
        now = round(time.time() * 1000)
        messages = ["START RequestId", *map(json.dumps, lines)]
        events = [{"timestamp": now, "message": message} for message in messages]
        log.put_log_events(logGroupName=LOG_GROUP, logStreamName="one", logEvents=events)

    with started(*MIGRATE, *arguments) as command:
        while command.running:
            messages = rig.receive(10, wait_s=0)
            if not messages:
                time.sleep(0.1)
                continue
            rig.invoke(messages, logged=tell if log is not None else lambda lines: None)
        return command.ended()


# -- to the end --------------------------------------------------------------------------------------------------------


def test_workers_copy_and_both_buckets_are_compared(rig: Rig) -> None:
    for number in range(20):
        rig.put(f"key {number:02}", b"some bytes")
    rig.target.put_object(Bucket=TARGET, Key="only in the target")
    ended = run_with_worker(rig)
    assert (ended.code, ended.out) == (0, "")
    assert "The workers are done" in ended.err
    assert "0 new dead letters" in ended.err
    assert "equal: 21 keys compared, 0 failed" in ended.err
    assert "note: keys that only the target has: 1." in ended.err
    rig.target.delete_object(Bucket=TARGET, Key="only in the target")
    assert rig.differences() == []


def test_workers_apply_the_filters_of_the_command(rig: Rig) -> None:
    for key in ("a.jpg", "b.tmp", "c.txt"):
        rig.put(key, b"some bytes")
    ended = run_with_worker(rig, "--include", "*.{jpg,tmp}", "--exclude", "*.tmp", "--max-size", "10B")
    assert ended.code == 0
    assert rig.target_keys() == ["a.jpg", "b.tmp"]
    ended = run_with_worker(rig, "--min-size", "11B")
    assert (ended.code, rig.target_keys()) == (0, ["a.jpg", "b.tmp"])


@pytest.mark.parametrize("full", [False, True])
def test_only_full_mends_a_lost_tagging_event(rig: Rig, full: bool) -> None:
    rig.put("key")
    assert run("migrate").code == 0
    rig.tag("key", {"colour": "red"})
    ended = run_with_worker(rig, *(["--full"] if full else []))
    assert ended.code == 0
    assert bool(rig.differences()) != full


def test_workers_delete_up_to_the_limit(rig: Rig) -> None:
    for number in range(5):
        rig.target.put_object(Bucket=TARGET, Key=f"key {number}", Body=b"")
    ended = run_with_worker(rig, "--delete", "--max-delete", "3")
    assert ended.code == 1
    assert len(rig.target_keys()) == len(ended.named) == 2
    assert set(ended.named.values()) == {"extra: absent from the source"}
    assert run_with_worker(rig, "--delete").code == 0
    assert rig.target_keys() == []


def test_dead_letter_is_counted_listed_and_stops_nothing(rig: Rig, log: Any) -> None:
    for key in ("good", "poisoned"):
        rig.put(key, b"some bytes")
    rig.target_proxy.when(refuse(400, "InvalidArgument"), "PUT", key="poisoned", times=inf)
    ended = run_with_worker(rig, "--log-group", LOG_GROUP, log=log)
    assert ended.code == 1
    dead, missing = ended.out.splitlines()
    assert dead.startswith("dead-letter\tpoisoned\tput_object in the-target: InvalidArgument: injected")
    assert missing == "missing\tpoisoned\tabsent from the target"
    assert "2 keys compared, 1 copied, 0 deleted, 1 new dead letter, 10 B sent" in ended.err
    assert "note" not in ended.err
    assert rig.target_keys() == ["good"]


def test_json_log_has_every_message_as_a_line(rig: Rig, log: Any) -> None:
    rig.put("key", b"some bytes")
    ended = run_with_worker(rig, "--log-group", LOG_GROUP, "--log-format", "json", log=log)
    lines = [json.loads(line) for line in ended.out.splitlines()]
    assert (ended.code, ended.err) == (0, "")
    assert any(line["message"].startswith("The workers are done: 1 key compared, 1 copied") for line in lines)
    assert (lines[-1]["message"], lines[-1]["result"]) == ("summary", "equal")


# -- not to the end ----------------------------------------------------------------------------------------------------


def test_signal_stops_the_command_but_not_the_workers(rig: Rig) -> None:
    rig.put("key", b"some bytes")
    with started(*MIGRATE, "--delete") as command:
        command.wait_until(lambda: not rig.queue_is_empty())
        time.sleep(0.5)
        command.send(signal.SIGINT)
        ended = command.ended()
    assert (ended.code, ended.out) == (130, "")
    assert "stopped: The workers continue with the messages on the queue. `s3-syncer check` compares" in ended.err
    (message,) = rig.receive(1)
    asked = {"work": "range", "after": "", "until": None, "delete": True, "max_delete": None, "full": False}
    assert json.loads(message["Body"]) == {"s3-syncer": asked}
    rig.invoke([message])
    assert rig.differences() == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--queue-url", "http://127.0.0.1:1/nowhere/queue"), "cannot use the queue or the log group"),
        (("--log-group", "missing"), "cannot use the queue or the log group"),
        (("--target-bucket", "missing"), "NoSuchBucket"),
    ],
)
def test_unusable_queue_log_or_bucket_fails_before_the_message_is_sent(
    rig: Rig, arguments: tuple[str, ...], says: str
) -> None:
    ended = run(*MIGRATE, *arguments)
    assert (ended.code, ended.out) == (3, "")
    assert says in ended.err
    assert len(ended.err.splitlines()) == 1
    assert rig.queue_is_empty()


# -- the log -----------------------------------------------------------------------------------------------------------


class Log:
    """A CloudWatch Logs client with these events, a few on each page. It records the requests."""

    def __init__(self, *events: tuple[str, int, str], per_page: int = 2) -> None:
        self.events = list(events)
        self.asked: list[dict[str, Any]] = []
        self._per_page = per_page

    def filter_log_events(self, **request: Any) -> dict[str, Any]:
        self.asked.append(request)
        found = [event for event in self.events if event[1] >= request["startTime"]]
        first = int(request.get("nextToken", 0))
        last = first + self._per_page
        page = [{"eventId": id, "timestamp": at, "message": text} for id, at, text in found[first:last]]
        return {"events": page, **({"nextToken": str(last)} if last < len(found) else {})}


def reader(log: Log) -> QueueMonitor:
    config = QueueMigrationConfig("https://sqs.example.com/1/queue", log_groups=("group",))
    return QueueMonitor(config, sqs=cast(Any, None), logs=log, began_ms=1000)


def test_line_that_appears_late_is_read_once() -> None:
    log = Log(*((str(n), 1000 + n, json.dumps({"n": n})) for n in range(5)))
    reading = reader(log)
    assert [line["n"] for line in reading.lines()] == [0, 1, 2, 3, 4]
    assert list(reading.lines()) == []
    log.events += [("late", 1001, '{"n": "late"}'), ("new", 1002 + LOG_DELAY_MS, '{"n": "new"}')]
    log.events.sort(key=lambda event: event[1])
    assert [line["n"] for line in reading.lines()] == ["late", "new"]
    log.asked.clear()
    assert list(reading.lines()) == []
    assert log.asked[0]["startTime"] == 1002, "lines older than the delay must not be requested again"


def test_one_check_reads_a_limited_number_of_pages() -> None:
    count = 2 * MAX_PAGES + 3
    log = Log(*((str(n), 1000, json.dumps({"n": n})) for n in range(count)))
    reading = reader(log)
    first = [line["n"] for line in reading.lines()]
    assert len(log.asked) == MAX_PAGES
    assert first + [line["n"] for line in reading.lines()] == list(range(count))


def test_lines_of_other_programs_are_skipped() -> None:
    log = Log(("1", 1000, "START RequestId"), ("2", 1000, '"text"'), ("3", 1000, '{"action": "range"}'))
    assert list(reader(log).lines()) == [{"action": "range"}]


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (503, "SlowDown", Retryable),
        (400, "ThrottlingException", Retryable),
        (500, "InternalError", Retryable),
        (403, "AccessDenied", StoreUnusable),
        (403, "InvalidAccessKeyId", StoreUnusable),
        (400, "AWS.SimpleQueueService.NonExistentQueue", StoreUnusable),
    ],
)
def test_only_a_failure_that_may_pass_is_worth_a_later_request(
    rig: Rig, status: int, code: str, kind: type[SyncError]
) -> None:
    rig.source_proxy.when(refuse(status, code), operation="GetQueueAttributes", times=inf)
    config = QueueMigrationConfig(rig.queue_url)
    monitor = QueueMonitor(config, sqs=queue_client(1), logs=None, began_ms=0)
    with pytest.raises(SyncError) as caught:
        monitor.backlog()
    assert type(caught.value) is kind


def test_missing_region_is_a_clear_error(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(StoreUnusable, match="You must specify a region"):
        queue_migration.connect(QueueMigrationConfig(rig.queue_url))
