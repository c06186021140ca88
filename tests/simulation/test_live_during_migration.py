"""Live changes beside a migration by the workers of the queue, in simulated time."""

from functools import partial

from .live_during_migration import measure


def test_live_changes_do_not_wait_for_a_migration() -> None:
    """With one queue for all work, a range occupies one of two functions, and changes wait."""
    measured = partial(measure, changes=40, concurrency=2)
    idle, beside = measured(objects=0), measured(objects=6000)
    assert beside.copied > 100, "the migration runs while the changes arrive"
    assert beside.median_s <= 1.5 * idle.median_s
    assert beside.p95_s <= 1.5 * idle.p95_s
    assert measured(objects=6000, has_bulk_queue=False).p95_s > 1.5 * idle.p95_s
