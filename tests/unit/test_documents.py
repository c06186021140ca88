"""Test that every link in the documents has a target, and that the README leads to every document."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from devtools.bootstrap import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*/README.md")])

FENCED = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)
ANCHOR = re.compile(r'<a name="([^"]+)">')


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document: headings in GitHub's form, and explicit ones."""
    text = FENCED.sub("", document.read_text())
    headings = (re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(text))
    return {*headings, *ANCHOR.findall(text)}


def links(document: Path) -> list[str]:
    # Tables in the form of terraform-docs escape underscores, also in links.
    return [link.replace(r"\_", "_") for link in LINK.findall(FENCED.sub("", document.read_text()))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_has_a_target(document: Path) -> None:
    for link in links(document):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = (document.parent / file).resolve() if file else document
        assert target.exists(), f"{document.relative_to(ROOT)} links to {link}, which is no file"
        if anchor:
            assert anchor in anchors(target), f"{document.relative_to(ROOT)} links to {link}, which is no heading"


def test_every_document_can_be_found_from_the_readme() -> None:
    found, new = set(), {ROOT / "README.md"}
    while new:
        found |= new
        linked = {(document.parent / link.partition("#")[0]).resolve() for document in new for link in links(document)}
        linked |= {directory / "README.md" for directory in linked if directory.is_dir()}
        new = (linked & set(DOCUMENTS)) - found
    assert found == set(DOCUMENTS)


def test_index_links_every_page_and_every_decision_record() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
    assert set(ROOT.glob("docs/**/*.md")) - {index} <= linked
