"""Every field of every response, left out, malformed or sent twice: no crash, and no wrong verdict."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

import pytest
from tests.support.odd_objects import Stored
from tests.support.odd_requests import Element, Quirk, Request, Response
from tests.support.odd_requests import Store as Respond
from tests.support.odd_store import OddStore
from tests.support.patience import PATIENCE_S
from tests.support.quirks.responses import doubles, leaves_out, malforms, sends_length
from tests.support.quirks.scope import on

from s3_syncer.core.deadline import Deadline
from s3_syncer.core.errors import SyncError
from s3_syncer.core.model import md5_of
from s3_syncer.core.multipart import Part
from s3_syncer.crt import http_client
from s3_syncer.crt.factory import crt_transports
from s3_syncer.settings import Credentials, Settings
from s3_syncer.stores import body_ends, clients
from s3_syncer.stores.clients import source_client, target_client
from s3_syncer.sync import converge as converge_module
from s3_syncer.sync.context import SyncContext
from s3_syncer.sync.converge import converge
from s3_syncer.sync.outcome import CHANGES, Outcome
from s3_syncer.sync.sweep import Sweep, SweepOptions
from s3_syncer.transport.pauses import FAILURES_IN_A_ROW
from s3_syncer.wiring import ClientFactories, build_sync_context

SOURCE, TARGET = "the-source", "the-target"

#: The operations of an event, of a sweep, and of a copy in parts.
CONVERGE_READS = ("HeadObject", "GetObject", "GetObjectTagging")
CONVERGE_WRITES = ("PutObject", "PutObjectTagging", "DeleteObject")
SWEEP = ("ListObjectsV2", "HeadObject")
MULTIPART = (
    "CreateMultipartUpload",
    "UploadPart",
    "ListMultipartUploads",
    "ListParts",
    "CompleteMultipartUpload",
    "AbortMultipartUpload",
)

WAYS: dict[str, Callable[[str], Quirk]] = {"left out": leaves_out, "malformed": malforms, "doubled": doubles}

#: Properties of an object. Another property is another object, as far as a client can see.
_PROPERTIES = re.compile("content-type|x-amz-meta-.*")

#: What no client can notice: these fields can have any text, and a document without a tag set means no tags.
_VALID = {("Key", "malformed"), ("Value", "malformed"), ("UploadId", "malformed"), ("TagSet", "left out")}

_REPR = re.compile(r"\w+Error\b|Traceback|<class|NoneType")


@dataclass
class Listener:
    """Records the events of a sweep."""

    failed: dict[str, SyncError] = field(default_factory=dict)
    skipped: dict[str, Outcome] = field(default_factory=dict)

    def on_compared(self, keys: int) -> None: ...

    def on_changed(self, key: str, outcome: Outcome) -> None: ...

    def on_skipped(self, key: str, outcome: Outcome) -> None:
        self.skipped[key] = outcome

    def on_failed(self, key: str, error: SyncError) -> None:
        self.failed[key] = error

    def on_uncertain(self, key: str) -> None: ...

    def on_restart(self, why: str) -> None: ...


class Stores:
    """A source and a target with some objects, and the connections between them."""

    def __init__(self, source: OddStore, target: OddStore, *, crt: bool) -> None:
        self.source, self.target = source, target
        self._settings = Settings(SOURCE, target.endpoint, "us-east-1", TARGET, Credentials("key", "secret"))
        from_source = source_client(8)
        to_target = target_client(target.endpoint, "us-east-1", Credentials("key", "secret"), 8)
        self._clients = ClientFactories(source=lambda *_: from_source, target=lambda *_: to_target)
        self._transports = partial(crt_transports, concurrency=2) if crt else None

    def connect(self) -> SyncContext:
        """Return a pair of buckets of which nothing is known yet."""
        return build_sync_context(self._settings, threads=2, transports=self._transports, clients=self._clients)

    def reset(self) -> None:
        for store in (self.source, self.target):
            store.objects.buckets.clear()
            store.objects.uploads.clear()
        for key, body in (("equal", b"equal"), ("other", b"new bytes"), ("new", b"new"), ("tagged", b"tagged")):
            tags = {"name": "value"} if key == "tagged" else {}
            self.source.put(SOURCE, key, body, metadata={"a": "b"}, tags=tags, modified=1e9)
        for key, body in (("equal", b"equal"), ("other", b"old bytes"), ("tagged", b"tagged"), ("gone", b"gone")):
            self.target.put(TARGET, key, body, metadata={"a": "b"}, modified=1.1e9)

    def lost(self) -> list[str]:
        """Return a problem if an object is gone that exists in the source."""
        lost = {"equal", "other", "tagged"} - set(self.target.keys(TARGET))
        return [f"deleted {lost}"] if lost or len(self.source.keys(SOURCE)) != 4 else []

    def is_equal(self, key: str) -> bool:
        return mirrored(self.source.objects.buckets[SOURCE].get(key)) == mirrored(
            self.target.objects.buckets[TARGET].get(key)
        )


def mirrored(stored: Stored | None) -> object:
    if stored is None:
        return None
    kept = {name: value for name, value in stored.headers.items() if not name.endswith("s3-syncer-source-etag")}
    return stored.body, kept, stored.tags


@pytest.fixture(params=["boto3", "crt"])
def stores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stores]:
    monkeypatch.setitem(clients._COMMON, "read_timeout", PATIENCE_S)
    monkeypatch.setattr(http_client, "STALL_TIMEOUT_S", PATIENCE_S)
    monkeypatch.setattr(converge_module, "CONFIRM_AFTER_S", 0)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    with OddStore() as source, OddStore() as target:
        monkeypatch.setenv("AWS_ENDPOINT_URL", source.endpoint)
        yield Stores(source, target, crt=request.param == "crt")


def converge_all(stores: Stores, context: SyncContext) -> list[str]:
    """Converge all keys; return what is wrong."""
    problems = []
    for key in ("equal", "other", "new", "tagged", "gone"):
        try:
            outcome = converge(context.pair, key, Deadline())
        except SyncError as error:
            problems += unclear(error)
        else:
            if outcome.action in (*CHANGES, "unchanged") and not stores.is_equal(key):
                problems.append(f"{key} is not equal after {outcome}")
    return problems + stores.lost()


def sweep_all(stores: Stores, context: SyncContext) -> list[str]:
    """Sweep all keys; return what is wrong."""
    problems = []
    listener = Listener()
    options = SweepOptions(full=True, delete=True)
    copier = context.small_object_copier
    sweep = Sweep(
        context.pair, context.source, context.target, listener, options, threads=2, small_object_copier=copier
    )
    try:
        sweep.run(Deadline())
    except SyncError as error:
        problems += unclear(error)
    else:
        named = {**listener.failed, **listener.skipped}
        for key in ("equal", "other", "new", "tagged", "gone"):
            if key not in named and not stores.is_equal(key):
                problems.append(f"the sweep calls {key} equal")
    for failure in listener.failed.values():
        problems += unclear(failure)
    return problems + stores.lost()


def upload_all(stores: Stores, context: SyncContext) -> list[str]:
    """Copy an object in two parts; return what is wrong."""
    target, data = context.target, (b"a" * 10, b"b")
    state = context.source.head("equal")
    assert state is not None
    upload_id = ""
    try:
        upload_id = target.create_upload("parts", state, None)
        etags = {
            number: target.upload_part("parts", upload_id, Part(number, 0, len(part)), part, md5_of(part))
            for number, part in enumerate(data, 1)
        }
        if [upload.id for upload in target.uploads("parts")] != [upload_id]:
            return ["another upload is listed"]
        found = target.parts("parts", upload_id)
        if {number: part.size for number, part in found.items()} != {1: 10, 2: 1}:
            return [f"other parts are listed: {found}"]
        target.complete_upload("parts", upload_id, etags)
    except SyncError as error:
        if upload_id:
            target.abort_upload("parts", upload_id)
        return unclear(error)
    if stores.target.objects.buckets[TARGET]["parts"].body != b"".join(data):
        return ["the object has other bytes"]
    return []


def unclear(error: SyncError) -> list[str]:
    text = str(error)
    if error.code == "MissingField" and " has no " not in text:
        return [f"{text!r} names no field"]
    return [text] if _REPR.search(text) or "unexpected" in text else []


def fields_of(
    stores: Stores, store: OddStore, operation: str, run: Callable[[Stores, SyncContext], list[str]]
) -> list[str]:
    """Return the fields of all responses to an operation."""
    names: dict[str, None] = {}

    def record(request: Request, respond: Respond) -> Response:
        response = respond(request)
        names.update(dict.fromkeys(name.lower() for name, _ in response.headers))
        if response.xml is not None:
            names.update(dict.fromkeys(leaves(response.xml)))
        return response

    stores.reset()
    with store.having(on(operation)(record)):
        assert run(stores, stores.connect()) == []
    return [name for name in names if not _PROPERTIES.fullmatch(name)]


def leaves(element: Element) -> Iterator[str]:
    name, content = element
    if isinstance(content, str) or not content:
        yield name
    else:
        for child in content:
            yield from leaves(child)


CASES = [
    *(("source", operation, converge_all) for operation in CONVERGE_READS),
    *(("target", operation, converge_all) for operation in (*CONVERGE_READS, *CONVERGE_WRITES)),
    *((side, operation, sweep_all) for side in ("source", "target") for operation in SWEEP),
    ("target", "PutObject", sweep_all),
    *(("target", operation, upload_all) for operation in MULTIPART),
]


@pytest.mark.parametrize(
    ("side", "operation", "run"), CASES, ids=[f"{run.__name__}-{side}-{name}" for side, name, run in CASES]
)
def test_a_field_that_is_spoiled_gives_a_clear_error_at_most(
    stores: Stores,
    side: str,
    operation: str,
    run: Callable[[Stores, SyncContext], list[str]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = getattr(stores, side)
    problems = []
    for name in fields_of(stores, store, operation, run):
        for way, spoils in WAYS.items():
            if (name, way) in _VALID:
                continue
            caplog.clear()
            stores.reset()
            with caplog.at_level(logging.INFO), store.having(on(operation)(spoils(name))):
                found = run(stores, stores.connect())
            found += [record.message for record in caplog.records if "unexpected" in record.message]
            problems += [f"{name} {way}: {problem}" for problem in found]
    assert problems == []


@pytest.mark.parametrize("length", ["x", ""])
@pytest.mark.parametrize(
    ("side", "operation", "run"), CASES, ids=[f"{run.__name__}-{side}-{name}" for side, name, run in CASES]
)
def test_a_body_without_an_end_is_not_waited_for(
    stores: Stores,
    side: str,
    operation: str,
    run: Callable[[Stores, SyncContext], list[str]],
    length: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = getattr(stores, side)
    stores.reset()
    assert run(stores, stores.connect()) == []
    requests = store.count(operation)
    # Only the responses to PutObjectTagging have neither a document nor an ETag.
    silence = 0.01 if operation == "PutObjectTagging" else PATIENCE_S
    monkeypatch.setattr(body_ends, "SILENCE_S", silence)
    stores.reset()
    store.clear()
    store.keeps_connections_open = True
    with store.having(on(operation)(sends_length(length))):
        assert run(stores, stores.connect()) == []
    # After a timeout, boto3 repeats a request up to 5 times. The CRT transport leaves a response to boto3. Until a few
    # have failed in a row, a request and a stream each come before that of boto3.
    assert store.count(operation) <= 2 * requests + FAILURES_IN_A_ROW
