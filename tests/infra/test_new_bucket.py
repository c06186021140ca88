"""Test a bucket and its module that are new in one apply.

Cloud Control reads only a bucket that exists. `configurations/new-bucket` passes the name as `aws_s3_bucket.x.bucket`,
which is known before the bucket exists. With `.id`, as in `examples/local`, the module reads the bucket after its
creation: `tests/infra/test_stack.py` applies that.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.infra.examples import NEW_BUCKET, Examples

from devtools import terraform


def test_plan_reads_a_bucket_that_does_not_exist_yet(examples: Examples, tmp_path: Path) -> None:
    first = replace(examples[NEW_BUCKET], state=tmp_path / "terraform.tfstate")
    with pytest.raises(terraform.TerraformError, match="couldn't find resource"):
        first.with_inputs(bucket="my-future-bucket", existing_notifications="refuse").terraform("plan")


def test_bucket_and_module_are_applied_together_without_the_check(examples: Examples) -> None:
    document = examples.aws.client("s3").get_bucket_notification_configuration(Bucket="my-new-bucket")
    assert [queue["Id"] for queue in document["QueueConfigurations"]] == ["new-bucket"]


@pytest.mark.parametrize("existing_notifications", ["overwrite", "refuse"])
def test_a_second_plan_is_empty(examples: Examples, existing_notifications: str) -> None:
    """The check works from the second plan on, because the bucket exists."""
    second = examples[NEW_BUCKET].with_inputs(existing_notifications=existing_notifications)
    second.terraform("plan", "-detailed-exitcode", "-lock=false")
