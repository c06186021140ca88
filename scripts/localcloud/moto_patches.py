"""Run moto's server with corrections for many clients and huge objects. Takes moto's arguments."""

from __future__ import annotations

import io
import threading
from typing import Any

from moto import backends, server
from moto.moto_server.werkzeug_app import MotoRequestHandler
from moto.s3 import models as s3
from moto.s3.exceptions import NoSuchUpload
from moto.sqs.models import Queue
from werkzeug.test import run_wsgi_app

from localcloud.proxy_handler import ProxyHandler


class PersistentHandler(ProxyHandler, MotoRequestHandler):
    """Keeps the connection of a client open, as real stores do, and logs nothing.

    moto closes each connection after one response. For each request, it then starts a thread and the client a
    connection.
    """

    disable_nagle_algorithm = True
    wbufsize = -1

    def serve(self, body: bytes) -> None:
        environ = {**self.make_environ(), "wsgi.input": io.BytesIO(body)}
        chunks, status, headers = run_wsgi_app(self.server.app, environ)
        content = b"".join(chunks)
        self.send_response(int(status.partition(" ")[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        if self.command != "HEAD" and "content-length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        pass


def keep_connections_open() -> None:
    """Serve several requests on one connection: see `PersistentHandler`."""
    server.MotoRequestHandler = PersistentHandler  # type: ignore[attr-defined]


def list_the_services_once() -> None:
    """Remember the services of moto, which otherwise reads its own folder for each request."""
    services = tuple(backends.list_of_moto_modules())
    backends.list_of_moto_modules = lambda: services


def delete_one_at_a_time() -> None:
    """Serialize the deletions of messages.

    moto replaces the list of messages by a copy without the deleted one. Of two concurrent deletions, one would restore
    the message of the other, and a message that is sent meanwhile would be lost.
    """
    delete = Queue.delete_message

    def delete_message(self: Queue, *arguments: Any, **options: Any) -> None:
        with self._messages_lock:
            delete(self, *arguments, **options)

    Queue.delete_message = delete_message  # type: ignore[method-assign]


def complete_one_at_a_time() -> None:
    """Serialize the completions of multipart uploads, and repeat the response to a second completion.

    moto responds with 500 to one of two concurrent completions. Each completion also needs twice the object in memory,
    and several of a huge object need more than the machine has.
    """
    complete, one_at_a_time = s3.S3Backend.complete_multipart_upload, threading.Lock()

    def complete_multipart_upload(self: s3.S3Backend, bucket_name: str, multipart_id: str, body: Any) -> Any:
        with one_at_a_time:
            bucket = self.get_bucket(bucket_name)
            if multipart_id in bucket.multiparts:
                return complete(self, bucket_name, multipart_id, body)
            for key in bucket.keys.values():
                if key.multipart and key.multipart.id == multipart_id:
                    return key
            raise NoSuchUpload(upload_id=multipart_id)

    s3.S3Backend.complete_multipart_upload = complete_multipart_upload  # type: ignore[method-assign]


def checksum_only_when_asked() -> None:
    """Compute no checksum for an upload without one: moto would hold the object twice more in memory."""
    build = s3.MultipartChecksumBuilder

    def builder(algorithm: str | None, type_: str | None) -> Any:
        return build(algorithm, type_) if algorithm else NoChecksum()

    s3.MultipartChecksumBuilder = builder  # type: ignore[assignment, misc]


class NoChecksum:
    """A replacement for moto's MultipartChecksumBuilder that computes nothing."""

    def addPart(self, part: bytes) -> None:
        pass

    def build(self) -> None:
        return None


if __name__ == "__main__":
    delete_one_at_a_time()
    complete_one_at_a_time()
    checksum_only_when_asked()
    keep_connections_open()
    list_the_services_once()
    server.main()
