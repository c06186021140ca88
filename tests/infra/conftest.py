"""The stack under test: `examples/local`, applied once a session by pytest-terraform to clouds of its own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pytest_terraform.tf import TerraformTestApi
from tests.infra.examples import Examples, applying

from devtools import terraform
from localcloud import container_engine, servers
from localcloud.stack import EXAMPLE, REGION, Stack, Target, from_outputs, make_target, variables

#: Seconds for a test, with what is applied for it: more than it takes on any machine, whatever else runs there.
TIMEOUT_S = 3600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))


@dataclass(frozen=True)
class Clouds:
    """Both stores, and the Terraform that was told of them."""

    aws_endpoint: str
    aws_log: Path
    target: Target
    engine: str | None
    tool: terraform.Terraform


@pytest.fixture(scope="session", autouse=True)
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clouds]:
    """Running servers. Automatic, because the plugin's fixture, which needs them, cannot name another one."""
    directory = tmp_path_factory.mktemp("clouds")
    with contextlib.ExitStack() as cleanup:
        containers = container_engine.find()
        aws = cleanup.enter_context(servers.running(servers.ministack(region=REGION, engine=containers), directory))
        target = make_target(cleanup.enter_context(servers.running(servers.moto(), directory)))
        tool = terraform.prepare(directory, {**variables(aws.endpoint, target), "encrypted": True})
        changed = cleanup.enter_context(pytest.MonkeyPatch.context())
        for name in set(os.environ) - set(tool.environment):
            changed.delenv(name)
        for name, value in tool.environment.items():
            changed.setenv(name, value)
        # The plugin records the stack in clear, where only a replay would look for it.
        cleanup.callback((EXAMPLE / "tf_resources.json").unlink, missing_ok=True)
        yield Clouds(aws.endpoint, Path(aws.log), target, containers, tool)


@dataclass(frozen=True)
class Applied:
    """The stack, and the Terraform working directory it was applied from."""

    stack: Stack
    outputs: dict[str, Any]
    tool: terraform.Terraform
    state: Path

    def terraform(self, *arguments: str) -> str:
        return self.tool.run(*arguments, "-no-color", f"-state={self.state}", cwd=EXAMPLE)

    def empty_source(self) -> None:
        """Before a destroy: the emulator lists versions with their keys not encoded, which the provider expects."""
        client, bucket = self.stack.s3(), self.stack.source_bucket
        with contextlib.suppress(client.exceptions.NoSuchBucket):
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
                for entry in page.get("Contents", []):
                    client.delete_object(Bucket=bucket, Key=entry["Key"])


@pytest.fixture(scope="session")
def applied(clouds: Clouds, local: TerraformTestApi) -> Iterator[Applied]:
    outputs = {name: output["value"] for name, output in local.outputs.items()}
    runner = local.terraform
    made = Applied(
        stack=from_outputs(outputs, clouds.aws_endpoint, clouds.target, clouds.engine),
        outputs=outputs,
        tool=replace(clouds.tool, environment={**clouds.tool.environment, "TF_DATA_DIR": runner.work_dir}),
        state=Path(runner.state_path),
    )
    yield made
    made.empty_source()


@pytest.fixture(scope="session", autouse=True)
def begun(request: pytest.FixtureRequest) -> None:
    """The examples are begun before any test, to be applied while the tests of the stack run."""
    if any("examples" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("examples")


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Examples]:
    with applying(tmp_path_factory.mktemp("examples")) as begun:
        yield begun
