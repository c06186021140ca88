"""The image of the CLI: build it with Docker or Podman, and push it to the repository of the module."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .outputs import Outputs, OutputsError, Service

#: The files of the image, relative to the folder of the Dockerfile.
_SOURCES = ("Dockerfile", "requirements.txt", "sbom-requirements.txt", "s3_syncer/**/*.py")

PLATFORMS = {"ARM64": "linux/arm64", "X86_64": "linux/amd64"}

#: The architectures in the words of Docker's `info`, which are those of `uname`.
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


class ImageError(Exception):
    """The image cannot be built or pushed. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Engine:
    """The program that builds the image."""

    #: The program, and its options before each command.
    command: Sequence[str]
    #: Its description of itself, or nothing if it does not respond: the build that follows names its fault. Podman has
    #: its machine in `host`, and Docker at the top.
    info: Mapping[str, Any]

    @classmethod
    def described(cls, command: Sequence[str]) -> Engine:
        """Return the engine with this command, with its description."""
        try:
            done = subprocess.run(  # noqa: S603 - the user's
                [*command, "info", "--format", "{{json .}}"], capture_output=True, text=True, check=False
            )
            return cls(command, dict(json.loads(done.stdout)))
        except (OSError, ValueError, TypeError):
            return cls(command, {})

    @property
    def is_podman(self) -> bool:
        """Return True for Podman."""
        return "host" in self.info

    @property
    def machine(self) -> str:
        """Return the architecture of the machine, such as amd64, or nothing if the engine does not respond."""
        found = self.info.get("host", {}).get("arch") or self.info.get("Architecture") or ""
        return _MACHINES.get(found, found)


def find_engine() -> Engine:
    """Return Docker or Podman: the first that responds, or else is installed.

    A machine with Podman may have the client of Docker without its daemon.
    """
    silent = []
    for program in filter(shutil.which, ("docker", "podman")):
        engine = Engine.described([program])
        if engine.machine:
            return engine
        silent.append(engine)
    if not silent:
        raise ImageError("neither docker nor podman is on the PATH: install one of them")
    return silent[0]


@dataclass(frozen=True, slots=True)
class Image:
    """The image in the repository of the module, and the service that runs it."""

    address: str
    #: A task definition of the image, for the architecture.
    task_definition_arn: str
    #: None if the service is not enabled.
    service: Service | None

    @classmethod
    def of(cls, outputs: Outputs) -> Image:
        """Return the image that the migration and the service share. Raises OutputsError."""
        task = outputs.migration or outputs.service
        if task is None:
            raise OutputsError(
                "neither migration nor service is enabled: write migration = { enabled = true } and apply, or the same "
                "for service"
            )
        if task.repository_url is None:
            raise OutputsError(f"the module has no image repository, because ecs.image is set to {task.image}")
        return cls(task.image, task.task_definition_arn, outputs.service)


def check_context(context: Path, image: str) -> None:
    """Raise ImageError if the folder has not the files that the tag of the image is a hash of: see ecs.tf."""
    if not (context / "Dockerfile").is_file():
        raise ImageError(f"there is no Dockerfile in {context}: run terraform init, or name the folder with --context")
    files = sorted(path for pattern in _SOURCES for path in context.glob(pattern))
    hashes = {path.relative_to(context).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    content = json.dumps(hashes, sort_keys=True, separators=(",", ":"))
    if not image.endswith(f"-{hashlib.sha256(content.encode()).hexdigest()[:12]}"):
        raise ImageError(f"{context} has another version than the image {image}: run terraform apply again")


def build(
    engine: Engine, context: Path, image: str, architecture: str, base: str | None = None, *, newest: bool = False
) -> None:
    """Build `image` from the folder `context`, for "ARM64" or "X86_64".

    `base` is the base image, if it is not the default. With `newest`, its newest version is pulled first.
    """
    arguments = [f"BASE={base}"] if base else []
    if engine.machine:
        # Podman up to 4.3 does not set it. The first stage would then have the architecture of the task, and its
        # programs could not run.
        arguments.append(f"BUILDPLATFORM=linux/{engine.machine}")
    options = [option for argument in arguments for option in ("--build-arg", argument)]
    if newest:
        # Podman can keep a base image that is only on this machine.
        options.append("--pull=newer" if engine.is_podman else "--pull")
    _run(engine, "build", "--platform", PLATFORMS[architecture], *options, "--tag", image, str(context))


def push(engine: Engine, image: str) -> None:
    _run(engine, "push", image)


def log_in(engine: Engine, ecr: Any, image: str) -> None:
    """Log the engine in to the registry for twelve hours. The token is passed through standard input."""
    registry = image.partition("/")[0]
    (authorization,) = ecr.get_authorization_token()["authorizationData"]
    user, _, password = base64.b64decode(authorization["authorizationToken"]).decode().partition(":")
    _run(engine, "login", "--username", user, "--password-stdin", registry, given=password)


def is_pushed(ecr: Any, image: str) -> bool:
    """Return True if the repository has this tag, which is a hash of the files of the image."""
    return bool(ecr.batch_get_image(**_named(image))["images"])


def remove(ecr: Any, image: str) -> None:
    """Remove the image from the repository, because the tags of the repository are immutable."""
    ecr.batch_delete_image(**_named(image))


def deploy(ecs: Any, service: Service) -> None:
    """Deploy the service again: ECS may have rolled the deployment back while the image was missing."""
    ecs.update_service(
        cluster=service.cluster_arn,
        service=service.name,
        taskDefinition=service.task_definition_arn,
        forceNewDeployment=True,
    )


def _named(image: str) -> dict[str, Any]:
    repository, _, tag = image.partition("/")[2].rpartition(":")
    return {"repositoryName": repository, "imageIds": [{"imageTag": tag}]}


def _run(engine: Engine, *arguments: str, given: str | None = None) -> None:
    # Without attestations, the tag names the image itself and not an index of image and attestation. Docker's builder
    # without BuildKit, the default up to Docker 20.10, does not know BUILDPLATFORM.
    environment = {"DOCKER_BUILDKIT": "1", **os.environ, "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
    program = engine.command[0]
    try:
        subprocess.run([*engine.command, *arguments], env=environment, input=given, text=True, check=True)  # noqa: S603 - the user's
    except FileNotFoundError:
        raise ImageError(f"{program!r} is not on the PATH: install it, or name another with --engine") from None
    except subprocess.CalledProcessError as error:
        raise ImageError(f"`{program} {arguments[0]}` exited with {error.returncode}: see its output above") from None
