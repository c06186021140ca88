"""Pause the applied stack, change the source, and continue: nothing is lost."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from tests.infra.conftest import Applied
from tests.infra.waiting import eventually

KEYS = ("paused/new", "paused/changed")


def apply(applied: Applied, *, paused: bool) -> None:
    """Apply another value of the input `paused`."""
    environment = {**applied.tool.environment, "TF_VAR_paused": json.dumps(paused)}
    replace(applied, tool=replace(applied.tool, environment=environment)).terraform("apply", "-auto-approve")


def mappings(applied: Applied) -> set[str]:
    found = applied.stack.client("lambda").list_event_source_mappings(FunctionName=applied.stack.function_name)
    return {mapping["State"] for mapping in found["EventSourceMappings"]}


def messages(applied: Applied) -> int:
    names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = applied.stack.sqs().get_queue_attributes(QueueUrl=applied.stack.queue_url, AttributeNames=names)
    return sum(map(int, found["Attributes"].values()))


def body(applied: Applied, key: str) -> bytes | None:
    target = applied.stack.target
    client = target.s3()
    try:
        return client.get_object(Bucket=target.bucket, Key=key)["Body"].read()
    except client.exceptions.NoSuchKey:
        return None


def test_a_pause_keeps_every_change_for_its_end(applied: Applied) -> None:
    source, bucket = applied.stack.s3(), applied.stack.source_bucket
    source.put_object(Bucket=bucket, Key="paused/changed", Body=b"1")
    eventually(lambda: body(applied, "paused/changed") == b"1")
    eventually(lambda: messages(applied) == 0)

    apply(applied, paused=True)
    eventually(lambda: mappings(applied) == {"Disabled"})
    source.put_object(Bucket=bucket, Key="paused/changed", Body=b"2")
    source.put_object(Bucket=bucket, Key="paused/new", Body=b"2")
    eventually(lambda: messages(applied) == 2)
    assert (body(applied, "paused/changed"), body(applied, "paused/new")) == (b"1", None)

    apply(applied, paused=False)
    for key in KEYS:
        eventually(lambda key=key: body(applied, key) == b"2")
    eventually(lambda: messages(applied) == 0)
