"""Start the servers of the local cloud, apply `examples/local`, and record the addresses."""

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
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import boto3
from botocore.config import Config

from devtools import signals, terraform
from devtools.bootstrap import ROOT
from localcloud import container_engine, servers
from s3_syncer.operations.outputs import Migration

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

EXAMPLE = ROOT / "examples" / "local"
PACKAGE = ROOT / "lambda" / "dist" / "s3_syncer.zip"

#: The directory with the state of the local cloud.
DIRECTORY = ROOT / ".local"

STACK_FILE = "stack.json"
STATE_FILE = "terraform.tfstate"
#: What `terraform output -json` printed, for `s3-syncer --outputs`.
OUTPUTS_FILE = "outputs.json"

REGION = "us-east-1"
ROOT_KEY = "test"  # both the access key ID and the secret access key of MiniStack's root
SOURCE_BUCKET = "s3-syncer-source"
TARGET_BUCKET = "s3-syncer-mirror"

# The threads of the demo share a client, and each of them needs a connection.
CONNECTIONS = 32

Report = Callable[[str], None]


@dataclass(frozen=True)
class Target:
    """The target bucket on the other store."""

    endpoint: str
    region: str
    bucket: str
    access_key_id: str
    secret_access_key: str

    def s3(self) -> S3Client:
        client = make_client("s3", self.endpoint, self.region, self.access_key_id, self.secret_access_key)
        return cast("S3Client", client)


@dataclass(frozen=True)
class Stack:
    """The content of `.local/stack.json`, with the root credentials of the emulator for the AWS side."""

    aws_endpoint: str
    region: str
    access_key_id: str
    secret_access_key: str
    source_bucket: str
    queue_url: str
    queue_arn: str
    bulk_queue_url: str
    deletions_queue_url: str
    held_deletions_queue_url: str
    dead_letter_queue_url: str
    dead_letter_queue_arn: str
    function_name: str
    log_group: str
    target: Target
    migration: Migration
    terraform_config: str | None  # file of the CLI configuration that Terraform was run with
    engine: str | None  # the container engine of the emulated ECS, in the form of DOCKER_HOST

    @classmethod
    def read(cls, file: Path) -> Stack:
        """Return the stack in a file. Raises StackError if another version has written the file."""
        try:
            fields = json.loads(file.read_text())
            parts = {"target": Target(**fields["target"]), "migration": Migration(**fields["migration"])}
            return cls(**{**fields, **parts})
        except (KeyError, TypeError, ValueError) as error:
            raise StackError(
                "another version of s3-syncer has started the local cloud: run `scripts/local down`, then "
                "`scripts/local up`"
            ) from error

    def write(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self), indent=2) + "\n")

    def s3(self) -> S3Client:
        return cast("S3Client", self.client("s3"))

    def sqs(self) -> SQSClient:
        return cast("SQSClient", self.client("sqs"))

    def client(self, service: str) -> Any:
        """Return a client of a service of the emulated AWS, with root credentials."""
        return make_client(service, self.aws_endpoint, self.region, self.access_key_id, self.secret_access_key)


class StackError(Exception):
    """The local cloud cannot be started. The message says why and what to do."""


def up(directory: Path, report: Report, target_round_trip_ms: float = 0.0) -> Stack:
    """Start both stores, apply the module between them, and write the addresses to `.local/stack.json`.

    With a round trip, the target is as far away for all of its clients. A failure stops the servers that were started
    before it.
    """
    if any(server.is_running() for server in servers.recorded(directory)):
        raise StackError("the local cloud is already running: stop it with `scripts/local down`")
    if not PACKAGE.exists():
        raise StackError(f"{PACKAGE.relative_to(ROOT)} is missing: create it with `scripts/build`")
    # Files that are left belong to servers that have ended. They are useless, because the data was in memory.
    down(directory)
    try:
        report("Starting the emulated AWS and the other store ...")
        containers = container_engine.find()
        ministack = servers.start(servers.ministack(region=REGION, engine=containers), directory)
        other = servers.start(servers.moto(), directory)
        if target_round_trip_ms:
            other = servers.start(servers.relay(other, target_round_trip_ms), directory)
        target = make_target(other)
        report("Applying examples/local with Terraform; the provider waits about a minute for SQS ...")
        stack = apply(directory, ministack.endpoint, target, containers)
    except BaseException:
        down(directory)
        raise
    stack.write(directory / STACK_FILE)
    return stack


def down(directory: Path) -> list[str]:
    """Stop the servers of this directory, remove all files but the logs, and return the servers' names."""
    with signals.held():
        recorded = servers.recorded(directory)
        running = [server.name for server in recorded if server.is_running()]
        for server in recorded:
            servers.stop(server, directory)
        for name in (STACK_FILE, OUTPUTS_FILE, STATE_FILE, f"{STATE_FILE}.backup"):
            (directory / name).unlink(missing_ok=True)
        shutil.rmtree(directory / "tmp", ignore_errors=True)
    return running


def current(directory: Path) -> Stack | None:
    """Return the running local cloud, or None. Raises StackError if another version has started it."""
    recorded = servers.recorded(directory)
    file = directory / STACK_FILE
    if file.exists() and recorded and all(server.is_running() for server in recorded):
        return Stack.read(file)
    return None


def make_target(server: servers.Server) -> Target:
    """Create an empty bucket on the other store, which accepts any credentials."""
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
    """Return the input variables of examples/local."""
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
        # An emulated function is a process on this machine, and each copy is also work for both stores on it. The
        # threshold for copies by several functions is lower than by default, so that the demo is short.
        "sync": {"max_concurrency": max(2, os.cpu_count() or 2), "distributed_copy_threshold_mb": 128},
        "architecture": "ARM64" if platform.machine() in ("arm64", "aarch64") else "X86_64",
    }


def apply(directory: Path, aws_endpoint: str, target: Target, containers: str | None, *, paused: bool = False) -> Stack:
    """Apply `examples/local`, the first time or with another value of `paused`, and write its outputs."""
    # So few deletions are a mass for the demo.
    inputs = {"deletes": {"delay_s": 5, "hold_above": 20}, "paused": paused}
    tool = terraform.prepare(directory, {**variables(aws_endpoint, target), **inputs})
    state = f"-state={directory / STATE_FILE}"
    tool.run("init", "-no-color", cwd=EXAMPLE)
    tool.run("apply", "-auto-approve", "-no-color", "-parallelism=30", state, cwd=EXAMPLE)
    said = tool.run("output", "-json", "-no-color", state, cwd=EXAMPLE)
    (directory / OUTPUTS_FILE).write_text(said)
    outputs = json.loads(said)
    values = {name: output["value"] for name, output in outputs.items()}
    return from_outputs(values, aws_endpoint, target, containers, tool.environment.get("TF_CLI_CONFIG_FILE"))


def from_outputs(
    outputs: Mapping[str, Any],
    aws_endpoint: str,
    target: Target,
    containers: str | None = None,
    terraform_config: str | None = None,
) -> Stack:
    return Stack(
        aws_endpoint=aws_endpoint,
        region=REGION,
        access_key_id=ROOT_KEY,
        secret_access_key=ROOT_KEY,
        source_bucket=outputs["source_bucket"],
        queue_url=outputs["queue_url"],
        queue_arn=outputs["s3_syncer"]["queue_arn"],
        bulk_queue_url=outputs["s3_syncer"]["bulk_queue_url"],
        deletions_queue_url=outputs["s3_syncer"]["deletions_queue_url"],
        held_deletions_queue_url=outputs["s3_syncer"]["held_deletions_queue_url"],
        dead_letter_queue_url=outputs["dead_letter_queue_url"],
        dead_letter_queue_arn=outputs["s3_syncer"]["dead_letter_queue_arn"],
        function_name=outputs["function_name"],
        log_group=outputs["log_group"],
        target=target,
        migration=Migration.read("migration", outputs["s3_syncer"]["migration"]),
        terraform_config=terraform_config,
        engine=containers,
    )


def make_older(aws_endpoint: str, queue: str, seconds: float) -> None:
    """Make all messages of a queue of the emulated AWS older: `message_ages` serves the request."""
    parameters = urlencode({"queue": queue, "seconds": seconds})
    urlopen(Request(f"{aws_endpoint}/_localcloud/older-messages?{parameters}", method="POST")).close()  # noqa: S310 of the emulator


def make_client(service: str, endpoint: str, region: str, access_key_id: str, secret_access_key: str) -> Any:
    session = boto3.Session(access_key_id, secret_access_key, region_name=region)
    # Requests between processes of one machine do not use the proxy of the environment.
    config = Config(max_pool_connections=CONNECTIONS, proxies={}, s3={"addressing_style": "path"})
    return session.client(service, endpoint_url=endpoint, config=config)
