"""The product on the local cloud: servers started, `examples/local` applied, and where to find it all."""

from __future__ import annotations

import json
import os
import platform
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import boto3
from botocore.config import Config

from deployed.outputs import Migration
from devtools import signals, terraform
from devtools.bootstrap import ROOT
from localcloud import container_engine, servers

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

EXAMPLE = ROOT / "examples" / "local"
PACKAGE = ROOT / "lambda" / "dist" / "s3_syncer.zip"

STACK_FILE = "stack.json"
STATE_FILE = "terraform.tfstate"

REGION = "us-east-1"
ROOT_KEY = "test"  # MiniStack's root has it for both of its keys
SOURCE_BUCKET = "s3-syncer-source"
TARGET_BUCKET = "s3-syncer-mirror"

# A client is shared by the threads of the demo; each of them wants a connection.
CONNECTIONS = 32

Report = Callable[[str], None]


@dataclass(frozen=True)
class Target:
    """The bucket on the other cloud."""

    endpoint: str
    region: str
    bucket: str
    access_key_id: str
    secret_access_key: str

    def s3(self) -> S3Client:
        client = _client("s3", self.endpoint, self.region, self.access_key_id, self.secret_access_key)
        return cast("S3Client", client)


@dataclass(frozen=True)
class Stack:
    """What `.local/stack.json` says; the keys of the AWS side are those of the emulator's root."""

    aws_endpoint: str
    region: str
    access_key_id: str
    secret_access_key: str
    source_bucket: str
    queue_url: str
    dead_letter_queue_url: str
    function_name: str
    log_group: str
    target: Target
    migration: Migration
    engine: str | None  # what the emulated ECS runs containers with, as DOCKER_HOST has it

    @classmethod
    def read(cls, file: Path) -> Stack:
        fields = json.loads(file.read_text())
        parts = {"target": Target(**fields["target"]), "migration": Migration(**fields["migration"])}
        return cls(**{**fields, **parts})

    def write(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self), indent=2) + "\n")

    def s3(self) -> S3Client:
        return cast("S3Client", self.client("s3"))

    def sqs(self) -> SQSClient:
        return cast("SQSClient", self.client("sqs"))

    def client(self, service: str) -> Any:
        """A client of any service of the emulated AWS, as its root."""
        return _client(service, self.aws_endpoint, self.region, self.access_key_id, self.secret_access_key)


class StackError(Exception):
    """The stack cannot be had as asked for; the message says why and what to do."""


def up(directory: Path, report: Report) -> Stack:
    """Starts both clouds, applies the product between them, and writes down where everything is.

    What was started before a failure is stopped again.
    """
    if any(server.is_running() for server in servers.recorded(directory)):
        raise StackError("The local cloud is up already; `scripts/local down` takes it down.")
    if not PACKAGE.exists():
        raise StackError(f"{PACKAGE.relative_to(ROOT)} is missing; `scripts/build` makes it.")
    # Whatever is left is of servers that are gone, and of no use: all they knew was in their memory.
    down(directory)
    try:
        report("Starting the emulated AWS and the other cloud ...")
        containers = container_engine.find()
        ministack = servers.start(servers.ministack(region=REGION, engine=containers), directory)
        target = make_target(servers.start(servers.moto(), directory))
        report("Applying examples/local with Terraform; mostly the provider waits for SQS to settle ...")
        stack = apply(directory, ministack.endpoint, target, containers)
    except BaseException:
        down(directory)
        raise
    stack.write(directory / STACK_FILE)
    return stack


def down(directory: Path) -> list[str]:
    """Stops what was started under this directory and removes all but its logs; says what was running."""
    with signals.held():
        recorded = servers.recorded(directory)
        running = [server.name for server in recorded if server.is_running()]
        for server in recorded:
            servers.stop(server, directory)
        for name in (STACK_FILE, STATE_FILE, f"{STATE_FILE}.backup"):
            (directory / name).unlink(missing_ok=True)
        shutil.rmtree(directory / "tmp", ignore_errors=True)
    return running


def current(directory: Path) -> Stack | None:
    """The stack that is up, or None."""
    recorded = servers.recorded(directory)
    file = directory / STACK_FILE
    if file.exists() and recorded and all(server.is_running() for server in recorded):
        return Stack.read(file)
    return None


def make_target(server: servers.Server) -> Target:
    """An empty bucket on the other cloud, which takes any credentials."""
    target = Target(
        endpoint=server.endpoint,
        region=REGION,
        bucket=TARGET_BUCKET,
        access_key_id=secrets.token_hex(10),
        secret_access_key=secrets.token_hex(20),
    )
    target.s3().create_bucket(Bucket=target.bucket)
    return target


def variables(aws_endpoint: str, target: Target) -> dict[str, object]:
    """What examples/local is applied with."""
    return {
        "aws_endpoint": aws_endpoint,
        "region": REGION,
        "access_key_id": ROOT_KEY,
        "secret_access_key": ROOT_KEY,
        "source_bucket": SOURCE_BUCKET,
        "target": {"endpoint": target.endpoint, "region": target.region, "bucket": target.bucket},
        "target_credentials": {
            "access_key_id": target.access_key_id,
            "secret_access_key": target.secret_access_key,
        },
        # An emulated function is a process of this machine, and each copy is work for both stores on it too.
        # What several of them copy together may be smaller than in earnest, so that a demonstration is short.
        "sync": {"max_concurrency": max(2, os.cpu_count() or 2), "distributed_copy_threshold_mb": 128},
        "architecture": "ARM64" if platform.machine() in ("arm64", "aarch64") else "X86_64",
    }


def apply(directory: Path, aws_endpoint: str, target: Target, containers: str | None) -> Stack:
    tool = terraform.prepare(directory, variables(aws_endpoint, target))
    state = f"-state={directory / STATE_FILE}"
    tool.run("init", "-no-color", cwd=EXAMPLE)
    tool.run("apply", "-auto-approve", "-no-color", "-parallelism=30", state, cwd=EXAMPLE)
    outputs = json.loads(tool.run("output", "-json", "-no-color", state, cwd=EXAMPLE))
    values = {name: output["value"] for name, output in outputs.items()}
    return from_outputs(values, aws_endpoint, target, containers)


def from_outputs(outputs: Mapping[str, Any], aws_endpoint: str, target: Target, containers: str | None = None) -> Stack:
    return Stack(
        aws_endpoint=aws_endpoint,
        region=REGION,
        access_key_id=ROOT_KEY,
        secret_access_key=ROOT_KEY,
        source_bucket=outputs["source_bucket"],
        queue_url=outputs["queue_url"],
        dead_letter_queue_url=outputs["dead_letter_queue_url"],
        function_name=outputs["function_name"],
        log_group=outputs["log_group"],
        target=target,
        migration=Migration.find(outputs),
        engine=containers,
    )


def _client(service: str, endpoint: str, region: str, access_key_id: str, secret_access_key: str) -> Any:
    session = boto3.Session(access_key_id, secret_access_key, region_name=region)
    # No proxy of the environment stands between processes of one machine.
    config = Config(max_pool_connections=CONNECTIONS, proxies={}, s3={"addressing_style": "path"})
    return session.client(service, endpoint_url=endpoint, config=config)
