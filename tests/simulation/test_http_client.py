"""The simulated HTTP client keeps the promises of `crt.protocols.CallbackHttpClient`."""

from __future__ import annotations

from collections.abc import Callable

from tests.simulation import threads
from tests.simulation.client import Connection
from tests.simulation.faults import NO_FAULTS, Faults
from tests.simulation.http_client import SimulatedHttpClient
from tests.simulation.scheduler import Scheduler
from tests.simulation.store import Store

from s3_syncer.core import fence
from s3_syncer.core.fence import Fence, fenced
from s3_syncer.transport.list_objects import ObjectListing
from s3_syncer.transport.pauses import Pauses
from s3_syncer.transport.protocols import HttpResponse


def simulate(run: Callable[[Store, SimulatedHttpClient], object], faults: Faults = NO_FAULTS, seed: int = 0) -> Store:
    """Run a function as a task, and let all its effects happen. Return the store."""
    scheduler = Scheduler(seed)
    store = Store("bucket", scheduler)
    with threads.simulated(), threads.running(scheduler):
        scheduler.spawn(lambda: run(store, SimulatedHttpClient(store, Connection(store, faults))), group="test")
        scheduler.run()
        scheduler.close()
    return store


def test_a_response_has_the_object() -> None:
    def run(store: Store, client: SimulatedHttpClient) -> None:
        store.write("k", b"body", {"cache-control": "no-cache"})
        response = client.request("GET", "k")
        assert (response.status, response.body, response.headers["cache-control"]) == (200, b"body", "no-cache")
        assert client.request("HEAD", "other") == HttpResponse(404)
        assert b"NoSuchKey" in client.request("GET", "other").body
        assert client.request("GET", "k", headers=[("if-match", '"other"')]).status == 412
        assert client.request("GET", "k", headers=[("range", "bytes=0-0")]).status == 206

    simulate(run)


def test_a_put_writes_headers_metadata_and_tags() -> None:
    def run(store: Store, client: SimulatedHttpClient) -> None:
        sent = [("cache-control", "no-cache"), ("x-amz-meta-name", "value"), ("x-amz-tagging", "tag=1")]
        assert client.request("PUT", "k", headers=sent, body=b"body").status == 200

    written = simulate(run).current("k")
    assert written is not None
    assert (written.body, dict(written.tags)) == (b"body", {"tag": "1"})
    assert written.headers.items() >= {("cache-control", "no-cache"), ("x-amz-meta-name", "value")}


def test_the_product_reads_each_page_of_a_listing() -> None:
    def run(store: Store, client: SimulatedHttpClient) -> None:
        keys = ["a b", "c/d", "e&f", "g", "h"]
        for key in keys:
            store.write(key, b"body")
        listing = ObjectListing(client, "", Pauses())
        first = listing.list_page({})
        assert first is not None
        second = listing.list_page(first.following or {})
        assert second is not None
        assert [*first.keys.keys, *second.keys.keys] == keys

    simulate(run)


def test_a_request_without_a_response_has_status_0_and_may_have_been_applied() -> None:
    def run(_: Store, client: SimulatedHttpClient) -> None:
        assert client.request("PUT", "k", body=b"body").status == 0

    assert simulate(run, Faults(response_lost=1.0)).objects
    assert not simulate(run, Faults(request_lost=1.0)).objects


def test_a_closed_fence_refuses_a_request() -> None:
    def run(_: Store, client: SimulatedHttpClient) -> None:
        closed = Fence()
        closed.close()
        with fenced(closed):
            assert client.request("PUT", "k", body=b"body").status == 0

    assert not simulate(run).objects


def test_a_fence_that_closes_ends_a_write_at_once_and_its_callback_runs_once() -> None:
    responses: list[HttpResponse] = []

    def run(_: Store, client: SimulatedHttpClient) -> None:
        own = Fence()
        with fenced(own), fence.Request("k"):
            client.send("PUT", "k", responses.append, body=b"body")
        threads.sleep(0.001)  # the request is on its way
        own.close()
        assert responses == [HttpResponse(0)]
        assert own.uncertain == {"k"}

    simulate(run, Faults(slow=1.0))
    assert responses == [HttpResponse(0)]
