"""The simulated store answers the product as moto does, in every operation that the product uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import moto.s3.models
import pytest
from moto import mock_aws
from tests.simulation import threads
from tests.simulation.client import Connection, S3Client
from tests.simulation.faults import Traits
from tests.simulation.scheduler import Scheduler
from tests.simulation.store import Store

from s3_syncer.core.errors import SyncError
from s3_syncer.core.headers import state as parsed
from s3_syncer.core.model import ObjectState, md5_of
from s3_syncer.core.multipart import Part
from s3_syncer.stores.bucket import Bucket
from s3_syncer.stores.clients import pass_raw_properties
from s3_syncer.stores.credentials import FixedClient
from s3_syncer.stores.plain_responses import read_plain_responses

#: moto also gives objects these traits.
LIKE_MOTO = Traits(page_size=1000)

HEADERS = {
    "content-type": "text/plain",
    "cache-control": "no-store",
    "expires": "never",
    "x-amz-meta-colour": "red",
}


def state(size: int, **headers: str) -> ObjectState:
    """Return the state of a source object to write."""
    read = {"content-length": str(size), "etag": '"e"', "last-modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
    return parsed({**read, **HEADERS, **headers}, {})


def put(bucket: Bucket, key: str, body: bytes, marker: str | None = None) -> str:
    return bucket.put(key, body, md5_of(body), state(len(body)), marker)


def seen(found: ObjectState | None) -> object:
    return found and (found.size, found.etag, found.headers, found.metadata, found.tags, found.marker, found.body)


def objects(bucket: Bucket) -> Iterator[object]:
    yield lambda: put(bucket, "a b", b"one", "marker")
    yield lambda: put(bucket, "empty", b"")
    for key in ("a b", "empty", "none"):
        yield lambda key=key: seen(bucket.head(key))
        yield lambda key=key: seen(bucket.head(key, confirm_missing=True))
        yield lambda key=key: seen(bucket.get_small(key))
        yield lambda key=key: bucket.is_missing(key)
    for key in ("a b", "empty"):  # moto fails at the tags of a missing object
        yield lambda key=key: bucket.tags(key)
        yield lambda key=key: bucket.put_tags(key, {"x": "1", "y": "2"})
        yield lambda key=key: seen(bucket.head(key))
        yield lambda key=key: bucket.put_tags(key, {})
        yield lambda key=key: bucket.tags(key)
    yield lambda: bucket.read("a b", md5_of(b"one").hex(), 1, 2)
    yield lambda: bucket.read("a b", "other", 1, 2)
    yield lambda: bucket.read("none", "other", 1, 2)
    yield lambda: bucket.delete("a b")
    yield lambda: bucket.delete("a b")
    yield lambda: bucket.head("a b")


def uploads(bucket: Bucket) -> Iterator[object]:
    bodies = {1: b"x" * 300, 2: b"y" * 300, 3: b"z"}
    ids: dict[str, str] = {}
    etags: dict[int, str] = {}

    def create(name: str) -> None:
        ids[name] = bucket.create_upload("large", state(601), "marker")

    def send(name: str, number: int) -> str:
        body = bodies[number]
        part = Part(number, 0, len(body))
        etags[number] = bucket.upload_part("large", ids[name], part, body, md5_of(body))
        return etags[number]

    def parts(name: str) -> object:
        return {number: (part.size, part.etag) for number, part in bucket.parts("large", ids[name]).items()}

    for name in ("one", "two"):
        yield lambda name=name: create(name)
    for number in bodies:
        yield lambda number=number: send("one", number)
    yield lambda: parts("one")
    yield lambda: bucket.parts("large", ids["one"], 1, 2).keys()
    yield lambda: sorted(each.id for each in bucket.uploads("large")) == sorted(ids.values())
    yield lambda: bucket.uploads("larg")
    yield lambda: bucket.complete_upload("large", ids["one"], {**etags, 3: "0" * 32})
    yield lambda: bucket.complete_upload("large", ids["one"], etags)
    yield lambda: bucket.complete_upload("large", ids["one"], etags)
    yield lambda: parts("one")
    yield lambda: seen(bucket.head("large"))
    yield lambda: bucket.first_part("large")
    yield lambda: bucket.part_size("large", 3)
    yield lambda: bucket.abort_upload("large", ids["two"])
    yield lambda: bucket.abort_upload("large", ids["two"])
    yield lambda: bucket.uploads("large")
    yield lambda: put(bucket, "small", b"small")
    yield lambda: bucket.first_part("small")


def listings(bucket: Bucket) -> Iterator[object]:
    for key in ("b", "a", "c/d", "c e", "z\u00e9", "\U0001f600", "\uffee"):
        yield lambda key=key: put(bucket, key, key.encode())
    for after, until in (("", None), ("a", "c/d"), ("aa", None), ("zz", None)):
        yield lambda after=after, until=until: [
            (entry.key, entry.size, entry.etag) for page in bucket.listing(after, until) for entry in page
        ]
        yield lambda after=after: bucket.first(after)


def outcome(step: Callable[[], object]) -> object:
    try:
        return step()
    except SyncError as error:
        return type(error), error.code


def in_simulation(script: Callable[[Bucket], Iterator[Any]]) -> list[object]:
    scheduler = Scheduler(0)
    found: list[object] = []

    def run() -> None:
        store = Store("bucket", scheduler, LIKE_MOTO)
        bucket = Bucket("bucket", "p/", FixedClient(S3Client(store, Connection(store))), tags=True)  # type: ignore[arg-type]
        found.extend(map(outcome, script(bucket)))

    with threads.simulated(), threads.running(scheduler):
        scheduler.spawn(run, group="test")
        scheduler.run()
        scheduler.close()
    return found


def in_moto(script: Callable[[Bucket], Iterator[Any]], monkeypatch: pytest.MonkeyPatch) -> list[object]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setattr(moto.s3.models, "S3_UPLOAD_PART_MIN_SIZE", 100)
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        pass_raw_properties(client)
        read_plain_responses(client)
        client.create_bucket(Bucket="bucket")
        return list(map(outcome, script(Bucket("bucket", "p/", FixedClient(client), tags=True))))


@pytest.mark.parametrize("script", [objects, uploads, listings])
def test_the_simulated_store_answers_as_moto_does(
    script: Callable[[Bucket], Iterator[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    simulated, expected = in_simulation(script), in_moto(script, monkeypatch)
    assert len(simulated) > 10
    assert [*enumerate(simulated)] == [*enumerate(expected)]


def test_a_head_counts_the_tags_as_aws_does() -> None:
    store = Store("target", Scheduler(0))
    store.write("plain", b"")
    store.write("tagged", b"", tags={"a": "1", "b": "2"})
    counts = [
        store.head_object(key)["ResponseMetadata"]["HTTPHeaders"].get("x-amz-tagging-count")
        for key in ("plain", "tagged")
    ]
    assert counts == [None, "2"]


def test_responses_have_the_fields_by_which_the_product_knows_them() -> None:
    store = Store("target", Scheduler(0))
    store.write("k", b"body")
    responses = (store.head_object("k"), store.head_object("k", PartNumber=1), store.get_object("k"))
    for response in responses:
        assert response["ResponseMetadata"]["HTTPHeaders"]["etag"] == f'"{md5_of(b"body").hex()}"'
    assert "IsTruncated" in store.list_objects_v2()
