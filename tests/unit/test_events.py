"""Messages of the queue, decoded: every payload of tests/events, and messages that must be rejected."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3_syncer.core.events import decode, decode_task
from s3_syncer.core.work_items import KeyWork, Malformed, RangeWork, Work

EVENTS = Path(__file__).parent.parent / "events"
BUCKET = "photos-source"


def keys(*keys: str, at: str | None = "2026-11-20T09:15:42.317Z") -> KeyWork:
    return KeyWork(keys, since=None if at is None else datetime.fromisoformat(at).timestamp())


#: Times of EventBridge have whole seconds.
SECOND = "2026-11-20T09:15:42Z"

DECODED: dict[str, Work | None] = {
    "s3-object-created-put": keys("2026/red flower (1).jpg"),
    "s3-object-created-post": keys("forms/a+b&c.txt"),
    "s3-object-created-copy": keys("übersicht/写真.png"),
    "s3-object-created-complete-multipart-upload": keys("backups/100%.tar"),
    "s3-object-removed-delete": keys("folder/"),
    "s3-object-removed-delete-marker-created": keys("a//b/../c"),
    "s3-lifecycle-expiration-delete": keys("logs/2020-01-01.gz"),
    "s3-lifecycle-expiration-delete-marker-created": keys("logs/2020-01-02.gz"),
    "s3-object-tagging-put": keys("2026/invoice;1.pdf"),
    "s3-object-tagging-delete": keys("2026/invoice;2.pdf"),
    "s3-object-restore-completed": keys("archive/film.mov"),
    "s3-several-records": keys(
        "several/first.txt", "several/second one.txt", "several/first.txt", at="2026-11-20T09:15:43Z"
    ),
    "s3-test-event": None,
    # plain keys: "+" and "%" are not escapes
    "eventbridge-object-created": keys("2026/red flower+100%25 (1).jpg", at=SECOND),
    "eventbridge-object-created-multipart": keys("übersicht/写真.png", at=SECOND),
    "eventbridge-object-deleted": keys("folder/", at=SECOND),
    "eventbridge-object-deleted-by-lifecycle": keys("logs/2020-01-01.gz", at=SECOND),
    "eventbridge-object-tags-added": keys("2026/invoice;1.pdf", at=SECOND),
    "eventbridge-object-tags-deleted": keys("2026/invoice;2.pdf", at=SECOND),
    "eventbridge-object-restore-completed": keys("archive/film.mov", at=SECOND),
    "sns-notification": keys("fanned/out by sns.txt"),
    "sns-test-event": None,
    "own-keys": keys("2026/red flower.jpg", "a+b%25c", at=None),
    "own-range": RangeWork("2026/", "2027/", delete=True, max_delete=100),
}

#: Events that the Lambda function receives directly, without a message.
TASKS = {
    "batch-operations-1.0": keys("2026/red flower+100%25 (1).jpg", at=None),
    "batch-operations-2.0": keys("übersicht/写真.png", at=None),
}


def payload(name: str) -> str:
    return (EVENTS / f"{name}.json").read_text(encoding="utf-8")


def test_every_recorded_payload_is_decoded() -> None:
    assert {path.stem for path in EVENTS.glob("*.json")} == set(DECODED) | set(TASKS)


@pytest.mark.parametrize("name", DECODED)
def test_a_payload_becomes_the_work_it_asks_for(name: str) -> None:
    assert decode(payload(name), BUCKET) == DECODED[name]


@pytest.mark.parametrize("name", TASKS)
def test_a_task_becomes_the_work_it_asks_for(name: str) -> None:
    event = json.loads(payload(name))
    (task,) = event["tasks"]
    assert decode_task(task, event["invocationSchemaVersion"], BUCKET) == TASKS[name]


@given(st.text(min_size=1))
def test_any_key_survives_the_encoding_of_a_task(key: str) -> None:
    assert decode_task({"s3Key": quote_plus(key), "s3Bucket": BUCKET}, "2.0", BUCKET) == KeyWork((key,))


@pytest.mark.parametrize(
    "arn",
    ["arn:aws:s3:::photos-source", "arn:aws-cn:s3:::photos-source", "arn:aws:s3:us-east-1:0123456788:photos-source"],
)
def test_the_bucket_of_a_task_is_the_last_element_of_its_arn(arn: str) -> None:
    """The last form is in the documentation of AWS, although no bucket has such an ARN."""
    assert decode_task({"s3Key": "key", "s3BucketArn": arn}, "1.0", BUCKET) == KeyWork(("key",))


TASK = {"s3Key": "key", "s3Bucket": BUCKET}


@pytest.mark.parametrize(
    ("task", "version", "reason"),
    [
        (TASK, "3.0", '"invocationSchemaVersion" must be "1.0" or "2.0", not "3.0"'),
        (TASK, None, "not null"),
        (TASK, "1.0", 'not a task of S3 Batch Operations: "s3BucketArn" must be a string'),
        ({**TASK, "s3BucketArn": 7}, "1.0", "not a task of S3 Batch Operations"),
        ({"s3Bucket": BUCKET}, "2.0", 'not a task of S3 Batch Operations: "s3Key" must be a string'),
        ("key", "2.0", "not a task of S3 Batch Operations"),
        ({**TASK, "s3Key": "%ff"}, "2.0", "not a task of S3 Batch Operations: the key '%ff' is not UTF-8"),
        ({**TASK, "s3Key": ""}, "2.0", "the key is empty"),
        ({**TASK, "s3Bucket": "other"}, "2.0", "the event is for bucket 'other'; this instance syncs 'photos-source'"),
    ],
)
def test_a_malformed_task_is_rejected_with_the_reason(task: Any, version: Any, reason: str) -> None:
    with pytest.raises(Malformed) as refusal:
        decode_task(task, version, BUCKET)
    assert reason in str(refusal.value)


def created(key: object, bucket: object = BUCKET, time: object = "2026-11-20T09:15:42.317Z") -> dict[str, Any]:
    return {"Records": [{"eventTime": time, "s3": {"bucket": {"name": bucket}, "object": {"key": key}}}]}


@given(st.text(min_size=1))
def test_any_key_survives_the_encoding_of_a_notification(key: str) -> None:
    work = decode(json.dumps(created(quote_plus(key))), BUCKET)
    assert isinstance(work, KeyWork)
    assert work.keys == (key,)


@given(st.lists(st.text(min_size=1), min_size=1), st.none() | st.floats(min_value=0, max_value=2e11))
def test_own_work_equals_its_decoded_message(keys: list[str], since: float | None) -> None:
    work = KeyWork(tuple(keys), since)
    assert decode(work.to_json(), BUCKET) == work


@given(st.text(), st.none() | st.text(), st.booleans(), st.none() | st.integers(min_value=0))
def test_a_range_equals_its_decoded_message(
    after: str, until: str | None, delete: bool, max_delete: int | None
) -> None:
    work = RangeWork(after, until, delete, max_delete)
    assert decode(work.to_json(), BUCKET) == work


def test_a_time_without_a_zone_is_utc() -> None:
    work = decode(json.dumps(created("key", time="2026-11-20T09:15:42")), BUCKET)
    assert work == keys("key", at=SECOND)


@pytest.mark.parametrize("time", ["yesterday", None, 7, "", "2026-11-20T09:15:42+99:00"])
def test_a_key_is_checked_whatever_the_time_of_its_event_is(time: object) -> None:
    assert decode(json.dumps(created("key", time=time)), BUCKET) == keys("key", at=None)
    detail = {"bucket": {"name": BUCKET}, "object": {"key": "key"}}
    assert decode(json.dumps({"source": "aws.s3", "time": time, "detail": detail}), BUCKET) == keys("key", at=None)


def test_the_oldest_known_time_of_the_records_counts() -> None:
    records = [*created("a", time="?")["Records"], *created("b")["Records"], *created("c", time=SECOND)["Records"]]
    assert decode(json.dumps({"Records": records}), BUCKET) == keys("a", "b", "c", at=SECOND)


MALFORMED = [
    ("", "not JSON"),
    ("hello", "not JSON"),
    ("[" * 100_000, "not JSON"),
    ("null", "not a JSON object"),
    ('["Records"]', "not a JSON object"),
    ("{}", "neither an S3 notification, an EventBridge event of S3, nor a message of this project"),
    ('{"source": "aws.ec2", "detail": {}}', "neither an S3 notification"),
    ('{"Event": "s3:OtherEvent"}', "neither an S3 notification"),
    ('{"Type": "Notification", "Message": "hello"}', "not JSON"),
    ('{"Type": "SubscriptionConfirmation", "Message": "You have chosen to subscribe"}', "neither an S3 notification"),
    ('{"Records": {}}', '"Records" must be a list of one or more records'),
    ('{"Records": []}', '"Records" must be a list of one or more records'),
    ('{"Records": ["hello"]}', "not a record of an S3 notification"),
    ('{"Records": [{"s3": {"object": {}}}]}', '"s3.bucket.name" must be a string'),
    (json.dumps(created("")), "the key is empty"),
    (json.dumps(created(None)), 'not a record of an S3 notification: "s3.object.key" must be a string'),
    (json.dumps(created(7)), 'not a record of an S3 notification: "s3.object.key" must be a string'),
    (json.dumps(created("%ff%fe")), "not a record of an S3 notification: the key '%ff%fe' is not UTF-8"),
    (
        json.dumps(created("key", bucket="other")),
        "the event is for bucket 'other'; this instance syncs 'photos-source'",
    ),
    (json.dumps(created("key", bucket=None)), '"s3.bucket.name" must be a string'),
    ('{"source": "aws.s3"}', 'not an EventBridge event about an object: "detail.bucket.name" must be a string'),
    ('{"source": "aws.s3", "detail": "hello"}', "not an EventBridge event about an object"),
    (
        '{"source": "aws.s3", "time": "2026-11-20T09:15:42Z", "detail": {"bucket": {"name": "photos-source"}}}',
        '"detail.object.key" must be a string',
    ),
    ('{"s3-syncer": []}', '"s3-syncer" must be a JSON object'),
    ('{"s3-syncer": {}}', '"work" must be "keys", "range", "parts" or "deletion", not null'),
    ('{"s3-syncer": {"work": "dance"}}', '"work" must be "keys", "range", "parts" or "deletion", not "dance"'),
    ('{"s3-syncer": {"work": "keys"}}', '"keys" must be a list of one or more non-empty strings'),
    ('{"s3-syncer": {"work": "keys", "keys": "key"}}', '"keys" must be a list'),
    ('{"s3-syncer": {"work": "keys", "keys": ["key", ""]}}', '"keys" must be a list'),
    *(
        (
            f'{{"s3-syncer": {{"work": "keys", "keys": ["key"], "since": {since}}}}}',
            '"since" must be a number of seconds',
        )
        for since in ('"now"', "true", "-1", "NaN", "Infinity", "1e400", "1" + "0" * 400)
    ),
    ('{"s3-syncer": {"work": "range", "after": null}}', '"after" must be a key'),
    ('{"s3-syncer": {"work": "range", "until": 3}}', '"until" a key or null'),
    ('{"s3-syncer": {"work": "range", "delete": "yes"}}', '"delete" must be true or false'),
    ('{"s3-syncer": {"work": "range", "max_delete": true}}', '"max_delete" must be a whole number or null'),
    ('{"s3-syncer": {"work": "range", "max_delete": -1}}', '"max_delete" must be a whole number or null'),
]


@pytest.mark.parametrize(("body", "reason"), MALFORMED, ids=lambda text: text[:60])
def test_a_malformed_message_is_rejected_with_the_reason(body: str, reason: str) -> None:
    with pytest.raises(Malformed) as refusal:
        decode(body, BUCKET)
    assert reason in str(refusal.value)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (created("key", bucket="other")["Records"][0], "the event is for bucket 'other'"),
        (created("%ff")["Records"][0], "the key '%ff' is not UTF-8"),
        ("hello", "not a record of an S3 notification"),
    ],
    ids=["another bucket", "not UTF-8", "no record"],
)
def test_a_malformed_record_leaves_the_other_records_of_its_message(record: Any, reason: str) -> None:
    ours = [created(key)["Records"][0] for key in ("a", "b")]
    work = decode(json.dumps({"Records": [record, *ours]}), BUCKET)
    assert isinstance(work, KeyWork)
    assert work.keys == ("a", "b")
    assert work.rejection.startswith("1 of 3 records: ")
    assert reason in work.rejection
    with pytest.raises(Malformed, match=reason):
        decode(json.dumps({"Records": [record, record]}), BUCKET)


#: Values that could mislead the decoder in a wrong place.
WORDS = "Records s3 object key bucket name eventTime source detail time Type Message Event s3-syncer work keys after"

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from([BUCKET, "aws.s3", "Notification", "keys"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS.split()), inner, max_size=4),
    max_leaves=12,
)

EVENTBRIDGE: dict[str, Any] = {
    "source": "aws.s3",
    "time": SECOND,
    "detail": {"bucket": {"name": BUCKET}, "object": {"key": "key"}},
}


@given(JSON | st.builds(created, JSON, JSON, JSON))
def test_any_text_raises_malformed_or_nothing(content: object) -> None:
    _decode_or_refuse(content)


@given(st.sampled_from(["Records", "source", "time", "detail"]), JSON)
def test_a_damaged_event_raises_malformed_or_nothing(name: str, value: object) -> None:
    _decode_or_refuse({**EVENTBRIDGE, name: value})
    _decode_or_refuse({**EVENTBRIDGE, "detail": {**EVENTBRIDGE["detail"], "object": value}})
    _decode_or_refuse({"Records": [{**created("key")["Records"][0], "s3": value}]})


def _decode_or_refuse(content: object) -> None:
    try:
        work = decode(json.dumps(content), BUCKET)
    except Malformed:
        return
    assert work is None or isinstance(work, KeyWork | RangeWork)
