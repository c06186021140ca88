"""The first log line names the versions, and an old boto3 gets one clear error."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tomllib

import boto3
import botocore
import pytest

from devtools.bootstrap import ROOT
from s3_syncer import __version__, versions
from s3_syncer.core.errors import StoreUnusable
from s3_syncer.logs import log_json
from s3_syncer.stores import clients


def test_one_log_line_has_all_versions(capsys: pytest.CaptureFixture[str]) -> None:
    log_json("INFO")
    versions.log_versions()
    line = json.loads(capsys.readouterr().out)
    assert line["message"] == "started"
    assert line["s3_syncer"] == __version__
    assert line["python"] == platform.python_version()
    assert (line["boto3"], line["botocore"]) == (boto3.__version__, botocore.__version__)


@pytest.mark.parametrize("is_installed", [True, False])
def test_awscrt_is_named_only_if_it_is_there(is_installed: bool) -> None:
    hide = "" if is_installed else "import sys; sys.modules['awscrt'] = None; "
    code = f"{hide}from s3_syncer.versions import versions; print('awscrt' in versions())"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert found == f"{is_installed}\n"


@pytest.mark.parametrize("version", ["1.36.0", "1.36.0rc1", "1.40.2", "2.0.0"])
def test_a_recent_boto3_is_accepted(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(boto3, "__version__", version)
    monkeypatch.setattr(botocore, "__version__", version)
    versions.require_boto3()


@pytest.mark.parametrize("library", [boto3, botocore], ids=["boto3", "botocore"])
@pytest.mark.parametrize("version", ["1.35.99", "1.4.0", "0.9"])
def test_the_error_for_an_old_library_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, library: object, version: str
) -> None:
    monkeypatch.setattr(library, "__version__", version)
    with pytest.raises(StoreUnusable) as raised:
        versions.require_boto3()
    assert raised.value.code == "OldBoto3"
    assert version in raised.value.reason
    for text in ("1.36.0 or later", "pip install", "function.runtime", "function.package_path"):
        assert text in raised.value.reason


@pytest.mark.parametrize("build", [clients.source_client, clients.queue_client])
def test_no_client_is_built_with_an_old_boto3(monkeypatch: pytest.MonkeyPatch, build: object) -> None:
    """The check comes before the first setting that an old boto3 does not have."""
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setattr(boto3, "__version__", "1.35.99")
    with pytest.raises(StoreUnusable, match=r"boto3 1\.35\.99 is too old"):
        build(1)  # type: ignore[operator]


def test_the_package_requires_the_oldest_boto3_that_works() -> None:
    """pip must not refuse what the program accepts, and the other way round."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (required,) = [text for text in project["dependencies"] if text.startswith("boto3")]
    assert required.split(",")[0] == f"boto3>={versions.MINIMUM}"
