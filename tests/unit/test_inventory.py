"""The rows of an S3 Inventory."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from s3_syncer.core.inventory import entries

MOMENT = datetime(2026, 11, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "written",
    ["2026-11-01T10:00:00.000Z", "2026-11-01T10:00:00", "2026-11-01T11:00:00+01:00", MOMENT.replace(tzinfo=None)],
    ids=str,
)
def test_a_time_without_a_zone_is_in_utc(written: object) -> None:
    (entry,) = entries([{"key": "k", "size": "1", "lastmodifieddate": written}], "")
    assert entry.last_modified == MOMENT


@pytest.mark.parametrize("written", [None, ""])
def test_a_row_may_have_no_time(written: object) -> None:
    (entry,) = entries([{"key": "k", "lastmodifieddate": written}], "")
    assert entry.last_modified is None
