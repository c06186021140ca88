"""Process events as the Lambda function or the service does, and print their time and CPU.

    python -m benchmark.lambda_bench_child EVENTS function|service CONCURRENCY

`lambda_bench.py` starts it with the environment of the function, and with the measured code first on PYTHONPATH.
Between the measured parts it changes the source, and after each part it compares both buckets.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

began = time.perf_counter(), time.process_time()
from s3_syncer import lambda_handler  # noqa: E402 - timed

IMPORT = {"wall_s": time.perf_counter() - began[0], "cpu_s": time.process_time() - began[1]}

import boto3  # noqa: E402 - after what is timed
from botocore.config import Config  # noqa: E402

from benchmark.objects import KIB  # noqa: E402
from s3_syncer.core.deadline import Deadline  # noqa: E402
from s3_syncer.logs import log_json  # noqa: E402
from s3_syncer.queue.dispositions import Ack, Disposition, Message  # noqa: E402
from s3_syncer.settings import function_settings  # noqa: E402
from s3_syncer.wiring import build_queue_worker  # noqa: E402

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

SIZE = 10 * KIB
THREADS = 8


class Context:
    """The Lambda context, with the longest possible time left."""

    def get_remaining_time_in_millis(self) -> int:
        return 900_000


class Sides:
    """Both buckets, through S3 clients that are independent of the measured code."""

    def __init__(self) -> None:
        self._bucket = os.environ["SOURCE_BUCKET"], os.environ["TARGET_BUCKET"]
        self.source, self.target = (
            self._client(endpoint) for endpoint in (os.environ["AWS_ENDPOINT_URL_S3"], os.environ["TARGET_ENDPOINT"])
        )

    def _client(self, endpoint: str) -> S3Client:
        config = Config(request_checksum_calculation="when_required", max_pool_connections=THREADS)
        made: S3Client = boto3.client("s3", endpoint_url=endpoint, config=config)
        return made

    @property
    def by_name(self) -> dict[str, S3Client]:
        return {"source": self.source, "target": self.target}

    @property
    def source_bucket(self) -> str:
        return self._bucket[0]

    def put(self, key: str, generation: bytes) -> None:
        body = (generation + key.encode()).ljust(SIZE, b".")
        self.source.put_object(
            Bucket=self._bucket[0], Key=key, Body=body, ContentType="text/plain", Metadata={"a": "b"}
        )

    def tag(self, key: str) -> None:
        self.source.put_object_tagging(
            Bucket=self._bucket[0], Key=key, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]}
        )

    def delete(self, key: str) -> None:
        self.source.delete_object(Bucket=self._bucket[0], Key=key)

    def equal(self) -> int:
        """Return the number of objects on each side. Raises AssertionError if the sides differ."""
        here, there = (
            self._content(client, bucket)
            for client, bucket in zip((self.source, self.target), self._bucket, strict=True)
        )
        assert here == there, f"{len(here.items() ^ there.items())} objects are not equal"
        return len(here)

    def _content(self, client: S3Client, bucket: str) -> dict[str, str]:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return {entry["Key"]: entry["ETag"].strip('"') for page in pages for entry in page.get("Contents", [])}


def record(key: str, bucket: str) -> dict[str, Any]:
    """Return an SQS message in the form that Lambda receives, with an S3 event about one key."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    event = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventTime": now,
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": bucket}, "object": {"key": quote_plus(key)}},
    }
    return {
        "messageId": key,
        "receiptHandle": key,
        "body": json.dumps({"Records": [event]}),
        "attributes": {"ApproximateReceiveCount": "1"},
    }


class Function:
    """The Lambda handler, invoked for one batch after the other."""

    def __init__(self, batch: int) -> None:
        self._batch = batch

    def process(self, records: Sequence[dict[str, Any]]) -> None:
        for first in range(0, len(records), self._batch):
            response = lambda_handler.handler({"Records": records[first : first + self._batch]}, Context())
            assert not response.get("batchItemFailures"), response


class Service:
    """The worker of `serve`, with several messages at the same time. The queue's own time is not measured."""

    def __init__(self, concurrency: int) -> None:
        from s3_syncer.crt.factory import crt_transports  # not part of the Lambda package

        settings = function_settings(os.environ)
        log_json(settings.log_level)
        queue_context = build_queue_worker(
            settings, threads=concurrency, range_threads=2, transports=partial(crt_transports, concurrency=2)
        )
        self._worker, self._pool = queue_context.live.worker, ThreadPoolExecutor(concurrency)

    def process(self, records: Sequence[dict[str, Any]]) -> None:
        dispositions = list(self._pool.map(self._one, records))
        assert all(isinstance(disposition, Ack) for disposition in dispositions), dispositions

    def _one(self, record: Mapping[str, Any]) -> Disposition:
        message = Message(record["messageId"], record["body"])
        return self._worker.run([message], Deadline(), grace_s=0.0)[message.id]


DRIVERS: dict[str, Callable[[int], Function | Service]] = {"function": Function, "service": Service}


def main(count: int, driver: str, concurrency: int) -> None:
    sides, keys = Sides(), [f"events/{number:05}" for number in range(count)]
    events = DRIVERS[driver](concurrency)

    def deliver(keys: Sequence[str]) -> dict[str, float]:
        """Process the events and return the seconds of time and of CPU of all threads."""
        records = [record(key, os.environ["SOURCE_BUCKET"]) for key in keys]
        wall, cpu = time.perf_counter(), time.process_time()
        events.process(records)
        return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}

    warm = f"events/{count:05}"
    figures: dict[str, Any] = {"import": IMPORT, "from": lambda_handler.__file__}

    def each(change: Callable[[str], None]) -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(change, keys))

    sides.put(warm, b"first ")
    if os.environ["SYNC_TAGS"] == "true":
        sides.tag(warm)  # a store that is not AWS is known to count tags once it has counted some
    figures["first"] = deliver([warm])
    for name, change, left in (
        ("new", lambda key: sides.put(key, b"one "), count + 1),
        ("again", lambda _: None, count + 1),
        ("overwritten", lambda key: sides.put(key, b"two "), count + 1),
        ("deleted", sides.delete, 1),
    ):
        each(change)
        figures[name] = deliver(keys)
        assert sides.equal() == left, name
    sides.delete(warm)  # the next process starts with the same empty buckets
    deliver([warm])
    assert sides.equal() == 0
    sys.stderr.write(json.dumps(figures))  # standard output has the function's log


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
