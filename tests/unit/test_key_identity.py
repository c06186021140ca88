"""A target that folds keys: no object of another key is overwritten, deleted or taken for a copy."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping

import pytest
from tests.support.in_memory_store import FoldedObjects, ListedBucket, MemoryBucket, stored

from s3_syncer.core.deadline import Deadline
from s3_syncer.core.errors import Changed, Permanent
from s3_syncer.core.model import INLINE_BODY_MAX
from s3_syncer.core.multipart import Limits
from s3_syncer.core.units import MIB
from s3_syncer.sync.bucket_pair import BucketPair
from s3_syncer.sync.converge import converge
from s3_syncer.sync.key_identity import NOT_LISTED, has_key
from s3_syncer.sync.transfer import Transfer

Fold = Callable[[str], str]

#: By kind: the fold of a store, the key that it has, and another key that it takes for the same.
FOLDS: Mapping[str, tuple[Fold, str, str]] = {
    "one leading slash": (lambda key: key.removeprefix("/"), "a", "/a"),
    "leading slashes": (lambda key: key.lstrip("/"), "a", "//a"),
    "trailing slash": (lambda key: key.removesuffix("/"), "d", "d/"),
    "double slash": (lambda key: re.sub("/+", "/", key), "d/x", "d//x"),
    "dot segments": (lambda key: key.replace("/./", "/"), "d/x", "d/./x"),
    "backslash": (lambda key: key.replace("\\", "/"), "d/x", "d\\x"),
    "case": (str.lower, "readme", "README"),
    "NFC": (lambda key: unicodedata.normalize("NFC", key), "\u00e9", "e\u0301"),
    "NFD": (lambda key: unicodedata.normalize("NFD", key), "e\u0301", "\u00e9"),
    "percent": (lambda key: key.replace("%20", " "), "a b", "a%20b"),
    "plus": (lambda key: key.replace("+", " "), "a b", "a+b"),
    "trailing dot": (lambda key: key.rstrip("."), "a", "a."),
    "trailing blank": (lambda key: key.rstrip(" "), "a", "a "),
    "cut at 255": (lambda key: key[:255], "x" * 255, "x" * 256),
    "beyond Latin-1": (lambda key: re.sub("[^\\x00-\\xff]", "?", key), "??", "\u65e5\u672c"),
    "zero width": (lambda key: key.replace("\u200b", ""), "ab", "a\u200bb"),
    "emoji selector": (lambda key: key.replace("\ufe0f", ""), "\u2764", "\u2764\ufe0f"),
    "cut at four bytes": (lambda key: re.sub("[\U00010000-\U0010ffff].*", "", key), "a", "a\U0001f363b"),
    "cut at a semicolon": (lambda key: re.sub(";[^/]*", "", key), "d/a", "d;v=1/a"),
    "cut at a number sign": (lambda key: key.partition("#")[0], "a", "a#b"),
    "cut at a question mark": (lambda key: key.partition("?")[0], "a", "a?b"),
    "cut at a colon": (lambda key: key.partition(":")[0], "a", "a:b"),
    "underscores": (lambda key: re.sub('[<>:"|?*]', "_", key), "a_b", "a:b"),
    "double blank": (lambda key: re.sub(" +", " ", key), "a b", "a  b"),
    "tab": (lambda key: key.replace("\t", " "), "a b", "a\tb"),
    "beyond ASCII dropped": (lambda key: re.sub("[^\\x00-\\x7f]", "", key), "ab", "a\u65e5b"),
    "sharp s": (lambda key: key.replace("\u00df", "ss"), "strasse", "stra\u00dfe"),
}
EACH_FOLD = pytest.mark.parametrize(("fold", "kept", "other"), FOLDS.values(), ids=FOLDS.keys())

#: Folds of file systems that keep the spelling of the first write: each spelling can be the one that is there.
PRESERVED: Mapping[str, tuple[Fold, str, str]] = {
    "case, upper first": (str.lower, "README", "readme"),
    "case, lower first": (str.lower, "readme", "README"),
    "normal form, composed first": (lambda key: unicodedata.normalize("NFC", key), "\u00e9", "e\u0301"),
    "one weight for four bytes": (lambda key: re.sub("[^\\x00-\uffff]", "\ufffd", key), "\U0001f37a", "\U0001f363"),
    "ignorable characters": (lambda key: key.replace("\u200b", ""), "ab", "a\u200bb"),
    "kana": (lambda key: key.replace("\u30a2", "\u3042"), "\u3042", "\u30a2"),
    "joined letters": (lambda key: key.replace("\u00df", "ss"), "strasse", "stra\u00dfe"),
    "letters with strokes": (lambda key: key.replace("\u00f8", "o"), "smor", "sm\u00f8r"),
    "normal form, decomposed first": (lambda key: unicodedata.normalize("NFC", key), "e\u0301", "\u00e9"),
}


class Sides:
    """A source, and a target that folds keys."""

    def __init__(self, fold: Fold = str, *, preserves: bool = False) -> None:
        self.source, self.target = ListedBucket(), ListedBucket()
        self.target.objects = FoldedObjects(fold, preserves=preserves)
        self.transfer = Transfer(self.source, self.target, memory=MIB, threads=1, limits=Limits(min_part=1))
        self.pair = BucketPair(self.source, self.target, self.transfer, capabilities=self.transfer.capabilities)

    def converge(self, key: str) -> str:
        try:
            outcome = converge(self.pair, key, Deadline())
        except Permanent as error:
            return error.code
        return outcome.action

    def bodies(self) -> dict[str, bytes]:
        return {key: kept.body for key, kept in self.target.objects.items()}


@EACH_FOLD
def test_an_event_of_a_folded_key_overwrites_no_other_key(fold: Fold, kept: str, other: str) -> None:
    sides = Sides(fold)
    sides.source.objects |= {kept: stored(b"1"), other: stored(b"22")}
    assert [sides.converge(kept), sides.converge(other)] == ["copy", "NotListed"]
    assert sides.bodies() == {kept: b"1"}


@EACH_FOLD
def test_the_deletion_of_a_folded_key_deletes_no_other_key(fold: Fold, kept: str, other: str) -> None:
    sides = Sides(fold)
    sides.source.objects |= {kept: stored(b"1")}
    assert [sides.converge(kept), sides.converge(other)] == ["copy", "unchanged"]
    assert sides.bodies() == {kept: b"1"}
    del sides.source.objects[kept]
    assert (sides.converge(kept), sides.bodies()) == ("delete", {})


@EACH_FOLD
def test_a_folded_key_with_equal_bytes_is_no_copy(fold: Fold, kept: str, other: str) -> None:
    sides = Sides(fold)
    sides.source.objects |= {kept: stored(b"1"), other: stored(b"1")}
    assert [sides.converge(kept), sides.converge(other)] == ["copy", "NotListed"]


@EACH_FOLD
def test_a_copy_that_is_listed_under_another_key_is_a_finding(fold: Fold, kept: str, other: str) -> None:
    sides = Sides(fold)
    sides.source.objects |= {other: stored(b"22")}
    assert sides.converge(other) == "NotListed"


@EACH_FOLD
def test_the_first_key_with_a_new_fold_is_checked_after_any_number_of_others(fold: Fold, kept: str, other: str) -> None:
    # A process that has seen what the target keeps spares the read after a write.
    sides = Sides(fold)
    sides.source.objects |= {f"{number}": stored(b"0") for number in range(3)} | {other: stored(b"22")}
    assert [sides.converge(f"{number}") for number in range(3)] == ["copy"] * 3
    assert sides.converge(other) == "NotListed"


@pytest.mark.parametrize(("fold", "kept", "other"), PRESERVED.values(), ids=PRESERVED.keys())
def test_a_store_that_keeps_the_first_spelling_keeps_its_object(fold: Fold, kept: str, other: str) -> None:
    sides = Sides(fold, preserves=True)
    sides.source.objects |= {kept: stored(b"1"), other: stored(b"22")}
    assert [sides.converge(kept), sides.converge(other)] == ["copy", "NotListed"]
    del sides.source.objects[other]
    assert sides.converge(other) == "unchanged"
    assert sides.bodies() == {kept: b"1"}
    sides.source.objects[kept] = stored(b"333")
    assert [sides.converge(kept), sides.bodies()] == ["update", {kept: b"333"}]


@EACH_FOLD
def test_a_store_without_folds_keeps_both_keys(fold: Fold, kept: str, other: str) -> None:
    sides = Sides()
    for body in (b"1", b"22"):
        sides.source.objects |= {kept: stored(body), other: stored(body + body)}
        for key in (kept, other):
            sides.converge(key)
        assert sides.bodies() == {kept: body, other: body + body}
    sides.source.objects.clear()
    assert [sides.converge(key) for key in (kept, other)] == ["delete", "delete"]
    assert sides.bodies() == {}


def test_a_store_without_folds_costs_a_get_and_a_head_once() -> None:
    sides = Sides()
    requests = []
    for number in range(5):
        key, before = f"d/key-{number}", len(sides.target.calls)
        sides.source.objects[key] = stored(b"1")
        sides.converge(key)
        sides.source.objects[key] = stored(b"22")
        sides.converge(key)
        del sides.source.objects[key]
        sides.converge(key)
        requests.append(sides.target.calls[before:])
    # The check of the twin of the key, and of its directory before the first deletion.
    assert requests[0].count("is_missing") == 2
    assert all(each == requests[1] for each in requests[2:])
    assert not {"is_missing", "lists"} & set(requests[1])


def test_two_keys_that_differ_in_case_and_are_both_listed_are_two_objects() -> None:
    sides = Sides()
    sides.target.objects.update({"A": stored(b"1"), "a": stored(b"1")})
    sides.source.objects |= {"A": stored(b"22"), "a": stored(b"333")}
    assert [sides.converge(key) for key in ("A", "a", "A")] == ["update", "update", "unchanged"]
    assert sides.target.calls.count("lists") == 2, "each of them is listed once"
    assert sides.target.calls.count("is_missing") == 1


def test_a_directory_that_responds_like_an_object_is_not_deleted() -> None:
    class Directories(ListedBucket):
        def look(self, key: str):  # type: ignore[no-untyped-def]
            below = (each for each in self.objects if each.startswith(key.rstrip("/") + "/"))
            return super().look(key) or super().look(next(below, key))

        def is_missing(self, key: str) -> bool:
            return self.look(key) is None

        def delete(self, key: str) -> None:
            for each in [each for each in self.objects if each == key or each.startswith(key + "/")]:
                del self.objects[each]

    sides = Sides()
    sides.target = Directories()
    transfer = Transfer(sides.source, sides.target, memory=MIB, threads=1)
    sides.pair = BucketPair(sides.source, sides.target, transfer, capabilities=transfer.capabilities)
    sides.source.objects["1/2"] = stored(b"1")
    assert [sides.converge(key) for key in ("1/2", "1", "1/")] == ["copy", "unchanged", "unchanged"]
    assert list(sides.target.objects) == ["1/2"]


def test_an_object_that_is_replaced_during_the_check_proves_nothing() -> None:
    target = MemoryBucket({"a": stored(b"1")})
    sides = Sides()
    found = target.look("a")
    assert found is not None

    def replace(operation: str, key: str) -> None:
        if operation == "is_missing":
            target.objects["a"] = stored(b"another")

    target.on_call = replace
    with pytest.raises(Changed):
        has_key(target, sides.pair.capabilities, "a", found)
    assert not sides.pair.capabilities.apart


def test_a_target_that_refuses_the_twin_is_listed() -> None:
    target, capabilities = MemoryBucket({"a": stored(b"1")}), Sides().pair.capabilities
    found = target.look("a")
    assert found is not None

    def refuse(operation: str, key: str) -> None:
        if operation == "is_missing":
            raise Permanent("access denied", "AccessDenied")

    target.on_call = refuse
    assert has_key(target, capabilities, "a", found)
    assert not capabilities.apart
    target.calls.clear()
    assert has_key(target, capabilities, "a", found)
    assert target.calls == ["lists"], "no twin is asked for twice"


def test_an_upload_is_not_completed_over_the_object_of_another_key() -> None:
    sides = Sides(str.lower)
    large = stored(b"x" * INLINE_BODY_MAX, b"y" * 100)
    sides.source.objects["READ"] = large

    def write_other(operation: str, key: str) -> None:
        if operation == "create_upload":  # live sync copies the other key during the copy of the parts
            sides.target.objects["read"] = stored(b"other")

    sides.target.on_call = write_other
    assert sides.converge("READ") == "NotListed"
    assert sides.bodies() == {"read": b"other"}
    assert not sides.target.under_way, "the upload is aborted"


def test_the_finding_says_what_the_target_does() -> None:
    sides = Sides(str.lower)
    sides.source.objects |= {"a": stored(b"1"), "A": stored(b"22")}
    converge(sides.pair, "a", Deadline())
    with pytest.raises(Permanent, match=NOT_LISTED):
        converge(sides.pair, "A", Deadline())
