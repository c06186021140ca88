"""Report the health of the service over HTTP: to ECS, Kubernetes, or a person with curl."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

PATH = "/health"

#: Seconds that a client has to send its request.
_REQUEST_TIMEOUT_S = 5

Status = Literal["ok", "degraded", "stopping", "stuck"]


@dataclass(frozen=True, slots=True)
class Health:
    """The state of a service at one moment.

    - `degraded`: a store or the queue is unusable, for example because the store refuses the access key. A new process
      has the same problem.
    - `stuck`: a thread hangs. A new process may help.
    """

    status: Status
    reason: str
    in_flight: int
    done: int
    returned: int
    dead_letters: int
    #: Seconds since the queue last responded to a poll.
    last_poll_s: float

    @property
    def is_healthy(self) -> bool:
        """Return True unless the process should be replaced."""
        return self.status != "stuck"


@contextmanager
def health_endpoint(health: Callable[[], Health], address: str, port: int) -> Iterator[int]:
    """Respond to `GET /health` while the block runs, and yield the port.

    The status code is 200, or 503 if the service is not healthy. Port 0 takes a free one.
    Raises OSError, with a message for people, if the address cannot be used.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = _REQUEST_TIMEOUT_S
        server_version, sys_version = "s3-syncer", ""

        def do_GET(self) -> None:
            if self.path != PATH:
                self.send_error(404)
                return
            now = health()
            body = json.dumps(asdict(now)).encode() + b"\n"
            self.send_response(200 if now.is_healthy else 503)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing: a health check every few seconds would fill the log."""

    try:
        server = ThreadingHTTPServer((address, port), Handler)
    except OSError as error:
        raise OSError(f"cannot listen on {address}:{port}: {error.strerror}") from error
    with server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
