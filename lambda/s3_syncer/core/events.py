"""Decodes S3 notifications, EventBridge events, S3 Batch Operations tasks and own messages. Pure.

An event says only that a key may have changed, so every kind of event becomes the same KeyWork. To add one, add its
decoder to `decode` and a verbatim payload to tests/events.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote_plus

from .work_items import ENVELOPE, KeyWork, Malformed, Work, from_envelope

#: The kinds of events, for messages.
_TASK = "a task of S3 Batch Operations"
_RECORD = "a record of an S3 notification"
_EVENT = "an EventBridge event about an object"


def decode(body: str, bucket: str) -> Work | None:
    """Return the work that a queue message asks for, or None for S3's test message.

    `bucket` is the source bucket. Raises Malformed, also for a message about another bucket. If only some records of a
    message are so, the work has the keys of the good ones, and the reason as its `rejection`.
    """
    content = _object(body)
    if content.get("Type") == "Notification" and isinstance(content.get("Message"), str):
        content = _object(content["Message"])  # the bucket's owner fans its events out through an SNS topic
    if ENVELOPE in content:
        if not isinstance(content[ENVELOPE], dict):
            raise Malformed(f'"{ENVELOPE}" must be a JSON object')
        return from_envelope(content[ENVELOPE])
    if "Records" in content:
        return _notification(content["Records"], bucket)
    if content.get("source") == "aws.s3":
        return _eventbridge(content, bucket)
    if content.get("Event") == "s3:TestEvent":
        return None
    raise Malformed("neither an S3 notification, an EventBridge event of S3, nor a message of this project")


def decode_task(task: Any, version: Any, bucket: str) -> KeyWork:
    """Return the work that a task of an S3 Batch Operations job asks for. Raises Malformed.

    `version` is the schema version of the event with the task. A manifest may name a version of the object. It is
    ignored: the current version is mirrored.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/batch-ops-invoke-lambda.html
    """
    match version:
        case "1.0":
            name = _text(task, _TASK, "s3BucketArn").rpartition(":")[2]
        case "2.0":
            name = _text(task, _TASK, "s3Bucket")
        case _:
            raise Malformed(f'"invocationSchemaVersion" must be "1.0" or "2.0", not {json.dumps(version)}')
    key = _decoded(_text(task, _TASK, "s3Key"), _TASK)  # form-encoded, as in the manifest
    return KeyWork((_checked_key(key, name, bucket),))


def _object(text: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:  # JSON can contain half a surrogate pair, and no request can name such a key
        raise Malformed("a key in the message is not UTF-8: no request can name it") from error
    except (ValueError, RecursionError) as error:  # the latter: nested too deeply for an event
        raise Malformed(f"not JSON: {error}") from error
    if not isinstance(content, dict):
        raise Malformed("not a JSON object")
    return content


def _notification(records: Any, bucket: str) -> KeyWork:
    """Decode the records of a notification.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
    """
    if not isinstance(records, list) or not records:
        raise Malformed('"Records" must be a list of one or more records')
    keys, times, rejections = list[str](), list[float | None](), list[Malformed]()
    for record in records:
        try:
            keys.append(_record_key(record, bucket))
        except Malformed as error:  # the other records are still to be mirrored
            rejections.append(error)
        else:
            times.append(_seconds(record.get("eventTime")))
    if not keys:
        raise rejections[0]
    rejection = f"{len(rejections)} of {len(records)} records: {rejections[0]}" if rejections else ""
    since = min((time for time in times if time is not None), default=None)
    return KeyWork(tuple(keys), since=since, rejection=rejection)


def _record_key(record: Any, bucket: str) -> str:
    name = _text(record, _RECORD, "s3", "bucket", "name")
    key = _decoded(_text(record, _RECORD, "s3", "object", "key"), _RECORD)  # form-encoded: a space is a plus
    return _checked_key(key, name, bucket)


def _eventbridge(event: Mapping[str, Any], bucket: str) -> KeyWork:
    """Decode an event of EventBridge, in which the key is not encoded.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
    """
    name = _text(event, _EVENT, "detail", "bucket", "name")
    key = _text(event, _EVENT, "detail", "object", "key")
    return KeyWork((_checked_key(key, name, bucket),), since=_seconds(event.get("time")))


def _text(content: Any, what: str, *path: str) -> str:
    """Return the string at this path of `what`. Raises Malformed."""
    found = content
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    if not isinstance(found, str):
        raise Malformed(f'not {what}: "{".".join(path)}" must be a string')
    return found


def _decoded(key: str, what: str) -> str:
    """Return a form-encoded key. Raises Malformed."""
    try:
        return unquote_plus(key, errors="strict")
    except UnicodeDecodeError:
        raise Malformed(f"not {what}: the key {key[:100]!r} is not UTF-8") from None


def _checked_key(key: str, name: str, bucket: str) -> str:
    if name != bucket:
        raise Malformed(f"the event is for bucket {name!r}; this instance syncs {bucket!r}")
    if not key:
        raise Malformed("the key is empty")
    return key


def _seconds(time: Any) -> float | None:
    """Return the time of an event, or None if it cannot be read. Only the lag in the log depends on it."""
    try:
        moment = datetime.fromisoformat(time)
    except (TypeError, ValueError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
