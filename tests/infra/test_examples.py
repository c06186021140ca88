"""Test every example on emulated clouds with enforced IAM, from apply to destroy."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from tests.infra.examples import CONFIGURATIONS, NAMES, OTHER_ACCOUNT, Examples
from tests.infra.waiting import eventually

from devtools import terraform
from devtools.bootstrap import ROOT

# Examples with a secret to fill by hand: all except `complete`, which passes the credentials to Terraform.
FILLED_BY_HAND = [name for name in NAMES if name != "complete"]


def test_every_example_is_applied() -> None:
    """The tests of the stack apply `local`."""
    assert {file.parent.name for file in ROOT.glob("examples/*/main.tf")} == {*NAMES, "local"}


@pytest.fixture(scope="session")
def filled(examples: Examples) -> Examples:
    """Fill the secrets of the examples, and add the statements of the output to the key policy."""
    keys = {
        "access_key_id": examples.target.access_key_id,
        "secret_access_key": examples.target.secret_access_key,
    }
    for name in FILLED_BY_HAND:
        arn = examples[name].outputs["credentials_secret_arn"]
        examples.aws.client("secretsmanager").put_secret_value(SecretId=arn, SecretString=json.dumps(keys))
    examples.aws.allow(examples.key, examples["complete"].outputs["s3_syncer"]["kms_key_policy_statements"])
    return examples


@pytest.fixture
def quick_deletions(filled: Examples) -> Iterator[None]:
    """Shorten the delay of the deletions, for which each test would wait a minute."""
    sqs = filled.aws.client("sqs")
    urls = [url for url in sqs.list_queues()["QueueUrls"] if url.endswith("-deletions") and "-held-" not in url]
    assert urls
    before = {
        url: sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["DelaySeconds"])["Attributes"] for url in urls
    }
    for url in urls:
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"DelaySeconds": "1"})
    yield
    for url, attributes in before.items():
        sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)


def target_body(examples: Examples, bucket: str, key: str) -> bytes | None:
    client = examples.target.s3()
    try:
        return client.get_object(Bucket=bucket, Key=key)["Body"].read()
    except client.exceptions.NoSuchKey:
        return None


def put(examples: Examples, bucket: str, key: str, body: bytes = b"x") -> None:
    examples.aws.client("s3").put_object(Bucket=bucket, Key=key, Body=body)


MIRROR = "s3-syncer-mirror"

# Secrets that the examples create with the default recovery window: they exist after a destroy.
OWNED = ("mirrors/store", "stores/archive")


@pytest.mark.usefixtures("quick_deletions")
@pytest.mark.parametrize(
    ("name", "bucket", "key", "mirror", "copy"),
    [
        ("simple", "my-bucket", "a b+c/ä", MIRROR, "a b+c/ä"),
        ("complete", "my-reports", "reports/a b+c/ä", MIRROR, "mirror/reports/a b+c/ä"),
        ("existing-iac", "my-uploads", "published/a b+c/ä", MIRROR, "a b+c/ä"),
        ("eventbridge", "my-events", "event/a b+c/ä", MIRROR, "event/a b+c/ä"),
        ("vpc", "my-private", "private/a b+c/\u00e4", MIRROR, "private/a b+c/\u00e4"),
        ("multiple", "my-invoices", "a b+c/ä", "my-invoices-mirror", "a b+c/ä"),
    ],
)
def test_an_object_arrives_and_its_deletion_follows(
    filled: Examples, name: str, bucket: str, key: str, mirror: str, copy: str
) -> None:
    put(filled, bucket, key, name.encode())
    assert eventually(lambda: target_body(filled, mirror, copy)) == name.encode()
    filled.aws.client("s3").delete_object(Bucket=bucket, Key=key)
    eventually(lambda: target_body(filled, mirror, copy) is None)


@pytest.mark.usefixtures("quick_deletions")
def test_bucket_of_another_account_is_read_with_its_role(filled: Examples) -> None:
    """IAM is enforced: the roles of the module have no permission on the bucket, and its role has."""
    source = filled.aws.client("s3", OTHER_ACCOUNT)
    source.put_object(Bucket="partner-data", Key="partner/a b+c/ä", Body=b"cross-account")
    assert eventually(lambda: target_body(filled, MIRROR, "partner/a b+c/ä")) == b"cross-account"
    source.delete_object(Bucket="partner-data", Key="partner/a b+c/ä")
    eventually(lambda: target_body(filled, MIRROR, "partner/a b+c/ä") is None)

    function = filled["cross-account"].outputs["s3_syncer"]["function_name"]
    response = filled.aws.client("lambda").invoke(FunctionName=function, Payload=b'{"doctor": true}')
    checks = {
        each["check"]: (each["status"], each["finding"])
        for each in json.loads(response["Payload"].read())["checks"]
        if each["group"] == "Source"
    }
    assert checks["sts:AssumeRole"] == ("ok", f"allowed: arn:aws:iam::{OTHER_ACCOUNT}:role/partner-data-reader")
    assert checks["bucket owner"] == ("ok", f"account {OTHER_ACCOUNT}")


@pytest.mark.usefixtures("quick_deletions")
def test_one_bucket_goes_to_several_targets_by_prefix(filled: Examples) -> None:
    put(filled, "my-documents", "drafts/a")
    put(filled, "my-documents", "published/a")
    eventually(lambda: target_body(filled, "my-documents-mirror", "drafts/a"))
    eventually(lambda: target_body(filled, "my-documents-mirror", "published/a"))
    eventually(lambda: target_body(filled, "my-archive", "documents/a"))

    for key in ("drafts/a", "published/a"):
        filled.aws.client("s3").delete_object(Bucket="my-documents", Key=key)
        eventually(lambda key=key: target_body(filled, "my-documents-mirror", key) is None)
    listed = filled.target.s3().list_objects_v2(Bucket="my-archive")["Contents"]
    assert [entry["Key"] for entry in listed] == ["documents/a"], "only the prefix is mirrored, without deletes"


@pytest.mark.parametrize(
    ("name", "bucket", "key"), [("existing-iac", "my-uploads", "incoming/a"), ("eventbridge", "my-events", "a")]
)
def test_existing_subscribers_still_receive_events(filled: Examples, name: str, bucket: str, key: str) -> None:
    assert filled[name]
    sqs, sns = filled.aws.client("sqs"), filled.aws.client("sns")
    queue = sqs.create_queue(QueueName=f"subscriber-{name}")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    allowed = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:*", "Resource": arn}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
    (topic,) = (t["TopicArn"] for t in sns.list_topics()["Topics"] if t["TopicArn"].endswith(f":{bucket}-uploads"))
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)

    put(filled, bucket, key)
    heard = eventually(lambda: sqs.receive_message(QueueUrl=queue).get("Messages"))
    assert key in heard[0]["Body"]
    sqs.delete_queue(QueueUrl=queue)


@pytest.fixture
def foreign_topic(examples: Examples) -> Iterator[str]:
    """Make the bucket of `simple` notify a topic too, outside Terraform; yield the ARN of the topic."""
    assert examples["simple"]
    topic = examples.aws.topic("by-hand")
    s3 = examples.aws.client("s3")
    ours = s3.get_bucket_notification_configuration(Bucket="my-bucket")["QueueConfigurations"]
    by_hand = [{"TopicArn": topic, "Events": ["s3:ObjectRestore:Post"]}]
    document = {"QueueConfigurations": ours, "TopicConfigurations": by_hand}
    s3.put_bucket_notification_configuration(Bucket="my-bucket", NotificationConfiguration=document)
    yield topic
    s3.put_bucket_notification_configuration(
        Bucket="my-bucket", NotificationConfiguration={"QueueConfigurations": ours}
    )
    examples.aws.client("sns").delete_topic(TopicArn=topic)


@pytest.mark.parametrize("again", [False, True], ids=["first", "again"])
def test_plan_fails_instead_of_removing_notifications(
    examples: Examples, foreign_topic: str, tmp_path: Path, again: bool
) -> None:
    simple = examples["simple"]
    state = simple.state if again else tmp_path / "terraform.tfstate"
    with pytest.raises(terraform.TerraformError) as refused:
        replace(simple, state=state).terraform("plan")
    said = " ".join(refused.value.output.split())
    assert f"Bucket my-bucket already notifies {foreign_topic}." in said
    assert 'notification_mode = "none"' in said


def test_destroy_ignores_other_notifications(examples: Examples, foreign_topic: str) -> None:
    assert "aws_s3_bucket_notification.source[0] will be destroyed" in examples["simple"].terraform("plan", "-destroy")


# The emulator does not store all attributes of a VPC endpoint, so the plan of that example covers only the module.
PLANNED = {"vpc": ("-target=module.s3_syncer",)}


@pytest.mark.parametrize("version", [terraform.executable, terraform.library], ids=["installed", "newest"])
def test_a_second_plan_is_empty(examples: Examples, version: Callable[[], Path]) -> None:
    binary = version()

    def plan(name: str) -> None:
        # The exit code is 2, and so an error, if the plan has changes.
        arguments = ("-detailed-exitcode", "-lock=false", *PLANNED.get(name, ()))
        examples[name].terraform("plan", *arguments, binary=binary)

    with ThreadPoolExecutor(len(NAMES)) as pool:
        list(pool.map(plan, NAMES))


def test_no_two_pairs_share_anything(examples: Examples) -> None:
    pairs = examples["multiple"].outputs["s3_syncers"]
    assert len(pairs) == 3
    queues = ("queue_arn", "bulk_queue_arn", "dead_letter_queue_arn")
    for output in (*queues, "function_arn", "function_role_arn", "event_rule_arn"):
        assert len({pair[output] for pair in pairs.values()}) == len(pairs), output


def test_all_pairs_share_a_topic_and_a_dashboard(examples: Examples) -> None:
    outputs, cloudwatch = examples["multiple"].outputs, examples.aws.client("cloudwatch")
    names = [f"mirror-{key}" for key in outputs["s3_syncers"]]
    for name in names:
        alarms = cloudwatch.describe_alarms(AlarmNamePrefix=f"{name}-")["MetricAlarms"]
        assert alarms
        assert {action for alarm in alarms for action in alarm["AlarmActions"]} == {outputs["alarm_topic_arn"]}

    widgets = json.loads(cloudwatch.get_dashboard(DashboardName="mirrors")["DashboardBody"])["widgets"]
    own = [json.loads(pair["dashboard_body"])["widgets"] for pair in outputs["s3_syncers"].values()]
    assert len(widgets) == sum(map(len, own))
    titles = [widget["properties"]["markdown"].splitlines()[0] for widget in widgets if widget["type"] == "text"]
    assert titles == [f"# {name}" for name in names]
    cells = [
        (column, row)
        for widget in widgets
        for column in range(widget["x"], widget["x"] + widget["width"])
        for row in range(widget["y"], widget["y"] + widget["height"])
    ]
    assert len(cells) == len(set(cells)), "two widgets overlap"


def drain(examples: Examples, name: str, directory: Path, *options: str) -> tuple[int, str]:
    """Run `s3-syncer drain` with the state of the example; return its exit code and its output."""
    example = examples[name]
    (directory / "terraform.tfstate").write_text(example.state.read_text())
    program = [sys.executable, "-m", "s3_syncer", "--terraform", example.tool.binary, "--module", directory, *options]
    process = subprocess.run(
        [*program, "drain", "--settled=1", "--timeout=300"],
        env=example.tool.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return process.returncode, process.stdout + process.stderr


def test_drain_waits_for_work_and_reports_dead_letters(filled: Examples, tmp_path: Path) -> None:
    put(filled, "my-invoices", "last")
    work = json.dumps({"s3-syncer": {"work": "keys", "keys": ["last"]}})
    queue = filled["multiple"].outputs["s3_syncers"]["invoices"]["queue_url"]
    filled.aws.client("sqs").send_message(QueueUrl=queue, MessageBody=work)
    code, said = drain(filled, "multiple", tmp_path, "--module-name=mirror-invoices")
    assert code == 0, said
    assert target_body(filled, "my-invoices-mirror", "last"), "drain returned before the work in the queue was done"

    queues = filled["simple"].outputs["s3_syncer"]
    filled.aws.client("sqs").send_message(QueueUrl=queues["queue_url"], MessageBody="not a known message")
    eventually(lambda: drain(filled, "simple", tmp_path)[0] == 1)
    assert f"1 in {queues['dead_letter_queue_url']}" in drain(filled, "simple", tmp_path)[1]


@pytest.mark.destroys
def test_destroy_leaves_only_what_existed_before(examples: Examples) -> None:
    applied = [examples[name] for name in (*NAMES, *CONFIGURATIONS)]
    for bucket in ("my-uploads", "my-events"):
        empty(examples, bucket)
    with ThreadPoolExecutor(len(applied)) as pool:
        list(pool.map(lambda one: one.terraform("destroy", "-auto-approve", "-parallelism=50"), applied))
    aws = examples.aws.client
    left = {
        "queues": aws("sqs").list_queues().get("QueueUrls", []),
        "functions": aws("lambda").list_functions()["Functions"],
        "mappings": aws("lambda").list_event_source_mappings()["EventSourceMappings"],
        "rules": aws("events").list_rules()["Rules"],
        "schedules": aws("scheduler").list_schedules()["Schedules"],
        "secrets": [s["Name"] for s in aws("secretsmanager").list_secrets()["SecretList"] if s["Name"] not in OWNED],
        "roles": aws("iam").list_roles()["Roles"],
        "log groups": aws("logs").describe_log_groups()["logGroups"],
        "alarms": aws("cloudwatch").describe_alarms()["MetricAlarms"],
        "clusters": aws("ecs").list_clusters()["clusterArns"],
        "repositories": aws("ecr").describe_repositories()["repositories"],
        "topics": [topic for topic in aws("sns").list_topics()["Topics"] if not topic["TopicArn"].endswith(":on-call")],
    }
    assert left == {kind: [] for kind in left}
    # Revisions of task definitions cost nothing. They stay for running tasks and for a rollback.
    revisions = aws("ecs").list_task_definitions(status="ACTIVE")["taskDefinitionArns"]
    families = {arn.rpartition("/")[2].rpartition(":")[0] for arn in revisions}
    assert families == {
        *("private-syncer-migration", "reports-syncer-migration", "uploads-mirror-migration", "served-service"),
    }
    assert sorted(bucket["Name"] for bucket in aws("s3").list_buckets()["Buckets"]) == sorted(examples.aws.buckets)
    for bucket in examples.aws.buckets:
        document = aws("s3").get_bucket_notification_configuration(Bucket=bucket)
        assert document.keys() <= {"ResponseMetadata"}, "a destroyed notification leaves an empty configuration"


def empty(examples: Examples, bucket: str) -> None:
    client = examples.aws.client("s3")
    for entry in client.list_objects_v2(Bucket=bucket).get("Contents", []):
        client.delete_object(Bucket=bucket, Key=entry["Key"])
