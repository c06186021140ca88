"""`scripts/demo --restore`: lose every object of the source, bring all of them back, and compare.

1. A source with objects of every kind is migrated, and remembered to the byte.
2. Every object of the source is deleted. The delete guard holds the deletions, so the mirror keeps its objects.
3. `s3-syncer restore` brings them back: into a new bucket, as if the bucket was lost, and into the emptied one. It has
   exactly the permissions that docs/restore.md names.
4. The held deletions are released. Live sync must delete nothing, and copy nothing again.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

from devtools.bootstrap import ROOT
from localcloud import demo, stack, verify
from localcloud.demo import Actor, console
from localcloud.stack import DIRECTORY

#: The bucket that stands for the new one after the loss of a bucket.
NEW_BUCKET = "s3-syncer-restored"

#: The user that restores, with no permission but those that docs/restore.md names.
OPERATOR = "restore-operator"

#: Seconds until the deletions must be held.
HELD_TIMEOUT_S = 180

#: The actions of live sync that write to the mirror.
WRITES = frozenset({"copy", "update", "tags", "delete"})


def drill(cloud: stack.Stack, objects: int) -> bool:
    """Run the drill, and return True if every object came back and live sync had nothing to do."""
    actor = Actor(cloud, random.Random())  # noqa: S311 - it makes contents, not secrets
    console.print(f"Mirroring a bucket with more than {objects} objects ...")
    keys = demo.fill_source(actor, objects)
    _tag_parts(actor, keys)
    if (code := command(cloud, "migrate", "--one-way")) != 0:
        console.print(f"the migration ended with exit code {code}")
        return False
    before, etags = _remembered(actor, cloud.source_bucket)

    console.print(f"\nLosing the source: deleting all of its {len(before)} objects ...")
    with _deletions_waiting(cloud, len(before)), ThreadPoolExecutor(demo.WRITERS) as pool:
        list(pool.map(lambda key: actor.source.delete_object(Bucket=cloud.source_bucket, Key=key), before))
    held = _wait_until_held(cloud, len(before))
    console.print(f"{held} deletions are held, and the mirror has {len(actor.list_target())} objects.\n")
    live_before = demo.log_actions(cloud)

    _create_empty(actor, NEW_BUCKET)
    operator = _operator(cloud)
    codes = [
        command(cloud, "restore", "--to-bucket", NEW_BUCKET, keys=operator),
        command(cloud, "restore", keys=operator),
        command(cloud, "check", "--full"),
    ]
    console.print("Releasing the held deletions, and waiting until the queues are empty ...")
    left = demo.wait_until_queues_are_empty(cloud)
    live = demo.log_actions(cloud) - live_before

    console.print("Comparing every byte of all three buckets with what was lost ...")
    mirror = verify.read_bucket(actor.target, cloud.target.bucket)
    unequal = []
    for bucket in (cloud.source_bucket, NEW_BUCKET):
        restored, restored_etags = _remembered(actor, bucket)
        unequal += [str(found) for found in verify.differences(before, restored)]
        unequal += [f"{key}: another ETag" for key in etags if restored_etags.get(key) != etags[key]]
    unequal += [str(found) for found in verify.differences(before, mirror)]
    writes = sum(live[action] for action in WRITES)
    equal = not (any(codes) or left or unequal or writes)
    for difference in unequal[: demo.DIFFERENCES_SHOWN]:
        console.print(difference, markup=False)
    _show(
        {
            "lost and restored": f"{len(before)} objects, {sum(each.size for each in before.values()):,} bytes",
            "exit codes": f"{codes[0]} new bucket, {codes[1]} emptied bucket, {codes[2]} check --full",
            "differences": f"{len(unequal)} in keys, bytes, headers, metadata, tags and ETags",
            "live sync": f"{writes} writes to the mirror: {_listed(live)}",
            "left in the queues": str(left),
            "result": "everything came back" if equal else "NOT everything came back as it was",
        }
    )
    return equal


def command(cloud: stack.Stack, *arguments: str, keys: Mapping[str, str] | None = None) -> int:
    """Run `s3-syncer` on the outputs of the local cloud, and return its exit code."""
    console.print(f"$ s3-syncer --module infra {' '.join(arguments)}")
    root = {"AWS_ACCESS_KEY_ID": cloud.access_key_id, "AWS_SECRET_ACCESS_KEY": cloud.secret_access_key}
    environment = {"AWS_ENDPOINT_URL": cloud.aws_endpoint, **(keys or root)}
    outputs = ["--outputs", str(DIRECTORY / stack.OUTPUTS_FILE)]
    line: Sequence[str] = [sys.executable, "-m", "s3_syncer", *outputs, *arguments]
    ended = subprocess.run(line, env={**os.environ, **environment}, check=False)
    console.print()
    return ended.returncode


def _operator(cloud: stack.Stack) -> Mapping[str, str]:
    """Return the access key of a user with exactly the policy of docs/restore.md, for the environment."""
    text = (ROOT / "docs" / "restore.md").read_text()
    policy = text.partition("```json\n")[2].partition("```")[0]
    secret = json.loads((DIRECTORY / stack.OUTPUTS_FILE).read_text())["credentials_secret_arn"]["value"]
    statements = [
        json.loads(policy.replace("BUCKET", bucket).replace("SECRET_ARN", secret))["Statement"]
        for bucket in (cloud.source_bucket, NEW_BUCKET)
    ]
    document = {"Version": "2012-10-17", "Statement": [{**each, "Sid": ""} for part in statements for each in part]}
    iam = cloud.client("iam")
    with suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_user(UserName=OPERATOR)
    iam.put_user_policy(UserName=OPERATOR, PolicyName="restore", PolicyDocument=json.dumps(document))
    key = iam.create_access_key(UserName=OPERATOR)["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


def _create_empty(actor: Actor, bucket: str) -> None:
    """Create the bucket, or empty that of an earlier run."""
    with suppress(actor.source.exceptions.BucketAlreadyOwnedByYou):
        actor.source.create_bucket(Bucket=bucket)
    for page in actor.source.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for entry in page.get("Contents", []):
            actor.source.delete_object(Bucket=bucket, Key=entry["Key"])


def _tag_parts(actor: Actor, keys: Sequence[str]) -> None:
    """Give an object that was uploaded in parts tags, which come in another request than its properties."""
    with demo.notifications_off(actor.cloud):
        for key in keys:
            if key.startswith("before/parts/"):
                tagging: dict[str, list[dict[str, str]]] = {"TagSet": [{"Key": "in", "Value": "parts"}]}
                put: Callable[..., object] = actor.source.put_object_tagging
                put(Bucket=actor.cloud.source_bucket, Key=key, Tagging=tagging)


def _remembered(actor: Actor, bucket: str) -> tuple[dict[str, verify.Object], dict[str, str]]:
    """Return every object of a bucket of the emulated AWS, and its ETag."""
    pages = actor.source.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    etags = {entry["Key"]: entry["ETag"] for page in pages for entry in page.get("Contents", [])}
    return verify.read_bucket(actor.source, bucket), etags


@contextmanager
def _deletions_waiting(cloud: stack.Stack, deletions: int) -> Iterator[None]:
    """Let no deletion be processed until all of them are on their queue.

    The delay of the local cloud is short. On a busy machine the first deletions would be due before enough of them wait
    for the delete guard.
    """
    functions = cloud.client("lambda")
    mappings = functions.list_event_source_mappings(FunctionName=cloud.function_name)["EventSourceMappings"]
    (found,) = (each["UUID"] for each in mappings if each["EventSourceArn"].rpartition(":")[2] == _name(cloud))
    functions.update_event_source_mapping(UUID=found, Enabled=False)
    try:
        yield
        end = time.monotonic() + HELD_TIMEOUT_S
        while demo.queue_depth(cloud, cloud.deletions_queue_url) < deletions and time.monotonic() < end:
            time.sleep(demo.IDLE_INTERVAL_S)
    finally:
        functions.update_event_source_mapping(UUID=found, Enabled=True)


def _name(cloud: stack.Stack) -> str:
    """Return the name of the queue of the deletions."""
    return cloud.deletions_queue_url.rpartition("/")[2]


def _wait_until_held(cloud: stack.Stack, deletions: int) -> int:
    """Wait until the deletions are held and no event is left, and return their number."""
    end = time.monotonic() + HELD_TIMEOUT_S
    held = 0
    while time.monotonic() < end:
        held = demo.queue_depth(cloud, cloud.held_deletions_queue_url)
        others = (cloud.queue_url, cloud.bulk_queue_url, cloud.deletions_queue_url)
        if held >= deletions and not any(demo.queue_depth(cloud, url) for url in others):
            break
        time.sleep(demo.IDLE_INTERVAL_S)
    return held


def _show(rows: dict[str, str]) -> None:
    for name, value in rows.items():
        console.print(f"{name:>20}  {value}", markup=False)


def _listed(actions: Counter[str]) -> str:
    return ", ".join(f"{count} {action}" for action, count in actions.most_common()) or "no message"
