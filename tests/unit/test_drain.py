"""Unit tests of `s3-syncer drain`: the queues stay empty, and no dead letter is lost."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.module_outputs import module_outputs, terraform_output

from s3_syncer.operations.drain import Drain, NotDrainedError
from s3_syncer.operations.outputs import Outputs


class SQS:
    """An SQS client with queues that have these counts of messages, and then always the last one."""

    def __init__(self, **counts: list[int]) -> None:
        self.counts = {"mirror_bulk": [0], "mirror_dead_letters": [0], "mirror_held_deletions": [0], **counts}

    def get_queue_attributes(self, *, QueueUrl: str, AttributeNames: list[str]) -> dict[str, Any]:
        counts = self.counts[QueueUrl.rpartition("/")[2].replace("-", "_")]
        number = counts.pop(0) if len(counts) > 1 else counts[0]
        # A visible, in-flight or delayed message counts.
        return {
            "Attributes": {name: str(number if index == number % 3 else 0) for index, name in enumerate(AttributeNames)}
        }


def drained(sqs: SQS, timeout_s: float = 60, pause_s: float = 0.01) -> list[str]:
    shown: list[str] = []
    held_url = "https://sqs.eu-west-1.amazonaws.com/123456789012/mirror-held-deletions"
    outputs = Outputs.parse(terraform_output(s3_syncer=module_outputs(held_deletions_queue_url=held_url)))
    Drain(outputs, sqs, settled_s=0.05, poll_interval_s=pause_s).wait(timeout_s, shown.append)  # type: ignore[arg-type]
    return shown


@pytest.mark.parametrize("pause_s", [0.01, 0.1], ids=["looked at often", "looked at seldom"])
def test_drain_waits_until_the_queue_stays_empty(pause_s: float) -> None:
    sqs = SQS(mirror=[2, 1, 0, 1, 0])
    shown = [line.split()[0] for line in drained(sqs, pause_s=pause_s) if line.endswith("/mirror")]
    assert shown == ["2", "1", "0", "1", "0"]


def test_drain_waits_for_the_bulk_work() -> None:
    with pytest.raises(NotDrainedError, match="7 messages are left"):
        drained(SQS(mirror=[0], mirror_bulk=[7]), timeout_s=0.05)


def test_drain_ends_at_its_timeout() -> None:
    with pytest.raises(NotDrainedError, match="7 messages are left"):
        drained(SQS(mirror=[7], mirror_dead_letters=[0]), timeout_s=0.05)


def test_dead_letters_prevent_the_end() -> None:
    with pytest.raises(NotDrainedError, match=r"3 in https://\S+/mirror-dead-letters"):
        drained(SQS(mirror=[0], mirror_dead_letters=[3]))


def test_held_deletions_prevent_the_end() -> None:
    with pytest.raises(NotDrainedError, match=r"held deletions.* 5 in https://\S+/mirror-held-deletions"):
        drained(SQS(mirror=[0], mirror_held_deletions=[5]))
