"""Batch requests to SQS, with repeats for the entries that fail in a request that succeeds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import BatchResultErrorEntryTypeDef

T = TypeVar("T")

#: Entries in one batch request, and messages in one response, at most:
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/
MAX_ENTRIES = 10

#: Requests at most for each entry of a batch. botocore repeats a request that fails, but not an entry that fails in a
#: request that succeeds. Parts without a message delay their object by an hour: see docs/reliability.md.
MAX_ENTRY_ATTEMPTS = 3


def batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield the items in portions that fit into one batch request."""
    return (items[start : start + MAX_ENTRIES] for start in range(0, len(items), MAX_ENTRIES))


def failed_entries(request: Callable[..., Any], url: str, entries: Sequence[Any]) -> list[BatchResultErrorEntryTypeDef]:
    """Make a batch request, and return the entries that fail although the request is repeated for them.

    An entry that fails because of its sender, such as one with an invalid receipt handle, is not repeated. Raises the
    errors of boto3.
    """
    failed: list[BatchResultErrorEntryTypeDef] = request(QueueUrl=url, Entries=entries).get("Failed", [])
    for _ in range(MAX_ENTRY_ATTEMPTS - 1):
        ids = {one["Id"] for one in failed if not one["SenderFault"]}
        if not ids:
            break
        again = [entry for entry in entries if entry["Id"] in ids]
        failed = [one for one in failed if one["Id"] not in ids]
        failed += request(QueueUrl=url, Entries=again).get("Failed", [])
    return failed


def failure_reason(failed: BatchResultErrorEntryTypeDef) -> str:
    """Return the reason of SQS for a failed entry."""
    return failed.get("Message", failed["Code"])
