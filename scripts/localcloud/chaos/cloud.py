"""The stores of a run, and a proxy in front of each.

An emulated AWS has the source and the queues. Terraform is not needed: the bucket, its notifications and the queues
have the values of the module.
"""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Self

from devtools.bootstrap import ROOT
from localcloud import servers, stack
from localcloud.chaos.chance import seeded
from localcloud.chaos.proxy import Proxy, Turbulence
from localcloud.chaos.tally import Tally
from localcloud.chaos.workers import QUEUE_VISIBILITY_S
from s3_syncer.queue.message_counts import queue_counts

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

SECRET = "chaos-target-credentials"  # noqa: S105 - the name of the secret
QUEUE, BULK_QUEUE, DEAD_LETTER_QUEUE = "chaos", "chaos-bulk", "chaos-dead-letters"

#: Share of the requests with a fault at the start.
FIRST_FAULT_RATE = 0.03

#: The module's default of `sync.max_receive_count`.
MAX_RECEIVE_COUNT = 100

#: The events of `notification_events` in notifications.tf that the emulators send.
EVENTS = ("s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:ObjectTagging:*")


@dataclass(frozen=True)
class Cloud:
    """Clients of both stores that use no proxy, and the environment of the workers, which do."""

    source: S3Client
    target: S3Client
    sqs: SQSClient
    source_bucket: str
    target_bucket: str
    queue_url: str
    bulk_queue_url: str
    dead_letter_queue_url: str
    source_proxy: Proxy
    target_proxy: Proxy
    environment: dict[str, str]
    aws_endpoint: str

    @classmethod
    def started(cls, directory: Path, chance: Random, tally: Tally, exits: ExitStack) -> Self:
        """Start everything; `exits` stops it. The logs are in the directory."""
        ministack = exits.enter_context(servers.running(servers.ministack(region=stack.REGION), directory))
        moto = exits.enter_context(servers.running(servers.moto(), directory))
        target = stack.make_target(moto)
        source_proxy, target_proxy = (
            Proxy(
                name,
                endpoint,
                Turbulence(seeded(chance.random()), FIRST_FAULT_RATE),
                tally,
                directory / "logs" / f"{log}.log",
            )
            for name, endpoint, log in (
                ("source and the queue", ministack.endpoint, "source-proxy"),
                ("target", moto.endpoint, "target-proxy"),
            )
        )
        exits.callback(source_proxy.close)
        exits.callback(target_proxy.close)
        sqs: SQSClient = aws_client("sqs", ministack.endpoint)
        source: S3Client = aws_client("s3", ministack.endpoint)
        queue_url, bulk_queue_url, dead_letter_queue_url = _make_queues(sqs)
        source.create_bucket(Bucket=stack.SOURCE_BUCKET)
        notification: Any = {"QueueConfigurations": [{"QueueArn": _arn(sqs, queue_url), "Events": EVENTS}]}
        source.put_bucket_notification_configuration(Bucket=stack.SOURCE_BUCKET, NotificationConfiguration=notification)
        keys = {"access_key_id": target.access_key_id, "secret_access_key": target.secret_access_key}
        aws_client("secretsmanager", ministack.endpoint).create_secret(Name=SECRET, SecretString=json.dumps(keys))
        return cls(
            source=source,
            target=target.s3(),
            sqs=sqs,
            source_bucket=stack.SOURCE_BUCKET,
            target_bucket=target.bucket,
            queue_url=queue_url,
            bulk_queue_url=bulk_queue_url,
            dead_letter_queue_url=dead_letter_queue_url,
            source_proxy=source_proxy,
            target_proxy=target_proxy,
            environment={
                "PATH": os.environ.get("PATH", os.defpath),
                "PYTHONPATH": os.pathsep.join((str(ROOT / "scripts"), str(ROOT / "lambda"))),
                "AWS_ENDPOINT_URL": source_proxy.endpoint,
                "AWS_DEFAULT_REGION": stack.REGION,
                "AWS_ACCESS_KEY_ID": stack.ROOT_KEY,
                "AWS_SECRET_ACCESS_KEY": stack.ROOT_KEY,
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
                "SOURCE_BUCKET": stack.SOURCE_BUCKET,
                "TARGET_ENDPOINT": target_proxy.endpoint,
                "TARGET_REGION": target.region,
                "TARGET_BUCKET": target.bucket,
                "TARGET_SECRET_ARN": SECRET,
                "QUEUE_URL": queue_url,
                "BULK_QUEUE_URL": bulk_queue_url,
                "DEAD_LETTER_QUEUE_URL": dead_letter_queue_url,
                "DISTRIBUTED_COPY_THRESHOLD_MB": "64",
            },
            aws_endpoint=ministack.endpoint,
        )

    @property
    def proxies(self) -> tuple[Proxy, Proxy]:
        return self.source_proxy, self.target_proxy

    def connect_to_queue(self) -> SQSClient:
        """Return another client of the queue, for another thread."""
        client: SQSClient = aws_client("sqs", self.aws_endpoint)
        return client

    def messages(self) -> int:
        """Return the number of messages on both queues: visible, in flight and delayed."""
        urls = (self.queue_url, self.bulk_queue_url)
        return sum(queue_counts(self.sqs, url).total for url in urls)

    def dead_letters(self) -> list[str]:
        """Return each dead letter as text: its key, its error and its body."""
        found: dict[str, str] = {}
        while messages := self.sqs.receive_message(
            QueueUrl=self.dead_letter_queue_url,
            MaxNumberOfMessages=10,
            MessageAttributeNames=["All"],
            VisibilityTimeout=QUEUE_VISIBILITY_S,
        ).get("Messages"):
            for message in messages:
                values = {name: value["StringValue"] for name, value in message.get("MessageAttributes", {}).items()}
                error = values.get("error", f"received {MAX_RECEIVE_COUNT} times")
                found[message["MessageId"]] = f"{values.get('key', '')}: {error}: {message['Body'][:500]}"
        return list(found.values())

    def uploads(self) -> list[str]:
        """Return the keys of the unfinished multipart uploads in the target."""
        pages = self.target.get_paginator("list_multipart_uploads").paginate(Bucket=self.target_bucket)
        return [upload["Key"] for page in pages for upload in page.get("Uploads", [])]


def aws_client(service: str, endpoint: str) -> Any:
    """Return a client of the emulated AWS with the credentials of its root user."""
    return stack.make_client(service, endpoint, stack.REGION, stack.ROOT_KEY, stack.ROOT_KEY)


def _make_queues(sqs: SQSClient) -> tuple[str, str, str]:
    dead_letter_queue_url = sqs.create_queue(QueueName=DEAD_LETTER_QUEUE)["QueueUrl"]
    redrive = {"deadLetterTargetArn": _arn(sqs, dead_letter_queue_url), "maxReceiveCount": MAX_RECEIVE_COUNT}
    attributes: Any = {"VisibilityTimeout": str(QUEUE_VISIBILITY_S), "RedrivePolicy": json.dumps(redrive)}
    queue_url, bulk_queue_url = (
        sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"] for name in (QUEUE, BULK_QUEUE)
    )
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": _arn(sqs, queue_url),
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sqs.set_queue_attributes(QueueUrl=queue_url, Attributes={"Policy": policy})
    return queue_url, bulk_queue_url, dead_letter_queue_url


def _arn(sqs: SQSClient, queue_url: str) -> str:
    response = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])
    return response["Attributes"]["QueueArn"]
