"""`s3-syncer doctor` and the doctor of the function: findings, and nothing but scratch keys."""

from __future__ import annotations

import json
import logging
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests.functional.command import Ended, run
from tests.functional.harness import SOURCE, TARGET, Account, Context, Rig
from tests.functional.proxy import refuse
from tests.support.odd_requests import Quirk
from tests.support.odd_store import OddStore
from tests.support.quirks import keys, listings, properties, responses, tags, uploads, writes
from tests.support.quirks.scope import on

from s3_syncer import lambda_handler
from s3_syncer.doctor import PREFIX
from s3_syncer.doctor.keys import check_keys
from s3_syncer.doctor.report import Check
from s3_syncer.doctor.scratch import Scratch, scratch_keys
from s3_syncer.doctor.target import (
    check_conditions,
    check_etags,
    check_permissions,
    check_properties,
    check_tags,
    check_uploads,
)

#: Operations that change something in a bucket.
WRITES = (
    "PutObject",
    "DeleteObject",
    "PutObjectTagging",
    "DeleteObjectTagging",
    "CreateMultipartUpload",
    "UploadPart",
    "CompleteMultipartUpload",
    "AbortMultipartUpload",
)


@pytest.fixture
def examined(odd: Rig, odd_store: OddStore) -> Rig:
    """Return the function between AWS and a store in which one key is no scratch key."""
    odd.put("key", b"body")
    odd_store.put(TARGET, "key", b"body")
    return odd


def doctor(rig: Rig, *arguments: str) -> tuple[Ended, Mapping[str, Mapping[str, str]]]:
    """Run the command, and return the status and the finding of each check by its name."""
    secret = {"TARGET_ACCESS_KEY_ID": rig.other.access_key_id, "TARGET_SECRET_ACCESS_KEY": rig.other.secret_access_key}
    ended = run("doctor", "--json", *arguments, **secret)
    assert rig.other.secret_access_key not in ended.out
    return ended, {check["check"]: check for check in json.loads(ended.out)["checks"]}


def test_nothing_is_wrong_with_a_store_like_aws(examined: Rig, odd_store: OddStore) -> None:
    notify(examined)
    ended, checks = doctor(examined)
    assert {name: check for name, check in checks.items() if check["status"] not in ("ok", "note")} == {}
    assert {name for name, check in checks.items() if check["status"] == "note"} == {"TLS"}
    assert ended.code == 0
    assert json.loads(ended.out)["settings"] == {}


def test_only_scratch_keys_are_written_and_none_is_left(examined: Rig, odd_store: OddStore) -> None:
    doctor(examined)
    written = [request.key for operation in WRITES for request in odd_store.asked(operation)]
    assert written
    assert [key for key in written if not key.startswith(f"{PREFIX}run-")] == []
    assert odd_store.keys(TARGET) == ["key"]
    assert odd_store.objects.uploads == {}
    assert [r for r in examined.source_proxy.requests if r.method not in ("GET", "HEAD") and not r.operation] == []


def test_the_scratch_keys_are_below_the_target_prefix(examined: Rig, odd_store: OddStore) -> None:
    doctor(examined, "--target-prefix", "copies/", "--scratch-prefix", "mine/")
    assert {request.key.partition("run-")[0] for request in odd_store.asked("PutObject")} == {"copies/mine/"}


def test_nothing_is_written_beside_a_foreign_key(examined: Rig, odd_store: OddStore) -> None:
    odd_store.put(TARGET, f"{PREFIX}report.txt", b"mine")
    ended, checks = doctor(examined)
    assert (ended.code, checks["scratch keys"]["status"]) == (3, "problem")
    assert [operation for operation in WRITES if odd_store.count(operation)] == []


def test_keys_of_an_earlier_run_are_named_and_stay(examined: Rig, odd_store: OddStore) -> None:
    earlier = f"{PREFIX}run-0123456789abcdef/tags"
    odd_store.put(TARGET, earlier)
    _, checks = doctor(examined)
    assert checks["earlier runs"]["status"] == "note"
    assert earlier in odd_store.keys(TARGET)


def test_scratch_keys_are_removed_after_an_unexpected_failure(
    examined: Rig, odd_store: OddStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(scratch: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("s3_syncer.doctor.doctor.check_uploads", fail)
    _, checks = doctor(examined)
    assert "a defect" in checks["multipart"]["finding"]
    assert odd_store.keys(TARGET) == ["key"]
    assert checks["StartAfter"]["status"] == "ok"


NOT_IMPLEMENTED = responses.refuses(501, "NotImplemented")

with_tags = partial(check_tags, tags=True)
permissions = partial(check_permissions, tags=True)


@pytest.mark.parametrize(
    ("check", "quirk", "name", "status", "words"),
    [
        (check_etags, properties.etags_are_no_md5s, "ETag", "note", "not the MD5"),
        (check_uploads, properties.multipart_etags_are_no_md5s, "multipart ETag", "note", "ETag of their source"),
        (check_conditions, properties.ignores_ranges, "ranges", "note", "ignored"),
        (check_uploads, properties.ignores_part_numbers, "parts of an object", "ok", "not shown"),
        (check_properties, properties.drops_header("Cache-Control"), "Cache-Control", "note", "dropped"),
        (check_properties, responses.sends_header("Content-Language", "tlh"), "Content-Language", "note", "'tlh'"),
        (check_properties, properties.drops_metadata_with_underscores, "metadata with underscores", "note", "dropped"),
        (
            check_properties,
            properties.renames_metadata_with_underscores,
            "metadata with underscores",
            "note",
            "renamed to 'a-b'",
        ),
        (
            check_properties,
            properties.refuses_large_metadata(1000),
            "metadata of 1,900 bytes",
            "note",
            "MetadataTooLarge",
        ),
        (check_properties, properties.sends_metadata_in_q_words, "metadata in RFC 2047", "note", "?Q?"),
        (check_conditions, writes.ignores_conditions, "If-None-Match of PUT", "note", "ignored"),
        (check_conditions, writes.refuses_conditions(), "If-Match of PUT", "note", "NotImplemented"),
        (with_tags, tags.has_no_empty_tag_set, "no tags", "note", "NoSuchTagSet"),
        (with_tags, tags.leaves_out_an_empty_tag_set, "no tags", "note", "without TagSet"),
        (check_keys, keys.folds_slashes, "folded keys", "note", "double slash"),
        (check_keys, keys.folds_case, "folded keys", "note", "upper case"),
        (check_keys, keys.folds_unicode, "folded keys", "note", "not NFC"),
        (check_keys, keys.folds_backslashes, "folded keys", "note", "backslash"),
        (check_keys, keys.folds_dot_segments, "folded keys", "note", "segment ., segment .."),
        (check_keys, keys.refuses_empty_segments, "refused keys", "note", "double slash"),
        (check_keys, listings.encodes_no_plus, "listed names", "note", "plus"),
        (check_keys, listings.lists_in_utf_16_order, "order of listings", "note", "not by the bytes"),
        (check_keys, listings.lists_without_is_truncated, "pages of listings", "problem", "IsTruncated"),
        (check_keys, listings.lists_without_token, "listing", "problem", "NextContinuationToken"),
        (check_keys, listings.lists_start_after_itself, "StartAfter", "ok", "the key itself"),
        (check_keys, listings.ignores_start_after, "StartAfter", "problem", "ignored"),
        (check_uploads, uploads.limits_sizes(parts_max=1000), "part numbers", "problem", "InvalidArgument"),
        (
            check_uploads,
            on("CreateMultipartUpload")(responses.refuses(501, "NotImplemented")),
            "multipart",
            "problem",
            "cannot",
        ),
        (permissions, on("GetObject")(responses.refuses(403, "AccessDenied")), "s3:GetObject", "problem", "denied"),
    ],
)
def test_a_quirk_is_found(
    odd_store: OddStore,
    check: Callable[[Scratch], Iterator[Check]],
    quirk: Quirk,
    name: str,
    status: str,
    words: str,
) -> None:
    odd_store.objects.buckets[TARGET] = {}
    odd_store.add(quirk)
    results: list[Check] = []
    client = Account(odd_store.endpoint).client("s3")
    with closing(client), scratch_keys(client, TARGET, PREFIX, results) as scratch:
        results += check(scratch)
    found = {each.name: each for each in results}
    assert (found[name].status, words in found[name].finding) == (status, True), found[name]
    assert odd_store.keys(TARGET) == []


@pytest.mark.parametrize(
    ("operations", "header"),
    [
        *((each, "501 NotImplemented") for each in tags.NO_TAGS),
        *(("501 NotImplemented", h) for h in tags.NO_TAGS_HEADER),
    ],
)
def test_a_store_without_tags_needs_a_setting(odd_store: OddStore, operations: str, header: str) -> None:
    odd_store.objects.buckets[TARGET] = {}
    odd_store.add(tags.has_no_tags(operations, header))
    with closing(Account(odd_store.endpoint).client("s3")) as client:
        (check,) = check_tags(Scratch(client, TARGET, PREFIX), tags=True)
        assert (check.status, check.settings) == ("problem", {"sync.tags": False})
        assert ("replaces the object" in check.finding) == (operations == "the object itself")
        (check,) = check_tags(Scratch(client, TARGET, PREFIX), tags=False)
        assert (check.status, check.settings) == ("ok", {})


@pytest.mark.parametrize(
    "quirk",
    [
        responses.refuses(403, "InvalidAccessKeyId"),
        responses.bucket_is_gone(),
        responses.responds(200, "<html>maintenance</html>"),
        responses.refuses(503, "SlowDown"),
    ],
    ids=["access key", "bucket", "some web page", "busy"],
)
def test_a_store_that_cannot_be_used_exits_with_3(examined: Rig, odd_store: OddStore, quirk: Quirk) -> None:
    odd_store.add(quirk)
    ended, _ = doctor(examined)
    assert ended.code == 3
    assert [operation for operation in WRITES if odd_store.count(operation)] == []


def test_a_target_that_does_not_respond_exits_with_3(examined: Rig) -> None:
    examined.target_proxy.hang_up()
    try:
        ended, checks = doctor(examined)
    finally:
        examined.target_proxy.listen()
    assert (ended.code, checks["connection"]["status"]) == (3, "problem")


def test_a_host_without_an_address_is_named(examined: Rig) -> None:
    ended, checks = doctor(examined, "--target-endpoint", "http://no-such-host.invalid:1")
    assert (ended.code, checks["DNS"]["status"]) == (3, "problem")


def test_the_other_addressing_style_is_recommended(examined: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **options: resolve("127.0.0.1", *rest, **options))
    with OddStore(responses.only_virtual_host, domain="store.test") as store:
        store.objects.buckets[TARGET] = {}
        ended, checks = doctor(examined, "--target-endpoint", store.endpoint)
        assert json.loads(ended.out)["settings"] == {"target.addressing_style": "virtual"}
        assert (ended.code, checks["tags"]["status"]) == (1, "ok")
        assert store.keys(TARGET) == []


def test_signed_bodies_are_recommended(examined: Rig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    with OddStore(writes.refuses_unsigned_payload(), tls=tls) as store:
        store.objects.buckets[TARGET] = {}
        ended, checks = doctor(examined, "--target-endpoint", store.endpoint)
        assert json.loads(ended.out)["settings"] == {"target.payload_signing": True}
        assert (ended.code, checks["payload signing"]["status"], checks["tags"]["status"]) == (1, "problem", "ok")
        assert store.keys(TARGET) == []


def test_a_denied_read_of_the_source_is_a_problem(examined: Rig) -> None:
    examined.source_proxy.when(refuse(403, "AccessDenied"), "GET", key="key", query="", times=1)
    ended, _ = doctor(examined, "--queue-url", "")
    assert (ended.code, json.loads(ended.out)["checks"][5]["check"]) == (1, "s3:GetObject")


def test_the_bucket_must_notify_the_queue(examined: Rig) -> None:
    ended, checks = doctor(examined)
    assert (ended.code, checks["notifications"]["status"]) == (1, "problem")
    notify(examined, "s3:ObjectCreated:*")
    ended, checks = doctor(examined)
    assert "s3:ObjectRemoved" in checks["notifications"]["finding"]


def test_no_message_is_sent_or_received(examined: Rig) -> None:
    examined.sqs.send_message(QueueUrl=examined.queue_url, MessageBody="work")
    doctor(examined)
    (message,) = examined.receive(2)
    assert (message["Body"], message["Attributes"]["ApproximateReceiveCount"]) == ("work", "1")
    assert examined.dead_letters() == []


def test_the_function_returns_the_report(examined: Rig, odd_store: OddStore) -> None:
    notify(examined)
    event: dict[str, Any] = {"doctor": True}
    report = lambda_handler.handler(event, Context(time.monotonic() + 900))
    assert json.loads(json.dumps(report)) == report
    assert (report["exit_code"], report["complete"]) == (0, True)  # type: ignore[typeddict-item]
    assert odd_store.keys(TARGET) == ["key"]


def test_the_workers_need_not_send_to_the_queue_of_the_events(examined: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The role of the function allows sqs:SendMessage on the queue for bulk work only."""
    notify(examined)
    sent = {"sqs:SendMessage", "sqs:SendMessage on the bulk queue"}
    assert sent & doctor(examined)[1].keys() == {"sqs:SendMessage"}
    monkeypatch.setenv("BULK_QUEUE_URL", examined.sqs.create_queue(QueueName="bulk")["QueueUrl"])
    report: Any = lambda_handler.handler({"doctor": True}, Context(time.monotonic() + 900))
    assert sent & {check["check"] for check in report["checks"]} == {"sqs:SendMessage on the bulk queue"}


def test_the_function_logs_no_secret_for_the_doctor(examined: Rig, caplog: pytest.LogCaptureFixture) -> None:
    libraries = [logging.getLogger(name) for name in ("boto3", "botocore", "urllib3")]
    levels = [library.level for library in libraries]
    for library in libraries:
        library.setLevel(logging.NOTSET)  # as in a new process
    caplog.set_level(logging.DEBUG)  # Lambda sets the level of the root logger
    try:
        lambda_handler.handler({"doctor": True}, Context(time.monotonic() + lambda_handler.RESERVE_S))
    finally:
        for library, level in zip(libraries, levels, strict=True):
            library.setLevel(level)
    assert examined.other.secret_access_key not in caplog.text


def test_after_the_deadline_the_scratch_keys_are_removed(examined: Rig, odd_store: OddStore) -> None:
    report = lambda_handler.handler({"doctor": True}, Context(time.monotonic() + lambda_handler.RESERVE_S))
    statuses = {check["check"]: check["status"] for check in report["checks"]}  # type: ignore[typeddict-item]
    assert statuses["multipart"] == "skipped"
    assert odd_store.keys(TARGET) == ["key"]


def test_people_get_a_table(examined: Rig) -> None:
    secret = {
        "TARGET_ACCESS_KEY_ID": examined.other.access_key_id,
        "TARGET_SECRET_ACCESS_KEY": examined.other.secret_access_key,
    }
    ended = run("doctor", **secret)
    assert "Target permissions\n  ok       s3:PutObject" in ended.out
    assert max(map(len, ended.out.splitlines())) <= 120


def notify(rig: Rig, *events: str) -> None:
    """Make the source bucket notify the queue, and give the queue its dead-letter queue."""
    queues = (rig.queue_url, rig.dead_letter_url)
    queue, dead_letters = (
        rig.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        for url in queues
    )
    redrive = json.dumps({"deadLetterTargetArn": dead_letters, "maxReceiveCount": 100})
    rig.sqs.set_queue_attributes(QueueUrl=rig.queue_url, Attributes={"RedrivePolicy": redrive})
    configuration: Any = {"QueueArn": queue, "Events": list(events or ("s3:ObjectCreated:*", "s3:ObjectRemoved:*"))}
    rig.source.put_bucket_notification_configuration(
        Bucket=SOURCE, NotificationConfiguration={"QueueConfigurations": [configuration]}
    )
