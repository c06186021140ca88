"""The file with the progress of a check that reads objects."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from s3_syncer.cli.output.findings import Finding
from s3_syncer.cli.sweeps.resume_file import ResumeFile, ResumeFileError, read_check
from s3_syncer.cli.sweeps.work_stealing import Range
from s3_syncer.core.listing_diff import DiffPage

CHECK = {"source": "s3://source/", "seed": 7}


def page(after: str, until: str | None, keys: int = 2) -> DiffPage:
    return DiffPage(after, until, keys, [])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "progress"


def stopped(path: Path, *pages: DiffPage, findings: tuple[Finding, ...] = ()) -> None:
    file = ResumeFile(path, CHECK)
    for finding in findings:
        file.add_finding(finding)
    for each in pages:
        file.add_page(each, {"bytes": each.keys})
    file.close()


def test_a_new_check_has_everything_to_do(path: Path) -> None:
    assert ResumeFile(path, CHECK).rest() == [Range()]
    assert read_check(path) == CHECK


def test_the_rest_is_what_no_page_covers(path: Path) -> None:
    stopped(path, page("m", "p"), page("c", "f"), page("f", "h"))
    again = ResumeFile(path, CHECK)
    assert again.rest() == [Range("", "c"), Range("h", "m"), Range("p", None)]
    assert [(done.range, done.keys, done.proofs) for done in again.done] == [
        (Range("c", "h"), 4, {"bytes": 4}),
        (Range("m", "p"), 2, {"bytes": 2}),
    ]


def test_pages_of_several_runs_add_up(path: Path) -> None:
    stopped(path, page("", "c"))
    stopped(path, page("c", "f"))
    again = ResumeFile(path, CHECK)
    assert (again.rest(), [done.keys for done in again.done]) == ([Range("f", None)], [4])


def test_nothing_is_left_after_the_last_page(path: Path) -> None:
    stopped(path, page("", "c"), page("c", None))
    assert ResumeFile(path, CHECK).rest() == []


def test_findings_of_unfinished_pages_are_forgotten(path: Path) -> None:
    early, late = Finding("differs", "b\udcff", "size", 3), Finding("failed", "d", "denied", request_id="1")
    stopped(path, page("", "c"), findings=(early, late))
    assert ResumeFile(path, CHECK).findings == [early]


def test_a_finding_counts_once(path: Path) -> None:
    finding = Finding("differs", "b", "size", 3)
    stopped(path, page("", "c"), findings=(finding,))
    stopped(path)
    assert ResumeFile(path, CHECK).findings == [finding]


def test_a_line_that_a_killed_process_has_begun_does_not_count(path: Path) -> None:
    stopped(path, page("", "c"), page("c", "f"))
    path.write_bytes(path.read_bytes()[:-4])
    assert ResumeFile(path, CHECK).rest() == [Range("c", None)]


def test_another_check_does_not_continue(path: Path) -> None:
    stopped(path, page("", "c"))
    with pytest.raises(ResumeFileError, match="another seed: 7 instead of 8"):
        ResumeFile(path, CHECK | {"seed": 8})


@pytest.mark.parametrize("text", ["hello\n", "[]\n", "{}\n", '{"check": {}, "keys": 1}\n{"keys": 1}\n'])
def test_a_file_of_something_else_is_not_overwritten(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(ResumeFileError):
        ResumeFile(path, CHECK)
    assert path.read_text() == text


def test_an_empty_file_begins_a_check(path: Path) -> None:
    path.touch()
    assert ResumeFile(path, CHECK).rest() == [Range()]


def test_a_complete_check_leaves_no_file(path: Path) -> None:
    file = ResumeFile(path, CHECK)
    file.delete()
    file.add_page(page("", None), {})
    assert list(path.parent.iterdir()) == []


def test_a_device_is_not_replaced(tmp_path: Path) -> None:
    """The file is written beside its path first, which would replace /dev/null by a file."""
    path = tmp_path / "progress"
    os.mkfifo(path)
    with pytest.raises(ResumeFileError, match="is no regular file"):
        ResumeFile(path, CHECK)
    assert path.is_fifo()
