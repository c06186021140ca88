"""Apply every example to emulated clouds, all at the same time, because an apply mostly waits.

The provider gets the address of the emulator from the environment. An override file beside a copy of the example sets
what the environment cannot.
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

REGION = "eu-west-1"  # the default region of the examples
OVERRIDE = "emulated_override.tf"

# The emulator serves all buckets under one host name.
PROVIDER = 'provider "aws" {\n  s3_use_path_style = true\n}\n'

# Configurations that no example has: the ECS service, and a bucket that is new in the same apply.
SERVICE, NEW_BUCKET = CONFIGURATIONS = ("service", "new-bucket")

# All examples except `local`, which tests/infra/test_stack.py applies.
NAMES = ("simple", "complete", "existing-iac", "eventbridge", "multiple", "vpc", "cross-account")

# The account of the bucket of `cross-account`. The emulator takes an access key of 12 digits for an account.
OTHER_ACCOUNT = "210987654321"
OTHER_PROVIDER = f"""
provider "aws" {{
  alias             = "source"
  s3_use_path_style = true
  access_key        = "{OTHER_ACCOUNT}"
  secret_key        = "{ROOT_KEY}"
  profile           = null
}}
"""


@dataclass(frozen=True)
class Network:
    """A VPC that exists before the example."""

    vpc_id: str
    subnet_id: str
    security_group_id: str
    route_table_id: str


@dataclass(frozen=True)
class AWS:
    """The emulated AWS of the examples, with the resources that exist before them."""

    endpoint: str
    buckets: tuple[str, ...] = ("my-bucket", "my-reports", "my-invoices", "my-documents", "my-private", "my-served")

    def client(self, service: str, access_key_id: str = ROOT_KEY) -> Any:
        session = boto3.Session(access_key_id, ROOT_KEY, region_name=REGION)
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
        """Add statements to the policy of a key, which otherwise defers to IAM policies."""
        keys = self.client("kms")
        policy = json.loads(keys.get_key_policy(KeyId=key, PolicyName="default")["Policy"])
        policy["Statement"] += statements
        keys.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(policy))

    def topic(self, name: str) -> str:
        return str(self.client("sns").create_topic(Name=name)["TopicArn"])

    def boundary(self) -> str:
        """Create a permissions boundary that allows every action on every resource; return its ARN."""
        everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [everything]})
        policy = self.client("iam").create_policy(PolicyName="boundary", PolicyDocument=document)
        return str(policy["Policy"]["Arn"])


@dataclass(frozen=True)
class Example:
    """An applied example."""

    name: str
    directory: Path
    tool: terraform.Terraform
    state: Path

    def with_inputs(self, **inputs: object) -> Example:
        """Return the example with other inputs, which the next command uses."""
        return self.with_environment({f"TF_VAR_{name}": terraform.as_variable(value) for name, value in inputs.items()})

    def with_environment(self, environment: Mapping[str, str]) -> Example:
        return replace(self, tool=replace(self.tool, environment={**self.tool.environment, **environment}))

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
    """All examples, during their apply and after it."""

    aws: AWS
    target: Target
    directory: Path
    pool: ThreadPoolExecutor
    key: str  # ARN of the KMS key of the example `complete`
    pending: dict[str, Future[Example]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Example:
        """Return the example, after its apply has ended."""
        return self.pending[name].result()

    def begin(self, name: str, variables: Mapping[str, object]) -> None:
        """Start to apply a copy of the example, beside a copy of the module."""
        parent = Path(__file__).with_name("configurations") if name in CONFIGURATIONS else ROOT / "examples"
        source, directory = parent / name, self.directory / "module" / "examples" / name
        shutil.copytree(source, directory, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*"))
        (directory / OVERRIDE).write_text(PROVIDER + (OTHER_PROVIDER if name == "cross-account" else ""))
        tool = terraform.prepare(self.directory / name, variables)
        example = Example(name, directory, tool, self.directory / f"{name}.tfstate")
        self.pending[name] = self.pool.submit(example.with_environment(self.environment).apply)

    @property
    def environment(self) -> Mapping[str, str]:
        """Return the environment with which the provider finds the emulator."""
        return {
            "AWS_ENDPOINT_URL": self.aws.endpoint,
            "AWS_ACCESS_KEY_ID": ROOT_KEY,
            "AWS_SECRET_ACCESS_KEY": ROOT_KEY,
        }


def copy_module(directory: Path) -> None:
    """Copy the files of the module, so that Terraform leaves nothing in this checkout."""
    for file in ROOT.glob("*.tf"):
        shutil.copy(file, directory)
    shutil.copytree(ROOT / "lambda", directory / "lambda", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))


@contextlib.contextmanager
def applying(directory: Path) -> Iterator[Examples]:
    """Yield the examples while they are applied; reading one waits for its apply."""
    with contextlib.ExitStack() as cleanup:
        aws = AWS(cleanup.enter_context(servers.running(servers.ministack(region=REGION), directory)).endpoint)
        target = make_target(cleanup.enter_context(servers.running(servers.moto(), directory)))
        (directory / "module").mkdir()
        copy_module(directory / "module")
        aws.make_buckets()
        for bucket in ("my-invoices-mirror", "my-documents-mirror", "my-archive"):
            target.s3().create_bucket(Bucket=bucket)
        pool = cleanup.enter_context(ThreadPoolExecutor(len(NAMES) + len(CONFIGURATIONS)))
        examples = Examples(aws, target, directory, pool, aws.key())
        begin_all(examples)
        yield examples


def begin_all(examples: Examples) -> None:
    aws, target = examples.aws, examples.target
    store = {"target_endpoint": target.endpoint, "target_region": target.region}
    bucket = {"target": {"endpoint": target.endpoint, "region": target.region, "bucket": target.bucket}}
    network = aws.network()
    examples.begin("simple", {**bucket, "source_bucket": "my-bucket"})
    examples.begin("eventbridge", bucket)
    examples.begin("existing-iac", {**bucket, "subnet_ids": [network.subnet_id]})
    examples.begin("multiple", store)
    examples.begin("cross-account", {**bucket, "source_profile": "unused"})
    examples.begin(SERVICE, {**bucket, "subnet_ids": [network.subnet_id]})
    examples.begin(NEW_BUCKET, {**bucket, "existing_notifications": "overwrite"})
    examples.begin(
        "vpc",
        {
            **bucket,
            "source_bucket": "my-private",
            "target_cidrs": ["192.0.2.0/24"],
            "vpc_id": network.vpc_id,
            "subnet_ids": [network.subnet_id],
            "route_table_ids": [network.route_table_id],
        },
    )
    examples.begin(
        "complete",
        {
            **store,
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
