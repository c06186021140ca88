"""The committed zip equals the build of the sources, and the build is reproducible."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "scripts" / "build"
PACKAGE = ROOT / "lambda" / "s3_syncer"
ARCHIVE = ROOT / "lambda" / "dist" / "s3_syncer.zip"


@pytest.fixture(scope="module")
def build() -> ModuleType:
    """The script, which has no suffix, as a module."""
    loader = importlib.machinery.SourceFileLoader("build_script", str(SCRIPT))
    spec = importlib.util.spec_from_loader("build_script", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_committed_zip_equals_the_build(build: ModuleType) -> None:
    assert ARCHIVE.read_bytes() == build.build(), "run scripts/build and commit lambda/dist/s3_syncer.zip"


def test_the_build_is_reproducible(build: ModuleType, tmp_path: Path) -> None:
    first = build.build()
    for path in PACKAGE.rglob("*.py"):
        copy = tmp_path / "lambda" / "s3_syncer" / path.relative_to(PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
        copy.chmod(0o600)
        os.utime(copy, (0, 0))
    script = tmp_path / "scripts" / "build"
    script.parent.mkdir()
    script.write_bytes(SCRIPT.read_bytes())
    subprocess.run([sys.executable, str(script)], check=True, env={**os.environ, "TZ": "Asia/Tokyo"})
    assert (tmp_path / "lambda" / "dist" / "s3_syncer.zip").read_bytes() == first


def test_the_zip_contains_the_modules_of_this_project_only() -> None:
    with zipfile.ZipFile(ARCHIVE) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
    assert names == sorted(names)
    assert all(name.startswith("s3_syncer/") and name.endswith(".py") for name in names)
    packages = {name.split("/")[1] for name in names if name.count("/") > 1}
    assert packages == {"core", "doctor", "queue", "stores", "sync", "transport"}
    assert "s3_syncer/lambda_handler.py" in names
    assert "s3_syncer/__main__.py" not in names


def test_the_zip_is_small() -> None:
    """It is not compressed. With filters, roles, restore and proofs it has about 660 KiB."""
    assert ARCHIVE.stat().st_size < 768 * 1024


def test_every_entry_is_readable_and_has_a_fixed_date() -> None:
    with zipfile.ZipFile(ARCHIVE) as archive:
        for entry in archive.infolist():
            assert entry.date_time == (1980, 1, 1, 0, 0, 0)
            assert entry.external_attr >> 16 == 0o100644
            assert entry.compress_type == zipfile.ZIP_STORED


def test_the_zip_imports_with_the_libraries_of_the_runtime() -> None:
    program = (
        "import importlib, sys, zipfile; "
        f"sys.path.insert(0, {str(ARCHIVE)!r}); "
        f"names = zipfile.ZipFile({str(ARCHIVE)!r}).namelist(); "
        "modules = [importlib.import_module(name[:-3].removesuffix('/__init__').replace('/', '.')) for name in names]; "
        "assert all('.zip' in module.__file__ for module in modules); "
        "print(*sorted({'click', 'rich'} & set(sys.modules)))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd="/", env=environment
    )
    assert run.stdout.split() == [], "the libraries of the CLI are not in the Lambda runtime"


def test_the_function_starts_without_the_doctor() -> None:
    program = (
        "import sys, s3_syncer.lambda_handler; print(*(name for name in sys.modules if 's3_syncer.doctor.' in name))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == [], "a cold start would import modules that no event needs"


def test_check_reports_a_stale_zip(build: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stale = tmp_path / "s3_syncer.zip"
    monkeypatch.setattr(build, "ARCHIVE", stale)
    assert build.main(["--check"]) == 1
    stale.write_bytes(build.build())
    assert build.main(["--check"]) == 0
    stale.write_bytes(b"something else")
    assert build.main(["--check"]) == 1
    assert stale.read_bytes() == b"something else", "checking writes nothing"
