"""The knowledge of a target: which properties it keeps, and when it must be read again."""

from __future__ import annotations

import pytest
from tests.support.in_memory_store import stored

from s3_syncer.stores import capabilities as capabilities_module
from s3_syncer.stores.capabilities import (
    TAGS_WITH_OBJECT,
    TAGS_WITH_OBJECT_CHECKS,
    Property,
    TargetCapabilities,
    properties_of,
)

ONE = properties_of(stored(b"1", headers={"Content-Type": "text/plain"}).look())
TWO = properties_of(stored(b"2", headers={"Content-Type": "text/plain"}, metadata={"by": "me"}).look())


def test_nothing_is_taken_for_kept_before_it_was_seen() -> None:
    assert TargetCapabilities().needs_read(properties_of(stored(b"").look()))


def test_properties_that_were_seen_need_no_read() -> None:
    known = TargetCapabilities()
    known.record_kept(TWO)
    assert not known.needs_read(ONE)
    assert not known.needs_read(TWO)


@pytest.mark.parametrize(
    ("seen", "value", "change"),
    [
        ("hello", "Hello", "lower-cases values"),
        ("short", "long" * 20, "truncates values"),
        ("one two", "one  two", "collapses blanks"),
        ("cafe", "caf\u00e9", "drops characters that are not ASCII"),
        ("Wed, 21 Oct 2026 07:28:00 GMT", "0", "drops what is not a date"),
        ("value", "", "drops empty values"),
    ],
)
@pytest.mark.parametrize("name", ["Expires", "Content-Disposition", "metadata"])
def test_another_kind_of_value_is_read_again(name: str, seen: str, value: str, change: str) -> None:
    def properties(text: str) -> frozenset[Property]:
        one = stored(b"1", metadata={"by": text}) if name == "metadata" else stored(b"1", headers={name: text})
        return properties_of(one.look())

    known = TargetCapabilities()
    known.record_kept(properties(seen))
    assert not known.needs_read(properties(seen))
    assert known.needs_read(properties(value)), f"the target {change}"


def test_one_check_does_not_show_that_the_tags_of_a_put_are_kept() -> None:
    """Another worker may have written the same tags to the object of that check."""
    known, tagged = TargetCapabilities(), ONE | {TAGS_WITH_OBJECT}
    for _ in range(TAGS_WITH_OBJECT_CHECKS):
        assert known.needs_read(tagged)
        known.record_kept(tagged)
    assert not known.needs_read(tagged)
    known.forget_kept()
    known.record_kept(tagged)
    assert known.needs_read(tagged)
    assert not known.needs_read(ONE)


def test_of_several_writes_at_a_time_the_first_is_read() -> None:
    known = TargetCapabilities()
    assert [known.claim_read(ONE), known.claim_read(ONE), known.claim_read(TWO)] == [True, False, True]
    known.end_read(TWO, kept=True)
    assert known.keeps(ONE)
    assert not known.claim_read(TWO)


def test_a_read_that_finds_a_difference_drops_what_was_known() -> None:
    known = TargetCapabilities(sample_every=2)
    known.record_kept(ONE)
    assert [known.claim_read(ONE), known.claim_read(ONE)] == [False, True]
    known.end_read(ONE, kept=False)
    assert not known.keeps(ONE)
    assert known.claim_read(ONE)


def test_the_number_of_remembered_properties_is_bounded() -> None:
    known = TargetCapabilities()
    for number in range(3 * capabilities_module.MAX_PROPERTIES):
        known.record_kept({("Cache-Control", f"max-age={number}")})
    assert len(known._kept) <= capabilities_module.MAX_PROPERTIES
    assert known.keeps({("Cache-Control", f"max-age={number}")})


def test_an_etag_that_is_no_md5_is_remembered() -> None:
    known = TargetCapabilities()
    seen = [known.gives_md5]
    for is_md5 in (True, False, True):
        known.record_etag(is_md5=is_md5)
        seen.append(known.gives_md5)
    assert seen == [None, True, False, False]
