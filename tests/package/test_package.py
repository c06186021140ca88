"""The wheel and the source distribution, and the command in an environment without this checkout.

pip downloads what the package needs, as `scripts/setup` does.
"""

from __future__ import annotations

import email
import json
import os
import re
import subprocess
import zipfile
from collections.abc import Iterator, Mapping
from email.message import Message
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pytest

from devtools import bootstrap
from devtools.bootstrap import PACKAGE, ROOT
from localcloud import servers
from s3_syncer import __version__
from s3_syncer.cli.commands import COMMANDS

SOURCES = ROOT / "lambda" / "s3_syncer"
REPOSITORY = "https://git.example.com/s3-syncer/"


def tool(*arguments: str, cwd: Path = ROOT) -> str:
    """Run a module of the environment with the tools, and return its output."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(PACKAGE.python), "-m", *arguments]
    ended = subprocess.run(command, cwd=cwd, env=env, text=True, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the source distribution, and the wheel from it."""
    assert bootstrap.main(["--package"]) == 0
    folder = tmp_path_factory.mktemp("dist")
    tool("build", "--no-isolation", "--outdir", str(folder))
    return folder


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    (built,) = dist.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        return email.message_from_bytes(archive.read(f"s3_syncer-{__version__}.dist-info/METADATA"))


def test_source_distribution_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    tool("build", "--no-isolation", "--wheel", "--outdir", str(tmp_path))
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()


def test_package_index_accepts_both(dist: Path) -> None:
    tool("twine", "check", "--strict", *map(str, dist.iterdir()))


def test_wheel_has_the_modules_and_the_man_page_and_no_more(wheel: Path) -> None:
    modules = {f"s3_syncer/{path.relative_to(SOURCES)}" for path in SOURCES.rglob("*.py")}
    info, data = f"s3_syncer-{__version__}.dist-info", f"s3_syncer-{__version__}.data"
    others = {
        "s3_syncer/py.typed",
        f"{data}/data/share/man/man1/s3-syncer.1",
        *(f"{info}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")),
    }
    with zipfile.ZipFile(wheel) as archive:
        assert set(archive.namelist()) == modules | others
        assert archive.read(f"{data}/data/share/man/man1/s3-syncer.1") == (ROOT / "docs" / "s3-syncer.1").read_bytes()


def test_metadata_name_the_license_and_the_extras(metadata: Message) -> None:
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])
    required = metadata.get_all("Requires-Dist", [])
    extras = {line.partition("; extra == ")[2].strip("'\""): re.split("[<>=]", line)[0] for line in required}
    del extras[""]
    assert extras == {"crt": "awscrt", "inventory": "pyarrow", "metrics": "prometheus-client"}


def test_each_link_of_the_description_names_a_file_of_the_repository(metadata: Message) -> None:
    """A package index shows the README alone, so that a relative link leads nowhere."""
    description = str(metadata.get_payload())
    without_code = re.sub(r"```.*?```", "", description, flags=re.DOTALL)
    inline = re.findall(r"\]\(([^)\s]+)\)", without_code)
    defined = re.findall(r"^\[[^\]]+\]: (\S+)", without_code, re.MULTILINE)
    assert len(inline) > 20
    assert all(link.startswith("https://") for link in [*inline, *defined])
    for link in inline:
        if link.startswith(REPOSITORY):
            assert (ROOT / urlsplit(link).path.removeprefix("/s3-syncer/")).exists(), link


# -- the command in a fresh environment -------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def plain(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the programs of a fresh environment, with the wheel and without its extras."""
    venv = tmp_path_factory.mktemp("plain")
    subprocess.run([str(PACKAGE.python), "-m", "venv", str(venv)], check=True)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-qq"]
    constraint = ["--constraint", str(ROOT / "requirements" / "dev.txt")]
    subprocess.run([*pip, *constraint, str(wheel)], check=True, cwd=venv)
    return venv / "bin"


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """Yield the environment of the command for two stores with a bucket each."""
    with (
        servers.running(servers.moto(), tmp_path_factory.mktemp("aws")) as source,
        servers.running(servers.moto(), tmp_path_factory.mktemp("other")) as target,
    ):
        keys = {"aws_access_key_id": "key-of-tests", "aws_secret_access_key": "secret-of-tests"}
        for server, bucket in ((source, "the-source"), (target, "the-target")):
            client = boto3.client("s3", endpoint_url=server.endpoint, region_name="us-east-1", **keys)
            client.create_bucket(Bucket=bucket)
            if server is source:
                for number in range(20):
                    client.put_object(Bucket=bucket, Key=f"photos/{number}", Body=b"x" * number, Metadata={"a": "b"})
                client.put_object(Bucket=bucket, Key="large", Body=bytes(9 << 20))
        yield {
            **{name.upper(): value for name, value in keys.items()},
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_S3": source.endpoint,
            "SOURCE_BUCKET": "the-source",
            "TARGET_BUCKET": "the-target",
            "TARGET_ENDPOINT": target.endpoint,
            "TARGET_REGION": "us-east-1",
            "TARGET_ACCESS_KEY_ID": "key-of-tests",
            "TARGET_SECRET_ACCESS_KEY": "secret-of-tests",
        }


def run(programs: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command in its environment, in a folder without this checkout."""
    env = {"PATH": f"{programs}:/usr/bin:/bin", "HOME": "/nonexistent", **environment}
    command = [str(programs / "s3-syncer"), *arguments]
    return subprocess.run(command, cwd=programs, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_version_names_the_missing_transport(plain: Path) -> None:
    lines = run(plain, "--version").stdout.splitlines()
    assert lines[0] == f"s3-syncer {__version__}"
    assert lines[-1] == "awscrt not installed"


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_each_command_starts(plain: Path, command: str) -> None:
    ended = run(plain, command, "--help")
    assert ended.returncode == 0, ended.stderr
    assert "Usage: s3-syncer" in ended.stdout


def test_plain_installation_copies_and_compares(plain: Path, stores: Mapping[str, str]) -> None:
    copied = run(plain, "migrate", **stores)
    assert copied.returncode == 0, copied.stderr
    assert "21 copied" in copied.stderr
    assert "awscrt: pip install 's3-syncer[crt]'" in copied.stderr
    compared = run(plain, "check", "--full", **stores)
    assert compared.returncode == 0, compared.stderr
    assert "equal: 21 keys compared" in compared.stderr


def test_modules_come_from_the_wheel(plain: Path) -> None:
    found = subprocess.run(
        [str(plain / "python"), "-c", "import s3_syncer; print(s3_syncer.__file__)"],
        cwd=plain, env={}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert Path(found.stdout.strip()).is_relative_to(plain.parent)
    assert (plain.parent / "share" / "man" / "man1" / "s3-syncer.1").is_file()


# -- the software bill of materials of the image ---------------------------------------------------------------------


def sbom_command() -> str:
    """Return the instruction of the Dockerfile that writes it."""
    dockerfile = (ROOT / "lambda" / "Dockerfile").read_text().replace("\\\n", "")
    (command,) = (line for line in dockerfile.splitlines() if line.startswith("RUN ") and "cyclonedx-py" in line)
    return command.removeprefix("RUN ")


def test_bill_of_materials_names_the_packages(plain: Path, tmp_path: Path) -> None:
    """No container engine is needed: the instruction of the Dockerfile runs with other folders."""
    assert bootstrap.main(["--package"]) == 0
    (installed,) = (plain.parent / "lib").glob("python3*/site-packages")
    sbom, packages, content = tmp_path / "sbom", tmp_path / "packages", tmp_path / "content"
    (sbom / "bin").mkdir(parents=True)
    (sbom / "bin" / "cyclonedx-py").symlink_to(PACKAGE.path / "bin" / "cyclonedx-py")
    content.symlink_to(installed)
    command = sbom_command()
    for folder, here in (("/opt/s3-syncer", content), ("/sbom", sbom), ("/packages", packages)):
        command = re.sub(rf"(?<![\w.}}]){folder}\b", str(here), command)
    env = {"PATH": f"{PACKAGE.path / 'bin'}:/usr/bin:/bin"}
    ended = subprocess.run(["sh", "-c", command], env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    bill = json.loads((installed / "sbom.cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert (
        bill["metadata"]["component"] | {"name": "s3-syncer", "version": __version__} == bill["metadata"]["component"]
    )
    components = {component["name"]: component for component in bill["components"]}
    assert {"boto3", "botocore", "click", "rich"} <= components.keys()
    assert "cyclonedx-bom" not in components
    assert components["boto3"]["purl"].startswith("pkg:pypi/boto3@")
    assert components["boto3"]["licenses"]


def test_tool_of_the_bill_of_materials_is_pinned_by_hash() -> None:
    text = (ROOT / "lambda" / "sbom-requirements.txt").read_text()
    pins = re.findall(r"^([\w.-]+==[\w.]+)( ; [^\\]+)? \\\n    --hash=sha256:", text, re.MULTILINE)
    assert len(pins) == len(re.findall(r"^[\w.-]+==", text, re.MULTILINE)) > 10
    tested = (ROOT / "requirements" / "package.txt").read_text().split()
    assert {pin for pin, _ in pins} <= set(tested)
