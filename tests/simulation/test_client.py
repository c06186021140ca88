"""Each fault on the way to a simulated store or queue happens, and does what its name says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, ConnectTimeoutError, ReadTimeoutError
from tests.simulation import threads
from tests.simulation.client import Connection, S3Client
from tests.simulation.faults import Faults, Outage, QueueFaults, Traits
from tests.simulation.scheduler import Scheduler
from tests.simulation.sqs import Sqs
from tests.simulation.store import Refused, Store

from s3_syncer.core.deadline import OutOfTime
from s3_syncer.core.fence import Fence, fenced, request
from s3_syncer.stores.fenced_requests import ask_fence

BROKEN = (ConnectionClosedError, ConnectTimeoutError, ReadTimeoutError)


def simulate(run: Callable[[Scheduler], object], seed: int = 0) -> Scheduler:
    """Run a function as a task, and let all its effects happen."""
    scheduler = Scheduler(seed)
    with threads.running(scheduler):
        scheduler.spawn(lambda: run(scheduler), group="test")
        scheduler.run()
        scheduler.close()
    return scheduler


def put_with(faults: Faults, seed: int = 0, traits: Traits | None = None, **parameters: Any) -> tuple[Store, object]:
    """Put an object once; return the store and the error that the client raised, if any."""
    result: list[Any] = []

    def run(scheduler: Scheduler) -> None:
        store = Store("bucket", scheduler, traits or Traits())
        result.append(store)
        client = S3Client(store, Connection(store, faults, attempts=1))
        try:
            client.put_object(Bucket="bucket", Key="k", Body=b"body", **parameters)
        except Exception as error:
            result.append(error)

    simulate(run, seed)
    return result[0], result[1] if len(result) > 1 else None


def test_a_lost_request_changes_nothing() -> None:
    store, error = put_with(Faults(request_lost=1.0))
    assert isinstance(error, BROKEN)
    assert not store.objects


def test_a_lost_response_hides_a_change() -> None:
    store, error = put_with(Faults(response_lost=1.0))
    assert isinstance(error, BROKEN)
    assert store.objects


def test_a_creation_of_an_upload_is_not_repeated_after_a_lost_response() -> None:
    """The rule is the product's. Without it, each attempt may leave an upload."""
    found: list[Store] = []

    def run(scheduler: Scheduler) -> None:
        found.append(store := Store("bucket", scheduler, Traits()))
        client = S3Client(store, Connection(store, Faults(response_lost=1.0)))
        with pytest.raises(BROKEN):
            client.create_multipart_upload(Bucket="bucket", Key="k")

    simulate(run)
    uploads = found[0].list_multipart_uploads(Prefix="k")["Uploads"]
    assert len(uploads) == 1


def test_a_late_request_changes_the_store_after_the_connection_broke() -> None:
    store, error = put_with(Faults(late=1.0))
    assert isinstance(error, BROKEN)
    assert store.objects["k"].modified > 0
    assert store.late_requests == 0


def test_a_busy_store_changes_nothing() -> None:
    store, error = put_with(Faults(busy=1.0))
    assert isinstance(error, ClientError)
    assert not store.objects


@pytest.mark.parametrize("kind", ["refused", "not found", "unavailable"])
def test_during_an_outage_the_store_changes_nothing(kind: Any) -> None:
    store, error = put_with(Faults(outages=(Outage(0.0, 60.0, kind),)))
    assert error is not None
    assert not store.objects


def test_a_body_with_another_md5_is_refused() -> None:
    store, error = put_with(Faults(), ContentMD5="AAAA")
    assert isinstance(error, ClientError)
    assert error.response["Error"]["Code"] == "BadDigest"
    assert not store.objects


def test_a_store_that_keeps_nothing_answers_as_if_it_did() -> None:
    store, error = put_with(Faults(), traits=Traits(keeps_nothing=True))
    assert error is None
    assert not store.objects


def test_a_store_drops_a_header() -> None:
    store, _ = put_with(Faults(), traits=Traits(drops=frozenset({"cache-control"})), CacheControl="no-store")
    assert "cache-control" not in store.objects["k"].headers


def test_the_client_repeats_a_failed_attempt_and_asks_the_fence_before_each() -> None:
    asked: list[float] = []

    def run(scheduler: Scheduler) -> None:
        store = Store("bucket", scheduler)
        outage = Faults(outages=(Outage(0.0, 0.001),))
        connection = Connection(store, outage)
        connection.events.register("before-send.s3", lambda: asked.append(scheduler.now))
        S3Client(store, connection).put_object(Bucket="bucket", Key="k", Body=b"body")

    simulate(run)
    assert asked[0] == 0.0
    assert asked[1] > 0.001


def test_a_rollback_brings_an_old_time_back_and_an_upload_has_the_time_of_its_begin() -> None:
    def run(scheduler: Scheduler) -> None:
        store = Store("bucket", scheduler, Traits(versioned=True))
        store.write("k", b"one")
        upload = store.begin_upload("k")
        scheduler.sleep(100)
        store.write("k", b"two")
        store.roll_back("k")
        assert (store.objects["k"].body, store.objects["k"].modified) == (b"one", 0)
        store.end_upload(upload, [b"three"])
        assert (store.objects["k"].body, store.objects["k"].modified) == (b"three", 0)

    simulate(run)


def test_a_queue_delivers_again_what_is_not_deleted_until_redrive() -> None:
    def run(scheduler: Scheduler) -> None:
        sqs = Sqs(scheduler)
        sqs.create("dead")
        sqs.create("queue", dead_letter_url="dead", max_receive_count=2)
        sqs.send("queue", "body", delay_s=5.0)
        received = []
        while sqs.messages("queue"):
            assert sqs.wait("queue", 60.0)
            received += [message.received for message in sqs.receive("queue", 10, 30.0)]
        assert received == [1, 2]
        assert scheduler.now == 65.0
        assert [message.body for message in sqs.messages("dead")] == ["body"]

    simulate(run)


def test_a_deleted_message_may_come_once_more() -> None:
    def run(scheduler: Scheduler) -> None:
        sqs = Sqs(scheduler, QueueFaults(duplicate=1.0))
        sqs.create("queue")
        sqs.send("queue", "body")
        for _ in range(2):
            assert sqs.wait("queue", 60.0)
            (message,) = sqs.receive("queue", 10, 30.0)
            sqs.delete("queue", message.receipt)
        assert not sqs.messages("queue")

    simulate(run)


def test_a_receipt_handle_ends_with_the_visibility_timeout() -> None:
    def run(scheduler: Scheduler) -> None:
        sqs = Sqs(scheduler)
        sqs.create("queue")
        sqs.send("queue", "body")
        (message,) = sqs.receive("queue", 10, 30.0)
        sqs.change_visibility("queue", message.receipt, 30.0)
        scheduler.sleep(31.0)
        with pytest.raises(Refused):
            sqs.change_visibility("queue", message.receipt, 30.0)

    simulate(run)


def test_a_closed_fence_breaks_the_connection_of_a_write_which_may_still_land() -> None:
    uncertain = []

    def run(scheduler: Scheduler) -> None:
        store, fence = Store("bucket", scheduler), Fence()
        client: Any = S3Client(store, Connection(store))
        ask_fence(client)

        def put() -> None:
            with fenced(fence), request("k"), pytest.raises(OutOfTime):
                client.put_object(Bucket="bucket", Key="k", Body=b"body")

        task = scheduler.spawn(put)
        while not store.scheduler.chance(0.3):
            scheduler.pause()
        fence.close()
        assert scheduler.join(task, 61.0)
        uncertain.append((bool(fence.uncertain), bool(store.objects), store.late_requests))

    for seed in range(40):
        simulate(run, seed)
    assert {uncertain for uncertain, stored, late in uncertain if stored or late} == {True}
    assert {stored for uncertain, stored, late in uncertain if uncertain} == {True, False}
    assert max(late for _, _, late in uncertain) == 1
