"""What the image is made of: the versions that the tests run with, every file by its hash, and nothing else."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

REQUIREMENTS = (ROOT / "lambda" / "requirements.txt").read_text()


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text: str) -> dict[str, str]:
    return {normalized(name): version for name, version in re.findall(r"^([\w.-]+)==([^\s\\]+)", text, re.MULTILINE)}


def test_the_image_has_the_versions_that_are_tested() -> None:
    tested = pins((ROOT / "requirements" / "dev.txt").read_text())
    in_image = pins(REQUIREMENTS)
    assert in_image == {name: tested[name] for name in in_image}


def test_the_image_has_what_the_command_is_declared_to_need() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {normalized(re.split(r"[<>=~! \[;]", dependency)[0]) for dependency in project["dependencies"]}
    assert needed <= pins(REQUIREMENTS).keys()


def test_every_file_is_known_by_its_hash_and_from_nowhere_in_particular() -> None:
    lines = [line.strip() for line in REQUIREMENTS.splitlines() if line.strip() and not line.startswith("#")]
    assert all(re.fullmatch(r"([\w.-]+==[\w.]+ \\|--hash=sha256:[0-9a-f]{64}( \\)?)", line) for line in lines)
    for requirement, following in zip(lines, [*lines[1:], ""], strict=True):
        if "==" in requirement:
            assert following.startswith("--hash=sha256:")


def test_the_context_of_the_build_is_what_the_tag_is_made_from() -> None:
    """A tag is the hash of these files: what else got into the image, the tag would not tell."""
    ignored = (ROOT / "lambda" / ".dockerignore").read_text().split("\n")
    assert [line for line in ignored if line.startswith("!")] == ["!requirements.txt", "!s3_syncer"]
    assert "*" in ignored
    copied = re.findall(r"^COPY (?!--from)(\S+)", (ROOT / "lambda" / "Dockerfile").read_text(), re.MULTILINE)
    assert copied == ["requirements.txt", "s3_syncer"]
    hashed = re.search(r"for pattern in \[(.*?)\]", (ROOT / "ecs.tf").read_text())
    assert hashed
    assert hashed[1] == '"Dockerfile", "requirements.txt", "s3_syncer/**/*.py"'
