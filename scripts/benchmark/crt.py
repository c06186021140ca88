"""Requests through awscrt and nothing else: fills the source, and shows how fast copying without any logic would be.

    python crt.py fill|copy|list PLAN

Run in the environment of the other clients. PLAN is a file: see `Plan`. The PUT of an object is begun by the
callback that ends its GET, on the event loop's own thread; nothing is compared, verified or looked at again.
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
from benchmark.crt_plan import Plan
from benchmark.objects import MIB, Object

#: Bytes of a part, and the size from which on an object goes in parts.
PART = 16 * MIB
IN_PARTS = 64 * MIB

_TOKEN = re.compile(rb"<NextContinuationToken>([^<]*)<")
_UPLOAD = re.compile(rb"<UploadId>([^<]*)<")


class Store:
    """One side. `Done` is called with the answer's headers and body, on the event loop's thread."""

    def __init__(self, plan: Plan, host: str) -> None:
        self.host, self.bucket = host, plan.bucket
        loops = io.EventLoopGroup(1)
        bootstrap = io.ClientBootstrap(loops, io.DefaultHostResolver(loops))
        secured = None
        if plan.authority:
            options = io.TlsContextOptions()
            options.override_default_trust_store_from_path(ca_filepath=plan.authority)
            secured = io.ClientTlsContext(options).new_connection_options()
        keys = auth.AwsCredentialsProvider.new_static(plan.access_key_id, plan.secret_access_key)
        self._client = s3.S3Client(
            bootstrap=bootstrap,
            region=plan.region,
            tls_mode=s3.S3RequestTlsMode.ENABLED if secured else s3.S3RequestTlsMode.DISABLED,
            tls_connection_options=secured,
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
        answer: dict[str, Any] = {"headers": {}, "body": []}

        def on_headers(headers: list[tuple[str, str]], **_: Any) -> None:
            answer["headers"] = {name.lower(): value for name, value in headers}

        def on_body(chunk: bytes, **_: Any) -> None:
            answer["body"].append(bytes(chunk))

        def on_done(error: Exception | None, **_: Any) -> None:
            del answer["request"]  # or each would keep the other
            if error is not None:
                failed(error)
                return
            try:
                done(answer["headers"], b"".join(answer["body"]))
            except Exception as mistake:
                failed(mistake)

        path = f"/{self.bucket}/{quote(key)}" if key else f"/{self.bucket}"
        length = [("content-length", str(len(body)))] if body is not None else []
        answer["request"] = self._client.make_request(
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

    def ask(self, method: str, key: str = "", query: str = "", body: bytes | None = None) -> bytes:
        """A request on its own."""
        answers: list[bytes] = []

        def start(work: Callable[[], None], failed: Callable[[Exception], None]) -> None:
            def done(_: dict[str, str], content: bytes) -> None:
                answers.append(content)
                work()

            self.request(done, failed, method, key, query, body)

        drive(iter([start]), 1)
        return answers[0]


#: Begins work, and calls one of both when it is over.
Start = Callable[[Callable[[], None], Callable[[Exception], None]], None]


def drive(work: Iterator[Start], concurrency: int) -> None:
    """Keeps so many pieces of work going until there are none; raises what the first failure raised."""
    lock, over = threading.Lock(), threading.Event()
    going, failures = 0, []

    def fail(error: Exception) -> None:
        failures.append(error)
        over.set()

    def ended() -> None:
        nonlocal going
        with lock:
            going -= 1
            start = None if failures else next(work, None)
            going += start is not None
            if going == 0:
                over.set()
        if start is not None:
            start(ended, fail)

    going = concurrency
    for _ in range(concurrency):
        ended()
    over.wait()
    if failures:
        raise failures[0]


def fill(plan: Plan, store: Store, made: Iterable[Object]) -> None:
    """Writes the objects; the source of every case is filled like this, before anything is measured."""

    def put(o: Object) -> Start:
        headers = [("content-type", "application/octet-stream")]
        return lambda done, failed: store.request(
            lambda *_: done(), failed, "PUT", o.key, body=o.body(), headers=headers
        )

    drive((put(o) for o in made), plan.concurrency if all(o.size < IN_PARTS for o in made) else 2)


def copy(plan: Plan, source: Store, target: Store, made: Iterable[Object]) -> None:
    whole = [o for o in made if o.size < IN_PARTS]
    cut = [(o, _upload_id(target.ask("POST", o.key, "uploads="))) for o in made if o.size >= IN_PARTS]
    etags: dict[str, dict[int, str]] = {o.key: {} for o, _ in cut}

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

    drive((one(o) for o in whole), plan.concurrency)
    parts = (part(o, upload, number) for o, upload in cut for number in range(1, -(-o.size // PART) + 1))
    drive(parts, 8)
    for o, upload in cut:
        listed = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
            for number, etag in sorted(etags[o.key].items())
        )
        body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
        target.ask("POST", o.key, urlencode({"uploadId": upload}), body)


def list_both(source: Store, target: Store) -> None:
    """Both sides at once, each page after the one before it, and nothing but the token taken from them."""
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
                    ask({"continuation-token": token[1].decode()})

            def ask(position: dict[str, str]) -> None:
                query = urlencode({"list-type": "2", "max-keys": "1000", **position})
                store.request(page, failed, "GET", query=query)

            ask({})

        return start

    drive(iter([pages(source), pages(target)]), 2)
    sys.stdout.write(f"{keys} keys\n")


def _upload_id(answer: bytes) -> str:
    found = _UPLOAD.search(answer)
    assert found is not None, answer
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
            raise SystemExit(f"no such mode: {mode!r}")


if __name__ == "__main__":
    main(*sys.argv[1:])
