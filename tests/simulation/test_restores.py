"""A restore beside other programs: their uploads stay, and live sync removes no tags from the mirror."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from s3_syncer.core.units import KIB
from s3_syncer.sync.key_sweep import SweepOptions

from .faults import Traits
from .history import product_in_simulation
from .processes import Restore, World, start_restore, start_sweep
from .scheduler import Scheduler
from .sqs import Sqs
from .store import Refused, Response, Store
from .threads import running

#: The parts of an object that a sweep continues after a stop: see `scale.py`.
PARTS = [bytes([number]) * 3 * KIB for number in range(5)]
OTHER = b"x" * 3 * KIB


def mirrored(scheduler: Scheduler) -> World:
    """Return two stores, of which only the mirror still has the object."""
    source = Store("source", scheduler)
    world = World(scheduler, source, Store("target", scheduler), Sqs(scheduler))
    source.end_upload(source.begin_upload("k"), PARTS)
    sweep = start_sweep(world, SweepOptions())
    scheduler.block(lambda: sweep.ended)
    source.remove("k")
    return world


def restored(world: World, *, uses_http: bool = False) -> Restore:
    restore = start_restore(world, SweepOptions(), overwrite=False, uses_http=uses_http)
    world.scheduler.block(lambda: restore.findings.ended)
    return restore


def simulate(story: Callable[[Scheduler], None]) -> None:
    scheduler = Scheduler(0)
    with product_in_simulation(), running(scheduler):
        main = scheduler.spawn(lambda: story(scheduler), group="test")
        scheduler.run(until=lambda: main.done)
        scheduler.close()


@pytest.mark.parametrize("part", [PARTS[0], OTHER], ids=["of the same bytes", "of other bytes"])
def test_an_upload_that_an_application_has_begun_is_neither_continued_nor_aborted(part: bytes) -> None:
    def story(scheduler: Scheduler) -> None:
        world = mirrored(scheduler)
        upload_id = world.source.begin_upload("k", {"cache-control": "of the application"})
        world.source.upload_part("k", upload_id, 1, part)
        assert restored(world).bucket.breaches == []
        assert [part["PartNumber"] for part in world.source.list_parts("k", upload_id)["Parts"]] == [1]
        back = world.source.current("k")
        assert back is not None
        assert back.body == b"".join(PARTS)
        assert "cache-control" not in back.headers

    simulate(story)


def test_an_upload_that_an_application_creates_meanwhile_is_not_taken_for_that_of_the_restore() -> None:
    def story(scheduler: Scheduler) -> None:
        world = mirrored(scheduler)
        created: list[str] = []

        def create(Key: str, **_: Any) -> Response:
            """Fail as the first request, after the application has created an upload."""
            del world.source.create_multipart_upload
            created.append(world.source.begin_upload(Key, {"cache-control": "of the application"}))
            raise Refused("InternalError", 500)

        world.source.create_multipart_upload = create  # type: ignore[assignment, method-assign]
        restored(world)
        assert [upload["UploadId"] for upload in world.source.list_multipart_uploads()["Uploads"]] == created
        assert world.source.current("k") is None

    simulate(story)


def test_a_restored_object_has_its_tags_from_the_first_write_on() -> None:
    """Live sync may mirror a restored object at once. Without its tags, the mirror would lose them too."""
    tags: list[dict[str, str]] = []

    def story(scheduler: Scheduler) -> None:
        source = Store("source", scheduler)
        # A mirror that keeps tags, but does not return their number with a GET.
        target = Store("target", scheduler, Traits(counts_tags=frozenset({"HEAD"})))
        target.write("1", b"body", tags={"tag": "1"})
        source.on_change = lambda key, event: tags.append(dict(source.objects[key].tags))
        restored(World(scheduler, source, target, Sqs(scheduler)), uses_http=True)

    simulate(story)
    assert tags == [{"tag": "1"}]
