"""The Lambda function between two emulated stores, with a real queue in front of it."""

from __future__ import annotations

import json
import os
import secrets
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
from tests.functional.proxy import Proxy

from localcloud import verify
from s3_syncer.lambda_handler import BatchResponse, Function
from s3_syncer.queue.s3_batch import Response
from s3_syncer.stores.clients import pass_raw_properties
from s3_syncer.stores.protocols import BucketLocation
from s3_syncer.sync.context import Transports

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

REGION = "us-east-1"
SOURCE, TARGET = "the-source", "the-target"
QUEUE, DEAD_LETTERS, SECRET = "work", "work-dead-letters", "target-credentials"

MIB = 1024 * 1024

#: Visibility timeout of the queue in seconds: far longer than any test waits.
VISIBILITY_S = 300

#: Seconds of an invocation, if a test sets no other time: the longest that Lambda allows.
REMAINING_S = 900


@dataclass(frozen=True)
class Account:
    """An endpoint and an access key for it."""

    endpoint: str
    access_key_id: str = field(default_factory=lambda: f"key-{secrets.token_hex(8)}")
    secret_access_key: str = field(default_factory=lambda: secrets.token_hex(20))
    is_moto: bool = True

    def empty(self) -> None:
        """Remove the buckets of the tests, with all that is in them."""
        if self.is_moto:
            wipe(self.endpoint)
            return
        client = self.client("s3")
        for bucket in (SOURCE, TARGET):
            with suppress(client.exceptions.NoSuchBucket):
                empty_bucket(client, bucket)
                client.delete_bucket(Bucket=bucket)

    @cache  # noqa: B019 - the few accounts live as long as the tests
    def client(self, service: str) -> Any:
        """Return a client without retries, so that a test sees the first response."""
        client = boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            config=Config(
                retries={"mode": "standard", "total_max_attempts": 1},
                request_checksum_calculation="when_required",
                s3={"addressing_style": "path"},
            ),
        )
        if service == "s3":
            pass_raw_properties(client)
        return client


@dataclass(frozen=True)
class Context:
    """The part of Lambda's context that the handler uses."""

    deadline: float

    def get_remaining_time_in_millis(self) -> int:
        return max(0, round((self.deadline - time.monotonic()) * 1000))


@dataclass(frozen=True)
class Delivery:
    """The result of one invocation."""

    returned: list[str]
    """The bodies of the messages that the function reported as failed."""
    log: list[dict[str, Any]]
    """The log lines, without the line with the versions that a process starts with."""
    seconds: float

    @property
    def actions(self) -> dict[str, str]:
        """Return the logged action of each key."""
        return {line["key"]: line["action"] for line in self.log if "action" in line}

    @property
    def reasons(self) -> dict[str, str]:
        return {line["key"]: line["reason"] for line in self.log if "action" in line}


@dataclass(frozen=True)
class DeadLetter:
    body: str
    error: str = ""
    key: str = ""
    bucket: str = ""


@dataclass
class Rig:
    """Both stores. The test uses them directly, and the function uses each through a proxy."""

    aws: Account
    other: Account
    source_proxy: Proxy
    target_proxy: Proxy
    printed: Callable[[], str]
    """Returns the standard output since the last call."""
    transcript: list[str] = field(default_factory=list)
    _function: Function | None = None

    def __post_init__(self) -> None:
        self.source: S3Client = self.aws.client("s3")
        self.target: S3Client = self.other.client("s3")
        self.sqs = self.aws.client("sqs")
        self.secrets = self.aws.client("secretsmanager")

    # -- setting up ------------------------------------------------------------------------------------------------

    def furnish(self) -> None:
        """Create the buckets, the queues and the secret."""
        self.source.create_bucket(Bucket=SOURCE)
        self.target.create_bucket(Bucket=TARGET)
        attributes = {"VisibilityTimeout": str(VISIBILITY_S)}
        self.queue_url = self.sqs.create_queue(QueueName=QUEUE, Attributes=attributes)["QueueUrl"]
        self.dead_letter_url = self.sqs.create_queue(QueueName=DEAD_LETTERS)["QueueUrl"]
        self.secrets.create_secret(Name=SECRET, SecretString=secret(self.other))

    def environment(self) -> dict[str, str]:
        """Return the environment that the Terraform module and Lambda set for the function."""
        return {
            "AWS_ACCESS_KEY_ID": self.aws.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.aws.secret_access_key,
            "AWS_ENDPOINT_URL": self.source_proxy.endpoint,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "SOURCE_BUCKET": SOURCE,
            "TARGET_ENDPOINT": self.target_proxy.endpoint,
            "TARGET_REGION": REGION,
            "TARGET_BUCKET": TARGET,
            "TARGET_SECRET_ARN": SECRET,
            "QUEUE_URL": self.queue_url,
            "DEAD_LETTER_QUEUE_URL": self.dead_letter_url,
        }

    def put(self, key: str, body: bytes = b"", **properties: Any) -> str:
        """Put an object into the source and return its ETag. `RawExpires` is the unparsed Expires header."""
        return self.source.put_object(Bucket=SOURCE, Key=key, Body=body, **properties)["ETag"].strip('"')

    def put_parts(self, key: str, *parts: bytes, **properties: Any) -> str:
        """Upload an object to the source in these parts and return its ETag."""
        return put_parts(self.source, SOURCE, key, parts, **properties)

    def tag(self, key: str, tags: Mapping[str, str]) -> None:
        if tags:
            self.source.put_object_tagging(Bucket=SOURCE, Key=key, Tagging={"TagSet": tag_set(tags)})
        else:
            self.source.delete_object_tagging(Bucket=SOURCE, Key=key)

    # -- running ---------------------------------------------------------------------------------------------------

    def sync(self, *keys: str, remaining_s: float = REMAINING_S) -> Delivery:
        """Send an S3 event for each key, and invoke the function once for all of them."""
        return self.deliver(*(notification(key) for key in keys), remaining_s=remaining_s)

    def deliver(self, *bodies: str, remaining_s: float = REMAINING_S) -> Delivery:
        """Send messages, receive them, invoke the function, and delete the successful ones, as Lambda does.

        Messages that an earlier invocation returned may be visible again by now. They stay in flight.
        """
        sent = {self.sqs.send_message(QueueUrl=self.queue_url, MessageBody=body)["MessageId"] for body in bodies}
        messages: list[dict[str, Any]] = []
        while len(messages) < len(sent) and (received := self.receive(len(sent) - len(messages))):
            messages += [message for message in received if message["MessageId"] in sent]
        return self.invoke(messages, remaining_s=remaining_s)

    def receive(self, count: int, *, wait_s: int = 1) -> list[dict[str, Any]]:
        """Receive messages of the queue; fewer if no more arrive within `wait_s` seconds."""
        messages: list[dict[str, Any]] = []
        while len(messages) < count:
            response = self.sqs.receive_message(
                QueueUrl=self.queue_url,
                MaxNumberOfMessages=min(10, count - len(messages)),
                MessageSystemAttributeNames=["All"],
                WaitTimeSeconds=wait_s,
            )
            if not response.get("Messages"):
                break
            messages += response["Messages"]
        return messages

    def handle(self, event: Mapping[str, Any], context: Context) -> BatchResponse | Response:
        """Handle an event in the function, which the first event builds from the environment."""
        if self._function is None:
            self._function = Function.from_environment(os.environ)
        return self._function.handle(event, context)

    def close(self) -> None:
        """Drop the function, so that its threads end."""
        self._function = None

    def invoke(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        remaining_s: float = REMAINING_S,
        logged: Callable[[Sequence[Mapping[str, Any]]], object] = lambda lines: None,
    ) -> Delivery:
        """Invoke the function; `logged` receives its log lines before the messages are deleted."""
        event = {"Records": [_record(message) for message in messages]}
        began = time.monotonic()
        response = self.handle(event, Context(began + remaining_s))
        seconds = time.monotonic() - began
        assert "batchItemFailures" in response
        failed = {failure["itemIdentifier"] for failure in response["batchItemFailures"]}
        log = [line for line in self.read_log() if line["message"] != "started"]
        logged(log)
        for message in messages:
            if message["MessageId"] not in failed:
                self.sqs.delete_message(QueueUrl=self.queue_url, ReceiptHandle=message["ReceiptHandle"])
        return Delivery([m["Body"] for m in messages if m["MessageId"] in failed], log, seconds)

    def read_log(self) -> list[dict[str, Any]]:
        """Return the log lines of the function since the last call. Every line is JSON."""
        text = self.printed()
        self.transcript.append(text)
        return [json.loads(line) for line in text.split("\n") if line]  # keys may contain line separators of splitlines

    # -- looking ---------------------------------------------------------------------------------------------------

    def dead_letters(self) -> list[DeadLetter]:
        found = self.sqs.receive_message(
            QueueUrl=self.dead_letter_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        )
        return [
            DeadLetter(
                message["Body"],
                **{name: value["StringValue"] for name, value in message.get("MessageAttributes", {}).items()},
            )
            for message in found.get("Messages", [])
        ]

    def delays(self) -> list[int]:
        """Return the visibility timeouts, in seconds, that were set since the last `clear`."""
        return [entry["VisibilityTimeout"] for entry in self._visibility_changes()]

    def end_delays(self) -> None:
        """End the visibility timeouts that were set since the last `clear`."""
        for receipt in {each["ReceiptHandle"] for each in self._visibility_changes() if each["VisibilityTimeout"]}:
            self.sqs.change_message_visibility(QueueUrl=self.queue_url, ReceiptHandle=receipt, VisibilityTimeout=0)

    def _visibility_changes(self) -> list[Mapping[str, Any]]:
        asked = [r.content for r in self.source_proxy.requests if r.operation.startswith("ChangeMessageVisibility")]
        return [entry for content in asked for entry in content.get("Entries", [content])]

    def queue_is_empty(self) -> bool:
        """Return True if no message is left, visible or in flight.

        Checks twice: moto counts visible messages first and messages in flight second. It misses a message that becomes
        visible in between.
        """
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]

        def counts_are_zero() -> bool:
            counts = self.sqs.get_queue_attributes(QueueUrl=self.queue_url, AttributeNames=names)["Attributes"]
            return not any(int(counts[name]) for name in names)

        return counts_are_zero() and counts_are_zero()

    def differences(self) -> list[str]:
        """Return the differences between the buckets, found by code that is independent of s3-syncer."""
        source = verify.read_bucket(self.source, SOURCE)
        target = verify.read_bucket(self.target, TARGET)
        return [str(difference) for difference in verify.differences(source, target)]

    def source_keys(self) -> list[str]:
        return keys_of(self.source, SOURCE)

    def target_keys(self) -> list[str]:
        return keys_of(self.target, TARGET)

    def target_head(self, key: str) -> Mapping[str, Any]:
        return self.target.head_object(Bucket=TARGET, Key=key)

    def target_body(self, key: str) -> bytes:
        return self.target.get_object(Bucket=TARGET, Key=key)["Body"].read()

    def uploads(self) -> list[str]:
        """Return the keys of the unfinished multipart uploads in the target."""
        return [upload["Key"] for upload in self.target.list_multipart_uploads(Bucket=TARGET).get("Uploads", [])]

    def clear(self) -> None:
        """Remove the recorded requests and the faults of both proxies."""
        self.source_proxy.clear()
        self.target_proxy.clear()


def boto3_only(source: BucketLocation, target: BucketLocation, **_: object) -> Transports:
    """Build no transports, in place of the functions that build some."""
    return Transports()


def secret(account: Account) -> str:
    return json.dumps({"access_key_id": account.access_key_id, "secret_access_key": account.secret_access_key})


def tag_set(tags: Mapping[str, str]) -> list[Any]:
    return [{"Key": name, "Value": value} for name, value in tags.items()]


def keys_of(client: S3Client, bucket: str) -> list[str]:
    return [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket).get("Contents", [])]


def put_parts(client: S3Client, bucket: str, key: str, parts: Sequence[bytes], **properties: Any) -> str:
    upload = client.create_multipart_upload(Bucket=bucket, Key=key, **properties)["UploadId"]
    etags = [
        client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=part)["ETag"]
        for number, part in enumerate(parts, start=1)
    ]
    done: Any = {"Parts": [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, start=1)]}
    response = client.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload=done)
    return response["ETag"].strip('"')


def notification(*keys: str, bucket: str = SOURCE, event: str = "ObjectCreated:Put") -> str:
    """Return an S3 event message with a record for each key."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    records = [
        {
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": REGION,
            "eventTime": now,
            "eventName": event,
            "s3": {
                "s3SchemaVersion": "1.0",
                "bucket": {"name": bucket, "arn": f"arn:aws:s3:::{bucket}"},
                "object": {"key": quote_plus(key), "sequencer": secrets.token_hex(8).upper()},
            },
        }
        for key in keys
    ]
    return json.dumps({"Records": records})


def empty_bucket(client: S3Client, bucket: str) -> None:
    """Delete every object, version and upload of a bucket that the store lists."""
    for key in keys_of(client, bucket):
        client.delete_object(Bucket=bucket, Key=key)
    with suppress(ClientError):
        found: Any = client.list_object_versions(Bucket=bucket)
        for version in [*found.get("Versions", []), *found.get("DeleteMarkers", [])]:
            client.delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])
    with suppress(ClientError):
        for upload in client.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
            client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])


def wipe(endpoint: str) -> None:
    """Reset a moto server to an empty state."""
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST"), timeout=60).close()


def _record(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message in the form of https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message["Attributes"],
        "messageAttributes": {},
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{REGION}:123456789012:{QUEUE}",
        "awsRegion": REGION,
    }
