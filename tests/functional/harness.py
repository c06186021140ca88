"""The function between two emulated clouds: work goes in through a real queue, both buckets show what came of it."""

from __future__ import annotations

import json
import secrets
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

import boto3
from botocore.config import Config
from tests.functional.proxy import Proxy

from localcloud import verify
from s3_syncer import lambda_handler
from s3_syncer.stores.clients import pass_raw_expires
from s3_syncer.stores.protocols import BucketLocation
from s3_syncer.sync.context import Transports

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

REGION = "us-east-1"
SOURCE, TARGET = "the-source", "the-target"
QUEUE, DEAD_LETTERS, SECRET = "work", "work-dead-letters", "target-credentials"

MIB = 1024 * 1024

#: Seconds a received message stays hidden, as the queue has it: far longer than any test waits.
VISIBILITY_S = 300

#: Seconds that an invocation has, if a test does not say otherwise: all that Lambda gives.
REMAINING_S = 900


@dataclass(frozen=True)
class Account:
    """An endpoint and a key to it."""

    endpoint: str
    access_key_id: str = field(default_factory=lambda: f"key-{secrets.token_hex(8)}")
    secret_access_key: str = field(default_factory=lambda: secrets.token_hex(20))

    @cache  # noqa: B019 - the few accounts live as long as the tests
    def client(self, service: str) -> Any:
        """A client that tries once, so that a test sees what there is and not what comes of patience."""
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
            pass_raw_expires(client)
        return client


@dataclass(frozen=True)
class Context:
    """Lambda's context, as far as the handler uses it."""

    deadline: float

    def get_remaining_time_in_millis(self) -> int:
        return max(0, round((self.deadline - time.monotonic()) * 1000))


@dataclass
@dataclass(frozen=True)
class Delivery:
    """What came of one invocation."""

    returned: list[str]
    """The bodies of the messages that were handed back."""
    log: list[dict[str, Any]]
    seconds: float

    @property
    def actions(self) -> dict[str, str]:
        """What was decided by key."""
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
    """Both clouds, reached directly by the test and through a proxy each by the function."""

    aws: Account
    other: Account
    source_proxy: Proxy
    target_proxy: Proxy
    printed: Callable[[], str]
    """What has been written to standard output since it was asked last."""
    transcript: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.source: S3Client = self.aws.client("s3")
        self.target: S3Client = self.other.client("s3")
        self.sqs = self.aws.client("sqs")
        self.secrets = self.aws.client("secretsmanager")

    # -- setting up ------------------------------------------------------------------------------------------------

    def furnish(self) -> None:
        """Buckets, queues and the secret, in clouds that are empty."""
        self.source.create_bucket(Bucket=SOURCE)
        self.target.create_bucket(Bucket=TARGET)
        attributes = {"VisibilityTimeout": str(VISIBILITY_S)}
        self.queue_url = self.sqs.create_queue(QueueName=QUEUE, Attributes=attributes)["QueueUrl"]
        self.dead_letter_url = self.sqs.create_queue(QueueName=DEAD_LETTERS)["QueueUrl"]
        self.secrets.create_secret(Name=SECRET, SecretString=secret(self.other))

    def environment(self) -> dict[str, str]:
        """The function's own, as the Terraform module and Lambda would set it."""
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
        """An object in the source; returns its ETag. `RawExpires` is the Expires header as it stands."""
        return self.source.put_object(Bucket=SOURCE, Key=key, Body=body, **properties)["ETag"].strip('"')

    def put_parts(self, key: str, *parts: bytes, **properties: Any) -> str:
        """An object in the source, uploaded in these parts; returns its ETag."""
        return put_parts(self.source, SOURCE, key, parts, **properties)

    def tag(self, key: str, tags: Mapping[str, str]) -> None:
        if tags:
            self.source.put_object_tagging(Bucket=SOURCE, Key=key, Tagging={"TagSet": tag_set(tags)})
        else:
            self.source.delete_object_tagging(Bucket=SOURCE, Key=key)

    # -- running ---------------------------------------------------------------------------------------------------

    def sync(self, *keys: str, remaining_s: float = REMAINING_S) -> Delivery:
        """One message per key, as S3 sends them, and one invocation for them all."""
        return self.deliver(*(notification(key) for key in keys), remaining_s=remaining_s)

    def deliver(self, *bodies: str, remaining_s: float = REMAINING_S) -> Delivery:
        """Does what Lambda does: takes the messages from the queue, invokes, deletes what did not fail."""
        for body in bodies:
            self.sqs.send_message(QueueUrl=self.queue_url, MessageBody=body)
        return self.invoke(self.receive(len(bodies)), remaining_s=remaining_s)

    def receive(self, count: int, *, wait_s: int = 1) -> list[dict[str, Any]]:
        """Messages of the queue; fewer when no more are to be seen for a while."""
        messages: list[dict[str, Any]] = []
        while len(messages) < count:
            answer = self.sqs.receive_message(
                QueueUrl=self.queue_url,
                MaxNumberOfMessages=min(10, count - len(messages)),
                MessageSystemAttributeNames=["All"],
                WaitTimeSeconds=wait_s,
            )
            if not answer.get("Messages"):
                break
            messages += answer["Messages"]
        return messages

    def invoke(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        remaining_s: float = REMAINING_S,
        logged: Callable[[Sequence[Mapping[str, Any]]], object] = lambda lines: None,
    ) -> Delivery:
        """One invocation; `logged` gets what it has logged, while the messages are still to be deleted."""
        event = {"Records": [_record(message) for message in messages]}
        began = time.monotonic()
        response = lambda_handler.handler(event, Context(began + remaining_s))
        seconds = time.monotonic() - began
        assert "batchItemFailures" in response
        failed = {failure["itemIdentifier"] for failure in response["batchItemFailures"]}
        log = self.read_log()
        logged(log)
        for message in messages:
            if message["MessageId"] not in failed:
                self.sqs.delete_message(QueueUrl=self.queue_url, ReceiptHandle=message["ReceiptHandle"])
        return Delivery([m["Body"] for m in messages if m["MessageId"] in failed], log, seconds)

    def read_log(self) -> list[dict[str, Any]]:
        """What the function has logged since it was asked last; every line of it is JSON."""
        text = self.printed()
        self.transcript.append(text)
        return [json.loads(line) for line in text.split("\n") if line]  # keys may hold what splitlines takes for an end

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
        """The seconds after which messages were asked to be delivered again, since the last `clear`."""
        asked = [r.content for r in self.source_proxy.requests if r.operation.startswith("ChangeMessageVisibility")]
        return [entry["VisibilityTimeout"] for content in asked for entry in content.get("Entries", [content])]

    def queue_is_empty(self) -> bool:
        """Whether no message is left, neither to be seen nor hidden.

        Asked for twice: moto counts those to be seen and then those hidden, and finds in neither a message that comes
        to be seen in between.
        """
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]

        def looks_empty() -> bool:
            counts = self.sqs.get_queue_attributes(QueueUrl=self.queue_url, AttributeNames=names)["Attributes"]
            return not any(int(counts[name]) for name in names)

        return looks_empty() and looks_empty()

    def differences(self) -> list[str]:
        """Everything in which the two buckets differ, by code that is not the product's."""
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
        """The multipart uploads that were begun in the target and neither completed nor aborted."""
        return [upload["Key"] for upload in self.target.list_multipart_uploads(Bucket=TARGET).get("Uploads", [])]

    def clear(self) -> None:
        """Forgets what went over the proxies, and the faults armed there."""
        self.source_proxy.clear()
        self.target_proxy.clear()


def boto3_only(source: BucketLocation, target: BucketLocation, **_: object) -> Transports:
    """Build no transports, in place of the functions of `crt.factory`."""
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
    answer = client.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload=done)
    return answer["ETag"].strip('"')


def notification(*keys: str, bucket: str = SOURCE, event: str = "ObjectCreated:Put") -> str:
    """A message as S3 puts it on the queue, with a record per key."""
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


def wipe(endpoint: str) -> None:
    """Empties a moto server of everything."""
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST"), timeout=60).close()


def _record(message: Mapping[str, Any]) -> dict[str, Any]:
    """https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html"""
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
