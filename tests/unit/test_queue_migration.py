"""The errors of the requests that observe a migration by the queue's workers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, NoCredentialsError

from s3_syncer.cli.sweeps import queue_migration
from s3_syncer.cli.sweeps.queue_migration import QueueMigrationConfig, QueueMonitor
from s3_syncer.core.errors import Retryable, StoreUnusable


@pytest.mark.parametrize(
    ("failure", "is_usable"),
    [
        (EndpointConnectionError(endpoint_url="sqs"), True),
        (ConnectTimeoutError(endpoint_url="sqs"), True),
        (NoCredentialsError(), False),
    ],
)
def test_queue_that_cannot_be_reached_may_respond_later(failure: Exception, is_usable: bool) -> None:
    """A refused connection once ended the command at once."""

    def fail(**_: Any) -> None:
        raise failure

    sqs: Any = SimpleNamespace(get_queue_attributes=fail)
    with pytest.raises(Retryable) as raised:
        QueueMonitor(QueueMigrationConfig("url"), sqs=sqs, logs=None, began_ms=0).backlog()
    assert isinstance(raised.value, StoreUnusable) != is_usable


@pytest.mark.parametrize(("date", "begins_at"), [("Mon, 30 Nov 2026 02:34:16 GMT", 1796006056), ("", 1796006356)])
def test_the_log_is_read_from_the_time_of_aws(monkeypatch: pytest.MonkeyPatch, date: str, begins_at: int) -> None:
    """The clock of this computer is five minutes ahead, as far as AWS accepts a signature."""
    asked: list[int] = []

    def filter_log_events(*, startTime: int, **_: Any) -> dict[str, Any]:
        asked.append(startTime)
        return {"events": []}

    monkeypatch.setattr(queue_migration, "time", SimpleNamespace(time=lambda: 1796006356.0))
    headers = {"date": date} if date else {}
    sqs: Any = SimpleNamespace(get_queue_attributes=lambda **_: {"ResponseMetadata": {"HTTPHeaders": headers}})
    config = QueueMigrationConfig("url", log_groups=("log",))
    monitor = QueueMonitor(config, sqs=sqs, logs=SimpleNamespace(filter_log_events=filter_log_events))
    monitor.begin()
    list(monitor.lines())
    assert asked == [begins_at * 1000]
