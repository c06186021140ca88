"""Builds the image of the command and pushes it to the module's repository, with Docker or Podman."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deployed.outputs import Service

CONTEXT = Path(__file__).resolve().parents[2] / "lambda"

PLATFORMS = {"ARM64": "linux/arm64", "X86_64": "linux/amd64"}


class ImageError(Exception):
    """The image cannot be made or pushed; the message says why and what to do."""


#: The program that builds, and the options that it takes before its command.
Engine = Sequence[str]


def find_engine() -> Engine:
    """Docker, or else Podman."""
    for program in ("docker", "podman"):
        if shutil.which(program):
            return [program]
    raise ImageError("Neither docker nor podman is on the PATH: install one of them.")


def build(engine: Engine, image: str, architecture: str, base: str | None = None) -> None:
    """Builds `image` from this checkout for "ARM64" or "X86_64"; `base` is what it starts from, if not the default."""
    arguments = ["--build-arg", f"BASE={base}"] if base else []
    platform = PLATFORMS[architecture]
    _run(engine, "build", "--platform", platform, *arguments, "--tag", image, str(CONTEXT))


def push(engine: Engine, image: str) -> None:
    _run(engine, "push", image)


def log_in(engine: Engine, ecr: Any, image: str) -> None:
    """Gives the engine a token for the registry, good for twelve hours; it goes through no command line."""
    registry = image.partition("/")[0]
    (authorization,) = ecr.get_authorization_token()["authorizationData"]
    user, _, password = base64.b64decode(authorization["authorizationToken"]).decode().partition(":")
    _run(engine, "login", "--username", user, "--password-stdin", registry, given=password)


def is_pushed(ecr: Any, image: str) -> bool:
    """Whether the repository has this tag, which is made from what is in the image."""
    return bool(ecr.batch_get_image(**_named(image))["images"])


def remove(ecr: Any, image: str) -> None:
    """Takes the image out of the repository, which lets nobody overwrite a tag."""
    ecr.batch_delete_image(**_named(image))


def deploy(ecs: Any, service: Service) -> None:
    """Has the service take the image: ECS may have given up on it, and gone back, while it was not there."""
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
    # A tag then is the image itself, not an index of it and of a record of its making.
    environment = {**os.environ, "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
    try:
        subprocess.run([*engine, *arguments], env=environment, input=given, text=True, check=True)
    except FileNotFoundError:
        raise ImageError(f"There is no {engine[0]!r} on the PATH.") from None
    except subprocess.CalledProcessError as error:
        raise ImageError(f"`{engine[0]} {arguments[0]}` exited {error.returncode}.") from None
