"""Make the messages of a queue older, so that ten days of a pause take no time.

SQS has no such request. It moves the time at which a message was sent, from which the age and the retention count.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from ministack.services import sqs  # type: ignore[import-not-found]

Scope = MutableMapping[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]

PATH = "/_localcloud/older-messages"


def age_on_request(application: Application) -> Application:
    """Serve `POST /_localcloud/older-messages?queue=NAME&seconds=864000`."""

    async def wrapped(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] != PATH:
            await application(scope, receive, send)
            return
        asked = parse_qs(scope["query_string"].decode())
        _age(asked["queue"][0], float(asked["seconds"][0]))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return wrapped


def _age(name: str, seconds: float) -> None:
    for url, queue in sqs._queues.items():
        if url.rpartition("/")[2] == name:
            for message in queue["messages"]:
                message["sent_at"] -= seconds
                message["sys"]["SentTimestamp"] = str(int(message["sent_at"] * 1000))
