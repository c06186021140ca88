"""Build the image of lambda/Dockerfile, push it to a registry, and run its tasks in containers.

The tests run in this order: the first ones need a repository without an image.
"""

from __future__ import annotations

import json
import os
import re
import signal
import struct
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

import pytest
from tests.image.conftest import Cloud
from tests.infra.waiting import eventually
from tests.unit.test_image import REQUIREMENTS, normalized, pins

from localcloud import ecr_endpoint, podman, servers
from localcloud.demo import notifications_off
from s3_syncer import __version__
from s3_syncer.operations import images

#: The objects of the migration, and their size: with its limit of 300 KiB a second, it takes about half a minute.
OBJECTS, SIZE = 400, 20_000

HEALTH = "http://127.0.0.1:8080"


def in_target(cloud: Cloud, prefix: str = "") -> set[str]:
    target = cloud.stack.target
    pages = target.s3().get_paginator("list_objects_v2").paginate(Bucket=target.bucket, Prefix=prefix)
    return {entry["Key"] for page in pages for entry in page.get("Contents", ())}


def of_image(cloud: Cloud) -> list[dict[str, Any]]:
    """Return the images with the tag of the image in the repository."""
    repository, _, tag = cloud.image.partition("/")[2].rpartition(":")
    asked = cloud.stack.client("ecr").batch_get_image(repositoryName=repository, imageIds=[{"imageTag": tag}])
    return list(asked["images"])


def test_task_without_an_image_does_not_run(cloud: Cloud) -> None:
    code, output = cloud.run("task", "run")
    assert code == 125, output
    assert "The task did not run: CannotPullContainerError: " in output
    assert output.endswith(": push the image with `s3-syncer image push`\n")


def test_registry_wants_the_login_of_the_command(cloud: Cloud) -> None:
    pull = cloud.engine.attempt("pull", cloud.image, **cloud.registry)
    assert "unauthorized" in pull.stderr.lower()


def test_unreachable_registry_is_an_error(cloud: Cloud, tmp_path: Path) -> None:
    with ecr_endpoint.running(cloud.stack.region, servers.free_port(), tmp_path / "authorities.pem") as nothing:
        code, output = cloud.push(**nothing.environment)
    assert code == 3, output
    assert "`podman login` exited with 125: see its output above" in output
    assert of_image(cloud) == []


def test_push_builds_the_image_and_deploys_the_service(cloud: Cloud) -> None:
    code, output = cloud.push()
    assert code == 0, output
    assert output.endswith(
        f"Pushed {cloud.image}.\nStarted a deployment of the service {cloud.outputs['service']['name']}.\n"
    ), output
    (image,) = of_image(cloud)
    assert json.loads(image["imageManifest"])["schemaVersion"] == 2


def test_second_push_does_nothing(pushed: Cloud) -> None:
    code, output = pushed.push(PATH="")  # without an engine
    assert (code, output) == (0, f"{pushed.image} exists already; --again builds and pushes it again.\n")


def test_push_again_replaces_the_image(pushed: Cloud) -> None:
    """The base image that Podman finds in no registry stays."""
    code, output = pushed.push("--again")
    assert code == 0, output
    assert f"Pushed {pushed.image}." in output
    assert len(of_image(pushed)) == 1


def test_image_needs_neither_root_nor_anything_to_write(pushed: Cloud) -> None:
    assert pushed.in_image("s3-syncer", "--version").startswith(f"s3-syncer {__version__}\n")
    assert pushed.in_image("s3-syncer", "--help").startswith("Usage: s3-syncer [OPTIONS] COMMAND")
    identity = pushed.in_image("python3", "-c", "import os; print(os.getuid(), os.getgid())")
    assert identity == "65532 65532\n"


def test_bill_of_materials_names_exactly_the_packages(pushed: Cloud) -> None:
    bill = json.loads(pushed.in_image("cat", "/opt/s3-syncer/sbom.cdx.json"))
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "s3-syncer")
    assert bill["metadata"]["component"]["version"] == __version__
    listed = {normalized(each["name"]): each["version"] for each in bill["components"]}
    assert len(listed) == len(bill["components"])
    code = "for each in metadata.distributions(path=['/opt/s3-syncer']): print(each.name, each.version)"
    installed = pushed.in_image("python3", "-c", f"from importlib import metadata\n{code}").splitlines()
    assert listed == {normalized(name): version for name, version in map(str.split, installed)} == pins(REQUIREMENTS)


#: The number of the architecture in the header of an ELF file.
MACHINES = {"amd64": 62, "arm64": 183}


@pytest.mark.parametrize("architecture", MACHINES)
def test_image_of_each_architecture_has_its_libraries(pushed: Cloud, architecture: str, tmp_path: Path) -> None:
    """The last stage only copies files: the base image of the other architecture is empty."""
    engine, image = pushed.engine, f"localhost/of-{architecture}"
    native = engine.run("info", "--format", "{{.Host.Arch}}").strip()
    other = next(name for name in MACHINES if name != native)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "file").touch()
    engine.attempt("manifest", "rm", "localhost/bases")
    archive = tmp_path / "empty.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(tmp_path / "empty", ".")
    engine.run("import", "--arch", other, str(archive), "localhost/empty")
    engine.run("manifest", "create", "localhost/bases")
    for base in (podman.BASE, "localhost/empty:latest"):
        engine.run("manifest", "add", "localhost/bases", f"containers-storage:{base}")

    with pytest.MonkeyPatch.context() as patch:
        for name, value in engine.environment.items():
            patch.setenv(name, value)
        task = {"amd64": "X86_64", "arm64": "ARM64"}[architecture]
        described = images.Engine.described(["podman"])
        images.build(described, pushed.directory.parents[1] / "lambda", image, task, "localhost/bases")
    assert engine.run("image", "inspect", image, "--format", "{{.Architecture}}").strip() == architecture
    container = engine.run("create", image).strip()
    engine.run("cp", f"{container}:/opt/s3-syncer/_awscrt.abi3.so", str(tmp_path))
    engine.run("rm", container)
    (machine,) = struct.unpack_from("<H", (tmp_path / "_awscrt.abi3.so").read_bytes(), 18)
    assert machine == MACHINES[architecture]


def test_interrupted_migration_continues(pushed: Cloud) -> None:
    """ECS pulls the image, sends SIGTERM at Ctrl-C, and reports the exit code of the container."""
    pushed.engine.run("rmi", "--force", pushed.image)
    client, bucket = pushed.stack.s3(), pushed.stack.source_bucket
    keys = {f"migrated/{number:04}" for number in range(OBJECTS)}
    with notifications_off(pushed.stack):
        for key in keys:
            client.put_object(Bucket=bucket, Key=key, Body=os.urandom(SIZE), Metadata={"key": key})
    process = pushed.process("task", "run", "--bwlimit", "300K")
    eventually(lambda: process.poll() is not None or len(in_target(pushed, "migrated/")) > 20)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate()
    copied = len(in_target(pushed, "migrated/"))
    assert process.returncode == 143, output
    assert 20 < copied < OBJECTS
    assert re.search(rf"stopped: {copied} keys · {copied} changed · 0 different · 0 failed", output), output

    code, output = pushed.run("task", "run")
    assert code == 0, output
    assert f"equal: {OBJECTS} keys · {OBJECTS - copied} changed" in output
    assert in_target(pushed, "migrated/") == keys

    code, output = pushed.run("task", "run", "check", "--full")
    assert code == 0, output
    code, output = pushed.run("task", "logs")
    assert code == 0, output
    assert f"equal: {OBJECTS} keys · 0 changed" in output


def test_exit_code_of_the_container_is_that_of_the_command(pushed: Cloud) -> None:
    code, output = pushed.run("task", "run", "--", "migrate", "--nonsense")
    assert code == 2, output
    assert "No such option" in output


@contextmanager
def served(cloud: Cloud) -> Iterator[tuple[str, str]]:
    """Let the service run one task, as its scaling does, and yield the ARN of the task and its container."""
    ecs, service = cloud.stack.client("ecs"), cloud.outputs["service"]
    at = {"cluster": service["cluster_arn"], "service": service["name"]}
    ecs.update_service(**at, desiredCount=1)

    def running() -> list[str]:
        listed = ecs.list_tasks(cluster=service["cluster_arn"], serviceName=service["name"])["taskArns"]
        described = ecs.describe_tasks(cluster=service["cluster_arn"], tasks=listed)["tasks"] if listed else []
        return [task["taskArn"] for task in described if task["lastStatus"] == "RUNNING"]

    try:
        (task,) = eventually(running)
        label = f"label=com.amazonaws.ecs.task-arn={task}"
        yield task, cloud.engine.run("ps", "--quiet", "--filter", label).strip()
    finally:
        ecs.update_service(**at, desiredCount=0)


def get(path: str) -> str:
    with build_opener(ProxyHandler({})).open(f"{HEALTH}{path}", timeout=5) as response:
        return str(response.read().decode())


def test_service_mirrors_live_changes_and_ends_cleanly(pushed: Cloud) -> None:
    ecs, service = pushed.stack.client("ecs"), pushed.outputs["service"]
    definition = ecs.describe_task_definition(taskDefinition=service["task_definition_arn"])["taskDefinition"]
    (_, *check) = definition["containerDefinitions"][0]["healthCheck"]["command"]
    client, bucket = pushed.stack.s3(), pushed.stack.source_bucket
    with served(pushed) as (task, container):
        client.put_object(Bucket=bucket, Key="live", Body=b"x")
        eventually(lambda: "live" in in_target(pushed))
        client.delete_object(Bucket=bucket, Key="live")
        eventually(lambda: "live" not in in_target(pushed))

        assert json.loads(get("/health"))["status"] == "ok"
        metrics = get("/metrics")
        assert f's3_syncer_info{{version="{__version__}"}} 1.0' in metrics
        assert re.search(r's3_syncer_decisions_total\{action="copy"\} [1-9]', metrics)
        assert pushed.engine.attempt("exec", container, *check).returncode == 0

        began = time.monotonic()
        ecs.stop_task(cluster=service["cluster_arn"], task=task)

        def stopped() -> Any:
            (found,) = ecs.describe_tasks(cluster=service["cluster_arn"], tasks=[task])["tasks"]
            return found if found["lastStatus"] == "STOPPED" else None

        end = eventually(stopped)
        assert end["containers"][0]["exitCode"] == 0
        # A killed container would have had its whole stop timeout of 120 s, and another exit code.
        assert time.monotonic() - began < 100
