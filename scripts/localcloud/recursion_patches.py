"""Stop recursive loops over SQS like Lambda. MiniStack stops only functions that invoke each other.

A message that a function sends carries the number of invocations before it. Above the limit, Lambda does not invoke the
function, and the message goes to the dead-letter queue of its queue.

https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

from ministack.services import lambda_svc, sqs  # type: ignore[import-not-found]

#: Number of invocations in the chain of the request that is being handled: 0 if no function has sent it.
_depth: ContextVar[int] = ContextVar("depth", default=0)


def note_depth_of_requests(handle: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Read the depth from the header that MiniStack adds to the requests of functions."""

    async def wrapped(method: str, path: str, headers: dict[str, str], *rest: Any) -> Any:
        _depth.set(lambda_svc._inbound_invoke_depth(headers))
        return await handle(method, path, headers, *rest)

    return wrapped


def keep_depth_of_messages(send: Callable[..., Any]) -> Callable[..., Any]:
    """Store the depth with each message that a request sends."""

    def wrapped(data: dict[str, Any], url: str) -> Any:
        response = send(data, url)
        sent = {each["MessageId"] for each in response.get("Successful", [response])}
        for message in sqs._get_q(data.get("QueueUrl", url))["messages"]:
            if message["id"] in sent:
                message["depth"] = _depth.get()
        return response

    return wrapped


def stop_long_chains(run: Callable[..., None]) -> Callable[..., None]:
    """Invoke a function with the depth of its batch, or move the batch to the dead-letter queue."""

    def wrapped(mapping: Any, function: Any, event: Any, batch: list[dict[str, Any]], url: str, *rest: Any) -> None:
        depth = max(message.get("depth", 0) for message in batch) + 1
        if lambda_svc._recursive_loop_drop(mapping["FunctionName"], function, depth):
            _drop(batch, url)
            return
        lambda_svc._invoke_depth.set(depth)
        run(mapping, function, event, batch, url, *rest)

    return wrapped


def _drop(batch: list[dict[str, Any]], url: str) -> None:
    redrive = json.loads(sqs._get_q(url)["attributes"].get("RedrivePolicy") or "{}")
    dead_letters = sqs._queue_by_arn(redrive["deadLetterTargetArn"]) if redrive else None
    if dead_letters is not None:
        dead_letters["messages"] += [{**message, "receipt_handle": None, "visible_at": 0} for message in batch]
    sqs._delete_messages_for_esm(url, {message["receipt_handle"] for message in batch})
