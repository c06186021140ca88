"""Each task of S3 Batch Operations has a result, and no result is better than the truth."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote_plus

import pytest

from s3_syncer.core.deadline import Deadline
from s3_syncer.core.events import decode
from s3_syncer.core.fence import LATE_WRITE_S
from s3_syncer.core.upload_history import UploadHistory
from s3_syncer.core.work_items import KeyWork, RangeWork, Work
from s3_syncer.queue.dispositions import Ack, DeadLetter, Disposition, Message, Retry
from s3_syncer.queue.s3_batch import RESULT_MAX, UNCHECKED, UNSENT, BatchOperationsTasks, Response
from s3_syncer.queue.worker import Worker

EVENTS = Path(__file__).parent.parent / "events"
BUCKET = "photos-source"


class FakeWorker:
    """A worker that returns a disposition by key, and notes the keys."""

    def __init__(self, dispositions: Mapping[str, Disposition]) -> None:
        self.keys: list[str] = []
        self._dispositions = dispositions

    def run(self, messages: Iterable[Message], deadline: Deadline, *, grace_s: float) -> dict[str, Disposition]:
        dispositions: dict[str, Disposition] = {}
        for message in messages:
            work = decode(message.body, BUCKET)
            assert isinstance(work, KeyWork)
            (key,) = work.keys
            self.keys.append(key)
            dispositions[message.id] = self._dispositions.get(key, Ack())
        return dispositions


class RecordingQueue:
    """A queue that notes the work, and accepts it or not."""

    def __init__(self, *, accepts: bool = True) -> None:
        self.sent: list[Work] = []
        self._accepts = accepts

    def send(self, works: Iterable[Work]) -> bool:
        self.sent += works
        return self._accepts or not self.sent


def run(event: Any, worker: FakeWorker, queue: RecordingQueue | None = None, prefix: str = "") -> Response:
    job = BatchOperationsTasks(cast(Worker, worker), cast(Any, queue or RecordingQueue()), bucket=BUCKET, prefix=prefix)
    return job.run(event, Deadline(), grace_s=1)


def event(*keys: str, bucket: str = BUCKET) -> dict[str, Any]:
    tasks = [{"taskId": f"task {key}", "s3Key": quote_plus(key), "s3Bucket": bucket} for key in keys]
    return {"invocationSchemaVersion": "2.0", "invocationId": "7", "job": {"id": "job"}, "tasks": tasks}


def results(response: Response) -> dict[str, tuple[str, str]]:
    return {each["taskId"]: (each["resultCode"], each["resultString"]) for each in response["results"]}


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_the_response_has_the_schema_version_of_the_event(version: str) -> None:
    batch_event = json.loads((EVENTS / f"batch-operations-{version}.json").read_text(encoding="utf-8"))
    assert run(batch_event, FakeWorker({})) == {
        "invocationSchemaVersion": version,
        "treatMissingKeysAs": "TemporaryFailure",
        "invocationId": batch_event["invocationId"],
        "results": [{"taskId": batch_event["tasks"][0]["taskId"], "resultCode": "Succeeded", "resultString": "equal"}],
    }


def test_each_task_has_the_result_of_its_own_key() -> None:
    worker = FakeWorker(
        {"later": Retry(7, "the store asks to slow down"), "never": DeadLetter("access denied", "never")}
    )
    assert results(run(event("good", "later", "never"), worker)) == {
        "task good": ("Succeeded", "equal"),
        "task later": ("TemporaryFailure", "the store asks to slow down"),
        "task never": ("PermanentFailure", "access denied"),
    }


def test_a_task_of_another_bucket_is_a_permanent_failure() -> None:
    worker = FakeWorker({})
    both = event("good")
    both["tasks"] += event("elsewhere", bucket="other")["tasks"]
    given = results(run(both, worker))
    assert given["task good"] == ("Succeeded", "equal")
    assert given["task elsewhere"] == (
        "PermanentFailure",
        "the event is for bucket 'other'; this instance syncs 'photos-source'",
    )
    assert worker.keys == ["good"]


@pytest.mark.parametrize("key", ["2025/a", "2026", "2026/"])
def test_a_key_that_is_not_below_the_prefix_is_a_permanent_failure(key: str) -> None:
    """An event for such a key is ignored. The report of a job must not call the key mirrored."""
    worker = FakeWorker({})
    code, text = results(run(event(key), worker, prefix="2026/"))[f"task {key}"]
    assert (code, worker.keys) == ("PermanentFailure", [])
    assert "is not below the prefix '2026/'" in text


def test_the_remaining_work_of_a_task_is_sent_to_the_queue() -> None:
    left = (RangeWork("a"), RangeWork("b"))
    queue = RecordingQueue()
    given = results(run(event("huge"), FakeWorker({"huge": Ack(left)}), queue))
    assert given == {"task huge": ("Succeeded", "sent to the queue as 2 messages")}
    assert queue.sent == list(left)


def test_a_task_fails_when_its_remaining_work_cannot_be_sent() -> None:
    worker = FakeWorker({"huge": Ack((RangeWork("a"),))})
    given = results(run(event("huge"), worker, RecordingQueue(accepts=False)))
    assert given["task huge"][0] == "TemporaryFailure"


def test_a_long_result_string_is_cut() -> None:
    given = results(run(event("key"), FakeWorker({"key": DeadLetter("x" * 5000)})))
    assert given["task key"] == ("PermanentFailure", "x" * RESULT_MAX)


def test_a_task_with_an_uncertain_key_sends_a_later_check() -> None:
    """The job repeats the task soon, which may find the key equal before the late write arrives."""
    queue = RecordingQueue()
    response = run(event("a", "b"), FakeWorker({"a": Retry(LATE_WRITE_S, "broke", is_uncertain=True)}), queue)
    assert [result["resultCode"] for result in response["results"]] == ["TemporaryFailure", "Succeeded"]
    assert queue.sent == [KeyWork(("a",), delay_s=LATE_WRITE_S, late_checks=1, hops=1)]


@pytest.mark.parametrize(
    "disposition",
    [Retry(LATE_WRITE_S, "broke", is_uncertain=True), Ack((KeyWork(("a",), late_checks=1),))],
    ids=["failed", "done by another attempt"],
)
def test_a_task_with_an_uncertain_key_fails_for_good_if_its_check_cannot_be_sent(disposition: Disposition) -> None:
    given = results(run(event("a"), FakeWorker({"a": disposition}), RecordingQueue(accepts=False)))
    assert given == {"task a": ("PermanentFailure", UNCHECKED)}


def test_a_task_whose_recheck_of_an_upload_cannot_be_sent_may_be_repeated() -> None:
    """The longest delay of such a recheck is that of a late check, and it once made the failure permanent."""
    recheck = Ack((KeyWork(("a",), delay_s=LATE_WRITE_S, uploads=UploadHistory(1)),))
    given = results(run(event("a"), FakeWorker({"a": recheck}), RecordingQueue(accepts=False)))
    assert given == {"task a": ("TemporaryFailure", UNSENT)}
