"""Keys that are not UTF-8, which no request can name, and entries of a listing without a field."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.functional.command import run
from tests.functional.harness import SOURCE, TARGET, Rig
from tests.support.odd_requests import Quirk
from tests.support.odd_store import OddStore
from tests.support.quirks import listings, responses
from tests.support.quirks.scope import on

#: In the listings of Python's order such a key comes before `b`, and in that of S3 behind it.
NOT_UTF_8 = "a\udcff"

#: The XML of the listing has the bytes as they are, or encoded as in a URL.
FORMS: dict[str, list[Quirk]] = {"encoded": [], "raw": [listings.ignores_encoding_type]}

each_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


@each_form
@pytest.mark.parametrize("delete", [["--delete"], []], ids=["delete", "keep"])
def test_a_key_of_the_target_that_is_not_utf_8_fails_and_stays(
    odd: Rig, odd_store: OddStore, form: list[Quirk], delete: list[str]
) -> None:
    odd_store.add(*form)
    for key in ("a", "b", "\U0001f600"):
        odd.put(key, b"body")
    odd_store.put(TARGET, NOT_UTF_8, b"other")
    odd_store.put(TARGET, "extra", b"other")
    ended = run("migrate", *delete)
    kept = {NOT_UTF_8} if delete else {NOT_UTF_8, "extra"}
    assert set(odd_store.keys(TARGET)) == {"a", "b", "\U0001f600", *kept}
    if delete:
        assert ended.code == 1
        assert "not UTF-8" in ended.named[repr(NOT_UTF_8)]
        assert len(ended.named) == 1


@each_form
@pytest.mark.parametrize("options", [["migrate", "--delete"], ["check"], ["migrate"]], ids=" ".join)
def test_a_key_of_the_source_that_is_not_utf_8_fails_and_hides_no_other(
    odd_source: OddStore, form: list[Quirk], options: list[str], tmp_path: Path
) -> None:
    odd_source.add(*form)
    for key in ("a", NOT_UTF_8, "\U0001f600"):
        odd_source.put(SOURCE, key, b"body")
    report = tmp_path / "report.json"
    ended = run(*options, "--report", str(report))
    assert ended.code == 1
    assert "not UTF-8" in ended.named[repr(NOT_UTF_8)]
    assert json.loads(report.read_text())["failures"][0]["key"] == NOT_UTF_8
    if "migrate" in options:
        assert odd_source.keys(TARGET) == ["a", "\U0001f600"]


@each_form
def test_keys_that_are_not_utf_8_on_each_of_many_pages(odd_source: OddStore, form: list[Quirk]) -> None:
    odd_source.add(listings.pages_of(3), *form)
    names = [f"k{number}" for number in range(10)]
    for key in [*names, *(f"{name}\udc80" for name in names)]:
        odd_source.put(SOURCE, key, b"body")
    ended = run("migrate", "--delete", "--concurrency", "4")
    assert (ended.code, len(ended.named)) == (1, 10)
    assert odd_source.keys(TARGET) == names


def test_sync_names_a_key_that_is_not_utf_8(odd: Rig) -> None:
    ended = run("sync", NOT_UTF_8)
    assert ended.code == 1
    assert "not UTF-8" in ended.named[repr(NOT_UTF_8)]


FIELDS = ["Size", "ETag", "LastModified", "StorageClass"]

SPOILS: dict[str, Callable[[str], Quirk]] = {
    "missing": responses.leaves_out,
    "malformed": responses.malforms,
    "empty": lambda field: responses.malforms(field, ""),
    "negative": lambda field: responses.malforms(field, "-1"),
    "doubled": responses.doubles,
}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("spoils", SPOILS.values(), ids=SPOILS)
def test_a_field_of_a_listing_that_cannot_be_read_costs_requests_and_nothing_else(
    odd_source: OddStore, field: str, spoils: Callable[[str], Quirk]
) -> None:
    odd_source.put(SOURCE, "changed", b"new")
    odd_source.put(TARGET, "changed", b"old")
    odd_source.put(SOURCE, "equal", b"body")
    odd_source.put(TARGET, "equal", b"body")
    odd_source.put(SOURCE, "new", b"body")
    odd_source.put(TARGET, "extra", b"body")
    odd_source.add(on("ListObjectsV2")(spoils(field)))
    ended = run("migrate", "--delete")
    assert ended.code == 0, ended.err
    bodies = {key: stored.body for key, stored in odd_source.objects.buckets[TARGET].items()}
    assert bodies == {"changed": b"new", "equal": b"body", "new": b"body"}
    assert odd_source.count("PutObject") == 2


def test_a_listing_without_sizes_still_names_what_is_missing(odd_source: OddStore) -> None:
    odd_source.put(SOURCE, "new", b"body")
    odd_source.add(on("ListObjectsV2")(responses.leaves_out("Size")))
    ended = run("check")
    assert (ended.code, ended.named.keys()) == (1, {"new"})
