"""Apply the stack under test, `examples/local`, once a session with pytest-terraform.

All tests of a session share the stack and the examples. A test that reads what all other tests have done has the marker
`summary`. A test that destroys something has the marker `destroys`. Both run last, whatever their files are called.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pytest_terraform.tf import TerraformTestApi
from tests.infra.examples import Examples, applying

from devtools import terraform
from localcloud import container_engine, servers
from localcloud.stack import EXAMPLE, REGION, Stack, Target, from_outputs, make_target, variables

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: Timeout of a test in seconds, with the apply that it may wait for: far more than a busy machine needs.
TIMEOUT_S = 3600

#: Markers of tests that run after all other tests, in this order.
LATE = {
    "summary": "reads what all other tests of the session have done",
    "destroys": "destroys the stack or the examples",
}


def pytest_configure(config: pytest.Config) -> None:
    for name, meaning in LATE.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))
    items.sort(key=lateness)  # a stable sort: all other tests keep their order


def lateness(item: pytest.Item) -> int:
    """Return 0 for an ordinary test, and the position of its marker for a late one."""
    return max((number for number, name in enumerate(LATE, 1) if item.get_closest_marker(name)), default=0)


@dataclass(frozen=True)
class Clouds:
    """Both stores, and a Terraform with their addresses."""

    aws_endpoint: str
    aws_log: Path
    target: Target
    engine: str | None
    tool: terraform.Terraform


@pytest.fixture(scope="session", autouse=True)
def clouds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clouds]:
    """Yield running servers.

    The fixture is automatic, because the fixture of the plugin needs it and cannot request it.
    """
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
        # The plugin records the outputs in clear text, for a replay that these tests do not use.
        cleanup.callback((EXAMPLE / "tf_resources.json").unlink, missing_ok=True)
        yield Clouds(aws.endpoint, Path(aws.log), target, containers, tool)


@dataclass(frozen=True)
class Applied:
    """The stack, and the working directory of its Terraform."""

    stack: Stack
    outputs: dict[str, Any]
    tool: terraform.Terraform
    state: Path

    def terraform(self, *arguments: str) -> str:
        return self.tool.run(*arguments, "-no-color", f"-state={self.state}", cwd=EXAMPLE)

    def empty_source(self) -> None:
        """Empty the source bucket before a destroy.

        The emulator lists versions without the encoding that the provider expects.
        """
        client, bucket = self.stack.s3(), self.stack.source_bucket
        with contextlib.suppress(client.exceptions.NoSuchBucket):
            _delete_all(client, bucket)

    def empty_target(self) -> None:
        _delete_all(self.stack.target.s3(), self.stack.target.bucket)


def _delete_all(client: S3Client, bucket: str) -> None:
    """Delete the objects of a bucket, a page with each request."""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        if contents := page.get("Contents"):
            client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": entry["Key"]} for entry in contents]})


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
    """Start to apply the examples before any test, so that the tests of the stack run meanwhile."""
    if any("examples" in getattr(item, "fixturenames", ()) for item in request.session.items):
        request.getfixturevalue("examples")


@pytest.fixture(scope="session")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Examples]:
    with applying(tmp_path_factory.mktemp("examples")) as begun:
        yield begun
