"""`scripts/demo`: change the source in every way, wait for the target, and prove that both are equal.

It begins with a bucket that already has objects, and migrates it while it changes. Each later step changes the source
and waits until the target shows every change of the step. A latency is the time from sending the change to the source
until a reader of the target sees it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from devtools import signals, terraform
from localcloud import run_task, servers, stack, verify
from localcloud.stack import DIRECTORY
from s3_syncer.cli.output.task_log import readable
from s3_syncer.operations import images, tasks
from s3_syncer.operations.held_deletions import HeldDeletions
from s3_syncer.queue.message_counts import queue_counts

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, ObjectTypeDef, TagTypeDef
    from mypy_boto3_sqs import SQSClient

MIB = 1024 * 1024

WRITERS = 8
POLL_INTERVAL_S = 0.1
ARRIVAL_TIMEOUT_S = 180
IDLE_TIMEOUT_S = 120
# The counts of a queue are approximate, so they must be zero this many times in a row.
EMPTY_COUNTS = 3
IDLE_INTERVAL_S = 0.3

DIFFERENCES_SHOWN = 20

# Every one is a legal key of S3. A newline is legal too, but moto responds to it with 404.
STRANGE_KEYS = (
    "with space",
    " space in front",
    "space behind ",
    "plus+plus",
    "per%cent",
    "looks%2Fencoded%20twice%2520",
    "a//b",
    "/slash in front",
    "//two in front",
    "folder/",
    "folder/sub/",
    "folder",
    ".",
    "..",
    "../up",
    "down/../and/./up",
    "trailing.",
    "trailing...",
    "question?uploads&versionId=null",
    "#hash;semicolon=equals,comma:colon@at$dollar!bang",
    '*(star)\'quote"quotes"',
    "<xml>&amp;</xml>",
    "back\\slash|pipe^caret~tilde`tick{}[]",
    "ünïcødé/日本語/Ελληνικά/עברית",
    "emoji 🪣➡️🪣",
    "composed é",
    "decomposed e\u0301",
    "tab\tcarriage\rreturn",
    "control \x01\x1f\x7f",
    "zero\u200bwidth",
    "x" * 1024,
    "é" * 512,
    "deep/" * 200 + "end",
)

console = Console(highlight=False, soft_wrap=True)

# Returns True if the target shows a change. The argument is the object's entry in a listing, or None without one.
Seen = Callable[["ObjectTypeDef | None"], bool]


@dataclass
class Change:
    """One change of the source, and the check that the target shows it."""

    key: str
    make: Callable[[], object]
    seen: Seen
    size: int = 0
    sent: float | None = None
    arrived: float | None = None

    def send(self, pace_s: float) -> None:
        time.sleep(pace_s)
        self.sent = time.monotonic()
        self.make()

    @property
    def latency_s(self) -> float | None:
        return None if self.sent is None or self.arrived is None else self.arrived - self.sent


@dataclass(frozen=True)
class Step:
    """A row of the table. Several writers send its changes, with `pace_s` seconds before each change."""

    name: str
    changes: Sequence[Change]
    writers: int = WRITERS
    pace_s: float = 0
    #: True if the delete guard may hold deletions, so that the demo has to release them.
    may_be_held: bool = False


@dataclass
class Actor:
    """The writer of the changes, with clients of both buckets and the random contents of this run.

    It looks for the changes in the target below the prefix `watched`.
    """

    cloud: stack.Stack
    chance: random.Random
    watched: str = ""
    source: S3Client = field(init=False)
    target: S3Client = field(init=False)
    queue: SQSClient = field(init=False)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.source = self.cloud.s3()
        self.target = self.cloud.target.s3()
        self.queue = self.cloud.sqs()

    def put(self, key: str, size: int, **properties: Any) -> Change:
        body = self.chance.randbytes(size)
        return Change(
            key,
            lambda: self._put(key, body, properties),
            _has_etag(hashlib.md5(body, usedforsecurity=False).hexdigest()),
            size,
        )

    def put_in_parts(self, key: str, part_size: int, last_part: int, parts: int) -> Change:
        bucket, stamp = self.cloud.source_bucket, self._stamp()
        sizes = [part_size] * (parts - 1) + [last_part]

        def make() -> None:
            upload = self.source.create_multipart_upload(Bucket=bucket, Key=key, Metadata=stamp)["UploadId"]
            uploaded: list[CompletedPartTypeDef] = []
            for number, size in enumerate(sizes, start=1):
                body = self.chance.randbytes(size)
                part = self.source.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=body)
                uploaded.append({"PartNumber": number, "ETag": part["ETag"]})
            self.source.complete_multipart_upload(
                Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": uploaded}
            )

        return Change(key, make, self._has_metadata(key, stamp), sum(sizes))

    def change_metadata(self, key: str) -> Change:
        """Return a copy of the object onto itself with new metadata, which keeps the bytes and the ETag."""
        bucket, stamp = self.cloud.source_bucket, self._stamp()

        def make() -> None:
            self.source.copy_object(
                Bucket=bucket,
                Key=key,
                CopySource={"Bucket": bucket, "Key": key},
                MetadataDirective="REPLACE",
                Metadata=stamp,
            )

        return Change(key, make, self._has_metadata(key, stamp))

    def change_tags(self, key: str) -> Change:
        tags: list[TagTypeDef] = [{"Key": name, "Value": value} for name, value in self._stamp().items()]

        def make() -> None:
            self.source.put_object_tagging(Bucket=self.cloud.source_bucket, Key=key, Tagging={"TagSet": tags})

        def seen(listed: ObjectTypeDef | None) -> bool:
            if listed is None:
                return False
            return self.target.get_object_tagging(Bucket=self.cloud.target.bucket, Key=key)["TagSet"] == tags

        return Change(key, make, seen)

    def overwrite_quickly(self, key: str, times: int) -> Change:
        bodies = [self.chance.randbytes(2048) for _ in range(times)]

        def make() -> None:
            for body in bodies:
                change.sent = time.monotonic()  # the latency counts from the last overwrite
                self._put(key, body, {})

        change = Change(key, make, _has_etag(hashlib.md5(bodies[-1], usedforsecurity=False).hexdigest()))
        return change

    def delete(self, key: str) -> Change:
        return Change(
            key,
            lambda: self.source.delete_object(Bucket=self.cloud.source_bucket, Key=key),
            lambda listed: listed is None,
        )

    def delete_and_put_again(self, key: str) -> Change:
        again = self.put(key, 512)

        def make() -> None:
            self.source.delete_object(Bucket=self.cloud.source_bucket, Key=key)
            again.make()

        return Change(key, make, again.seen, again.size)

    def list_target(self) -> dict[str, ObjectTypeDef]:
        pages = self.target.get_paginator("list_objects_v2").paginate(
            Bucket=self.cloud.target.bucket, Prefix=self.watched
        )
        return {entry["Key"]: entry for page in pages for entry in page.get("Contents", [])}

    def _put(self, key: str, body: bytes, properties: dict[str, Any]) -> None:
        self.source.put_object(Bucket=self.cloud.source_bucket, Key=key, Body=body, **properties)

    def _stamp(self) -> dict[str, str]:
        return {"change": f"{next(self.numbers)}-{self.chance.getrandbits(32):08x}"}

    def _has_metadata(self, key: str, stamp: dict[str, str]) -> Seen:
        def seen(listed: ObjectTypeDef | None) -> bool:
            if listed is None:
                return False
            response = self.target.head_object(Bucket=self.cloud.target.bucket, Key=key)
            return stamp.items() <= response["Metadata"].items()

        return seen


def ordinary(actor: Actor, folder: str, objects: int) -> dict[str, int]:
    """Return keys with realistic sizes: most objects are small, few are large, some are empty."""
    sizes = [0 if n % 20 == 0 else int(2 ** actor.chance.uniform(4, 18)) for n in range(objects)]
    return {f"{folder}/{number % 7}/{number:05}": size for number, size in enumerate(sizes)}


def fill_source(actor: Actor, objects: int) -> list[str]:
    """Write objects without any event, as if the module were applied later, and return their keys."""
    sizes = ordinary(actor, "before", objects)
    changes = [actor.put(key, size, **_properties(n)) for n, (key, size) in enumerate(sizes.items())]
    strange = [f"before/{key}" for key in STRANGE_KEYS if len(key.encode()) < 1000]
    changes += [actor.put(key, len(key), **_properties(1)) for key in strange]
    changes += [actor.put(f"before/large/{n}", n * MIB + n) for n in range(1, 5)]
    changes += [actor.put_in_parts(f"before/parts/{n}", part_size=5 * MIB, last_part=n, parts=3) for n in (1, 2)]
    with notifications_off(actor.cloud), ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(lambda change: change.send(0), changes))
    return [change.key for change in changes]


@contextmanager
def notifications_off(cloud: stack.Stack) -> Iterator[None]:
    """Remove the notifications of the source for the duration of the block."""
    client, bucket = cloud.s3(), cloud.source_bucket
    response = client.get_bucket_notification_configuration(Bucket=bucket)
    document: Any = {name: value for name, value in response.items() if name != "ResponseMetadata"}
    client.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    try:
        yield
    finally:
        client.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=document)


def changes_during_migration(actor: Actor, before: Iterable[str]) -> Step:
    """Return changes for live sync to copy during the migration, which must not undo them."""
    keys = [key for key in before if not key.startswith(("before/large/", "before/parts/"))]
    some = actor.chance.sample(keys, k=len(keys) // 2)
    third = len(some) // 3
    changes = [
        *(actor.put(key, 2000, **_properties(3)) for key in some[:third]),
        *(actor.delete(key) for key in some[third : 2 * third]),
        *(actor.delete_and_put_again(key) for key in some[2 * third :]),
        *(actor.put(f"before/new/{n}", 2000, **_properties(n)) for n in range(third)),
    ]
    actor.chance.shuffle(changes)
    # The guard counts the deletions of five seconds, so the speed of the machine decides if it holds some.
    return Step("while it is migrated", changes, writers=4, pace_s=0.1, may_be_held=True)


@dataclass(frozen=True)
class Migrated:
    """The exit code of a migration, the objects before it, and the changes that came while it ran."""

    code: int
    before: int
    step: Step
    overtaken: int


def migrate(actor: Actor, objects: int) -> Migrated:
    """Migrate a source that already has objects, while it changes."""
    before = fill_source(actor, objects)
    step = changes_during_migration(actor, before)
    lines: list[str] = []

    def work() -> tuple[int, float]:
        # One way: a deletion that live sync has not copied yet is no fault of the migration.
        code = run_task.run(actor.cloud, ["--one-way"], lines.append, report=console.print)
        return code, time.monotonic()

    run_task.prepare(actor.cloud, report=console.print)
    with ThreadPoolExecutor(1) as pool:
        migrating = pool.submit(work)
        run(step, actor)
        code, ended = migrating.result()
    show_log(lines)
    overtaken = sum(change.sent is not None and change.sent < ended for change in step.changes)
    return Migrated(code, len(before), step, overtaken)


def check(cloud: stack.Stack) -> int:
    """Run `s3-syncer check --full` and return its exit code."""
    lines: list[str] = []
    code = run_task.run(cloud, ["check", "--full"], lines.append, report=lambda _: None)
    show_log(lines)
    return code


def show_log(lines: Iterable[str]) -> None:
    for line in lines:
        if text := readable(line, verbose=False):
            console.print(f"  {text}", markup=False)


def steps(actor: Actor, objects: int) -> Iterator[Step]:
    """Return the steps of the demo. A later step changes objects of an earlier one."""
    yield Step(
        "new objects, 5 a second",
        [actor.put(f"calm/{number}", 1000, **_properties(number)) for number in range(25)],
        writers=1,
        pace_s=0.2,
    )
    sizes = ordinary(actor, "objects", objects)
    yield Step(
        "new objects, all at the same time",
        [actor.put(key, size, **_properties(n)) for n, (key, size) in enumerate(sizes.items())],
    )
    yield Step("new objects, 1 to 8 MiB", [actor.put(f"large/{n}", n * MIB + n) for n in range(1, 9)])
    yield Step("new objects, strange keys", [actor.put(key, len(key), **_properties(1)) for key in STRANGE_KEYS])
    yield Step(
        "new objects, uploaded in parts",
        [
            actor.put_in_parts("parts/small", part_size=5 * MIB, last_part=1, parts=3),
            actor.put_in_parts("parts/large", part_size=16 * MIB, last_part=5 * MIB, parts=5),
        ],
        writers=1,
    )
    yield Step(
        "one of 373 MiB, by several functions",
        [actor.put_in_parts("parts/huge", part_size=16 * MIB, last_part=5 * MIB, parts=24)],
    )
    some = actor.chance.sample(list(sizes), k=len(sizes) * 3 // 4)
    quarter = len(some) // 4
    overwritten, described, tagged, ended = (some[n * quarter : (n + 1) * quarter] for n in range(4))
    yield Step("overwrites", [actor.put(key, 3000, **_properties(2)) for key in overwritten])
    yield Step("50 overwrites of one key", [actor.overwrite_quickly("objects/busy", times=50)], writers=1)
    yield Step("only metadata changed", [actor.change_metadata(key) for key in described])
    yield Step("only tags changed", [actor.change_tags(key) for key in tagged])
    deletions = [actor.delete(key) for key in (*ended, *STRANGE_KEYS[::3])]
    yield Step("deletes, held until they are released", deletions, may_be_held=True)
    yield Step("deletes, put again immediately", [actor.delete_and_put_again(key) for key in overwritten[:10]])


def release_deletions(cloud: stack.Stack) -> int:
    """Release the held deletions, as `s3-syncer deletions release` does, and return their number."""
    held = HeldDeletions(cloud.sqs(), cloud.held_deletions_queue_url, bulk_url=cloud.bulk_queue_url)
    return held.release(lambda _: None).done


def release_mass(cloud: stack.Stack) -> None:
    """Release the held deletions once no deletion is on its way to them."""
    if any(queue_depth(cloud, url) for url in (cloud.queue_url, cloud.deletions_queue_url)):
        return
    if held := queue_depth(cloud, cloud.held_deletions_queue_url):
        console.print(f"  {held} deletions are held, because too many came at once. Their objects are still there.")
        console.print(f"  s3-syncer deletions release: {release_deletions(cloud)} released")


def run(step: Step, actor: Actor) -> None:
    """Send the changes of a step, and poll the target until all have arrived or the time is over."""
    deadline = time.monotonic() + ARRIVAL_TIMEOUT_S
    with ThreadPoolExecutor(step.writers) as pool:
        sending = [pool.submit(change.send, step.pace_s) for change in step.changes]
        while time.monotonic() < deadline and (waiting := [c for c in step.changes if c.arrived is None]):
            _raise_first(sending)
            sent = [change for change in waiting if change.sent is not None]
            listed = actor.list_target()
            if step.may_be_held and len(sent) == len(waiting):
                release_mass(actor.cloud)
            for change in sent:
                if change.seen(listed.get(change.key)):
                    change.arrived = time.monotonic()
            time.sleep(POLL_INTERVAL_S)


def wait_until_queues_are_empty(cloud: stack.Stack) -> int:
    """Wait until the queues are empty or the time is over, and return the number of messages left.

    A worker holds deletions for another minute after a release, so these are released too. Delayed messages of the
    queue for bulk work do not count. They check a key once more, up to 15 minutes after a write without a response.
    """
    deadline = time.monotonic() + IDLE_TIMEOUT_S
    left, empty = 0, 0
    while empty < EMPTY_COUNTS and time.monotonic() < deadline:
        if queue_depth(cloud, cloud.held_deletions_queue_url):
            release_deletions(cloud)
        bulk = queue_counts(cloud.sqs(), cloud.bulk_queue_url)
        urls = (cloud.queue_url, cloud.deletions_queue_url, cloud.held_deletions_queue_url)
        left = bulk.visible + bulk.in_flight + sum(queue_depth(cloud, url) for url in urls)
        empty = 0 if left else empty + 1
        time.sleep(IDLE_INTERVAL_S)
    return left


def queue_depth(cloud: stack.Stack, url: str) -> int:
    """Return the number of messages in the queue: visible, in flight and delayed."""
    return queue_counts(cloud.sqs(), url).total


def log_actions(cloud: stack.Stack) -> Counter[str]:
    """Count the actions in the log of the function."""
    pages = cloud.client("logs").get_paginator("filter_log_events").paginate(logGroupName=cloud.log_group)
    messages = (event["message"] for page in pages for event in page["events"])
    lines = (json.loads(message) for message in messages if message.startswith("{"))
    return Counter(line["action"] for line in lines if "action" in line)


def show(steps_done: Iterable[Step]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="Seconds from the change of the source until the target shows it")
    table.add_column("change")
    for name in ("changes", "arrived", "MiB", "median", "p95"):
        table.add_column(name, justify="right", no_wrap=True)
    for step in steps_done:
        latencies = [change.latency_s for change in step.changes if change.latency_s is not None]
        table.add_row(
            step.name,
            str(len(step.changes)),
            str(len(latencies)),
            f"{sum(change.size for change in step.changes) / MIB:.1f}",
            *("-" if value is None else f"{value:.2f}" for value in median_and_p95(latencies)),
        )
    return table


@click.command()
@click.option("--keep", is_flag=True, help="Keep the local cloud running afterwards; `scripts/local down` stops it.")
@click.option(
    "--objects", default=400, show_default=True, help="Ordinary objects before the migration, and again after it."
)
@click.option("--restore", is_flag=True, help="Lose all objects of the source, and restore them from the mirror.")
@click.option("--incident", is_flag=True, help="Break the mirror, and repair it with the operator's commands alone.")
@click.option("--outage", default=180.0, show_default=True, help="Seconds of the outage in the incident.")
@click.option("--deletions", default=20_000, show_default=True, help="Objects that are deleted in the incident.")
@click.option("--dashboard", type=click.Path(path_type=Path), help="Draw the dashboard at the end of the incident.")
def main(
    keep: bool, objects: int, restore: bool, incident: bool, outage: float, deletions: int, dashboard: Path | None
) -> None:
    """Run s3-syncer on the local cloud, and show that both buckets are equal at the end.

    Uses the running local cloud. If none is running, the demo starts one and stops it at the end. The incident always
    starts another one.
    """
    from localcloud.restore_drill import drill  # here, because it uses this module

    signals.interrupt_on_termination()
    if incident:
        from localcloud.incident import Options, run  # here, because that module uses this one

        try:
            sys.exit(0 if run(DIRECTORY / "incident", Options(outage, deletions, dashboard)) else 1)
        except (stack.StackError, servers.ServerError, terraform.TerraformError) as error:
            sys.exit(f"scripts/demo: {error}")
    is_new = False
    try:
        cloud = stack.current(DIRECTORY)
        is_new = cloud is None
        cloud = cloud or stack.up(DIRECTORY, report=click.echo)
        equal = drill(cloud, objects) if restore else demonstrate(cloud, objects)
    except (
        *(stack.StackError, servers.ServerError, terraform.TerraformError),
        *(images.ImageError, tasks.TaskError),
    ) as error:
        sys.exit(f"scripts/demo: {error}")
    finally:
        if is_new and not keep:
            stack.down(DIRECTORY)
    sys.exit(0 if equal else 1)


def demonstrate(cloud: stack.Stack, objects: int) -> bool:
    """Run the demo, and return True if every change arrived and both buckets are equal."""
    actor = Actor(cloud, random.Random())  # noqa: S311 - it makes contents, not secrets
    console.print(f"Migrating a bucket with more than {objects} existing objects while it changes ...")
    migrated = migrate(actor, objects)
    steps_done = [migrated.step]
    for step in steps(actor, objects):
        click.echo(f"{step.name}: {len(step.changes)} ...")
        run(step, actor)
        steps_done.append(step)
    console.print("Waiting until the queues are empty ...")
    left = wait_until_queues_are_empty(cloud)
    console.print("Comparing both buckets with s3-syncer check --full ...")
    checked = check(cloud)
    console.print("Comparing every byte of both buckets ...")
    source = verify.read_bucket(actor.source, cloud.source_bucket)
    target = verify.read_bucket(actor.target, cloud.target.bucket)
    unequal = list(verify.differences(source, target))
    dead_letters = queue_depth(cloud, cloud.dead_letter_queue_url)
    missing = sum(change.arrived is None for step in steps_done for change in step.changes)
    equal = not (left or dead_letters or missing or unequal or migrated.code or checked)

    console.print(show(steps_done))

    for difference in unequal[:DIFFERENCES_SHOWN]:
        console.print(str(difference), markup=False)
    verdict = {
        "migration": f"{migrated.before} existing objects, with {migrated.overtaken} changes during the migration; "
        f"exit code {migrated.code}",
        "actions in the log": ", ".join(f"{count} {action}" for action, count in log_actions(cloud).most_common()),
        "not seen in time": missing,
        "left in the queues": left,
        "delayed checks": queue_counts(cloud.sqs(), cloud.bulk_queue_url).delayed,
        "dead letters": dead_letters,
        "objects": f"{len(source)} in the source, {len(target)} in the target",
        "s3-syncer check": f"exit code {checked}",
        "differences": f"{len(unequal)} in keys, bytes, headers, metadata and tags",
        "result": "both buckets are equal" if equal else "NOT equal, or messages are left",
    }
    for name, value in verdict.items():
        console.print(f"{name:>20}  {value}")
    console.print("\nThe state of the module, as s3-syncer status shows it:")
    show_status(cloud)
    return equal


def show_status(cloud: stack.Stack) -> None:
    """Run `s3-syncer status` on the outputs of the local cloud."""
    outputs = str(DIRECTORY / stack.OUTPUTS_FILE)
    command = [sys.executable, "-m", "s3_syncer", "--outputs", outputs, "status"]
    subprocess.run(command, env={**os.environ, **command_environment(cloud)}, check=False)


def command_environment(cloud: stack.Stack) -> dict[str, str]:
    """Return the variables with which `s3-syncer` reaches the emulated AWS."""
    return {
        "AWS_ENDPOINT_URL": cloud.aws_endpoint,
        "AWS_ACCESS_KEY_ID": cloud.access_key_id,
        "AWS_SECRET_ACCESS_KEY": cloud.secret_access_key,
        "AWS_DEFAULT_REGION": cloud.region,
    }


def _properties(number: int) -> dict[str, Any]:
    """Return one of five combinations of headers, metadata and tags; the first one is empty."""
    kinds: tuple[dict[str, Any], ...] = (
        {},
        {"ContentType": "text/plain; charset=utf-8", "Metadata": {"origin": "demo", "empty": ""}},
        {"ContentType": "application/json", "ContentEncoding": "gzip", "Tagging": "stage=new&note=a+b%2Fc"},
        {"CacheControl": "max-age=60, public", "ContentDisposition": 'attachment; filename="a b.txt"'},
        {"ContentLanguage": "de, fr", "Expires": "Thu, 01 Dec 2033 16:00:00 GMT", "Tagging": "k=v"},
    )
    return kinds[number % len(kinds)]


def _has_etag(md5: str) -> Seen:
    return lambda listed: listed is not None and listed["ETag"].strip('"') == md5


def median_and_p95(latencies: Sequence[float]) -> tuple[float | None, float | None]:
    if len(latencies) < 2:
        return (latencies[0], latencies[0]) if latencies else (None, None)
    return median(latencies), quantiles(latencies, n=20, method="inclusive")[-1]


def _raise_first(futures: Iterable[Future[None]]) -> None:
    for future in futures:
        if future.done():
            future.result()


if __name__ == "__main__":
    main(prog_name="scripts/demo")
