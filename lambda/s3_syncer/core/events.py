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


def decode(body: str, bucket: str) -> Work | None:
    """Return the work that a queue message asks for, or None for S3's test message.

    `bucket` is the source bucket. Raises Malformed, also for a message about another bucket.
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
    try:
        match version:
            case "1.0":
                name = task["s3BucketArn"].rpartition(":")[2]
            case "2.0":
                name = task["s3Bucket"]
            case _:
                raise Malformed(f'"invocationSchemaVersion" must be "1.0" or "2.0", not {json.dumps(version)}')
        key = unquote_plus(task["s3Key"], errors="strict")  # form-encoded, as in the manifest
    except (KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise Malformed(f"not a task of S3 Batch Operations: {error!r}") from error
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
    keys, times = [], []
    for record in records:
        try:
            key = unquote_plus(record["s3"]["object"]["key"], errors="strict")  # form-encoded: a space is a plus
            name, time = record["s3"]["bucket"]["name"], record["eventTime"]
        except (KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
            raise Malformed(f"not a record of an S3 notification: {error!r}") from error
        keys.append(_checked_key(key, name, bucket))
        times.append(_seconds(time))
    return KeyWork(tuple(keys), since=min(times))


def _eventbridge(event: Mapping[str, Any], bucket: str) -> KeyWork:
    """Decode an event of EventBridge, in which the key is not encoded.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
    """
    try:
        key, name, time = event["detail"]["object"]["key"], event["detail"]["bucket"]["name"], event["time"]
    except (KeyError, TypeError) as error:
        raise Malformed(f"not an EventBridge event about an object: {error!r}") from error
    return KeyWork((_checked_key(key, name, bucket),), since=_seconds(time))


def _checked_key(key: Any, name: Any, bucket: str) -> str:
    if name != bucket:
        raise Malformed(f"the event is for bucket {name!r}; this instance syncs {bucket!r}")
    if not isinstance(key, str) or not key:
        raise Malformed("the key is empty")
    return key


def _seconds(time: Any) -> float:
    try:
        moment = datetime.fromisoformat(time)
    except (TypeError, ValueError) as error:
        raise Malformed(f"not a time: {time!r}") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
