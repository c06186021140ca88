"""Apply the module on a cloud with a container engine: ECS runs containers, and ECR is their registry.

These tests run only with `scripts/test --image`. They take about five minutes.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.infra.examples import copy_module

from devtools import terraform
from localcloud import ecr_endpoint, podman, servers
from localcloud.stack import EXAMPLE, REGION, Stack, from_outputs, make_target, variables

#: Timeout of a test in seconds, with the apply that it may wait for: far more than a busy machine needs.
TIMEOUT_S = 1800

#: What the tests need beside the migration of examples/local. A test starts the task of the service.
OVERRIDE = """
module "s3_syncer" {
  service  = { enabled = true, min_tasks = 0, max_tasks = 1 }
  function = { enabled = false }
}
"""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))
            if not config.getoption("--image"):
                item.add_marker(pytest.mark.skip(reason="runs containers: `scripts/test --image`"))


@dataclass(frozen=True)
class Cloud:
    """The applied configuration, and the engine on this machine."""

    stack: Stack
    outputs: dict[str, Any]
    tool: terraform.Terraform
    directory: Path
    engine: podman.Podman
    #: The variables with which the engine finds the registry.
    registry: Mapping[str, str]

    @property
    def image(self) -> str:
        return self.stack.migration.image

    def process(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start `s3-syncer --module`, as a user does in another directory. It can reach the registry."""
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "s3_syncer", "--terraform", str(self.tool.binary)),
                *("--module", str(self.directory), *arguments),
            ],
            env={
                **self.tool.environment,
                "AWS_ENDPOINT_URL": self.stack.aws_endpoint,
                "AWS_ACCESS_KEY_ID": self.stack.access_key_id,
                "AWS_SECRET_ACCESS_KEY": self.stack.secret_access_key,
                **self.engine.environment,
                **self.registry,
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Run `s3-syncer --module`, and return its exit code and its output."""
        process = self.process(*arguments, **environment)
        output, _ = process.communicate()
        return process.returncode, output

    def push(self, *arguments: str, **environment: str) -> tuple[int, str]:
        return self.run("image", "push", "--engine", "podman", *arguments, **environment)

    def in_image(self, program: str, *arguments: str) -> str:
        """Run a program of the image as the task definition does, without a network, and return its output."""
        confined = ("run", "--rm", "--read-only", "--cap-drop", "ALL", "--network", "none")
        return self.engine.run(*confined, "--entrypoint", program, self.image, *arguments)


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """Apply a copy of examples/local with the service. The repository has no image yet."""
    if not podman.is_installed():
        pytest.skip(f"{', '.join(podman.PROGRAMS)} are not installed: `scripts/test --image` installs them on Debian")
    directory = tmp_path_factory.mktemp("image")
    with contextlib.ExitStack() as cleanup:
        engine = cleanup.enter_context(podman.prepared(directory))
        aws = cleanup.enter_context(servers.running(servers.ministack(region=REGION, engine=engine.address), directory))
        registry = cleanup.enter_context(ecr_endpoint.running(REGION, aws.port, directory / "authorities.pem"))
        cleanup.enter_context(engine.serving(**registry.environment))
        target = make_target(cleanup.enter_context(servers.running(servers.moto(), directory)))
        configuration = directory / "module" / "examples" / "local"
        configuration.parent.mkdir(parents=True)
        copy_module(directory / "module")
        shutil.copytree(EXAMPLE, configuration, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
        (configuration / "service_override.tf").write_text(OVERRIDE)
        tool = terraform.prepare(directory, variables(aws.endpoint, target))
        aws_environment = {"AWS_ENDPOINT_URL": aws.endpoint}
        tool = terraform.Terraform(tool.binary, {**tool.environment, **aws_environment}, tool.log)
        tool.run("init", "-no-color", cwd=configuration)
        tool.run("apply", "-auto-approve", "-no-color", "-parallelism=30", cwd=configuration)
        said = json.loads(tool.run("output", "-json", "-no-color", cwd=configuration))
        outputs = {name: output["value"] for name, output in said.items()}
        stack = from_outputs(outputs, aws.endpoint, target, engine.address)
        yield Cloud(stack, outputs["s3_syncer"], tool, configuration, engine, registry.environment)


@pytest.fixture(scope="session")
def pushed(cloud: Cloud) -> Cloud:
    """Return the cloud with the image in its repository."""
    code, output = cloud.push()
    assert code == 0, output
    return cloud
