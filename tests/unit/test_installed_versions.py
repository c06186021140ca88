"""`s3-syncer --version` names what the program uses, and imports none of it."""

from __future__ import annotations

import platform
from pathlib import Path

import boto3
import botocore
import pytest
from tests.unit.test_imports import EXPENSIVE, imported

from s3_syncer import __version__
from s3_syncer.cli.output import installed_versions
from s3_syncer.cli.output.installed_versions import installed_version, version_lines


def test_versions_are_those_of_an_import() -> None:
    lines = version_lines()
    assert lines[:4] == [
        f"s3-syncer {__version__}",
        f"python {platform.python_version()}",
        f"boto3 {boto3.__version__}",
        f"botocore {botocore.__version__}",
    ]


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed_versions, "LIBRARIES", ("s3_syncer_is_no_such_library",))
    assert version_lines()[2:] == ["s3_syncer_is_no_such_library not installed"]


def test_first_copy_on_the_path_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy in a folder of PYTHONPATH may have another version than the installed distribution."""
    package = tmp_path / "some_library"
    package.mkdir()
    (package / "__init__.py").write_text("import missing\n__version__ = '7.8.9'\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert installed_version("some_library") == "7.8.9"
    (package / "__init__.py").write_text("")
    assert installed_version("some_library") == "of an unknown version"


def test_version_imports_no_library() -> None:
    modules = imported("--version")
    assert "s3_syncer.cli.output.installed_versions" in modules
    assert not (EXPENSIVE | {"importlib.metadata"}) & (modules | {name.partition(".")[0] for name in modules})
