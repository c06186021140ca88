"""The comparison of objects and of listing entries, and its reasons."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.in_memory_store import at, md5_hex

from s3_syncer.core.compare import ABSENT, Difference, compare, differs_by_listing, not_kept
from s3_syncer.core.headers import CONTENT_HEADERS
from s3_syncer.core.model import (
    LONGEST_ETAG,
    MAX_METADATA_BYTES,
    SOURCE_ETAG_MARKER,
    ListEntry,
    ObjectState,
)

MD5, OTHER_MD5 = md5_hex(b"one"), md5_hex(b"two")


def state(etag: str = MD5, **properties: Any) -> ObjectState:
    return replace(ObjectState(size=3, etag=etag, last_modified=at(10)), **properties)


UNPROVEN = "content is not proven: the ETags cannot be compared, and the copy has no ETag marker"
UNPROVABLE = "content cannot be proven: the ETags cannot be compared, and the metadata has no room for the ETag marker"
FULL = {"m": "x" * (MAX_METADATA_BYTES - 1)}
NEWER, OLDER = at(11), at(9)

#: A source, a target, and the reason to copy, or None.
CONTENT = [
    ("equal etags", state(), state(), None),
    ("equal multipart etags", state(f"{MD5}-3"), state(f"{MD5}-3"), None),
    ("equal bytes written earlier", state(last_modified=NEWER), state(last_modified=OLDER), None),
    ("another size", state(), state(size=4), "size"),
    ("another size under the same etag", state(size=0), state(size=4), "size"),
    ("other bytes", state(MD5), state(OTHER_MD5), "content"),
    ("other bytes written later", state(MD5), state(OTHER_MD5, last_modified=NEWER), "content"),
    # the marker decides if the ETags cannot
    ("marked", state(f"{MD5}-3"), state("opaque", marker=f"{MD5}-3"), None),
    ("marked as of another version", state(f"{MD5}-3"), state("opaque", marker=f"{OTHER_MD5}-3"), "content"),
    ("marked as of another, later", state(f"{MD5}-3"), state("o", marker="x", last_modified=NEWER), "content"),
    ("marked, and encrypted at the source", state("k1", kms=True), state(MD5, marker="k1"), None),
    ("marked as of another, and encrypted", state("k2", kms=True), state(MD5, marker="k1"), "content"),
    ("equal etags under another marker", state(), state(marker="x"), None),
    ("marked, though both could be MD5s", state(MD5), state(OTHER_MD5, marker=MD5), None),
    # the ETags prove nothing and there is no marker: another tool wrote it, so time decides
    ("another tool's, as old", state(f"{MD5}-3"), state(MD5), None),
    ("another tool's, newer", state(f"{MD5}-3"), state(MD5, last_modified=NEWER), None),
    ("another tool's, older", state(f"{MD5}-3"), state(MD5, last_modified=OLDER), "source is newer"),
    ("another tool's, of an encrypted object", state(OTHER_MD5, kms=True), state(MD5, last_modified=NEWER), None),
    ("another tool's, encrypted at the target", state(MD5), state(OTHER_MD5, kms=True, last_modified=NEWER), None),
    (
        "another tool's, in a store with opaque ETags",
        state(MD5),
        state("opaque", last_modified=OLDER),
        "source is newer",
    ),
    # there was no room for a marker: it may be a copy of this project, so time does not decide
    (
        "of this project or another tool",
        state(f"{MD5}-3", metadata=FULL),
        state(MD5, metadata=FULL, last_modified=NEWER),
        UNPROVABLE,
    ),
]


@pytest.mark.parametrize(("source", "target", "reason"), [row[1:] for row in CONTENT], ids=[row[0] for row in CONTENT])
def test_content(source: ObjectState, target: ObjectState, reason: str | None) -> None:
    expected = Difference(reason, unproven=reason == UNPROVABLE) if reason else None
    assert compare(source, target, trusts_time=True) == expected


@pytest.mark.parametrize(("source", "target", "reason"), [row[1:] for row in CONTENT], ids=[row[0] for row in CONTENT])
def test_without_trust_in_times_another_tools_copy_is_unproven(
    source: ObjectState, target: ObjectState, reason: str | None
) -> None:
    found = compare(source, target)
    for_time = [row for row in CONTENT if row[0].startswith("another tool's")]
    if any(row[1:] == (source, target, reason) for row in for_time):
        assert found == Difference(UNPROVEN, unproven=True)
    else:
        assert found == compare(source, target, trusts_time=True)


def test_a_difference_outranks_an_unproven_content() -> None:
    source, copy = state(f"{MD5}-3", tags={"colour": "red"}), state("opaque", tags={"colour": "red"})
    assert compare(source, copy) == Difference(UNPROVEN, unproven=True)
    assert compare(source, replace(copy, headers={"Expires": "0"})) == Difference("header Expires")
    assert compare(source, replace(copy, metadata={"by": "a"})) == Difference("metadata")
    assert compare(source, replace(copy, tags={})) == Difference("tags"), "a copy proves the content too"
    assert compare(source, replace(copy, tags={}), trusts_time=True) == Difference("tags", body=False)


@pytest.mark.parametrize("header", CONTENT_HEADERS)
@pytest.mark.parametrize(("source", "target"), [({}, "a"), ("a", {}), ("a", "b")], ids=["gone", "added", "changed"])
def test_every_content_header_counts(header: str, source: Any, target: Any) -> None:
    one = state(headers={header: source} if source else {})
    other = state(headers={header: target} if target else {})
    assert compare(one, other) == Difference(f"header {header}")


def test_headers_that_are_not_mirrored_do_not_count() -> None:
    assert compare(state(headers={"X-Robots-Tag": "none"}), state()) is None


@pytest.mark.parametrize("target", [{}, {"by": "b"}, {"by": "a", "for": "c"}])
def test_metadata_counts_in_whole(target: dict[str, str]) -> None:
    assert compare(state(metadata={"by": "a"}), state(metadata=target)) == Difference("metadata")


@pytest.mark.parametrize("target", [{}, {"colour": "blue"}, {"colour": "red", "size": "l"}])
def test_a_difference_in_tags_alone_needs_no_copy(target: dict[str, str]) -> None:
    assert compare(state(tags={"colour": "red"}), state(tags=target)) == Difference("tags", body=False)


def test_tags_come_last_because_a_copy_writes_them_too() -> None:
    source = state(metadata={"by": "a"}, tags={"colour": "red"})
    assert compare(source, state()) == Difference("metadata")
    assert compare(source, state(OTHER_MD5, tags={"colour": "red"})) == Difference("content")


def test_a_marker_of_the_source_is_not_mirrored() -> None:
    assert compare(state(marker="of the store before"), state()) is None


STATES = st.builds(
    ObjectState,
    size=st.integers(0, 3),
    etag=st.sampled_from([MD5, OTHER_MD5, f"{MD5}-2", "opaque"]),
    last_modified=st.sampled_from([OLDER, NEWER]),
    headers=st.dictionaries(st.sampled_from(CONTENT_HEADERS), st.sampled_from("ab")),
    metadata=st.dictionaries(st.sampled_from("mn"), st.sampled_from("ab")),
    tags=st.dictionaries(st.sampled_from("tu"), st.sampled_from("ab")),
    marker=st.none() | st.sampled_from([MD5, f"{MD5}-2"]),
    kms=st.booleans(),
)


@given(STATES)
def test_an_object_is_the_same_as_itself(one: ObjectState) -> None:
    assert compare(one, one) is None


@given(STATES)
def test_a_faithful_marked_copy_is_the_same_whatever_its_etag(source: ObjectState) -> None:
    copy = replace(source, etag="opaque", kms=False, marker=source.etag, last_modified=OLDER)
    assert compare(source, copy) is None


@given(STATES, STATES)
def test_equal_objects_have_equal_properties(source: ObjectState, target: ObjectState) -> None:
    if compare(source, target) is None:
        assert (source.size, source.headers) == (target.size, target.headers)
        assert (source.metadata, source.tags) == (target.metadata, target.tags)


def listed(state: ObjectState) -> ListEntry:
    return ListEntry("key", state.size, state.etag, state.last_modified)


@given(STATES, STATES, st.booleans())
def test_a_difference_by_listing_is_a_difference_by_comparison(
    source: ObjectState, target: ObjectState, md5s: bool
) -> None:
    reason = differs_by_listing(listed(source), listed(target), md5s=md5s)
    md5s_known = source.md5 is not None and target.md5 == target.etag and target.marker is None
    if reason == "content" and not md5s_known:
        return  # only the bytes of the source, or a target that stops giving MD5s, could show that
    difference = compare(source, target)
    assert reason is None or (difference is not None and difference.reason == reason)


@pytest.mark.parametrize(
    ("target", "md5s", "reason"),
    [
        (None, False, ABSENT),
        (ListEntry("key", 2, None, OLDER), False, "size"),
        (ListEntry("key", 1, OTHER_MD5, OLDER), True, "content"),
        (ListEntry("key", 1, OTHER_MD5, OLDER), False, None),
        (ListEntry("key", 1, MD5, NEWER), True, None),
        (ListEntry("key", 1, None, NEWER), True, None),
        (ListEntry("key", 1, f"{MD5}-1", NEWER), True, None),
    ],
)
def test_reasons_that_two_listings_prove(target: ListEntry | None, md5s: bool, reason: str | None) -> None:
    assert differs_by_listing(ListEntry("key", 1, MD5, NEWER), target, md5s=md5s) == reason


@pytest.mark.parametrize("etag", [None, f"{MD5}-1", "opaque"])
def test_a_source_whose_etag_is_no_md5_proves_nothing_by_it(etag: str | None) -> None:
    assert differs_by_listing(ListEntry("key", 1, etag, NEWER), ListEntry("key", 1, MD5, NEWER), md5s=True) is None


# -- the model of an object --------------------------------------------------------------------------------------------


def test_an_etag_is_an_md5_only_if_it_has_the_form_and_no_kms_key_was_used() -> None:
    assert state(MD5).md5 == MD5
    assert state(MD5, kms=True).md5 is None
    assert state(f"{MD5}-2").md5 is None
    assert state(MD5.upper()).md5 is None
    assert state("opaque").md5 is None


@pytest.mark.parametrize(
    ("etag", "count"),
    [(f"{MD5}-1", 1), (f"{MD5}-10000", 10_000), (MD5, None), ("opaque-", None), ("a-b", None), ("", None)],
)
def test_the_part_count_is_read_from_the_etag(etag: str, count: int | None) -> None:
    assert state(etag).part_count == count


def test_states_are_compared_without_their_time() -> None:
    assert state(last_modified=OLDER) == state(last_modified=NEWER)
    assert state(tags={"colour": "red"}) != state()


def test_room_for_the_marker_is_counted_in_bytes_of_keys_and_values() -> None:
    room = MAX_METADATA_BYTES - len(SOURCE_ETAG_MARKER) - LONGEST_ETAG
    assert state(metadata={"m": "x" * (room - 1)}).marker_fits
    assert not state(metadata={"m": "x" * room}).marker_fits
    assert not state(metadata={"m": "ü" * (room // 2), "n": ""}).marker_fits


@pytest.mark.parametrize(
    ("source", "target", "text"),
    [
        (state(), state(size=4), "the size: the source has 3 bytes, the target has 4 bytes"),
        (
            state(MD5),
            state(OTHER_MD5),
            f"the content: the source has the ETag '{MD5}', the target has the ETag '{OTHER_MD5}'",
        ),
        (
            state(headers={"Expires": "0"}),
            state(),
            "Expires: the source has '0', the target has nothing",
        ),
        (
            state(metadata={"a": "1", "b": "2"}),
            state(metadata={"a": "1", "c": "3"}),
            "the metadata: the source has {'b': '2'}, the target has {'c': '3'}",
        ),
        (state(tags={"a": "1"}), state(), "the tags: the source has {'a': '1'}, the target has nothing"),
        (
            state(f"{MD5}-3"),
            state("opaque"),
            f"the metadata s3-syncer-source-etag: the source has the ETag '{MD5}-3', the target has the ETag 'opaque'",
        ),
        (
            state(f"{MD5}-3"),
            state("opaque", last_modified=OLDER),
            "the time: the source has 2026-01-01T00:00:10+00:00, the target has 2026-01-01T00:00:09+00:00",
        ),
    ],
)
def test_a_difference_is_described_with_both_values(source: ObjectState, target: ObjectState, text: str) -> None:
    difference = compare(source, target, trusts_time="the time" in text)
    assert difference is not None
    assert not_kept(difference, source, target) == f"the target does not keep {text}"


def test_an_object_that_the_target_lacks_is_described_by_its_size() -> None:
    assert not_kept(Difference(ABSENT), state(), None) == (
        "the target does not keep the object: the source has 3 bytes, the target has nothing"
    )


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("\u00f6", "=?UTF-8?B?w7Y=?=", True),
        ("\u00f6", "=?UTF-8?Q?=C3=B6?=", True),
        ("=?utf-8?q?=C3=B6?=", "=?UTF-8?B?w7Y=?=", True),
        ("=?ISO-8859-1?Q?=F6?=", "\u00f6", True),
        ("a \u00f6", "=?UTF-8?B?YSDDtg==?=", True),
        ("a", "=?UTF-8?B?YQ==?=", False),  # the second is the value itself
        ("\u00f6", "o", False),
        ("=?UTF-8?B?w7Y=?=", "=?UTF-8?B?w6Q=?=", False),
        ("=?unknown?B?w7Y=?=", "\u00f6", False),
        ("=?UTF-8?B?\u20ac?=", "\u20ac", False),
        ("=?UTF-8?B?/w==?=", "\ufffd", False),
        ("=?UTF-8?B?A?=", "A", False),
    ],
)
def test_metadata_is_equal_if_it_means_the_same(one: str, other: str, equal: bool) -> None:
    for source, target in ((one, other), (other, one)):
        found = compare(state(metadata={"a": source}), state(metadata={"a": target}))
        assert (found is None) is equal, (source, target)


@pytest.mark.parametrize("side", ["source", "target"])
def test_metadata_that_no_response_shows_is_not_equal(side: str) -> None:
    hidden = {side: state(hidden_metadata=2)}
    found = compare(**{"source": state(), "target": state(), **hidden})
    assert found is not None
    assert "(x-amz-missing-meta)" in not_kept(found, state(), state(hidden_metadata=2))
