"""Check the queues, the event bus and the notifications. No message or event is sent or received."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..settings import Settings
from .calls import call
from .connection import check_answer, check_name, permission
from .report import Check, Status

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

GROUP = "Queue and notifications"

EVENT_BUS = "Event bus"

#: Types of events that live sync needs, each as a type that is subscribed or a part of one.
_EVENTS = ("s3:ObjectCreated:Put", "s3:ObjectRemoved:Delete")


class MessageChecks:
    """The checks of the queues and of the notifications."""

    def __init__(self, sqs: SQSClient, s3: S3Client, settings: Settings) -> None:
        self._sqs, self._s3, self._settings = sqs, s3, settings
        self.is_usable = True

    def run(self) -> Iterator[Check]:
        url = self._settings.queue_url
        endpoint = self._sqs.meta.endpoint_url
        yield check_name(GROUP, endpoint)
        answer = call(self._sqs.get_queue_attributes, QueueUrl=url, AttributeNames=["All"])
        yield from check_answer(GROUP, endpoint, answer, "sqs:GetQueueAttributes")
        self.is_usable = answer.status != 0 and not answer.is_unusable
        if not answer.is_ok:
            return
        attributes: Mapping[str, str] = answer.response["Attributes"]
        bulk_url = self._settings.bulk_queue_url
        yield from self._check_permissions(url, sends=not bulk_url)
        if bulk_url:
            yield from self._check_permissions(bulk_url, " on the bulk queue")
        if queues := self._settings.deletion_queues:
            yield from self._check_permissions(queues.url, " on the deletions queue")
            yield from self._check_held_deletions(queues.held_url)
        if dead_letters := self._settings.dead_letter_queue_url:
            sent = call(self._sqs.send_message_batch, QueueUrl=dead_letters, Entries=[])
            yield permission(GROUP, "sqs:SendMessage to dead letters", sent, may_be_refused=True)
        yield _check_redrive(attributes)
        yield self._check_notifications(attributes.get("QueueArn", ""))
        yield _backlog(attributes)

    def _check_permissions(self, url: str, where: str = "", *, sends: bool = True) -> Iterator[Check]:
        """Send requests without a message: SQS refuses them for another reason than the permission.

        The workers send no message to the queue of the events if they have one for bulk work: see `sends`.
        """
        for name, operation in (
            ("sqs:DeleteMessage", "delete_message_batch"),
            ("sqs:ChangeMessageVisibility", "change_message_visibility_batch"),
            *([("sqs:SendMessage", "send_message_batch")] if sends else []),
        ):
            answer = call(getattr(self._sqs, operation), QueueUrl=url, Entries=[])
            yield permission(GROUP, name + where, answer, may_be_refused=True)
        none = call(self._sqs.receive_message, QueueUrl=url, MaxNumberOfMessages=0, VisibilityTimeout=0)
        yield permission(GROUP, f"sqs:ReceiveMessage{where}", none, may_be_refused=True)

    def _check_held_deletions(self, url: str) -> Iterator[Check]:
        """Check what the workers do with the queue of the held deletions: they send messages and count them."""
        sent = call(self._sqs.send_message_batch, QueueUrl=url, Entries=[])
        yield permission(GROUP, "sqs:SendMessage to held deletions", sent, may_be_refused=True)
        counted = call(self._sqs.get_queue_attributes, QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
        yield permission(GROUP, "sqs:GetQueueAttributes of held deletions", counted)

    def _check_notifications(self, queue_arn: str) -> Check:
        name = "notifications"
        answer = call(self._s3.get_bucket_notification_configuration, Bucket=self._settings.source_bucket)
        if answer.is_denied:
            return Check(
                GROUP,
                name,
                Status.SKIPPED,
                "s3:GetBucketNotification is denied: a worker does not need this permission",
            )
        if not answer.is_ok:
            return Check(GROUP, name, Status.SKIPPED, answer.reason)
        to_queue = [c for c in answer.response.get("QueueConfigurations", []) if c["QueueArn"] == queue_arn]
        events = {event for configuration in to_queue for event in configuration["Events"]}
        missing = [event for event in _EVENTS if not _covers(events, event)]
        if to_queue and missing:
            return Check(GROUP, name, Status.PROBLEM, f"the bucket does not notify the queue of {', '.join(missing)}")
        if to_queue:
            return Check(GROUP, name, Status.OK, f"the bucket notifies the queue of {', '.join(sorted(events))}")
        if "EventBridgeConfiguration" in answer.response:
            return Check(GROUP, name, Status.NOTE, "the bucket notifies EventBridge; its rule is not checked")
        if answer.response.get("TopicConfigurations"):
            return Check(GROUP, name, Status.NOTE, "the bucket notifies a topic; its subscriptions are not checked")
        return Check(GROUP, name, Status.PROBLEM, "the bucket notifies neither the queue nor EventBridge nor a topic")


def check_event_bus(client: Any, arn: str) -> Iterator[Check]:
    """Send an event without a source: EventBridge refuses it for another reason than the permission."""
    answer = call(client.put_events, Entries=[{"EventBusName": arn}])
    if answer.is_ok and answer.response["FailedEntryCount"]:
        failed = answer.response["Entries"][0]
        answer = replace(answer, code=failed["ErrorCode"], reason=failed["ErrorMessage"])
    yield permission(EVENT_BUS, "events:PutEvents", answer, may_be_refused=True)


def _covers(events: set[str], event: str) -> bool:
    return event in events or f"{event.rpartition(':')[0]}:*" in events


def _check_redrive(attributes: Mapping[str, str]) -> Check:
    name = "dead letters"
    if "RedrivePolicy" not in attributes:
        return Check(GROUP, name, Status.PROBLEM, "the queue has no dead-letter queue: a failed message is lost")
    policy = json.loads(attributes["RedrivePolicy"])
    return Check(
        GROUP, name, Status.OK, f"after {policy['maxReceiveCount']} receives to {policy['deadLetterTargetArn']}"
    )


def _backlog(attributes: Mapping[str, str]) -> Check:
    waiting = attributes.get("ApproximateNumberOfMessages", "?")
    in_flight = attributes.get("ApproximateNumberOfMessagesNotVisible", "?")
    return Check(GROUP, "messages", Status.OK, f"about {waiting} waiting, {in_flight} in flight")
