"""Report the health of the service over HTTP: to ECS, Kubernetes, Prometheus, or a person with curl."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, get_args

PATH = "/health"

#: Seconds that a client has to send its request.
_REQUEST_TIMEOUT_S = 5

Status = Literal["ok", "degraded", "stopping", "stuck"]
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True, slots=True)
class Page:
    """The response to a GET request."""

    status_code: int
    content_type: str
    body: bytes


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
def health_endpoint(
    health: Callable[[], Health], address: str, port: int, pages: Mapping[str, Callable[[], Page]] | None = None
) -> Iterator[int]:
    """Respond to `GET /health` and to the paths of the `pages`, and yield the port.

    The endpoint exists while the block runs. The status code of the health is 200, or 503 if the service is not
    healthy. Port 0 takes a free one.
    Raises OSError, with a message for people, if the address cannot be used.
    """

    def health_page() -> Page:
        now = health()
        return Page(200 if now.is_healthy else 503, "application/json", json.dumps(asdict(now)).encode() + b"\n")

    by_path = {PATH: health_page, **(pages or {})}

    class Handler(BaseHTTPRequestHandler):
        timeout = _REQUEST_TIMEOUT_S
        server_version, sys_version = "s3-syncer", ""

        def do_GET(self) -> None:
            if self.path not in by_path:
                self.send_error(404)
                return
            page = by_path[self.path]()
            self.send_response(page.status_code)
            self.send_header("Content-Type", page.content_type)
            self.send_header("Content-Length", str(len(page.body)))
            self.end_headers()
            self.wfile.write(page.body)

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
