"""The connection of a client to a server of this project that stands for a store: a proxy, or moto."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler
from typing import Any


class ProxyHandler(BaseHTTPRequestHandler):
    """Reads each request of any method completely, and gives its body to `serve`."""

    protocol_version = "HTTP/1.1"

    def serve(self, body: bytes) -> None:
        """Respond to the request."""
        raise NotImplementedError

    def handle_expect_100(self) -> bool:
        """Respond immediately: botocore sends its body without a response, but only after a second."""
        accepted = super().handle_expect_100()
        self.wfile.flush()
        return accepted

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        if len(body) < length:  # the client died, or closed the connection in the middle of the body
            self.close_connection = True
            return
        self.serve(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass
