"""Tells over HTTP whether the service is well: for ECS, Kubernetes, or a person with curl."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

PATH = "/health"

#: Seconds that a client may take to say what it wants.
_PATIENCE_S = 5

Status = Literal["ok", "degraded", "stopping", "stuck"]


@dataclass(frozen=True, slots=True)
class Health:
    """`degraded` is for what a new process would not mend, like a store that refuses its keys; `stuck` for the rest."""

    status: Status
    reason: str
    in_flight: int
    done: int
    returned: int
    dead_letters: int
    #: Seconds since the queue last answered a poll.
    last_poll_s: float

    @property
    def well(self) -> bool:
        return self.status != "stuck"


@contextmanager
def serving(health: Callable[[], Health], address: str, port: int) -> Iterator[int]:
    """Answers GET /health with 200, or 503 when it is not well, for as long as the block runs; gives the port.

    A `port` of 0 takes a free one. Raises OSError, with a message for people, when the address cannot be had.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = _PATIENCE_S
        server_version, sys_version = "s3-syncer", ""

        def do_GET(self) -> None:
            if self.path != PATH:
                self.send_error(404)
                return
            now = health()
            body = json.dumps(asdict(now)).encode() + b"\n"
            self.send_response(200 if now.well else 503)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing: whoever asks every few seconds knows that it did."""

    try:
        listening = ThreadingHTTPServer((address, port), Handler)
    except OSError as error:
        raise OSError(f"nothing can be answered at {address}:{port}: {error.strerror}") from error
    with listening as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
