"""Unit tests of `s3-syncer image push`: the image is built from the files that its tag names."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.module_outputs import MIGRATION, SERVICE, module_outputs, terraform_output

from s3_syncer.operations import images
from s3_syncer.operations.outputs import Outputs, OutputsError, Service

ADDRESS = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/s3-syncer/migration:0.1.0-arm64-0123456789ab"
LAMBDA = Path(__file__).parents[2] / "lambda"


def found(**parts: Any) -> images.Image:
    return images.Image.of(Outputs.parse(terraform_output(s3_syncer=module_outputs(**parts))))


OF_SERVICE = Service.read("service", SERVICE)


def test_image_is_that_of_the_migration() -> None:
    assert found(migration=MIGRATION) == images.Image(ADDRESS, str(MIGRATION["task_definition_arn"]), None)


def test_image_without_migration_is_that_of_the_service() -> None:
    assert found(service=SERVICE) == images.Image(ADDRESS, OF_SERVICE.task_definition_arn, OF_SERVICE)


def test_service_beside_the_migration_takes_the_same_image() -> None:
    both = found(migration=MIGRATION, service=SERVICE)
    assert both == images.Image(ADDRESS, str(MIGRATION["task_definition_arn"]), OF_SERVICE)


def test_image_from_the_input_is_not_pushed() -> None:
    with pytest.raises(OutputsError, match=r"no image repository, because ecs\.image is set to .*0123456789ab"):
        found(migration={**MIGRATION, "repository_url": None})


def test_module_without_tasks_has_no_image() -> None:
    with pytest.raises(OutputsError, match="neither migration nor service is enabled: write"):
        found()


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """Return a copy of the build context."""
    folder = tmp_path / "lambda"
    shutil.copytree(LAMBDA, folder, ignore=shutil.ignore_patterns("dist", "__pycache__"))
    return folder


def tag(folder: Path) -> str:
    """Return the tag for the files as ecs.tf makes it."""
    names = ("Dockerfile", "requirements.txt", "sbom-requirements.txt")
    files = [*(folder / name for name in names), *(folder / "s3_syncer").rglob("*.py")]
    hashes = {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    text = "{" + ",".join(f'"{name}":"{hashes[name]}"' for name in sorted(hashes)) + "}"
    return f"x:0.1.0-arm64-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def test_files_of_the_tag_are_built(context: Path) -> None:
    images.check_context(context, tag(context))


def test_files_of_another_version_are_not_built(context: Path) -> None:
    address = tag(context)
    (context / "s3_syncer" / "versions.py").write_text("")
    with pytest.raises(images.ImageError, match="has another version than the image"):
        images.check_context(context, address)


def test_folder_without_a_dockerfile_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(images.ImageError, match="run terraform init, or name the folder with --context"):
        images.check_context(tmp_path, "x:1")


def test_service_is_deployed_with_the_image() -> None:
    asked: list[dict[str, Any]] = []

    class Services:
        def update_service(self, **request: Any) -> None:
            asked.append(request)

    images.deploy(Services(), OF_SERVICE)
    assert asked == [
        {
            "cluster": OF_SERVICE.cluster_arn,
            "service": OF_SERVICE.name,
            "taskDefinition": OF_SERVICE.task_definition_arn,
            "forceNewDeployment": True,
        }
    ]


class ECR:
    """An ECR client with a repository with these tags."""

    def __init__(self, *tags: str) -> None:
        self.tags = tags
        self.deleted: list[dict[str, Any]] = []

    def batch_get_image(self, *, repositoryName: str, imageIds: list[dict[str, str]]) -> dict[str, Any]:
        assert repositoryName == "s3-syncer/migration"
        return {"images": [each for each in imageIds if each["imageTag"] in self.tags]}

    def batch_delete_image(self, **request: Any) -> None:
        self.deleted.append(request)

    def get_authorization_token(self) -> dict[str, Any]:
        return {"authorizationData": [{"authorizationToken": base64.b64encode(b"AWS:secret").decode()}]}


def program(directory: Path, code: str) -> str:
    """Write an executable that records its arguments and its input, and then runs this code."""
    file = directory / "program"
    note = f"open({str(directory / 'calls')!r}, 'a').write(json.dumps(sys.argv[1:]) + '\\n')"
    file.write_text(f"#!{sys.executable}\nimport json, sys\n{note}\n{code}\n")
    file.chmod(0o755)
    return str(file)


def calls(directory: Path) -> list[Any]:
    return [json.loads(line) for line in (directory / "calls").read_text().splitlines()]


def build_arguments(directory: Path, code: str = "", **options: Any) -> list[str]:
    """Return the arguments of the build of an engine that runs this code."""
    images.build(
        images.Engine.described([program(directory, code)]),
        Path("lambda"),
        "x:1",
        options.pop("architecture", "ARM64"),
        **options,
    )
    query, build = calls(directory)
    assert query == ["info", "--format", "{{json .}}"]
    return list(build)


@pytest.mark.parametrize(("architecture", "platform"), [("ARM64", "linux/arm64"), ("X86_64", "linux/amd64")])
def test_the_image_is_built_for_the_architecture_of_the_task(tmp_path: Path, architecture: str, platform: str) -> None:
    arguments = build_arguments(tmp_path, architecture=architecture)
    assert arguments == ["build", "--platform", platform, "--tag", "x:1", "lambda"]


def test_docker_builds_with_buildkit(tmp_path: Path) -> None:
    """Docker 20.10 builds without it by default, and cannot parse the Dockerfile then."""
    code = f"import os; open({str(tmp_path / 'set')!r}, 'w').write(os.environ['DOCKER_BUILDKIT'])"
    build_arguments(tmp_path, code)
    assert (tmp_path / "set").read_text() == "1"


def test_another_base_is_an_argument_of_the_build(tmp_path: Path) -> None:
    arguments = build_arguments(tmp_path, base="python:3.14@sha256:00")
    assert arguments[3:5] == ["--build-arg", "BASE=python:3.14@sha256:00"]


def test_an_engine_describes_itself_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The description chooses the engine, and has the machine for the build."""
    Path(program(tmp_path, PODMAN)).rename(tmp_path / "podman")
    monkeypatch.setenv("PATH", str(tmp_path))
    images.build(images.find_engine(), Path("lambda"), "x:1", "ARM64")
    assert [arguments[0] for arguments in calls(tmp_path)] == ["info", "build"]


def test_engine_that_responds_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client of Docker without a daemon describes no machine."""
    for name, code in (("docker", """print('{"Architecture": ""}'); sys.exit(1)"""), ("podman", PODMAN)):
        (tmp_path / name).mkdir()
        Path(program(tmp_path / name, code)).rename(tmp_path / name / name)
    folders = [str(tmp_path / "docker"), str(tmp_path / "podman")]
    monkeypatch.setenv("PATH", os.pathsep.join(folders))
    assert images.find_engine().command == ["podman"]
    monkeypatch.setenv("PATH", folders[0])
    assert images.find_engine().command == ["docker"]
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(images.ImageError, match="neither docker nor podman"):
        images.find_engine()


PODMAN = """print('{"host": {"arch": "amd64", "os": "linux"}}')"""
DOCKER = """print('{"Architecture": "x86_64", "OSType": "linux"}')"""


@pytest.mark.parametrize("engine", [PODMAN, DOCKER])
def test_first_stage_is_for_the_build_machine(tmp_path: Path, engine: str) -> None:
    """Without the argument, Podman 4.3.1 ran the first stage of an arm64 image on amd64, and it failed."""
    assert build_arguments(tmp_path, engine)[3:5] == ["--build-arg", "BUILDPLATFORM=linux/amd64"]


@pytest.mark.parametrize(("engine", "option"), [(PODMAN, "--pull=newer"), (DOCKER, "--pull")])
def test_newer_base_image_is_pulled(tmp_path: Path, engine: str, option: str) -> None:
    """Without the option, the engine takes the base image of the last build."""
    assert option in build_arguments(tmp_path, engine, newest=True)


def test_the_password_of_the_registry_is_in_no_command_line(tmp_path: Path) -> None:
    engine = program(tmp_path, f"open({str(tmp_path / 'given')!r}, 'w').write(sys.stdin.read())")
    images.log_in(images.Engine([engine], {}), ECR(), ADDRESS)
    registry = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
    assert calls(tmp_path) == [["login", "--username", "AWS", "--password-stdin", registry]]
    assert (tmp_path / "given").read_text() == "secret"


def test_failed_build_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(images.ImageError, match="build` exited with 3"):
        images.build(images.Engine([program(tmp_path, "sys.exit(3)")], {}), Path("lambda"), "x:1", "ARM64")


def test_is_pushed_is_true_for_an_existing_tag() -> None:
    assert images.is_pushed(ECR("0.1.0-arm64-0123456789ab"), ADDRESS)
    assert not images.is_pushed(ECR("0.1.0-other"), ADDRESS)


def test_an_image_is_removed_by_its_tag() -> None:
    ecr = ECR()
    images.remove(ecr, ADDRESS)
    assert ecr.deleted == [
        {"repositoryName": "s3-syncer/migration", "imageIds": [{"imageTag": "0.1.0-arm64-0123456789ab"}]}
    ]
