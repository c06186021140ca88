"""`scripts/demo`: a day in the life of two buckets, in a minute, and then the proof that they are equal.

It begins with a bucket that is full already, and migrates it while it changes. Each step after that changes the source
and waits until the other cloud shows every change of the step. How long each took is measured from the moment the
change was sent to the source until a reader of the target sees it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus

import click
from rich import box
from rich.console import Console
from rich.table import Table

from deployed import image, task
from devtools import signals, terraform
from localcloud import run_task, servers, stack, verify
from localcloud.main import DIRECTORY

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, ObjectTypeDef, TagTypeDef
    from mypy_boto3_sqs import SQSClient

MIB = 1024 * 1024

WRITERS = 8
POLL_INTERVAL_S = 0.1
ARRIVAL_TIMEOUT_S = 180
IDLE_TIMEOUT_S = 120
# The counts of a queue are approximate; so many times in a row they must say that nothing is left.
IDLE_ANSWERS = 3
IDLE_INTERVAL_S = 0.3

DIFFERENCES_SHOWN = 20

# Every one a legal key of S3. A newline is legal too, but the stand-in for the other cloud answers 404 to it.
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

# Answers whether a change is to be seen in the target, from the object's line in a listing; None is no such line.
Seen = Callable[["ObjectTypeDef | None"], bool]


@dataclass
class Change:
    """One change of the source, and how it shows in the target."""

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
    """A row of the table. Its changes are sent by several writers at once, each as fast as it can or at a pace."""

    name: str
    changes: Sequence[Change]
    writers: int = WRITERS
    pace_s: float = 0


@dataclass
class Actor:
    """Makes the changes: it holds both buckets, and the randomness that gives every run other contents."""

    made: stack.Stack
    chance: random.Random
    source: S3Client = field(init=False)
    target: S3Client = field(init=False)
    queue: SQSClient = field(init=False)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.source = self.made.s3()
        self.target = self.made.target.s3()
        self.queue = self.made.sqs()

    def put(self, key: str, size: int, **properties: Any) -> Change:
        body = self.chance.randbytes(size)
        return Change(
            key,
            lambda: self._put(key, body, properties),
            _has_etag(hashlib.md5(body, usedforsecurity=False).hexdigest()),
            size,
        )

    def put_in_parts(self, key: str, part_size: int, last_part: int, parts: int) -> Change:
        bucket, stamp = self.made.source_bucket, self._stamp()
        sizes = [part_size] * (parts - 1) + [last_part]

        def make() -> None:
            upload = self.source.create_multipart_upload(Bucket=bucket, Key=key, Metadata=stamp)["UploadId"]
            done: list[CompletedPartTypeDef] = []
            for number, size in enumerate(sizes, start=1):
                body = self.chance.randbytes(size)
                part = self.source.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=body)
                done.append({"PartNumber": number, "ETag": part["ETag"]})
            self.source.complete_multipart_upload(
                Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": done}
            )

        return Change(key, make, self._has_metadata(key, stamp), sum(sizes))

    def change_metadata(self, key: str) -> Change:
        """A copy onto itself with other metadata, as S3 wants it: the bytes and the ETag stay."""
        bucket, stamp = self.made.source_bucket, self._stamp()

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
            self.source.put_object_tagging(Bucket=self.made.source_bucket, Key=key, Tagging={"TagSet": tags})
            # The emulator has no event for this, so the demo says what S3 would say.
            self.queue.send_message(QueueUrl=self.made.queue_url, MessageBody=self._tagging_event(key))

        def seen(listed: ObjectTypeDef | None) -> bool:
            if listed is None:
                return False
            return self.target.get_object_tagging(Bucket=self.made.target.bucket, Key=key)["TagSet"] == tags

        return Change(key, make, seen)

    def overwrite_quickly(self, key: str, times: int) -> Change:
        bodies = [self.chance.randbytes(2048) for _ in range(times)]

        def make() -> None:
            for body in bodies:
                change.sent = time.monotonic()  # what counts is how soon the last one is there
                self._put(key, body, {})

        change = Change(key, make, _has_etag(hashlib.md5(bodies[-1], usedforsecurity=False).hexdigest()))
        return change

    def delete(self, key: str) -> Change:
        return Change(
            key,
            lambda: self.source.delete_object(Bucket=self.made.source_bucket, Key=key),
            lambda listed: listed is None,
        )

    def delete_and_put_again(self, key: str) -> Change:
        again = self.put(key, 512)

        def make() -> None:
            self.source.delete_object(Bucket=self.made.source_bucket, Key=key)
            again.make()

        return Change(key, make, again.seen, again.size)

    def list_target(self) -> dict[str, ObjectTypeDef]:
        pages = self.target.get_paginator("list_objects_v2").paginate(Bucket=self.made.target.bucket)
        return {entry["Key"]: entry for page in pages for entry in page.get("Contents", [])}

    def _put(self, key: str, body: bytes, properties: dict[str, Any]) -> None:
        self.source.put_object(Bucket=self.made.source_bucket, Key=key, Body=body, **properties)

    def _stamp(self) -> dict[str, str]:
        return {"change": f"{next(self.numbers)}-{self.chance.getrandbits(32):08x}"}

    def _has_metadata(self, key: str, stamp: dict[str, str]) -> Seen:
        def seen(listed: ObjectTypeDef | None) -> bool:
            if listed is None:
                return False
            answer = self.target.head_object(Bucket=self.made.target.bucket, Key=key)
            return stamp.items() <= answer["Metadata"].items()

        return seen

    def _tagging_event(self, key: str) -> str:
        record = {
            "eventVersion": "2.3",
            "eventSource": "aws:s3",
            "awsRegion": self.made.region,
            "eventTime": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()),
            "eventName": "ObjectTagging:Put",
            "s3": {
                "s3SchemaVersion": "1.0",
                "bucket": {
                    "name": self.made.source_bucket,
                    "arn": f"arn:aws:s3:::{self.made.source_bucket}",
                },
                "object": {"key": quote_plus(key, safe="/")},
            },
        }
        return json.dumps({"Records": [record]})


def ordinary(actor: Actor, folder: str, objects: int) -> dict[str, int]:
    """Keys, and sizes as they are found: most objects are small, few are large, some are empty."""
    sizes = [0 if n % 20 == 0 else int(2 ** actor.chance.uniform(4, 18)) for n in range(objects)]
    return {f"{folder}/{number % 7}/{number:05}": size for number, size in enumerate(sizes)}


def put_before(actor: Actor, objects: int) -> list[str]:
    """Fills the source as if the product came later: nobody tells it of these objects. Returns their keys."""
    sizes = ordinary(actor, "before", objects)
    changes = [actor.put(key, size, **_properties(n)) for n, (key, size) in enumerate(sizes.items())]
    strange = [f"before/{key}" for key in STRANGE_KEYS if len(key.encode()) < 1000]
    changes += [actor.put(key, len(key), **_properties(1)) for key in strange]
    changes += [actor.put(f"before/large/{n}", n * MIB + n) for n in range(1, 5)]
    changes += [actor.put_in_parts(f"before/parts/{n}", part_size=5 * MIB, last_part=n, parts=3) for n in (1, 2)]
    with unnoticed(actor.made), ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(lambda change: change.send(0), changes))
    return [change.key for change in changes]


@contextmanager
def unnoticed(made: stack.Stack) -> Iterator[None]:
    """The source notifies nobody for as long as the block lasts."""
    client, bucket = made.s3(), made.source_bucket
    answer = client.get_bucket_notification_configuration(Bucket=bucket)
    document: Any = {name: value for name, value in answer.items() if name != "ResponseMetadata"}
    client.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    try:
        yield
    finally:
        client.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=document)


def meanwhile(actor: Actor, before: Iterable[str]) -> Step:
    """What happens while the source is migrated: live sync brings it over, and the migration must not undo it."""
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
    return Step("while it is migrated", changes, writers=4, pace_s=0.1)


@dataclass(frozen=True)
class Migrated:
    """How a migration went, and how many of the changes came while it ran."""

    code: int
    before: int
    step: Step
    overtaken: int


def migrate(actor: Actor, objects: int) -> Migrated:
    """Migrates a source that was full before, while it changes."""
    before = put_before(actor, objects)
    step = meanwhile(actor, before)
    said: list[str] = []

    def work() -> tuple[int, float]:
        # One way: that live sync has yet to bring over a deletion is no fault of the migration.
        code = run_task.run(actor.made, ["--one-way"], said.append, report=console.print)
        return code, time.monotonic()

    run_task.prepare(actor.made, report=console.print)
    with ThreadPoolExecutor(1) as pool:
        migrating = pool.submit(work)
        run(step, actor)
        code, ended = migrating.result()
    show_log(said)
    overtaken = sum(change.sent is not None and change.sent < ended for change in step.changes)
    return Migrated(code, len(before), step, overtaken)


def check(made: stack.Stack) -> int:
    """What `s3-syncer check --full` says of both sides: its exit code."""
    said: list[str] = []
    code = run_task.run(made, ["check", "--full"], said.append, report=lambda _: None)
    show_log(said)
    return code


def show_log(lines: Iterable[str]) -> None:
    for line in lines:
        if text := task.readable(line, verbose=False):
            console.print(f"  {text}", markup=False)


def steps(actor: Actor, objects: int) -> Iterator[Step]:
    """What the demo does, a step at a time: a later step changes what an earlier one made."""
    yield Step(
        "new objects, 5 a second",
        [actor.put(f"calm/{number}", 1000, **_properties(number)) for number in range(25)],
        writers=1,
        pace_s=0.2,
    )
    sizes = ordinary(actor, "objects", objects)
    yield Step(
        "new objects, all at once",
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
    yield Step("only tags changed (see below)", [actor.change_tags(key) for key in tagged])
    yield Step("deletes", [actor.delete(key) for key in (*ended, *STRANGE_KEYS[::3])])
    yield Step("deletes, put again at once", [actor.delete_and_put_again(key) for key in overwritten[:10]])


def run(step: Step, actor: Actor) -> None:
    """Sends the changes of a step and watches the target until all have arrived, or for long enough."""
    deadline = time.monotonic() + ARRIVAL_TIMEOUT_S
    with ThreadPoolExecutor(step.writers) as pool:
        sending = [pool.submit(change.send, step.pace_s) for change in step.changes]
        while time.monotonic() < deadline and (waiting := [c for c in step.changes if c.arrived is None]):
            _raise_first(sending)
            sent = [change for change in waiting if change.sent is not None]
            listed = actor.list_target()
            for change in sent:
                if change.seen(listed.get(change.key)):
                    change.arrived = time.monotonic()
            time.sleep(POLL_INTERVAL_S)


def wait_until_idle(made: stack.Stack) -> int:
    """How many messages the queue still held when it was empty for sure, or the patience at its end."""
    deadline = time.monotonic() + IDLE_TIMEOUT_S
    left, empty = 0, 0
    while empty < IDLE_ANSWERS and time.monotonic() < deadline:
        left = queue_depth(made, made.queue_url)
        empty = 0 if left else empty + 1
        time.sleep(IDLE_INTERVAL_S)
    return left


def queue_depth(made: stack.Stack, url: str) -> int:
    """Messages in the queue: visible, in flight and delayed."""
    attributes = made.sqs().get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return sum(int(value) for name, value in attributes.items() if name.startswith("ApproximateNumberOfMessages"))


def decisions(made: stack.Stack) -> Counter[str]:
    """What the function decided, as its log tells."""
    pages = made.client("logs").get_paginator("filter_log_events").paginate(logGroupName=made.log_group)
    messages = (event["message"] for page in pages for event in page["events"])
    lines = (json.loads(message) for message in messages if message.startswith("{"))
    return Counter(line["action"] for line in lines if "action" in line)


def show(done: Iterable[Step]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="Seconds from the change of the source until the target shows it")
    table.add_column("what happened")
    for name in ("changes", "arrived", "MiB", "median", "p95"):
        table.add_column(name, justify="right", no_wrap=True)
    for step in done:
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
@click.option("--keep", is_flag=True, help="Leave the local cloud up afterwards; `scripts/local down` ends it.")
@click.option(
    "--objects", default=400, show_default=True, help="How many ordinary objects there are before, and again after."
)
def main(keep: bool, objects: int) -> None:
    """Run the product on the local cloud, and show that both sides end equal.

    Uses the local cloud that is up, or else starts one and takes it down again.
    """
    signals.interrupt_on_termination()
    made = stack.current(DIRECTORY)
    ours = made is None
    try:
        made = made or stack.up(DIRECTORY, report=click.echo)
        equal = demonstrate(made, objects)
    except (
        *(stack.StackError, servers.ServerError, terraform.TerraformError),
        *(image.ImageError, task.TaskError),
    ) as error:
        sys.exit(f"scripts/demo: {error}")
    finally:
        if ours and not keep:
            stack.down(DIRECTORY)
    sys.exit(0 if equal else 1)


def demonstrate(made: stack.Stack, objects: int) -> bool:
    """The demo on a stack that is up; whether everything arrived and both sides ended equal."""
    actor = Actor(made, random.Random())  # noqa: S311 - it makes contents, not secrets
    console.print(f"migrating a bucket of more than {objects} objects that were there before, while it changes ...")
    migrated = migrate(actor, objects)
    done = [migrated.step]
    for step in steps(actor, objects):
        click.echo(f"{step.name}: {len(step.changes)} ...")
        run(step, actor)
        done.append(step)
    console.print("Waiting for the queue to run empty ...")
    left = wait_until_idle(made)
    console.print("Comparing both sides with s3-syncer check --full ...")
    checked = check(made)
    console.print("Reading both buckets to the last byte to compare them ...")
    source = verify.read_bucket(actor.source, made.source_bucket)
    target = verify.read_bucket(actor.target, made.target.bucket)
    unequal = list(verify.differences(source, target))
    dead = queue_depth(made, made.dead_letter_queue_url)
    missing = sum(change.arrived is None for step in done for change in step.changes)
    equal = not (left or dead or missing or unequal or migrated.code or checked)

    console.print(show(done))
    console.print("Tags: the emulator sends no event for them, so the demo sends what S3 would.")
    console.print()
    for difference in unequal[:DIFFERENCES_SHOWN]:
        console.print(str(difference), markup=False)
    verdict = {
        "migration": f"{migrated.before} objects that were there before, while {migrated.overtaken} changes were made; "
        f"exit code {migrated.code}",
        "decisions in the log": ", ".join(f"{count} {action}" for action, count in decisions(made).most_common()),
        "not seen in time": missing,
        "left in the queue": left,
        "dead letters": dead,
        "objects": f"{len(source)} in the source, {len(target)} in the target",
        "s3-syncer check": f"exit code {checked}",
        "differences": f"{len(unequal)} in keys, bytes, headers, metadata and tags",
        "result": "both sides are equal" if equal else "NOT equal, or something was left behind",
    }
    for name, value in verdict.items():
        console.print(f"{name:>20}  {value}")
    return equal


def _properties(number: int) -> dict[str, Any]:
    """Headers, metadata and tags, different ones for different objects; the first of five kinds has none at all."""
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
    main()
