"""Trace the requests of single events in the Lambda function, with distant stores.

    python -m benchmark.event_trace

`lambda_bench.trace` starts it with the environment of the function, and with the measured code first on PYTHONPATH.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from urllib.parse import urlsplit

from benchmark.lambda_bench_child import Function, Sides, record

#: Events of each kind. The connections are open before the first one.
EVENTS = 9


@dataclass(frozen=True)
class Request:
    """A request of a traced event. The times are milliseconds since the event began."""

    side: str
    method: str
    began_ms: float
    ended_ms: float


class Trace:
    """Records the requests of boto3 and of the transport, until their response headers are there."""

    def __init__(self, sides: Sides) -> None:
        self._ports = {urlsplit(client.meta.endpoint_url).port: name for name, client in sides.by_name.items()}
        self._requests: list[Request] = []
        self._lock = threading.Lock()
        self._began = time.perf_counter()
        # Both clients use these methods of `http.client`.
        begin, end = HTTPConnection.putrequest, HTTPConnection.getresponse
        begun: dict[HTTPConnection, tuple[str, float]] = {}

        def putrequest(connection: HTTPConnection, method: str, *arguments: Any, **options: Any) -> None:
            begun[connection] = method, self._now_ms()
            begin(connection, method, *arguments, **options)

        def getresponse(connection: HTTPConnection) -> HTTPResponse:
            response = end(connection)
            self._record(connection, *begun.pop(connection))
            return response

        HTTPConnection.putrequest = putrequest  # type: ignore[assignment, method-assign]
        HTTPConnection.getresponse = getresponse  # type: ignore[assignment, method-assign]

    def _record(self, connection: HTTPConnection, method: str, began_ms: float) -> None:
        side = self._ports.get(connection.port, "other")
        with self._lock:
            self._requests.append(Request(side, method, began_ms, self._now_ms()))

    def _now_ms(self) -> float:
        return (time.perf_counter() - self._began) * 1000

    def run(self, event: Callable[[], None]) -> dict[str, Any]:
        """Process one event, and return its time and its requests."""
        self._requests, self._began = [], time.perf_counter()
        event()
        return {"wall_ms": self._now_ms(), "requests": [asdict(request) for request in self._requests]}


def main() -> None:
    sides = Sides()
    function, trace = Function(1), Trace(sides)
    traced: dict[str, list[dict[str, Any]]] = {}

    def changed(key: str, change: Callable[[str], None]) -> dict[str, Any]:
        change(key)
        return trace.run(lambda: function.process([record(key, sides.source_bucket)]))

    # A store that is not AWS is known to count tags once it has counted some.
    sides.put("events/tagged", b"")
    changed("events/tagged", sides.tag)
    changed("events/tagged", sides.delete)
    for name, change in (
        ("new", lambda key: sides.put(key, b"one ")),
        ("again", lambda _: None),
        ("overwritten", lambda key: sides.put(key, b"two ")),
        ("deleted", sides.delete),
    ):
        traced[name] = [changed(f"events/{number}", change) for number in range(EVENTS)]
    assert sides.equal() == 0
    sys.stderr.write(json.dumps(traced))  # standard output has the function's log


if __name__ == "__main__":
    main()
