"""Every example applied as it is, to clouds of its own and all at the same time: an apply is mostly waiting.

What an example cannot know is overridden as Terraform lets one: the provider's addresses come from the environment, the
rest from a file beside a copy of it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import boto3

from devtools import terraform
from devtools.bootstrap import ROOT
from localcloud import servers
from localcloud.stack import ROOT_KEY, Target, make_target

REGION = "eu-west-1"  # that of the examples
OVERRIDE = "emulated_override.tf"

# An emulator serves every bucket under one host.
PROVIDER = 'provider "aws" {\n  s3_use_path_style = true\n}\n'

# All but `local`, which tests/infra/test_stack.py applies.
NAMES = ("simple", "complete", "existing-iac", "eventbridge", "multiple", "vpc")


@dataclass(frozen=True)
class Network:
    """A VPC of the owner."""

    vpc_id: str
    subnet_id: str
    security_group_id: str
    route_table_id: str


@dataclass(frozen=True)
class AWS:
    """The emulated AWS of the examples, and what is there before any of them."""

    endpoint: str
    buckets: tuple[str, ...] = ("my-bucket", "my-reports", "my-invoices", "my-documents", "my-private")

    def client(self, service: str) -> Any:
        session = boto3.Session(ROOT_KEY, ROOT_KEY, region_name=REGION)
        return session.client(service, endpoint_url=self.endpoint)

    def make_buckets(self) -> None:
        for bucket in self.buckets:
            self.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})

    def network(self) -> Network:
        ec2 = self.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        return Network(
            vpc_id=vpc,
            subnet_id=ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"],
            security_group_id=ec2.create_security_group(GroupName="g", Description="Mirror", VpcId=vpc)["GroupId"],
            route_table_id=ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"],
        )

    def key(self) -> str:
        return str(self.client("kms").create_key()["KeyMetadata"]["Arn"])

    def allow(self, key: str, statements: list[dict[str, Any]]) -> None:
        """Adds to the policy of a key, which leaves all else to IAM."""
        keys = self.client("kms")
        policy = json.loads(keys.get_key_policy(KeyId=key, PolicyName="default")["Policy"])
        policy["Statement"] += statements
        keys.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(policy))

    def topic(self, name: str) -> str:
        return str(self.client("sns").create_topic(Name=name)["TopicArn"])

    def boundary(self) -> str:
        """The policy of a security team that knows where its people work, and leaves them everything there."""
        everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [everything]})
        policy = self.client("iam").create_policy(PolicyName="boundary", PolicyDocument=document)
        return str(policy["Policy"]["Arn"])


@dataclass(frozen=True)
class Example:
    """One example that was applied."""

    name: str
    directory: Path
    tool: terraform.Terraform
    state: Path

    def terraform(self, *arguments: str, binary: Path | None = None) -> str:
        tool = replace(self.tool, binary=binary) if binary else self.tool
        return tool.run(*arguments, "-no-color", f"-state={self.state}", cwd=self.directory)

    def apply(self) -> Example:
        self.tool.run("init", "-no-color", cwd=self.directory)
        self.terraform("apply", "-auto-approve", "-parallelism=50")
        return self

    @property
    def outputs(self) -> dict[str, Any]:
        said = json.loads(self.terraform("output", "-json"))
        return {name: output["value"] for name, output in said.items()}


@dataclass
class Examples:
    """All of them, while they are being applied and afterwards."""

    aws: AWS
    target: Target
    directory: Path
    pool: ThreadPoolExecutor
    key: str  # what `complete` keeps is encrypted with it
    pending: dict[str, Future[Example]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Example:
        """The example, waited for."""
        return self.pending[name].result()

    def begin(self, name: str, override: str = "", variables: Mapping[str, object] | None = None) -> None:
        """Starts to apply a copy of the example, beside a copy of the module."""
        source, directory = ROOT / "examples" / name, self.directory / "module" / "examples" / name
        shutil.copytree(source, directory, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
        (directory / OVERRIDE).write_text(PROVIDER + override)
        tool = terraform.prepare(self.directory / name, variables)
        tool = replace(tool, environment={**tool.environment, **self.environment})
        example = Example(name, directory, tool, self.directory / f"{name}.tfstate")
        self.pending[name] = self.pool.submit(example.apply)

    @property
    def environment(self) -> Mapping[str, str]:
        """How the provider finds the emulator."""
        return {
            "AWS_ENDPOINT_URL": self.aws.endpoint,
            "AWS_ACCESS_KEY_ID": ROOT_KEY,
            "AWS_SECRET_ACCESS_KEY": ROOT_KEY,
        }


def target_override(target: Target) -> str:
    """The other store, for an example that names it itself."""
    place = {"endpoint": target.endpoint, "region": target.region, "bucket": target.bucket}
    return f'module "s3_syncer" {{\n  target = {json.dumps(place)}\n}}\n'


def copy_module(directory: Path) -> None:
    """What a checkout has of the module, so that nothing is left in this one."""
    for file in ROOT.glob("*.tf"):
        shutil.copy(file, directory)
    shutil.copytree(ROOT / "lambda", directory / "lambda", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))


@contextlib.contextmanager
def applying(directory: Path) -> Iterator[Examples]:
    """The examples, begun; each is there once it is asked for."""
    with contextlib.ExitStack() as cleanup:
        aws = AWS(cleanup.enter_context(servers.running(servers.ministack(region=REGION), directory)).endpoint)
        target = make_target(cleanup.enter_context(servers.running(servers.moto(), directory)))
        (directory / "module").mkdir()
        copy_module(directory / "module")
        aws.make_buckets()
        for bucket in ("my-invoices-mirror", "my-documents-mirror", "my-archive"):
            target.s3().create_bucket(Bucket=bucket)
        pool = cleanup.enter_context(ThreadPoolExecutor(len(NAMES)))
        examples = Examples(aws, target, directory, pool, aws.key())
        begin_all(examples)
        yield examples


def begin_all(examples: Examples) -> None:
    aws, target = examples.aws, examples.target
    there = {"target_endpoint": target.endpoint, "target_region": target.region}
    network = aws.network()
    for name in ("simple", "eventbridge"):
        examples.begin(name, target_override(target))
    examples.begin("existing-iac", target_override(target), {"subnet_ids": [network.subnet_id]})
    examples.begin("multiple", variables=there)
    examples.begin(
        "vpc",
        variables={
            "source_bucket": "my-private",
            "target": {"endpoint": target.endpoint, "region": target.region, "bucket": target.bucket},
            "target_cidrs": ["192.0.2.0/24"],
            "vpc_id": network.vpc_id,
            "subnet_ids": [network.subnet_id],
            "route_table_ids": [network.route_table_id],
        },
    )
    examples.begin(
        "complete",
        variables={
            **there,
            "source_bucket": "my-reports",
            "target_bucket": target.bucket,
            "target_credentials": {
                "access_key_id": target.access_key_id,
                "secret_access_key": target.secret_access_key,
            },
            "vpc": {"subnet_ids": [network.subnet_id], "security_group_ids": [network.security_group_id]},
            "source_kms_key_arns": [aws.key()],
            "kms_key_arn": examples.key,
            "permissions_boundary_arn": aws.boundary(),
            "alarm_actions": [aws.topic("on-call")],
        },
    )
