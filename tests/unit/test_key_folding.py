"""The folds of stores and the twins of keys."""

from __future__ import annotations

import random
import unicodedata

import pytest

from s3_syncer.core import key_folding
from s3_syncer.core.key_folding import directory_twin, first_spelling, twins


@pytest.mark.parametrize(
    ("key", "fold", "twin"),
    [
        ("README", "case", "readme"),
        ("readme", "case", "README"),  # a file system keeps the case of the first write
        ("É", "case beyond ASCII", "é"),
        ("/a", "leading slash", "a"),
        ("//a", "leading slash", None),  # a store may remove one slash or all of them
        ("d/", "trailing slash", "d"),
        ("d//x", "double slash", "d/x"),
        ("d/./x", "dot segments", "d/x"),
        ("d/../x", "dot segments", "x"),
        ("d\\x", "backslash", "d/x"),
        ("e\u0301", "normal form", "\u00e9"),
        ("\u00e9", "normal form", "e\u0301"),
        ("\ufb01", "compatible characters", "fi"),
        ("caf\u00e9", "accents", "cafe"),
        ("\u65e5\u672c", "characters beyond Latin-1", "??"),
        ("a%20b", "percent sequences", "a b"),
        ("a b", "percent sequences", "a%20b"),
        ("%ff", "percent sequences", None),  # the bytes of the twin depend on the store
        ("a+b", "plus", "a b"),
        ("a.", "trailing dot", "a"),
        ("a /b", "trailing blank", "a/b"),
        (" a", "leading blank", "a"),
        ("a\nb", "control characters", "ab"),
        ("a" * 300, "length 300", "a" * 299 + "b"),
    ],
)
def test_a_key_has_a_twin_by_fold(key: str, fold: str, twin: str | None) -> None:
    assert twins("", key)[fold] == twin


def test_the_prefix_of_the_target_counts() -> None:
    assert twins("x/", "/a") == {"case": "/A", "double slash": "a"}
    assert twins("/p/", "a") == {"case": "A", "leading slash": None}, "the twin is outside of the prefix"
    assert twins("a/b/", "../c")["dot segments"] is None


def test_an_ordinary_key_has_only_letters_that_a_fold_can_concern() -> None:
    assert twins("", "data/2026-11/part-0001.parquet") == {"case": "DATA/2026-11/PART-0001.PARQUET"}
    assert twins("", "data/2026-11/part-0001.parquet", {"case"}) == {}
    assert twins("", "2026/11/1") == {}


def test_the_directory_of_a_key_is_its_twin() -> None:
    assert [directory_twin(key) for key in ("a/b/c", "a/b/", "a//b", "a", "/a")] == ["a/b", "a/b", "a", None, None]


def test_no_fold_concerns_a_key_that_counts_as_usual() -> None:
    # Seen to fail with a blank or a "%" among the usual characters.
    rand = random.Random(1)
    alphabet = "aZ0._-~/ %+\\\u00e9\u65e5\u0301\n:"
    for _ in range(20_000):
        name = "".join(rand.choices(alphabet, k=rand.randint(1, 6)))
        if key_folding._UNUSUAL.search(name) is None:
            found = [fold for fold, rule in key_folding._RULES.items() if rule.vary(name) != name]
            assert set(found) <= {"case"}, name


def test_no_fold_beyond_ascii_concerns_a_key_of_ascii_characters() -> None:
    # Seen to fail with the fold of control characters among them.
    rand = random.Random(3)
    alphabet = [*map(chr, range(128))]
    for name in [*alphabet, *("".join(rand.choices(alphabet, k=rand.randint(2, 9))) for _ in range(5_000))]:
        found = [fold for fold, rule in key_folding._RULES_BEYOND_ASCII.items() if rule.vary(name) != name]
        assert not found, (name, found)


def test_a_store_with_a_fold_takes_the_twin_for_the_key() -> None:
    rand = random.Random(2)
    alphabet = "aZ0./ %+\\\u00e9\u0301\u0130\u00df\u212a\n"
    for _ in range(20_000):
        prefix, key = "", "".join(rand.choices(alphabet, k=rand.randint(1, 6)))
        for fold, twin in twins(prefix, key).items():
            if twin is not None and fold in key_folding._RULES:
                rule = key_folding._RULES[fold]
                assert twin != key
                assert rule.folded(twin) == rule.folded(key), (fold, key, twin)


def test_letters_without_one_other_case_stay() -> None:
    for letter in ("\u00df", "\u0130", "\u0131", "\u00b5"):
        assert "case beyond ASCII" not in twins("", letter), unicodedata.name(letter)


def test_the_spellings_of_a_name_are_found_in_order() -> None:
    name = "a1\u00e9\u00df"
    every = sorted(a + "1" + e + "\u00df" for a in "aA" for e in "\u00e9\u00c9")
    for start in ["", *every, "A", "A1", "A1\u00ca", "A2", "B", "a", "a0", "a1\u00e9", "a1\u00e9\u00df.txt", "b"]:
        assert first_spelling(name, start) == min((each for each in every if each >= start), default=None), start
