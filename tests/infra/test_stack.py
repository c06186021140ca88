"""Test the stack of `examples/local` on emulated clouds with enforced IAM.

All tests share one stack. Each test sets up what it needs: `equal` makes both buckets equal, and `no_dead_letters`
empties the dead-letter queue.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from pytest_terraform import terraform
from tests.infra.waiting import PATIENCE_S, eventually

from devtools import permissions
from devtools.terraform import executable, library
from localcloud import container_engine, run_service, run_task, stack, verify
from localcloud.demo import notifications_off
from s3_syncer import __version__

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from tests.infra.conftest import Applied, Clouds

terraform("local", scope="session")


def in_source(applied: Applied, key: str) -> verify.Object:
    return verify.read_object(applied.stack.s3(), applied.stack.source_bucket, key)


def in_target(applied: Applied, key: str) -> verify.Object | None:
    target, client = applied.stack.target, applied.stack.target.s3()
    try:
        return verify.read_object(client, target.bucket, key)
    except client.exceptions.NoSuchKey:
        return None


def put(applied: Applied, key: str, **properties: Any) -> None:
    applied.stack.s3().put_object(Bucket=applied.stack.source_bucket, Key=key, **properties)


def log_lines(applied: Applied) -> list[dict[str, Any]]:
    pages = (
        applied.stack.client("logs").get_paginator("filter_log_events").paginate(logGroupName=applied.stack.log_group)
    )
    messages = [event["message"] for page in pages for event in page["events"]]
    return [json.loads(message) for message in messages if message.startswith("{")]


def take_dead_letters(applied: Applied) -> list[dict[str, str]]:
    """Delete the messages of the dead-letter queue, and return their attributes."""
    queue, client = applied.stack.dead_letter_queue_url, applied.stack.sqs()
    answer = client.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, MessageAttributeNames=["All"])
    messages = answer.get("Messages", [])
    for message in messages:
        client.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    return [{name: value["StringValue"] for name, value in m["MessageAttributes"].items()} for m in messages]


def compare(applied: Applied) -> None:
    """Send the message that the schedule of `reconcile` sends."""
    work = json.dumps({"s3-syncer": {"work": "range"}})
    applied.stack.sqs().send_message(QueueUrl=applied.stack.bulk_queue_url, MessageBody=work)


@contextmanager
def without(applied: Applied, action: str, whose: str = "function", sid: str | None = None) -> Iterator[None]:
    """Remove an action from a role during the block; `sid` chooses between two statements with the action."""
    iam, role = applied.stack.client("iam"), applied.outputs["s3_syncer"]["role_arns"][whose].rpartition("/")[2]
    (name,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    whole = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
    lesser = json.loads(json.dumps(whole))
    (statement,) = (s for s in lesser["Statement"] if action in s["Action"] and sid in (None, s["Sid"]))
    statement["Action"] = [other for other in statement["Action"] if other != action] or ["s3:ListAllMyBuckets"]
    iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(lesser))
    try:
        yield
    finally:
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(whole))


def migrate(applied: Applied, *arguments: str) -> tuple[int, dict[str, list[str]]]:
    """Run the registered migration as a process; return its exit code, and the keys by action."""
    said: list[str] = []
    code = run_task.run_process(applied.stack, arguments, said.append)
    named: dict[str, list[str]] = {}
    for line in map(json.loads, said):
        if "action" in line:
            named.setdefault(line["action"], []).append(line["key"])
    return code, {action: sorted(keys) for action, keys in named.items()}


def run_migration(applied: Applied, directory: Path, *arguments: str) -> tuple[int, str]:
    """Run `s3-syncer task run` with the state in that directory; return its exit code and its output."""
    process = subprocess.run(
        [
            sys.executable,
            "-m",
            "s3_syncer",
            "--terraform",
            applied.tool.binary,
            "--module",
            directory,
            "task",
            "run",
            *arguments,
        ],
        env={
            **applied.tool.environment,
            "AWS_ENDPOINT_URL": applied.stack.aws_endpoint,
            "AWS_ACCESS_KEY_ID": applied.stack.access_key_id,
            "AWS_SECRET_ACCESS_KEY": applied.stack.secret_access_key,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return process.returncode, process.stdout + process.stderr


@pytest.fixture(scope="session")
def image(applied: Applied) -> str:
    """Build the image of the task definition; skip the test if no container engine can build it."""
    address = applied.stack.engine
    if address is None:
        pytest.skip("no Docker-compatible engine shares this machine's network")
    base = os.environ.get("S3_SYNCER_BASE_IMAGE", "docker.io/library/python:3.13-slim")
    if not container_engine.has_image(address, base):
        pull = subprocess.run(
            [*container_engine.program(address), "pull", base], capture_output=True, text=True, check=False
        )
        if pull.returncode:
            pytest.skip(f"the base image {base} cannot be pulled: {pull.stderr.strip()}")
    run_task.prepare(applied.stack, report=print)
    return applied.stack.migration.image


@pytest.fixture
def no_dead_letters(applied: Applied) -> None:
    """Empty the dead-letter queue, so that the test finds only its own messages there."""
    while take_dead_letters(applied):
        pass


@pytest.fixture
def equal(applied: Applied) -> None:
    """Make both buckets equal, whatever other tests have left, and wait until live sync has nothing to do."""
    eventually(lambda: migrate(applied, "--delete") == (0, {}))


def test_an_object_arrives_and_its_deletion_follows(applied: Applied) -> None:
    key = "a folder/ä+%.txt"
    put(applied, key, Body=b"hello", ContentType="text/plain", Metadata={"colour": "blue"}, Tagging="k=v")
    eventually(lambda: in_target(applied, key) == in_source(applied, key))  # the tags follow the object
    applied.stack.s3().delete_object(Bucket=applied.stack.source_bucket, Key=key)
    eventually(lambda: in_target(applied, key) is None)


@pytest.mark.parametrize("version", [executable, library], ids=["installed", "newest"])
def test_a_second_plan_is_empty(applied: Applied, version: Callable[[], Path]) -> None:
    replace(applied, tool=replace(applied.tool, binary=version())).terraform("plan", "-detailed-exitcode")


def is_denied(applied: Applied, key: str) -> bool:
    """Return True if the log says that the message of a denied key comes back."""
    lines = [line for line in log_lines(applied) if line.get("action") == "retry" and line["key"] == key]
    return any("AccessDenied" in line["reason"] for line in lines)


def restart_function(applied: Applied) -> None:
    """Let the next invocation of the function start another process."""
    functions, name = applied.stack.client("lambda"), applied.outputs["s3_syncer"]["function_name"]
    variables = functions.get_function_configuration(FunctionName=name)["Environment"]
    functions.update_function_configuration(FunctionName=name, Environment=variables)


@pytest.mark.usefixtures("no_dead_letters")
@pytest.mark.parametrize("action", ["s3:GetObject", "s3:GetObjectTagging"])
def test_an_object_waits_for_a_permission_that_no_object_has(applied: Applied, action: str) -> None:
    """A process that has read tags within the last minute takes the object for one without tags."""
    key = f"forbidden/{action}"
    with without(applied, action):
        restart_function(applied)
        put(applied, key, Body=b"hidden", Tagging="a=b")
        eventually(lambda: is_denied(applied, key))
        assert in_target(applied, key) is None
    eventually(lambda: in_target(applied, key) == in_source(applied, key))  # the tags follow the object
    assert take_dead_letters(applied) == []


@pytest.mark.usefixtures("no_dead_letters")
def test_an_object_waits_for_its_kms_key(applied: Applied) -> None:
    with without(applied, "kms:Decrypt", sid="DecryptSourceObjects"):
        put(applied, "encrypted", Body=b"x")
        eventually(lambda: is_denied(applied, "encrypted"))
    assert take_dead_letters(applied) == []
    head = applied.stack.s3().head_object(Bucket=applied.stack.source_bucket, Key="encrypted")
    assert head["ServerSideEncryption"] == "aws:kms"
    eventually(lambda: in_target(applied, "encrypted") == in_source(applied, "encrypted"))


def test_s3_needs_its_statement_in_the_key_policy(applied: Applied) -> None:
    """Without the statement S3 rejects the notification, because it cannot encrypt messages for the queue."""
    key = applied.stack.sqs().get_queue_attributes(QueueUrl=applied.stack.queue_url, AttributeNames=["KmsMasterKeyId"])
    keys, key_id = applied.stack.client("kms"), key["Attributes"]["KmsMasterKeyId"]
    whole = keys.get_key_policy(KeyId=key_id, PolicyName="default")["Policy"]
    lesser = json.loads(whole)
    lesser["Statement"] = [s for s in lesser["Statement"] if s["Sid"] != "AllowS3EventsToEncryptedQueue"]
    assert len(lesser["Statement"]) == len(json.loads(whole)["Statement"]) - 1

    s3, bucket = applied.stack.s3(), applied.stack.source_bucket
    notification = s3.get_bucket_notification_configuration(Bucket=bucket)
    document = {"QueueConfigurations": notification["QueueConfigurations"]}
    keys.put_key_policy(KeyId=key_id, PolicyName="default", Policy=json.dumps(lesser))
    try:
        with pytest.raises(ClientError, match="Unable to validate"):
            s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=document)
    finally:
        keys.put_key_policy(KeyId=key_id, PolicyName="default", Policy=whole)
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=document)


@pytest.mark.parametrize("whose", ["function", "migration"])
def test_role_allows_no_other_action(applied: Applied, whose: str) -> None:
    """Every action outside the policy is denied: the function cannot write to its source."""
    role = applied.outputs["s3_syncer"]["role_arns"][whose]
    assumed = applied.stack.client("sts").assume_role(RoleArn=role, RoleSessionName="in-its-role")
    key, secret, token = (assumed["Credentials"][n] for n in ("AccessKeyId", "SecretAccessKey", "SessionToken"))
    session = boto3.Session(key, secret, token, region_name=applied.stack.region)

    def client(service: str) -> Any:
        return session.client(service, endpoint_url=applied.stack.aws_endpoint)

    bucket = applied.stack.source_bucket
    refused: tuple[Callable[[], object], ...] = (
        lambda: client("s3").put_object(Bucket=bucket, Key="x", Body=b""),
        lambda: client("s3").delete_object(Bucket=bucket, Key="x"),
        lambda: client("s3").list_buckets(),
        lambda: client("sqs").purge_queue(QueueUrl=applied.stack.queue_url),
        lambda: client("sqs").receive_message(QueueUrl=applied.stack.dead_letter_queue_url),
        lambda: client("secretsmanager").list_secrets(),
        lambda: client("iam").list_roles(),
    )
    for call in refused:
        with pytest.raises(ClientError, match=r"AccessDenied|not authorized"):
            call()


@pytest.mark.usefixtures("equal")
def test_migration_copies_existing_objects_once(applied: Applied) -> None:
    keys = ["before/plain", "before/with space + %", "before/ä", "before/folder/"]
    with notifications_off(applied.stack):
        for key in keys:
            put(applied, key, Body=key.encode(), ContentType="text/plain", Metadata={"colour": "blue"}, Tagging="a=b")
    assert in_target(applied, keys[0]) is None

    assert migrate(applied) == (0, {"copy": sorted(keys)})
    for key in keys:
        assert in_target(applied, key) == in_source(applied, key)
    assert migrate(applied) == (0, {})


@pytest.mark.usefixtures("equal")
def test_one_byte_of_difference_is_found_named_and_repaired(applied: Applied) -> None:
    target = applied.stack.target
    put(applied, "byte", Body=b"one")
    eventually(lambda: in_target(applied, "byte"))
    assert migrate(applied, "check") == (0, {})

    target.s3().put_object(Bucket=target.bucket, Key="byte", Body=b"two")
    assert migrate(applied, "check") == (1, {"differs": ["byte"]})
    assert migrate(applied) == (0, {"update": ["byte"]})
    assert migrate(applied, "check", "--full") == (0, {})


@pytest.mark.usefixtures("equal")
def test_migration_names_objects_that_its_role_cannot_read(applied: Applied) -> None:
    with notifications_off(applied.stack):
        put(applied, "hidden", Body=b"x")
    with without(applied, "s3:GetObject", "migration"):
        code, named = migrate(applied)
    assert code == 1
    assert list(named) == ["failed"]
    assert "hidden" in named["failed"]
    assert migrate(applied) == (0, {"copy": ["hidden"]})


@pytest.mark.parametrize("action", ["secretsmanager:GetSecretValue", "s3:ListBucket"])
def test_migration_stops_at_once_without_a_permission_that_every_key_needs(applied: Applied, action: str) -> None:
    said: list[str] = []
    with without(applied, action, "migration"):
        assert run_task.run_process(applied.stack, [], said.append) == 3
    started, reason = said
    assert json.loads(started)["message"] == "started"
    assert "AccessDenied" in reason


@pytest.mark.usefixtures("no_dead_letters")
def test_service_does_the_work_of_the_function_with_its_role(applied: Applied) -> None:
    functions = applied.stack.client("lambda")
    mappings = functions.list_event_source_mappings(FunctionName=applied.stack.function_name)["EventSourceMappings"]
    assert len(mappings) == 3, "events, bulk work and deletions"
    for mapping in mappings:
        functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    try:
        put(applied, "served", Body=b"x", ContentType="text/plain", Tagging="a=b")
        with run_service.started(applied.stack, ["--visibility-timeout", "60", "--shutdown-grace", "60"]) as process:
            eventually(lambda: in_target(applied, "served") == in_source(applied, "served"))
            applied.stack.s3().delete_object(Bucket=applied.stack.source_bucket, Key="served")
            eventually(lambda: in_target(applied, "served") is None)
            applied.stack.sqs().send_message(QueueUrl=applied.stack.queue_url, MessageBody="not understood")
            (letter,) = eventually(lambda: take_dead_letters(applied))
            assert letter["error"].startswith("not JSON")
            process.terminate()
            assert process.wait(PATIENCE_S) == 0
    finally:
        for mapping in mappings:
            functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)
    assert not any(line.get("key") == "served" for line in log_lines(applied)), "the function did it"


@pytest.mark.usefixtures("equal", "no_dead_letters")
def test_queue_migration_copies_all_objects_except_one_that_cannot_be_read(applied: Applied) -> None:
    """One message makes the workers copy three pages of objects. An archived object does not stop them."""
    keys = [f"fleet/{number % 13}/{number:04}" for number in range(2000)]
    poisoned = "fleet/6/poisoned"
    client, bucket = applied.stack.s3(), applied.stack.source_bucket
    with notifications_off(applied.stack):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: client.put_object(Bucket=bucket, Key=key, Body=key.encode()), keys))
        put(applied, poisoned, Body=b"x", StorageClass="GLACIER")

    code, named = migrate(applied, "--workers", "queue", "--idle-timeout", "5")
    assert (code, named) == (1, {"failed": [poisoned], "archived": [poisoned]})
    (letter,) = take_dead_letters(applied)
    assert letter["key"] == poisoned
    assert "restore it" in letter["error"]
    pages = (
        applied.stack.target.s3()
        .get_paginator("list_objects_v2")
        .paginate(Bucket=applied.stack.target.bucket, Prefix="fleet/")
    )
    assert sorted(entry["Key"] for page in pages for entry in page["Contents"]) == sorted(keys)

    put(applied, poisoned, Body=b"x")
    eventually(lambda: in_target(applied, poisoned))
    assert migrate(applied, "--workers", "queue", "--idle-timeout", "5") == (0, {})


@pytest.mark.parametrize("action", ["sqs:SendMessage", "sqs:GetQueueAttributes", "logs:FilterLogEvents"])
def test_queue_migration_sends_nothing_without_its_permissions(applied: Applied, action: str) -> None:
    said: list[str] = []
    with without(applied, action, "migration"):
        assert run_task.run_process(applied.stack, ["--workers=queue", "--idle-timeout=5"], said.append) == 3
    started, reason = said
    assert json.loads(started)["message"] == "started"
    assert "AccessDenied" in reason or "not authorized" in reason


def test_ecs_runs_the_migration_in_a_container(applied: Applied, image: str, tmp_path: Path) -> None:
    """Uses the script for users, which reads only the outputs. ECS gives the container its role."""
    with notifications_off(applied.stack):
        put(applied, "contained", Body=b"x")
    (tmp_path / "terraform.tfstate").write_text(applied.state.read_text())

    code, said = run_migration(applied, tmp_path, "--show-keys")
    assert code == 0, said
    assert "copy contained: absent from the target" in said
    assert "equal: " in said
    assert in_target(applied, "contained") == in_source(applied, "contained")

    applied.stack.s3().delete_object(Bucket=applied.stack.source_bucket, Key="contained")
    eventually(lambda: in_target(applied, "contained") is None)
    applied.stack.target.s3().put_object(Bucket=applied.stack.target.bucket, Key="contained", Body=b"")
    code, said = run_migration(applied, tmp_path, "check")
    assert code == 1, said
    assert "extra contained: absent from the source" in said
    applied.stack.target.s3().delete_object(Bucket=applied.stack.target.bucket, Key="contained")


def test_the_image_needs_neither_root_nor_anything_to_write(applied: Applied, image: str) -> None:
    assert applied.stack.engine is not None
    confined = ["run", "--rm", "--read-only", "--cap-drop", "ALL", "--network", "none"]
    command = [*container_engine.program(applied.stack.engine), *confined, image]
    process = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    assert process.stdout.startswith(f"s3-syncer {__version__}\n"), process.stderr
    shell = [*command[:-1], "--entrypoint", "python3", image, "-c", "import os; print(os.getuid(), os.getgid())"]
    process = subprocess.run(shell, capture_output=True, text=True, check=False)
    assert process.stdout.split() == ["65532", "65532"], process.stderr


@pytest.mark.usefixtures("equal", "no_dead_letters")
def test_comparison_from_the_queue_finds_objects_without_events(applied: Applied) -> None:
    """A key that the comparison cannot copy becomes a message. Here it waits for a permission."""
    with notifications_off(applied.stack):
        put(applied, "unnoticed", Body=b"x")
    with without(applied, "s3:GetObject"):
        compare(applied)
        eventually(lambda: is_denied(applied, "unnoticed"))
    compare(applied)
    eventually(lambda: in_target(applied, "unnoticed") == in_source(applied, "unnoticed"))


#: A large object: 1 GiB, in 64 parts, which are 8 work items.
LARGE_PARTS, LARGE_PART = 64, 16 * 1024 * 1024


def large_part(number: int) -> bytes:
    return number.to_bytes(2, "big") * (LARGE_PART // 2)


def put_large(applied: Applied, key: str) -> None:
    client, bucket = applied.stack.s3(), applied.stack.source_bucket
    upload = client.create_multipart_upload(Bucket=bucket, Key=key, Metadata={"large": "yes"})["UploadId"]

    def send(number: int) -> Any:
        body = large_part(number)
        answer = client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=body)
        return {"PartNumber": number, "ETag": answer["ETag"]}

    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(send, range(1, LARGE_PARTS + 1)))
    client.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})


def kill_an_invocation(clouds: Clouds) -> bool:
    """Kill one process of an invocation of the emulated Lambda; return False if none is running."""
    folder = str(Path(clouds.aws_log).parent.parent)
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = process.read_bytes().decode(errors="replace").split("\0")
            if any(word.startswith(folder) and "ministack-lambda" in word for word in words):
                os.kill(int(process.parent.name), signal.SIGKILL)
                return True
    return False


@contextmanager
def visibility_timeout(applied: Applied, seconds: int) -> Iterator[None]:
    """Shorten the visibility timeout, so that messages of a killed invocation return within seconds."""
    client, name = applied.stack.sqs(), "VisibilityTimeout"
    queues = (applied.stack.queue_url, applied.stack.bulk_queue_url)
    attributes = client.get_queue_attributes(QueueUrl=queues[0], AttributeNames=["VisibilityTimeout"])["Attributes"]
    for queue in queues:
        client.set_queue_attributes(QueueUrl=queue, Attributes={name: str(seconds)})
    try:
        yield
    finally:
        for queue in queues:
            client.set_queue_attributes(QueueUrl=queue, Attributes={name: attributes[name]})


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds the invocation in /proc")
def test_several_workers_copy_a_gibibyte_although_an_invocation_is_killed(applied: Applied, clouds: Clouds) -> None:
    target, client = applied.stack.target, applied.stack.target.s3()

    def sent() -> int:
        uploads = client.list_multipart_uploads(Bucket=target.bucket).get("Uploads", [])
        pages = client.get_paginator("list_parts")
        return sum(
            len(page.get("Parts", []))
            for upload in uploads
            for page in pages.paginate(Bucket=target.bucket, Key="large", UploadId=upload["UploadId"])
        )

    with visibility_timeout(applied, 40):
        put_large(applied, "large")
        eventually(lambda: sent() > LARGE_PARTS // 5)
        assert eventually(lambda: kill_an_invocation(clouds))
        stream = eventually(lambda: opened(client, target.bucket, "large"), patience_s=1200)["Body"]
    expected, found = hashlib.sha256(), hashlib.sha256()
    for number in range(1, LARGE_PARTS + 1):
        expected.update(large_part(number))
        found.update(stream.read(LARGE_PART))
    assert (found.hexdigest(), stream.read(1)) == (expected.hexdigest(), b"")
    assert client.head_object(Bucket=target.bucket, Key="large")["Metadata"]["large"] == "yes"
    # The emulated store lists neither upload nor object while it completes one, so the object may be copied twice.
    eventually(lambda: not client.list_multipart_uploads(Bucket=target.bucket).get("Uploads"), patience_s=1200)
    items = {line["reason"] for line in log_lines(applied) if line.get("action") == "part" and line["key"] == "large"}
    assert len(items) >= 5
    applied.stack.s3().delete_object(Bucket=applied.stack.source_bucket, Key="large")
    eventually(lambda: not in_listing(client, target.bucket, "large"))


def opened(client: S3Client, bucket: str, key: str) -> Any:
    """Return the object for reading, or None if it does not exist."""
    with suppress(client.exceptions.NoSuchKey):
        return client.get_object(Bucket=bucket, Key=key)
    return None


def in_listing(client: S3Client, bucket: str, key: str) -> bool:
    return any(entry["Key"] == key for entry in client.list_objects_v2(Bucket=bucket, Prefix=key).get("Contents", []))


def test_missing_target_bucket_is_retried_until_it_exists(applied: Applied) -> None:
    target, client = applied.stack.target, applied.stack.target.s3()
    applied.empty_target()
    client.delete_bucket(Bucket=target.bucket)
    put(applied, "early", Body=b"x")
    eventually(lambda: any(line.get("action") == "retry" and line["key"] == "early" for line in log_lines(applied)))
    client.create_bucket(Bucket=target.bucket)
    eventually(lambda: in_target(applied, "early") == in_source(applied, "early"))


# Permissions that the emulated AWS does not use, and why. The tests of this file use all remaining ones.
UNUSED = {
    "reconcile": "this stack has no schedule: the emulated scheduler does not run it",
    "service": "the emulated AWS has no service scaling; tests/service.tftest.hcl compares the role",
    "execution": "the emulated ECS pulls images and writes logs without a role",
    "DecryptEarlierMessages": "this stack keeps its key; tests/infra/test_service.py changes one",
    "ManageVpcNetworkInterfaces": "this stack has no VPC",
    "RestoreSourceObjects": "this stack restores no object; tests/functional/test_archived.py does",
    "SendEvents": "this stack has no event bus; tests/functional/test_event_bus.py sends events",
}


def pause(applied: Applied, *, paused: bool) -> None:
    """Apply another value of the input `paused`."""
    environment = {**applied.tool.environment, "TF_VAR_paused": json.dumps(paused)}
    replace(applied, tool=replace(applied.tool, environment=environment)).terraform("apply", "-auto-approve")


def mapping_states(applied: Applied) -> set[str]:
    found = applied.stack.client("lambda").list_event_source_mappings(FunctionName=applied.stack.function_name)
    return {mapping["State"] for mapping in found["EventSourceMappings"]}


def waiting_messages(applied: Applied) -> int:
    names: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = applied.stack.sqs().get_queue_attributes(QueueUrl=applied.stack.queue_url, AttributeNames=names)
    return sum(map(int, found["Attributes"].values()))


def mirrored_body(applied: Applied, key: str) -> bytes | None:
    target = applied.stack.target
    client = target.s3()
    try:
        return client.get_object(Bucket=target.bucket, Key=key)["Body"].read()
    except client.exceptions.NoSuchKey:
        return None


def test_a_pause_keeps_every_change_for_its_end(applied: Applied) -> None:
    source, bucket = applied.stack.s3(), applied.stack.source_bucket
    source.put_object(Bucket=bucket, Key="paused/changed", Body=b"1")
    eventually(lambda: mirrored_body(applied, "paused/changed") == b"1")
    eventually(lambda: waiting_messages(applied) == 0)

    pause(applied, paused=True)
    eventually(lambda: mapping_states(applied) == {"Disabled"})
    source.put_object(Bucket=bucket, Key="paused/changed", Body=b"2")
    source.put_object(Bucket=bucket, Key="paused/new", Body=b"2")
    eventually(lambda: waiting_messages(applied) == 2)
    assert (mirrored_body(applied, "paused/changed"), mirrored_body(applied, "paused/new")) == (b"1", None)

    pause(applied, paused=False)
    for key in ("paused/new", "paused/changed"):
        eventually(lambda key=key: mirrored_body(applied, key) == b"2")
    eventually(lambda: waiting_messages(applied) == 0)


@pytest.mark.summary
def test_every_permission_is_used(request: pytest.FixtureRequest, applied: Applied, clouds: Clouds) -> None:
    """The other tests of this file use every permission that the module can grant."""
    tests = {name for name in vars(request.module) if name.startswith("test_")}
    if not tests <= {item.originalname for item in request.session.items if isinstance(item, pytest.Function)}:
        pytest.skip("only some tests of this file were selected")
    used = permissions.used(clouds.aws_log, applied.stack.function_name)
    unused = {use for use in permissions.plan().granted() - used if use.role not in UNUSED and use.sid not in UNUSED}
    assert unused == set()
    assert not {use for use in used if use.role in UNUSED or use.sid in UNUSED}, "remove it from UNUSED: a test uses it"


@pytest.mark.summary
def test_access_key_of_the_target_is_only_in_the_secret(applied: Applied, clouds: Clouds, tmp_path: Path) -> None:
    """The key is in no plan, state, function, task definition, log or message."""
    aws, target = applied.stack.client, applied.stack.target
    secret_id = applied.outputs["s3_syncer"]["credentials_secret_arn"]
    assert target.secret_access_key in aws("secretsmanager").get_secret_value(SecretId=secret_id)["SecretString"]

    plan = tmp_path / "plan"
    definition = aws("ecs").describe_task_definition(taskDefinition=applied.stack.migration.task_definition_arn)
    groups = [group["logGroupName"] for group in aws("logs").describe_log_groups()["logGroups"]]
    logged = [aws("logs").get_paginator("filter_log_events").paginate(logGroupName=group) for group in groups]
    shown = {
        "plan": applied.terraform("plan", f"-out={plan}"),
        "plan as JSON": applied.tool.run("show", "-json", str(plan), cwd=stack.EXAMPLE),
        "state": applied.state.read_text(),
        "state as JSON": applied.tool.run("show", "-json", str(applied.state), cwd=stack.EXAMPLE),
        "function": json.dumps(aws("lambda").get_function(FunctionName=applied.stack.function_name)),
        "task definition": json.dumps(definition, default=str),
        "logs": json.dumps([page for pages in logged for page in pages]),
        "dead letters": json.dumps(take_dead_letters(applied)),
        **{str(log): log.read_text(errors="replace") for log in clouds.aws_log.parent.iterdir()},
        **{str(file): file.read_text(errors="replace") for file in stack.EXAMPLE.iterdir() if file.is_file()},
    }
    assert all(shown.values())
    assert [what for what, text in shown.items() if target.secret_access_key in text] == []
    assert [what for what, text in shown.items() if target.access_key_id in text] == []


@pytest.mark.destroys
def test_destroy_leaves_only_revisions_of_task_definitions(applied: Applied) -> None:
    applied.empty_source()
    applied.terraform("destroy", "-auto-approve")
    aws = applied.stack.client
    left = {
        "queues": aws("sqs").list_queues().get("QueueUrls", []),
        "functions": aws("lambda").list_functions()["Functions"],
        "mappings": aws("lambda").list_event_source_mappings()["EventSourceMappings"],
        "roles": aws("iam").list_roles()["Roles"],
        "secrets": aws("secretsmanager").list_secrets()["SecretList"],
        "log groups": aws("logs").describe_log_groups()["logGroups"],
        "alarms": aws("cloudwatch").describe_alarms()["MetricAlarms"],
        "buckets": aws("s3").list_buckets()["Buckets"],
        "clusters": aws("ecs").list_clusters()["clusterArns"],
        "repositories": aws("ecr").describe_repositories()["repositories"],
    }
    assert left == {kind: [] for kind in left}
    # Revisions of task definitions stay: see `skip_destroy` in ecs.tf.
    revisions = aws("ecs").list_task_definitions(status="ACTIVE")["taskDefinitionArns"]
    assert {arn.rpartition("/")[2].rpartition(":")[0] for arn in revisions} == {
        f"{applied.stack.function_name}-migration"
    }
