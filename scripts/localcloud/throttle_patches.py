"""Throttle functions like Lambda.

MiniStack rejects an invocation without free concurrency. It counts the rejection as an invocation too, and twice for a
request of Invoke. Its event source mappings receive no more batches than the reserved concurrency of the function, and
give up after one attempt. Those of Lambda do not know the reserved concurrency, and repeat the invocation of a batch
for as long as its messages are hidden.

https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
https://repost.aws/knowledge-center/lambda-sqs-scaling
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from ministack.services import cloudwatch, lambda_svc  # type: ignore[import-not-found]

#: Seconds before the second attempt, doubled each time up to the longest pause. AWS names none.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0

#: The time at which the first message of a batch is visible again: 0 for an invocation without a batch.
_hidden_until: ContextVar[float] = ContextVar("hidden_until", default=0.0)


def measure_concurrency(acquire: Callable[..., Any]) -> Callable[..., Any]:
    """Store the number of concurrent invocations, or count one for which no concurrency is free."""

    def wrapped(function: Any, config: dict[str, Any]) -> Any:
        slot, limit = acquire(function, config)
        name, value = ("Throttles", 1) if slot is None else ("ConcurrentExecutions", lambda_svc._inflight[slot])
        cloudwatch.record_metric("AWS/Lambda", name, value, "Count", {"FunctionName": config["FunctionName"]})
        return slot, limit

    return wrapped


def ignore_reserved_concurrency(allowed: Callable[..., int]) -> Callable[..., int]:
    """Let a mapping receive as many batches as without a reserved concurrency of the function."""

    def wrapped(mapping: Any, _function: Any, _config: Any, queue: Any) -> int:
        return allowed(mapping, {}, {}, queue)

    return wrapped


def note_end_of_batch(run: Callable[..., None]) -> Callable[..., None]:
    """Note for how long the messages of a batch are hidden."""

    def wrapped(mapping: Any, function: Any, event: Any, batch: list[dict[str, Any]], *rest: Any) -> None:
        _hidden_until.set(min(message["visible_at"] for message in batch))
        run(mapping, function, event, batch, *rest)

    return wrapped


def repeat_throttled_batches(execute: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Repeat the throttled invocation of a batch while its messages are hidden."""

    def wrapped(function: Any, event: Any) -> dict[str, Any]:
        result, pause_s = execute(function, event), _FIRST_PAUSE_S
        while result.get("throttle") and time.time() + pause_s < _hidden_until.get():
            time.sleep(pause_s)
            result, pause_s = execute(function, event), min(2 * pause_s, _LONGEST_PAUSE_S)
        return result

    return wrapped
