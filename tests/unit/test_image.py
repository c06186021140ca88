"""Test that the image has only the tested versions of its packages, each pinned by hash."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from botocore.session import Session

ROOT = Path(__file__).resolve().parents[2]

REQUIREMENTS = (ROOT / "lambda" / "requirements.txt").read_text()


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text: str) -> dict[str, str]:
    return {normalized(name): version for name, version in re.findall(r"^([\w.-]+)==([^\s\\]+)", text, re.MULTILINE)}


def test_image_has_the_tested_versions() -> None:
    tested = pins((ROOT / "requirements" / "dev.txt").read_text())
    in_image = pins(REQUIREMENTS)
    assert in_image == {name: tested[name] for name in in_image}


def test_image_has_every_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    declared = (*project["dependencies"], *extras["crt"], *extras["metrics"])
    needed = {normalized(re.split(r"[<>=~! \[;]", dependency)[0]) for dependency in declared}
    assert needed <= pins(REQUIREMENTS).keys()


def test_every_package_is_pinned_by_hash_without_an_index() -> None:
    lines = [line.strip() for line in REQUIREMENTS.splitlines() if line.strip() and not line.startswith("#")]
    assert all(re.fullmatch(r"([\w.-]+==[\w.]+ \\|--hash=sha256:[0-9a-f]{64}( \\)?)", line) for line in lines)
    for requirement, following in zip(lines, [*lines[1:], ""], strict=True):
        if "==" in requirement:
            assert following.startswith("--hash=sha256:")


def test_build_context_has_only_the_files_of_the_tag() -> None:
    """The tag is a hash of these files, so another file in the image would not change the tag."""
    ignored = (ROOT / "lambda" / ".dockerignore").read_text().split("\n")
    assert [line for line in ignored if line.startswith("!")] == [
        "!requirements.txt",
        "!sbom-requirements.txt",
        "!s3_syncer",
    ]
    assert "*" in ignored
    copied = re.findall(r"^COPY (?!--from)(\S+)", (ROOT / "lambda" / "Dockerfile").read_text(), re.MULTILINE)
    assert copied == ["requirements.txt", "sbom-requirements.txt", "s3_syncer"]
    hashed = re.search(r"for pattern in \[(.*?)\]", (ROOT / "ecs.tf").read_text())
    assert hashed
    assert hashed[1] == '"Dockerfile", "requirements.txt", "sbom-requirements.txt", "s3_syncer/**/*.py"'


def test_documented_bill_of_materials_is_that_of_the_image() -> None:
    documented = (ROOT / "docs" / "ecs-service.md").read_text()
    (listed,) = re.findall(r"^```text\n((?:[\w.-]+ [\d.a-z]+\n)+)```", documented, re.MULTILINE)
    assert {normalized(name): version for name, version in map(str.split, listed.splitlines())} == pins(REQUIREMENTS)


def test_base_image_has_a_complete_name() -> None:
    """Podman rejects a short name if its configuration has no alias for it."""
    (base,) = re.findall(r"^ARG BASE=(\S+)", (ROOT / "lambda" / "Dockerfile").read_text(), re.MULTILINE)
    assert base.startswith("docker.io/library/python:")


#: The services of commands that need a checkout and a container engine, and so never run in the image.
NOT_IN_IMAGE = {"ecr"}


def used_services(source: str) -> Iterator[str]:
    """Yield the services of AWS for which the source builds a client."""
    known = Session().get_available_services()
    for call in ast.walk(ast.parse(source)):
        if isinstance(call, ast.Call) and re.search(r"client(_of)?$", ast.unparse(call.func)):
            yield from (each.value for each in call.args if isinstance(each, ast.Constant) and each.value in known)


def test_image_has_the_botocore_data_of_every_client() -> None:
    """Without the data, a client fails with "Unknown service", as that of EventBridge did."""
    used = {
        service for path in (ROOT / "lambda").rglob("s3_syncer/**/*.py") for service in used_services(path.read_text())
    }
    assert {"s3", "sqs", "sts", "secretsmanager", "events", "logs", "ecr"} <= used, "calls have another form"
    kept = re.findall(r"! -name ([\w-]+)", (ROOT / "lambda" / "Dockerfile").read_text())
    assert used - NOT_IN_IMAGE <= set(kept)
