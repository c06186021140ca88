"""Send plain requests through awscrt: fill the source, and copy or list as a baseline.

    python -m benchmark.baseline fill|copy|list PLAN

Runs in the environment of the other clients. PLAN is a file: see `Plan`. The callback that ends the GET of an object
starts its PUT, on the event loop's thread. Nothing is compared, verified or requested twice.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from awscrt import auth, http, io, s3

from benchmark import objects
from benchmark.baseline_plan import Plan
from benchmark.objects import MIB, Object

#: Bytes of a part, and the size in bytes from which an object is copied in parts.
PART = 16 * MIB
MULTIPART_MIN = 64 * MIB

#: With tags, one in so many objects has one.
TAGGED_EVERY = 100

_TOKEN = re.compile(rb"<NextContinuationToken>([^<]*)<")
_UPLOAD = re.compile(rb"<UploadId>([^<]*)<")


class Store:
    """One side. `done` is called with the response's headers and body, on the event loop's thread."""

    def __init__(self, plan: Plan, host: str) -> None:
        self.host, self.bucket = host, plan.bucket
        loops = io.EventLoopGroup(1)
        bootstrap = io.ClientBootstrap(loops, io.DefaultHostResolver(loops))
        tls = None
        if plan.authority:
            options = io.TlsContextOptions()
            options.override_default_trust_store_from_path(ca_filepath=plan.authority)
            tls = io.ClientTlsContext(options).new_connection_options()
        keys = auth.AwsCredentialsProvider.new_static(plan.access_key_id, plan.secret_access_key)
        self._client = s3.S3Client(
            bootstrap=bootstrap,
            region=plan.region,
            tls_mode=s3.S3RequestTlsMode.ENABLED if tls else s3.S3RequestTlsMode.DISABLED,
            tls_connection_options=tls,
            signing_config=s3.create_default_s3_signing_config(region=plan.region, credential_provider=keys),
            max_active_connections_override=plan.concurrency,
        )

    def request(
        self,
        done: Callable[[dict[str, str], bytes], None],
        failed: Callable[[Exception], None],
        method: str,
        key: str = "",
        query: str = "",
        body: bytes | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        response: dict[str, Any] = {"headers": {}, "body": []}

        def on_headers(headers: list[tuple[str, str]], **_: Any) -> None:
            response["headers"] = {name.lower(): value for name, value in headers}

        def on_body(chunk: bytes, **_: Any) -> None:
            response["body"].append(bytes(chunk))

        def on_done(error: Exception | None, **_: Any) -> None:
            del response["request"]  # the request and its callbacks refer to each other
            if error is not None:
                failed(error)
                return
            try:
                done(response["headers"], b"".join(response["body"]))
            except Exception as mistake:
                failed(mistake)

        path = f"/{self.bucket}/{quote(key)}" if key else f"/{self.bucket}"
        length = [("content-length", str(len(body)))] if body is not None else []
        response["request"] = self._client.make_request(
            type=s3.S3RequestType.DEFAULT,
            operation_name="Request",
            request=http.HttpRequest(
                method,
                path + (f"?{query}" if query else ""),
                http.HttpHeaders([("host", self.host), *length, *headers]),
                BytesIO(body) if body is not None else None,
            ),
            on_headers=on_headers,
            on_body=on_body,
            on_done=on_done,
        )

    def send(self, method: str, key: str = "", query: str = "", body: bytes | None = None) -> bytes:
        """Send one request, wait for it, and return the body of the response."""
        bodies: list[bytes] = []

        def start(work: Callable[[], None], failed: Callable[[Exception], None]) -> None:
            def done(_: dict[str, str], content: bytes) -> None:
                bodies.append(content)
                work()

            self.request(done, failed, method, key, query, body)

        drive(iter([start]), 1)
        return bodies[0]


#: Starts work, and calls the first function when it is done or the second one when it failed.
Start = Callable[[Callable[[], None], Callable[[Exception], None]], None]


def drive(work: Iterator[Start], concurrency: int) -> None:
    """Run all work, with `concurrency` pieces of it at the same time. Raises the first failure."""
    lock, all_done = threading.Lock(), threading.Event()
    running, failures = 0, []

    def fail(error: Exception) -> None:
        failures.append(error)
        all_done.set()

    def ended() -> None:
        nonlocal running
        with lock:
            running -= 1
            start = None if failures else next(work, None)
            running += start is not None
            if running == 0:
                all_done.set()
        if start is not None:
            start(ended, fail)

    running = concurrency
    for _ in range(concurrency):
        ended()
    all_done.wait()
    if failures:
        raise failures[0]


def fill(plan: Plan, store: Store, made: Iterable[Object]) -> None:
    """Write the objects. The benchmark fills the source of every case this way, before it measures."""

    def put(number: int, o: Object) -> Start:
        headers = [("content-type", "application/octet-stream")]
        if plan.tags and number % TAGGED_EVERY == 0:
            headers.append(("x-amz-tagging", "colour=red"))
        return lambda done, failed: store.request(
            lambda *_: done(), failed, "PUT", o.key, body=o.body(), headers=headers
        )

    drive(
        (put(*numbered) for numbered in enumerate(made)),
        plan.concurrency if all(o.size < MULTIPART_MIN for o in made) else 2,
    )


def copy(plan: Plan, source: Store, target: Store, made: Iterable[Object]) -> None:
    small = [o for o in made if o.size < MULTIPART_MIN]
    large = [(o, _upload_id(target.send("POST", o.key, "uploads="))) for o in made if o.size >= MULTIPART_MIN]
    etags: dict[str, dict[int, str]] = {o.key: {} for o, _ in large}

    def one(o: Object) -> Start:
        def start(done: Callable[[], None], failed: Callable[[Exception], None]) -> None:
            def put(headers: dict[str, str], body: bytes) -> None:
                kept = [("content-type", headers.get("content-type", ""))]
                target.request(lambda *_: done(), failed, "PUT", o.key, body=body, headers=kept)

            source.request(put, failed, "GET", o.key)

        return start

    def part(o: Object, upload: str, number: int) -> Start:
        first = (number - 1) * PART
        window = [("range", f"bytes={first}-{min(first + PART, o.size) - 1}")]

        def start(done: Callable[[], None], failed: Callable[[Exception], None]) -> None:
            def sent(headers: dict[str, str], _: bytes) -> None:
                etags[o.key][number] = headers["etag"]
                done()

            def put(_: dict[str, str], body: bytes) -> None:
                target.request(sent, failed, "PUT", o.key, urlencode({"partNumber": number, "uploadId": upload}), body)

            source.request(put, failed, "GET", o.key, headers=window)

        return start

    drive((one(o) for o in small), plan.concurrency)
    parts = (part(o, upload, number) for o, upload in large for number in range(1, -(-o.size // PART) + 1))
    drive(parts, 8)
    for o, upload in large:
        listed = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
            for number, etag in sorted(etags[o.key].items())
        )
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        target.send("POST", o.key, urlencode({"uploadId": upload}), body)


def list_both(source: Store, target: Store) -> None:
    """List both sides at the same time, page after page, and read only the continuation token."""
    keys, lock = 0, threading.Lock()

    def pages(store: Store) -> Start:
        def start(done: Callable[[], None], failed: Callable[[Exception], None]) -> None:
            def page(_: dict[str, str], body: bytes) -> None:
                nonlocal keys
                with lock:
                    keys += body.count(b"<Key>")
                token = _TOKEN.search(body, max(0, len(body) - 2000)) or _TOKEN.search(body)
                if token is None:
                    done()
                else:
                    request_page({"continuation-token": token[1].decode()})

            def request_page(position: dict[str, str]) -> None:
                query = urlencode({"list-type": "2", "max-keys": "1000", **position})
                store.request(page, failed, "GET", query=query)

            request_page({})

        return start

    drive(iter([pages(source), pages(target)]), 2)
    sys.stdout.write(f"{keys} keys\n")


def _upload_id(response: bytes) -> str:
    found = _UPLOAD.search(response)
    assert found is not None, response
    return found[1].decode()


def main(mode: str, file: str) -> None:
    plan = Plan.read(Path(file))
    source, target = Store(plan, plan.source), Store(plan, plan.target)
    match mode:
        case "fill":
            fill(plan, source, objects.read(Path(plan.objects)))
        case "copy":
            copy(plan, source, target, objects.read(Path(plan.objects)))
        case "list":
            list_both(source, target)
        case _:
            raise SystemExit(f"unknown mode {mode!r}: use fill, copy or list")


if __name__ == "__main__":
    main(*sys.argv[1:])
