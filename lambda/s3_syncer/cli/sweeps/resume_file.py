"""The progress of a check that reads objects, in a file, so that a stopped check can continue.

The file has a JSON value on each line. The first one describes the check. After it come findings, and the ranges of
keys that are done. A finding counts only if its key belongs to such a range: the other keys are checked again.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from ...core.listing_diff import DiffPage
from ...core.model import key_bytes
from ...core.proof import Proof
from ..output.file_errors import naming
from ..output.findings import Finding
from .work_stealing import Range


class ResumeFileError(ValueError):
    """The file does not continue this check; the message says why."""


@dataclass(frozen=True, slots=True)
class DoneRange:
    """A range of keys that is done, the number of its keys, and how many of them have each proof."""

    range: Range
    keys: int
    proofs: Mapping[Proof, int]

    def has(self, key: str) -> bool:
        """Return True if the key belongs to the range."""
        name, until = key_bytes(key), self.range.until
        return key_bytes(self.range.after) < name and (until is None or name <= key_bytes(until))


class ResumeFile:
    """The file of one check. Safe to share between threads.

    The constructor raises ResumeFileError and OSError.
    """

    def __init__(self, path: Path, check: Mapping[str, Any]) -> None:
        """Continue the check of the file, or begin a new file; `check` are the values that must not change."""
        self.path = path
        #: What earlier runs have done, and found.
        self.done: list[DoneRange] = []
        self.findings: list[Finding] = []
        self._lock = threading.Lock()
        if path.exists() and not path.is_file():  # such as /dev/null, which this would replace
            raise ResumeFileError(f"{str(path)!r} is no regular file: name another one")
        if path.exists() and path.stat().st_size:
            self._read(check)
        # A file that other runs continued is written again, with fewer ranges.
        new = path.with_name(path.name + ".new")
        self._file = new.open("w", encoding="ascii")
        self._write({"check": check})
        for finding in self.findings:
            self.add_finding(finding)
        for done in self.done:
            self._write(_range_line(done))
        new.replace(path)

    def add_finding(self, finding: Finding) -> None:
        self._write({"finding": astuple(finding)})

    def add_page(self, page: DiffPage, proofs: Mapping[Proof, int]) -> None:
        """Note a page of which all findings were added."""
        self._write(_range_line(DoneRange(Range(page.after, page.until), page.keys, proofs)))

    def rest(self) -> list[Range]:
        """Return the ranges that earlier runs have not done, in order."""
        rest, after = [], ""
        for done in self.done:
            if done.range.after != after:
                rest.append(Range(after, done.range.after))
            if done.range.until is None:
                return rest
            after = done.range.until
        return [*rest, Range(after)]

    def close(self) -> None:
        """Keep the file for a later run. Later calls of this run add nothing."""
        with self._lock:
            self._file.close()

    def delete(self) -> None:
        """Delete the file: the check is complete, or cannot be continued."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _read(self, check: Mapping[str, Any]) -> None:
        try:
            first, *others = _values(self.path.read_text(encoding="ascii"))
            before = first["check"]
            pages = [
                DoneRange(Range(*line["range"]), line["keys"], line["proofs"]) for line in others if "keys" in line
            ]
            findings = [Finding(*line["finding"]) for line in others if "finding" in line]
        except (ValueError, LookupError, TypeError) as error:
            raise ResumeFileError(f"{str(self.path)!r} is not the file of a check: name another one") from error
        for name, value in check.items():
            if before.get(name) != value:
                raise ResumeFileError(
                    f"{str(self.path)!r} belongs to a check with another {name}: {before.get(name)!r} instead of "
                    f"{value!r}. Name another file, or delete this one to begin again"
                )
        self.done = list(_joined(pages))
        known = {(each.what, each.key): each for each in findings if any(done.has(each.key) for done in self.done)}
        self.findings = list(known.values())

    def _write(self, value: Mapping[str, Any]) -> None:
        with self._lock, naming(self.path):
            if not self._file.closed:
                self._file.write(json.dumps(value) + "\n")
                self._file.flush()


def read_check(path: Path) -> Mapping[str, Any]:
    """Return the values of the check that the file belongs to; none if there is no such file."""
    try:
        with path.open(encoding="ascii") as file:
            found: Mapping[str, Any] = json.loads(file.readline())["check"]
            return found
    except (OSError, ValueError, LookupError, TypeError):
        return {}


def _values(text: str) -> Iterator[Any]:
    """Yield the value of each line, except a last one that a killed process did not complete."""
    yield from (json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n"))


def _range_line(done: DoneRange) -> Mapping[str, Any]:
    return {"range": astuple(done.range), "keys": done.keys, "proofs": dict(done.proofs)}


def _joined(ranges: Iterable[DoneRange]) -> Iterator[DoneRange]:
    """Yield the ranges in order, with one in place of several that follow each other."""
    last: DoneRange | None = None
    for each in sorted(ranges, key=lambda each: each.range.after):
        if last is not None and last.range.until == each.range.after:
            proofs = Counter(last.proofs) + Counter(each.proofs)
            last = DoneRange(Range(last.range.after, each.range.until), last.keys + each.keys, proofs)
            continue
        if last is not None:
            yield last
        last = each
    if last is not None:
        yield last
