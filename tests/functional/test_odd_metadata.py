"""User metadata that is not ASCII, and metadata that no response shows, over both transports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest
from tests.support.odd_requests import Quirk
from tests.support.odd_store import OddStore
from tests.support.quirks import properties

from s3_syncer.core.deadline import Deadline
from s3_syncer.core.errors import Permanent
from s3_syncer.core.model import md5_of
from s3_syncer.core.multipart import Part
from s3_syncer.crt.factory import crt_transports
from s3_syncer.settings import Credentials, Settings
from s3_syncer.sync.context import SyncContext
from s3_syncer.sync.converge import converge
from s3_syncer.wiring import build_sync_context

SOURCE, TARGET = "the-source", "the-target"
RAW = "Gr\u00fc\u00dfe \u20ac"

#: The bytes of RAW, as they are in a header.
ON_THE_WIRE = RAW.encode().decode("latin-1")
WORD = "=?UTF-8?B?R3LDvMOfZSDigqw=?="


@pytest.fixture
def source() -> Iterator[OddStore]:
    with OddStore() as store:
        yield store


@pytest.fixture(params=["boto3", "crt"])
def connect(
    request: pytest.FixtureRequest, source: OddStore, odd_store: OddStore, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], SyncContext]:
    odd_store.objects.buckets[TARGET] = {}
    for name, value in (("ACCESS_KEY_ID", "key"), ("SECRET_ACCESS_KEY", "secret"), ("REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", source.endpoint)

    def connect() -> SyncContext:
        settings = Settings(SOURCE, odd_store.endpoint, "us-east-1", TARGET, Credentials("key", "secret"))
        transports = partial(crt_transports, concurrency=2) if request.param == "crt" else None
        return build_sync_context(settings, threads=2, transports=transports)

    return connect


@pytest.mark.parametrize(
    ("value", "quirk"),
    [
        (ON_THE_WIRE, properties.sends_metadata(str)),
        (ON_THE_WIRE, properties.sends_metadata(lambda _: WORD)),  # as AWS does
        (WORD, properties.sends_metadata(str)),
        (WORD, properties.sends_raw_metadata),
        (WORD, properties.sends_metadata_in_q_words),
    ],
    ids=["raw, kept", "raw, sent as a word", "word, kept", "word, sent raw", "word, sent in Q words"],
)
def test_metadata_that_means_the_same_is_copied_once(
    connect: Callable[[], SyncContext], source: OddStore, odd_store: OddStore, value: str, quirk: Quirk
) -> None:
    source.put(SOURCE, "key", b"body", metadata={"a": value})
    odd_store.add(quirk)
    context = connect()
    outcomes = [converge(context.pair, "key", Deadline()).action for _ in range(3)]
    assert outcomes == ["copy", "unchanged", "unchanged"]
    assert odd_store.count("PutObject", "key") == 1
    assert odd_store.objects.buckets[TARGET]["key"].headers["x-amz-meta-a"] == value


def test_an_upload_has_metadata_that_is_not_ascii(
    connect: Callable[[], SyncContext], source: OddStore, odd_store: OddStore
) -> None:
    source.put(SOURCE, "key", b"body", metadata={"a": ON_THE_WIRE})
    context = connect()
    state = context.source.head("key")
    assert state is not None
    assert state.metadata == {"a": RAW}
    upload_id = context.target.create_upload("key", state, None)
    etag = context.target.upload_part("key", upload_id, Part(1, 0, 4), b"body", md5_of(b"body"))
    context.target.complete_upload("key", upload_id, {1: etag})
    assert odd_store.objects.buckets[TARGET]["key"].headers["x-amz-meta-a"] == ON_THE_WIRE


def test_an_object_with_metadata_that_no_response_shows_fails_and_is_not_called_equal(
    connect: Callable[[], SyncContext], source: OddStore, odd_store: OddStore
) -> None:
    for store, bucket in ((source, SOURCE), (odd_store, TARGET)):
        store.put(bucket, "key", b"body", metadata={"a": "b"})
    source.add(properties.sends_missing_meta(2))
    with pytest.raises(Permanent, match=r"2 metadata entries .*\(x-amz-missing-meta\)"):
        converge(connect().pair, "key", Deadline())
    assert odd_store.count("PutObject") == 0
