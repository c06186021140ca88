"""The interface of an HTTP client that sends many requests at a time without a thread for each. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

from ..transport.protocols import Headers, HttpClient, HttpResponse


class CallbackHttpClient(HttpClient, Protocol):
    """A client for one bucket that also calls back."""

    def send(
        self,
        method: str,
        key: str | None,
        done: Callable[[HttpResponse], None],
        *,
        query: str = "",
        headers: Headers = (),
        body: bytes = b"",
        max_body: float = math.inf,
    ) -> None:
        """Send a request. `done` gets the response, exactly once and whatever happens.

        A response of more than `max_body` bytes is cut off, and counts as none.
        """
