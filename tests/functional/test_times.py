"""Times in responses are parsed as botocore parses them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from botocore.utils import parse_timestamp
from tests.functional.harness import SOURCE, Rig

from s3_syncer.core.headers import moment
from s3_syncer.stores.bucket import Bucket
from s3_syncer.stores.clients import source_client


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01T12:34:56.000Z",
        "2026-01-01T12:34:56.789Z",
        "2026-01-01T12:34:56Z",
        "2026-01-01T12:34:56.7Z",
        "2026-01-01T12:34:56.123456789Z",
        "20260101T123456Z",
        "2026-01-01T12:34:56+02:00",
        "Thu, 01 Jan 2026 12:34:56 GMT",
        "Thu, 01 Jan 2026 12:34:56 GMT ",
        "01 Jan 2026 12:34:56 GMT",
        "Thu, 01 Jan 2026 12:34:56 +0200",
    ],
)
def test_every_form_is_parsed_as_botocore_parses_it(text: str) -> None:
    found = moment(text)
    assert found is not None
    assert abs(found - parse_timestamp(text)).total_seconds() < 1e-3
    assert found.tzinfo is not None


@pytest.mark.parametrize("text", ["nonsenseZ", "nonsense GMT", "Thu, 32 Jan 2026 12:34:56 GMT"])
def test_an_invalid_time_counts_as_missing(text: str) -> None:
    assert moment(text) is None


def test_a_listing_and_a_head_return_the_same_time(rig: Rig) -> None:
    rig.put("key")
    bucket = Bucket(SOURCE, "", source_client(1), tags=False)
    (page,) = bucket.listing()
    (listed,) = page.times
    found = bucket.head("key")
    assert listed is not None
    assert found is not None
    assert listed.replace(microsecond=0) == found.last_modified
    assert abs(listed - datetime.now(UTC)).total_seconds() < 60
