"""The ceilings of requests at a time, and the limit of open files that bounds them."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import click
import pytest

from s3_syncer.cli.concurrency import AUTO, ENOUGH_FILES, most_at_a_time, request_open_files
from s3_syncer.cli.options.types import MOST, Ceiling

UNLIMITED = resource.RLIM_INFINITY


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """Return the soft and the hard limits of open files, the present ones last."""
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: limits.append(both))
    request_open_files.cache_clear()
    yield limits
    request_open_files.cache_clear()


@pytest.mark.parametrize(
    ("soft", "hard", "raised"),
    [
        (1024, 524_288, ENOUGH_FILES),
        (1024, UNLIMITED, ENOUGH_FILES),
        (1024, 1024, 1024),
        (1024, 2048, 2048),
        (65_536, 65_536, None),
        (UNLIMITED, UNLIMITED, None),
    ],
)
def test_the_limit_of_request_open_files_is_raised_as_far_as_needed(
    limits: list[tuple[int, int]], soft: int, hard: int, raised: int | None
) -> None:
    limits.append((soft, hard))
    assert request_open_files() == (raised or ENOUGH_FILES)
    assert limits[1:] == ([] if raised is None else [(raised, hard)])


def test_enough_files_are_enough_for_the_highest_ceiling() -> None:
    assert most_at_a_time(ENOUGH_FILES) >= MOST
    assert most_at_a_time(10) == 1


def test_a_ceiling_leaves_the_process_files_to_open(limits: list[tuple[int, int]]) -> None:
    limits.append((128, 128))
    assert Ceiling(AUTO).convert("auto", None, None) == 16
    assert Ceiling(AUTO).convert("16", None, None) == 16
    with pytest.raises(click.BadParameter, match=r"may open 128 files here, which is enough for 16 at a time"):
        Ceiling(AUTO).convert("17", None, None)
