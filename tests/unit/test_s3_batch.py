"""Tasks of S3 Batch Operations: each has a result, and none says more than is true."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote_plus

import pytest

from s3_syncer.core.deadline import Deadline
from s3_syncer.core.events import decode
from s3_syncer.core.work_items import KeyWork, RangeWork, Work
from s3_syncer.queue.s3_batch import RESULT_MAX, BatchOperationsJob, Response
from s3_syncer.queue.worker import Ack, DeadLetter, Disposition, Message, Retry, Worker

EVENTS = Path(__file__).parent.parent / "events"
BUCKET = "photos-source"


class FakeWorker:
    """Gives a verdict by key, and notes the keys it was asked for."""

    def __init__(self, dispositions: Mapping[str, Disposition]) -> None:
        self.asked: list[str] = []
        self._verdicts = dispositions

    def run(self, messages: Iterable[Message], deadline: Deadline, *, grace_s: float) -> dict[str, Disposition]:
        dispositions: dict[str, Disposition] = {}
        for message in messages:
            work = decode(message.body, BUCKET)
            assert isinstance(work, KeyWork)
            (key,) = work.keys
            self.asked.append(key)
            dispositions[message.id] = self._verdicts.get(key, Ack())
        return dispositions


class FakeQueue:
    def __init__(self, *, takes: bool = True) -> None:
        self.sent: list[Work] = []
        self._takes = takes

    def send(self, works: Iterable[Work]) -> bool:
        self.sent += works
        return self._takes or not self.sent


def run(event: Any, worker: FakeWorker, queue: FakeQueue | None = None, prefix: str = "") -> Response:
    job = BatchOperationsJob(cast(Worker, worker), cast(Any, queue or FakeQueue()), bucket=BUCKET, prefix=prefix)
    return job.run(event, Deadline(), grace_s=1)


def event(*keys: str, bucket: str = BUCKET) -> dict[str, Any]:
    tasks = [{"taskId": f"task {key}", "s3Key": quote_plus(key), "s3Bucket": bucket} for key in keys]
    return {"invocationSchemaVersion": "2.0", "invocationId": "7", "job": {"id": "job"}, "tasks": tasks}


def results(response: Response) -> dict[str, tuple[str, str]]:
    return {each["taskId"]: (each["resultCode"], each["resultString"]) for each in response["results"]}


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_the_answer_is_in_the_schema_of_the_question(version: str) -> None:
    asked = json.loads((EVENTS / f"batch-operations-{version}.json").read_text(encoding="utf-8"))
    assert run(asked, FakeWorker({})) == {
        "invocationSchemaVersion": version,
        "treatMissingKeysAs": "TemporaryFailure",
        "invocationId": asked["invocationId"],
        "results": [{"taskId": asked["tasks"][0]["taskId"], "resultCode": "Succeeded", "resultString": "equal"}],
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


def test_a_task_of_another_bucket_fails_for_good_and_alone() -> None:
    worker = FakeWorker({})
    both = event("good")
    both["tasks"] += event("elsewhere", bucket="other")["tasks"]
    given = results(run(both, worker))
    assert given["task good"] == ("Succeeded", "equal")
    assert given["task elsewhere"] == (
        "PermanentFailure",
        "about the bucket 'other', and this is the syncer of 'photos-source'",
    )
    assert worker.asked == ["good"]


@pytest.mark.parametrize("key", ["2025/a", "2026", "2026/"])
def test_a_key_that_is_not_below_the_prefix_fails_for_good(key: str) -> None:
    """Not ignored as an event is: the job's report would say that it was mirrored."""
    worker = FakeWorker({})
    code, text = results(run(event(key), worker, prefix="2026/"))[f"task {key}"]
    assert (code, worker.asked) == ("PermanentFailure", [])
    assert "is not below the prefix '2026/'" in text


def test_what_is_left_of_a_task_goes_on_the_queue() -> None:
    left = (RangeWork("a"), RangeWork("b"))
    queue = FakeQueue()
    given = results(run(event("huge"), FakeWorker({"huge": Ack(left)}), queue))
    assert given == {"task huge": ("Succeeded", "sent to the queue as 2 messages")}
    assert queue.sent == list(left)


def test_a_task_is_not_done_when_what_is_left_of_it_is_nowhere() -> None:
    worker = FakeWorker({"huge": Ack((RangeWork("a"),))})
    given = results(run(event("huge"), worker, FakeQueue(takes=False)))
    assert given["task huge"][0] == "TemporaryFailure"


def test_a_long_reason_is_cut() -> None:
    given = results(run(event("key"), FakeWorker({"key": DeadLetter("x" * 5000)})))
    assert given["task key"] == ("PermanentFailure", "x" * RESULT_MAX)
