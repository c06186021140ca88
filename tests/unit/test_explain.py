"""Unit tests of `s3-syncer explain`: the decision is that of the workers, and nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError
from tests.support.in_memory_store import ListedBucket, Stored, capabilities_of_aws, stored

from s3_syncer.cli.output.explain_view import explanation_lines
from s3_syncer.core.deadline import Deadline
from s3_syncer.core.errors import Refused, StoreUnusable
from s3_syncer.core.multipart import USUAL_LIMITS
from s3_syncer.operations.dead_letters import DeadLetter, Selection
from s3_syncer.operations.explain import Decision, Explanation, decide, explain
from s3_syncer.operations.log_lines import LogLine
from s3_syncer.operations.worker_log import LogPeriod
from s3_syncer.sync.bucket_pair import BucketPair

OBJECT = stored(b"content", headers={"Content-Type": "image/jpeg"}, metadata={"owner": "me"}, tags={"a": "b"})


def pair(source: Stored | None, target: Stored | None, *, delete: bool = True) -> BucketPair:
    buckets = [ListedBucket({"k": each} if each is not None else {}) for each in (source, target)]
    return BucketPair(buckets[0], buckets[1], cast(Any, None), delete=delete, capabilities=capabilities_of_aws())


@pytest.mark.parametrize(
    ("source", "target", "decision"),
    [
        (OBJECT, OBJECT, Decision("unchanged", "equal")),
        (None, None, Decision("unchanged", "absent on both sides")),
        (OBJECT, None, Decision("copy", "absent from the target")),
        (OBJECT, stored(b"other"), Decision("update", "size")),
        (OBJECT, replace(OBJECT, headers={}), Decision("update", "header Content-Type")),
        (OBJECT, replace(OBJECT, tags={}), Decision("tags", "tags")),
        (None, OBJECT, Decision("delete", "absent from the source")),
    ],
    ids=["equal", "absent", "new", "changed", "header", "tags", "deleted"],
)
def test_decision_is_that_of_the_workers_and_nothing_is_written(
    source: Stored | None, target: Stored | None, decision: Decision
) -> None:
    buckets = pair(source, target)
    before = dict(cast(ListedBucket, buckets.target).objects)
    assert decide(buckets, "k", Deadline()) == decision
    assert cast(ListedBucket, buckets.target).objects == before
    assert not {"put", "put_tags", "delete", "create_upload"} & set(cast(ListedBucket, buckets.target).calls)


def test_missing_bucket_of_the_target_is_an_error_and_no_copy() -> None:
    buckets = pair(OBJECT, None)

    def fail(operation: str, key: str) -> None:
        if operation == "is_missing":
            raise StoreUnusable("the bucket does not exist")

    cast(ListedBucket, buckets.target).on_call = fail
    assert decide(buckets, "k", Deadline()) == Decision("retry", "the bucket does not exist")


def test_deleted_key_stays_where_deletes_are_off() -> None:
    assert decide(pair(None, OBJECT, delete=False), "k", Deadline()).action == "kept"


def test_archived_object_would_be_a_dead_letter() -> None:
    found = decide(pair(replace(OBJECT, archived="GLACIER"), None), "k", Deadline())
    assert found.action == "dead-letter"
    assert "GLACIER" in found.reason


def test_object_that_is_too_large_for_the_target_would_be_a_dead_letter() -> None:
    found = decide(pair(OBJECT, None), "k", Deadline(), replace(USUAL_LIMITS, max_object=6))
    assert found.action == "dead-letter"
    assert "target.limits.max_object_mb" in found.reason


@pytest.mark.parametrize(
    ("error", "action"),
    [(StoreUnusable("no such bucket"), "retry"), (Refused("AccessDenied", "AccessDenied"), "dead-letter")],
)
def test_error_of_a_store_is_the_decision(error: Exception, action: str) -> None:
    buckets = pair(OBJECT, OBJECT)

    def fail(operation: str, key: str) -> None:
        raise error

    cast(ListedBucket, buckets.target).on_call = fail
    assert decide(buckets, "k", Deadline()).action == action


class Log:
    """A log with these lines."""

    def __init__(self, *lines: LogLine, error: Exception | None = None) -> None:
        self.lines, self.error = lines, error
        self.asked: list[tuple[str, tuple[float, ...]]] = []

    def newest(self, pattern: str, now: float, lengths_s: Sequence[float], *, max_pages: int) -> LogPeriod:
        self.asked.append((pattern, tuple(lengths_s)))
        if self.error is not None:
            raise self.error
        return LogPeriod(self.lines, now - lengths_s[-1], is_complete=True)


class Letters:
    """A dead-letter queue with these letters."""

    def __init__(self, *letters: DeadLetter) -> None:
        self.letters = letters

    def read(self, selection: Selection, *, limit: int) -> list[DeadLetter]:
        return [letter for letter in self.letters if selection.has(letter)]


def letter(key: str) -> DeadLetter:
    return DeadLetter("1", "{}", "EntityTooLarge", "EntityTooLarge, request ID 7", (key,), "keys", 5.0)


def line(action: str, key: str = "photos/k", **fields: Any) -> LogLine:
    return LogLine(100.0, "/aws/lambda/mirror", {"action": action, "key": key, **fields}, "")


def explained(buckets: BucketPair, log: Log, letters: Letters, since_s: float = 86400) -> Explanation:
    return explain(
        buckets, "photos/k", prefix="photos/", log=cast(Any, log), letters=cast(Any, letters), now=1e6, since_s=since_s
    )


def test_explanation_has_both_objects_the_log_and_the_dead_letters() -> None:
    log = Log(line("retry", reason="no response", attempts=2, lag_ms=1500, bytes=0), line("copy", key="photos/other"))
    found = explained(pair(OBJECT, None), log, Letters(letter("photos/k"), letter("photos/other")))
    text = "\n".join(explanation_lines(found))
    assert "source     7 bytes, ETag" in text
    assert "Content-Type: image/jpeg, x-amz-meta-owner: me, tag a=b" in text
    assert "target     absent" in text
    assert "it would be copied" in text
    assert "dead       1970-01-01 00:00:05  EntityTooLarge, request ID 7" in text
    assert "log        1970-01-01 00:01:40  retry  no response  lag 1.5 s  delivery 2" in text
    assert "other" not in text
    assert found.as_json()["decision"] == {"action": "copy", "reason": "absent from the target"}
    assert found.as_json()["source"]["size"] == 7


def test_log_is_searched_from_the_newest_lines_on() -> None:
    log = Log()
    explained(pair(None, None), log, Letters(), since_s=7200)
    assert log.asked == [('{ $.key = "photos/k" }', (600.0, 3600.0, 7200))]


def test_log_that_cannot_be_read_is_a_note() -> None:
    denied = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "FilterLogEvents")
    found = explained(pair(OBJECT, OBJECT), Log(error=denied), Letters())
    assert found.decision.is_equal
    assert found.notes[0].startswith("the log cannot be read: ")


def test_side_that_cannot_be_read_is_unknown_and_not_absent() -> None:
    buckets = pair(OBJECT, OBJECT)

    def fail(operation: str, key: str) -> None:
        raise StoreUnusable("the access key is wrong")

    cast(ListedBucket, buckets.target).on_call = fail
    found = explained(buckets, Log(), Letters())
    assert "target     unknown: the access key is wrong" in list(explanation_lines(found))[2]


@pytest.mark.parametrize(
    ("actions", "letters", "place"),
    [
        ([], [], "unknown"),
        (["copy"], [], "done"),
        (["copy", "retry"], [], "queued"),
        (["retry", "unchanged"], [], "done"),
        (["deferred"], [], "queued"),
        (["deferred", "held"], [], "held"),
        (["multipart"], [], "in work"),
        (["dead-letter"], [], "done"),
        (["dead-letter"], [letter("photos/k")], "dead"),
    ],
)
def test_place_of_the_message_follows_from_the_log_and_the_letters(
    actions: list[str], letters: list[DeadLetter], place: str
) -> None:
    found = explained(pair(OBJECT, OBJECT), Log(*map(line, actions)), Letters(*letters))
    assert found.place.partition(":")[0] == place
