"""Test Terraform as a principal that may do everything except read secrets.

Version 5 of the provider reads the version of a secret at each refresh, also with write-only values. This is documented
in docs/security.md. A later version that no longer does makes these tests fail.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from tests.infra.examples import Example, Examples

from devtools import terraform

DENIED = "not authorized to perform: secretsmanager:GetSecretValue"


@pytest.fixture(scope="module")
def deployer(examples: Examples) -> Iterator[Mapping[str, str]]:
    """Yield the environment of a user without permission to read secrets."""
    iam, user = examples.aws.client("iam"), "deployer"
    statements = [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": "secretsmanager:GetSecretValue", "Resource": "*"},
    ]
    document = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.create_user(UserName=user)
    iam.put_user_policy(UserName=user, PolicyName="policy", PolicyDocument=document)
    key = iam.create_access_key(UserName=user)["AccessKey"]
    yield {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    iam.delete_access_key(UserName=user, AccessKeyId=key["AccessKeyId"])
    iam.delete_user_policy(UserName=user, PolicyName="policy")
    iam.delete_user(UserName=user)


def test_plan_with_target_credentials_reads_the_secret(examples: Examples, deployer: Mapping[str, str]) -> None:
    complete = examples["complete"].with_environment(deployer)
    with pytest.raises(terraform.TerraformError, match="GetSecretValue") as refused:
        complete.terraform("plan", "-lock=false")
    said = " ".join(refused.value.output.split())
    assert DENIED in said
    assert "reading Secrets Manager Secret Version" in said
    complete.terraform("plan", "-lock=false", "-refresh=false", "-detailed-exitcode")


SECRET = "module.s3_syncer.aws_secretsmanager_secret"


@pytest.fixture
def fresh(examples: Examples, tmp_path: Path) -> Iterator[Example]:
    """Yield the example `complete` before its first apply, with another name."""
    complete = examples["complete"]
    directory = complete.directory.with_name("fresh")
    shutil.copytree(complete.directory, directory)
    (directory / "name_override.tf").write_text('module "s3_syncer" {\n  name = "fresh"\n}\n')
    example = replace(complete, directory=directory, state=tmp_path / "terraform.tfstate")
    example.tool.run("init", "-no-color", cwd=directory)
    yield example
    example.terraform("destroy", "-auto-approve", f"-target={SECRET}.target_credentials")


def test_first_apply_with_target_credentials_writes_the_secret_and_fails(
    fresh: Example, deployer: Mapping[str, str]
) -> None:
    """The provider reads what it wrote. Terraform marks it as tainted, so the next apply writes it again."""
    with pytest.raises(terraform.TerraformError, match="GetSecretValue") as refused:
        fresh.with_environment(deployer).terraform(
            "apply", "-auto-approve", f"-target={SECRET}_version.target_credentials"
        )
    said = " ".join(refused.value.output.split())
    assert DENIED in said
    assert "waiting for Secrets Manager Secret Version" in said
    written = json.loads(fresh.state.read_text())["resources"]
    (version,) = (each for each in written if each["type"] == "aws_secretsmanager_secret_version")
    assert version["instances"][0]["status"] == "tainted"


def test_plan_without_target_credentials_does_not_read_the_secret(
    examples: Examples, deployer: Mapping[str, str]
) -> None:
    simple = examples["simple"].with_environment(deployer)
    simple.terraform("plan", "-lock=false", "-detailed-exitcode")
