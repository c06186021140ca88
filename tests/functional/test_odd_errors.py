"""Errors in the words of other stores: codes for a missing key, errors with status 200, redirects."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.functional.command import run
from tests.functional.harness import SOURCE, TARGET, Rig
from tests.support.odd_requests import Quirk, Request, Response, Store, error
from tests.support.odd_store import OddStore
from tests.support.quirks import properties, responses
from tests.support.quirks.scope import of_key, on

from s3_syncer.core.errors import Changed, Permanent, Refused, SyncError
from s3_syncer.core.model import ObjectState, md5_of
from s3_syncer.core.multipart import Part
from s3_syncer.settings import Credentials
from s3_syncer.stores import clients
from s3_syncer.stores.bucket import Bucket
from s3_syncer.stores.clients import target_client

NO_KEY: dict[str, Quirk] = {
    code: responses.missing_keys_are("xml", code)
    for code in ("NoSuchObject", "ObjectNotFound", "NotFound", "404 Not Found", "404", "")
}
NO_KEY |= {form: responses.missing_keys_are(form) for form in ("html", "json", "empty", "broken xml")}

each_code = pytest.mark.parametrize("quirk", NO_KEY.values(), ids=[*NO_KEY])


@each_code
@pytest.mark.usefixtures("each_way")
def test_a_deletion_is_mirrored_whatever_the_code_for_a_missing_key(
    odd: Rig, odd_source: OddStore, quirk: Quirk
) -> None:
    odd_source.put(SOURCE, "new", b"body")
    odd_source.put(TARGET, "gone", b"body")
    odd_source.add(quirk)
    assert odd.sync("gone", "new", "never").actions == {"gone": "delete", "new": "copy", "never": "unchanged"}
    assert odd_source.keys(TARGET) == ["new"]


@pytest.fixture(params=NO_KEY.values(), ids=[*NO_KEY])
def says_gone(request: pytest.FixtureRequest, odd_source: OddStore) -> OddStore:
    """Let the source respond as if the key were missing, except to listings."""
    quirk: Quirk = request.param

    def is_gone(request: Request, store: Store) -> Response:
        if request.bucket != SOURCE:
            return store(request)
        return quirk(request, lambda _: Response(404)) if request.method == "GET" else Response(404)

    for bucket in (SOURCE, TARGET):
        odd_source.put(bucket, "key", b"body")
    odd_source.add(of_key("key")(is_gone))
    return odd_source


def test_a_404_of_a_key_that_is_listed_is_no_deletion(odd: Rig, says_gone: OddStore) -> None:
    assert len(odd.sync("key").returned) == 1
    assert says_gone.keys(TARGET) == ["key"]


def test_a_sweep_deletes_no_key_that_is_listed(says_gone: OddStore) -> None:
    assert run("migrate", "--delete", "--full").code == 1
    assert says_gone.keys(TARGET) == ["key"]


@pytest.mark.parametrize("form", responses.NOT_FOUND)
@pytest.mark.parametrize("code", ["NoSuchBucket", "BucketNotFound"])
def test_a_bucket_that_is_gone_deletes_nothing(odd: Rig, odd_source: OddStore, form: str, code: str) -> None:
    odd_source.put(TARGET, "key", b"body")

    def gone(request: Request, store: Store) -> Response:
        return responses.NOT_FOUND[form](code) if request.bucket == SOURCE else store(request)

    odd_source.add(gone)
    assert len(odd.sync("key").returned) == 1
    assert odd_source.keys(TARGET) == ["key"]


@pytest.mark.parametrize("code", ["NoSuchTag", "TagsNotFound", "NotFound"])
def test_an_unknown_code_for_an_object_without_tags(odd: Rig, odd_source: OddStore, code: str) -> None:
    odd_source.put(SOURCE, "key", b"body")
    odd_source.put(TARGET, "other", b"body")
    odd_source.add(on("GetObjectTagging")(responses.refuses(404, code)))
    assert odd.sync("key").actions == {"key": "copy"}
    assert odd.sync("key").actions == {"key": "unchanged"}


@pytest.mark.parametrize("code", ["NoSuchKey", "UploadNotFound", "NotFound", ""])
def test_an_unknown_code_for_an_upload_that_is_gone(odd: Rig, odd_store: OddStore, code: str) -> None:
    odd_store.add(on("AbortMultipartUpload", "ListParts", "UploadPart")(responses.refuses(404, code)))
    upload_id = odd.target.create_multipart_upload(Bucket=TARGET, Key="key")["UploadId"]
    store = target_client(odd_store.endpoint, "us-east-1", Credentials("key", "secret"), 1)
    bucket = Bucket(TARGET, "", store, tags=False)
    with pytest.raises(SyncError, match=code or "404") as there:
        bucket.abort_upload("key", upload_id)
    assert there.value.code != "NoSuchUpload"
    odd_store.objects.uploads.clear()
    bucket.abort_upload("key", upload_id)
    with pytest.raises(Changed) as gone:
        bucket.parts("key", upload_id)
    assert gone.value.code == "NoSuchUpload"


# -- errors with status 200 ----------------------------------------------------------------------------------------


def fails_with_status_200(code: str, message: str = "") -> Quirk:
    """Respond with an error document under status 200."""
    return lambda request, store: replace(error(500, code, message), status=200)


@pytest.mark.parametrize(
    ("code", "attempts"),
    [
        ("AccessDenied", 1),
        ("InvalidRequest", 1),
        ("EntityTooLarge", 1),
        ("InternalError", 6),
        ("SlowDown", 6),
        ("SomethingElse", 6),
    ],
)
def test_an_error_with_status_200_is_the_error_of_its_code(odd_store: OddStore, code: str, attempts: int) -> None:
    odd_store.objects.buckets[TARGET] = {}
    store = target_client(odd_store.endpoint, "us-east-1", Credentials("key", "secret"), 1)
    bucket = Bucket(TARGET, "", store, tags=False)
    upload_id = bucket.create_upload("key", ObjectState(3, "e" * 32, None), None)
    etag = bucket.upload_part("key", upload_id, Part(1, 0, 3), b"abc", md5_of(b"abc"))
    odd_store.add(on("CompleteMultipartUpload")(fails_with_status_200(code)))
    with pytest.raises(SyncError, match=code) as caught:
        bucket.complete_upload("key", upload_id, {1: etag})
    assert odd_store.count("CompleteMultipartUpload") == attempts
    assert isinstance(caught.value, Permanent) == (attempts == 1)
    assert isinstance(caught.value, Refused) == (code in ("AccessDenied", "InvalidRequest"))


# -- redirects -----------------------------------------------------------------------------------------------------

REDIRECTS = [(301, ""), (301, "PermanentRedirect"), (301, "MovedPermanently"), (307, "TemporaryRedirect"), (308, "")]


@pytest.mark.parametrize(("status", "code"), REDIRECTS)
@pytest.mark.parametrize("operation", ["HeadObject", "PutObject"])
def test_one_kind_of_request_that_is_redirected_makes_the_store_unusable(
    odd: Rig, odd_store: OddStore, operation: str, status: int, code: str
) -> None:
    for number in range(5):
        odd.put(f"key {number}", b"body")
    odd_store.add(on(operation)(responses.refuses(status, code)))
    ended = run("migrate", "--concurrency", "1", "--full")
    assert ended.code == 3, ended.out
    assert "refuses each key" in ended.err
    assert "redirect" in ended.err.lower() or "another region" in ended.err
    assert odd_store.count(operation) < 30


@pytest.mark.parametrize(("status", "code"), REDIRECTS)
def test_one_key_that_is_redirected_is_that_key(odd: Rig, odd_store: OddStore, status: int, code: str) -> None:
    for name in ("a", "b", "c", "d"):
        odd.put(name, b"body")
    odd_store.add(of_key("b")(on("HeadObject", "PutObject")(responses.refuses(status, code))))
    ended = run("migrate", "--full")
    assert (ended.code, ended.named.keys()) == (1, {"b"})
    assert odd_store.keys(TARGET) == ["a", "c", "d"]


# -- archive tiers of Intelligent-Tiering --------------------------------------------------------------------------


@pytest.mark.parametrize("tier", ["ARCHIVE_ACCESS", "DEEP_ARCHIVE_ACCESS"])
@pytest.mark.parametrize("there", [True, False])
def test_an_archive_tier_is_restored_without_days(odd_source: OddStore, tier: str, there: bool) -> None:
    odd_source.put(SOURCE, "cold", b"body")
    odd_source.put(SOURCE, "warm", b"body")
    if there:
        odd_source.put(TARGET, "cold", b"old")
    restores: list[str] = []
    odd_source.add(properties.archives_in_tier("cold", tier, restores))
    odd_source.add(lambda r, store: store(r) if r.bucket == SOURCE else odd_source.objects.respond(r))
    ended = run("migrate", "--restore", "bulk", "--restore-days", "3")
    assert ended.code == 1
    assert tier in ended.named["cold"]
    assert len(restores) == 1
    assert "<Tier>Bulk</Tier>" in restores[0]
    again = run("migrate", "--restore", "bulk", "--skip-archived")
    assert (again.code, len(restores)) == (0, 1)
    assert "warm" in odd_source.keys(TARGET)


def test_restores_by_the_queue_are_refused_with_what_to_write_instead(odd: Rig) -> None:
    ended = run("migrate", "--workers", "queue", "--restore", "bulk")
    assert ended.code == 2
    assert "run `migrate` without --workers queue to restore objects" in ended.err


# -- bodies without an end -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 3, 300_000])
def test_a_malformed_length_over_an_open_connection_is_not_waited_for(
    odd_source: OddStore, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setitem(clients._COMMON, "read_timeout", 3600)
    odd_source.put(SOURCE, "key", b"a" * size)
    odd_source.put(SOURCE, "other", b"body")
    odd_source.keeps_connections_open = True
    odd_source.add(of_key("key")(on("GetObject")(responses.malforms("Content-Length", "x"))))
    ended = run("migrate", "--delete")
    assert ended.code == 0, ended.out
    assert odd_source.keys(TARGET) == ["key", "other"]
