"""The errors of the requests that observe a migration by the queue's workers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, NoCredentialsError

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
