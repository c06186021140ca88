"""`scripts/demo --incident`: break the mirror, and repair it with the operator's commands alone.

The target refuses connections, and its access key is revoked. One object is too large for it, and a mass of objects is
deleted. The target loses an object without an event. The module is paused for ten days. At last, an event is late.
Each command of the operator is printed with its output, and after each break the alarms that are on. The run ends with
both buckets compared byte by byte.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from devtools.bootstrap import ROOT
from localcloud import servers, stack, verify
from localcloud.chaos.chance import seeded
from localcloud.chaos.proxy import Fault, Proxy, Request, Turbulence, error
from localcloud.chaos.tally import Tally
from localcloud.dashboard import QueueSamples, draw
from localcloud.demo import command_environment, log_actions, notifications_off, queue_depth
from s3_syncer.core.work_items import DeletionWork, RangeWork, Work

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

#: Seconds in which the workers must have seen a fault, or must take another message of a queue.
PATIENCE_S = 600

#: Seconds in which an alarm must go off: docs/operations.md has this time for the alarm on retries.
ALARM_S = 300

#: Seconds of an outage after which the alarm on retries has its line: `max_retry_s`, the longest delay before the next
#: delivery then, and some more for a busy machine.
ALARMING_OUTAGE_S = 150

#: Seconds after which SQS soon removes a message, and some more: `expiry_warning_days` in monitoring.tf.
OLD_S = 10 * 86_400 + 60

#: The alarms on messages of that age, and the queue of each, by the name of its output.
EXPIRY_ALARMS = {
    "events-expire": "queue_url",
    "bulk-work-expires": "bulk_queue_url",
    "deletions-expire": "deletions_queue_url",
    "held-deletions-expire": "held_deletions_queue_url",
}

#: Deletions in one request to the source, at most.
MAX_DELETIONS = 1000

TOO_LARGE = "reports/too-large.bin"

console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Options:
    """The seconds of the outage, the number of deleted objects, and the file for a picture."""

    outage_s: float
    deletions: int
    picture: Path | None = None


class StoreFaults(Turbulence):
    """The errors of the target to a revoked access key, and to an object that it refuses."""

    def __init__(self) -> None:
        super().__init__(seeded(0))
        self.revoked_key_id = ""
        self.refused_key = ""

    def choose(self, request: Request) -> tuple[str, Fault] | None:
        """Return the fault of a request, or None."""
        if self.revoked_key_id and f"Credential={self.revoked_key_id}/" in request.headers.get("Authorization", ""):
            return "revoked", error(403, "InvalidAccessKeyId")
        if self.refused_key and request.method == "PUT" and request.path.partition("?")[0].endswith(self.refused_key):
            return "refused", error(400, "EntityTooLarge")
        return None


class Incident:
    """The local cloud with a proxy in front of the target, and the operator."""

    def __init__(self, cloud: stack.Stack, proxy: Proxy, faults: StoreFaults, directory: Path) -> None:
        self.cloud, self.proxy, self.faults = cloud, proxy, faults
        self._source, self._directory = cloud.s3(), directory
        self._outputs = str((directory / stack.OUTPUTS_FILE).relative_to(ROOT))
        #: The commands that ended with another exit code than expected, and the alarms that did not go off or end.
        self.unexpected: list[str] = []

    def operator(self, *arguments: str, codes: Collection[int] = (0,)) -> int:
        """Run a command of the operator, print it with its output, and return its exit code."""
        shown = f"s3-syncer {' '.join(arguments)}"
        console.print(f"\n$ {shown}", markup=False, style="bold")
        began = time.monotonic()
        command = [sys.executable, "-m", "s3_syncer", "--outputs", self._outputs, *arguments]
        environment = {**os.environ, **command_environment(self.cloud), "COLUMNS": "120"}
        ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        console.print(ended.stdout + ended.stderr, end="", markup=False)
        console.print(f"[exit code {ended.returncode}, {time.monotonic() - began:.0f} s]", markup=False, style="dim")
        if ended.returncode not in codes:
            self.unexpected.append(f"{shown}: exit code {ended.returncode}")
        return ended.returncode

    def put(self, *keys: str) -> None:
        """Write an object of 1 kB under each key of the source."""
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(self._put, keys))

    def _put(self, key: str) -> None:
        self._source.put_object(Bucket=self.cloud.source_bucket, Key=key, Body=key.encode().ljust(1000))

    def send_event(self, key: str, at: datetime) -> None:
        """Send the event of a write at that time, which S3 would send at once."""
        written = {"bucket": {"name": self.cloud.source_bucket}, "object": {"key": key}}
        record = {"eventTime": at.isoformat(), "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": written}
        self.cloud.sqs().send_message(QueueUrl=self.cloud.queue_url, MessageBody=json.dumps({"Records": [record]}))

    def send_work(self, queue: str, work: Work) -> None:
        """Send a message of the workers to the queue with this output."""
        self.cloud.sqs().send_message(QueueUrl=self.outputs()[queue], MessageBody=work.to_json())

    def apply(self, *, paused: bool) -> None:
        """Apply the module with this value of its input."""
        shown = f"terraform apply -var paused={json.dumps(paused)}"
        console.print(f"\n$ {shown}", markup=False, style="bold")
        stack.apply(self._directory, self.cloud.aws_endpoint, self.cloud.target, None, paused=paused)

    def make_messages_older(self, queue: str, seconds: float) -> None:
        """Make the messages of the queue with this output older."""
        stack.make_older(self.cloud.aws_endpoint, self.outputs()[queue].rpartition("/")[2], seconds)

    def delete(self, keys: list[str]) -> None:
        """Delete the keys from the source."""
        for start in range(0, len(keys), MAX_DELETIONS):
            objects = [{"Key": key} for key in keys[start : start + MAX_DELETIONS]]
            self._source.delete_objects(Bucket=self.cloud.source_bucket, Delete={"Objects": objects})  # type: ignore[typeddict-item]

    def rotate_key(self) -> None:
        """Write another access key of the target into the secret."""
        keys = {"access_key_id": secrets.token_hex(10), "secret_access_key": secrets.token_hex(20)}
        arn = self.outputs()["credentials_secret_arn"]
        self.cloud.client("secretsmanager").put_secret_value(SecretId=arn, SecretString=json.dumps(keys))

    def outputs(self) -> dict[str, Any]:
        """Return the outputs of the module."""
        return dict(json.loads((ROOT / self._outputs).read_text())["s3_syncer"]["value"])

    def alarms(self) -> list[str]:
        """Return the alarms of the module that are in the state ALARM, such as `retries`."""
        names = {arn.rpartition(":")[2]: name for name, arn in self.outputs()["alarm_arns"].items()}
        found = self.cloud.client("cloudwatch").describe_alarms(AlarmNames=list(names), StateValue="ALARM")
        return sorted(names[alarm["AlarmName"]] for alarm in found["MetricAlarms"])

    def show_alarms(self, *, ended: Collection[str] = ()) -> list[str]:
        """Print the alarms that are on, and return them. Those that must have ended are unexpected."""
        on = self.alarms()
        console.print(f"\n# Alarms in the state ALARM: {', '.join(on) or 'none'}.", markup=False, style="bold cyan")
        self.unexpected += [f"the alarm {name} has not ended" for name in ended if name in on]
        return on

    def expect_alarms(self, names: Collection[str], since: float) -> None:
        """Wait until the alarms are on, and print all that are. One that is late is unexpected."""
        while not {*names} <= {*self.alarms()} and time.monotonic() < since + ALARM_S:
            time.sleep(1)
        on = self.show_alarms()
        for name in names:
            if name in on:
                console.print(f"The alarm {name} went off within {time.monotonic() - since:.0f} s.", markup=False)
            else:
                self.unexpected.append(f"the alarm {name} is not on after {ALARM_S} s")

    def depth(self, url: str) -> int:
        """Return the number of messages of a queue."""
        return queue_depth(self.cloud, url)

    def retries(self) -> int:
        """Return the number of failures in the log that are tried again."""
        return log_actions(self.cloud)["retry"]

    def target(self) -> S3Client:
        """Return a client of the target that does not use the proxy."""
        return replace(self.cloud.target, endpoint=f"http://{self.proxy.upstream}").s3()

    def differences(self) -> list[str]:
        """Return the differences between both buckets, found without s3-syncer."""
        source = verify.read_bucket(self._source, self.cloud.source_bucket)
        target = verify.read_bucket(self.target(), self.cloud.target.bucket)
        return [str(each) for each in verify.differences(source, target)]


def run(directory: Path, options: Options) -> bool:
    """Run the incident on its servers. Return True if it ended equal, and each command as expected."""
    with _cloud(directory) as incident, QueueSamples(incident.cloud) as samples:
        deleted = [f"old/{number:05}" for number in range(options.deletions)]
        console.print(f"Writing {len(deleted):,} objects, and copying them as a migration does ...")
        with notifications_off(incident.cloud):
            incident.put(*deleted)
        incident.operator("migrate")
        incident.operator("status")
        _target_down(incident, options.outage_s)
        _key_revoked(incident)
        _object_too_large(incident)
        _mass_deletion(incident, deleted)
        _lost_object(incident)
        if options.picture is not None:  # ten days in a graph would hide all else
            draw(incident.cloud, incident.outputs()["dashboard_body"], samples.points, options.picture)
        _long_pause(incident)
        _late_event(incident)
        on = incident.show_alarms(ended=("dead-letters", "held-deletions", *EXPIRY_ALARMS))
        incident.operator("status", codes=[1 if on else 0])
        differences = incident.differences()
    for line in (*incident.unexpected, *differences[:20]):
        console.print(line, markup=False)
    ended_equal = not differences and not incident.unexpected
    console.print("\nBoth buckets are equal, byte by byte." if ended_equal else "\nNOT equal, or a command failed.")
    return ended_equal


def _target_down(incident: Incident, seconds: float) -> None:
    _tell(f"The target refuses connections for {seconds:.0f} s, while 20 objects change")
    incident.proxy.refuse_connections()
    began = time.monotonic()
    incident.put(*(f"outage/{number}" for number in range(20)))
    _wait(incident.retries)
    incident.operator("status", codes=[1])
    incident.operator("explain", "outage/7", codes=[1, 3])
    incident.operator("doctor", codes=[1, 3])
    time.sleep(max(0.0, began + seconds - time.monotonic()))
    if seconds < ALARMING_OUTAGE_S:
        incident.show_alarms()
    else:
        incident.expect_alarms(["retries"], began)
    _tell("The target is back. The messages return by themselves")
    incident.proxy.recover()
    incident.operator("drain", "--settled", "10s")


def _key_revoked(incident: Incident) -> None:
    _tell("The access key of the target is revoked, while 5 objects change")
    before = incident.retries()
    incident.faults.revoked_key_id = incident.cloud.target.access_key_id
    incident.put(*(f"revoked/{number}" for number in range(5)))
    _wait(lambda: incident.retries() > before)
    incident.show_alarms()
    incident.operator("status", codes=[1])
    incident.operator("doctor", codes=[1, 3])
    _tell("Another access key is in the secret now")
    incident.rotate_key()
    incident.operator("drain", "--settled", "10s")


def _object_too_large(incident: Incident) -> None:
    _tell(f"The target refuses {TOO_LARGE}")
    incident.faults.refused_key = TOO_LARGE
    incident.put(TOO_LARGE, "reports/small.bin")
    _wait(lambda: incident.depth(incident.cloud.dead_letter_queue_url))
    incident.expect_alarms(["dead-letters"], time.monotonic())
    incident.operator("status", codes=[1])
    incident.operator("dead-letters", "list", codes=[1])
    incident.operator("explain", TOO_LARGE, codes=[1])
    _tell("The operator of the target has raised its limit")
    incident.faults.refused_key = ""
    incident.operator("dead-letters", "redrive", "--reason", "EntityTooLarge")
    incident.operator("drain", "--settled", "10s")


def _mass_deletion(incident: Incident, keys: list[str]) -> None:
    cloud = incident.cloud
    _tell(f"A script deletes {len(keys):,} objects of the source; one of them is written again")
    incident.delete(keys)
    _wait_until_empty(incident, cloud.queue_url, cloud.deletions_queue_url)
    incident.expect_alarms(["held-deletions"], time.monotonic())
    incident.put(keys[0])
    incident.operator("status", codes=[1])
    incident.operator("deletions", "status", codes=[1])
    incident.operator("deletions", "list", "--limit", "3", codes=[1])
    _tell("The objects are meant to go. A worker holds deletions for another minute, so these are released too")
    while incident.depth(cloud.held_deletions_queue_url):
        incident.operator("deletions", "release", "--yes")
        _wait_until_empty(incident, cloud.deletions_queue_url, cloud.bulk_queue_url)
    incident.operator("drain", "--settled", "10s")


def _lost_object(incident: Incident) -> None:
    _tell("The target loses an object, and nothing sends an event")
    incident.target().delete_object(Bucket=incident.cloud.target.bucket, Key="outage/7")
    incident.operator("check", codes=[1])
    incident.operator("sweep")
    incident.operator("check")


def _long_pause(incident: Incident) -> None:
    """Let a change, a range, a deletion and a held deletion wait for ten days."""
    _tell("The module is paused for ten days, while objects change")
    with notifications_off(incident.cloud):
        incident.put("paused/deleted", "paused/held")
    incident.operator("sweep")
    incident.apply(paused=True)
    incident.put("paused/changed")
    with notifications_off(incident.cloud):
        incident.put("paused/lost")
        incident.delete(["paused/deleted", "paused/held"])
    incident.send_work("bulk_queue_url", RangeWork())
    incident.send_work("deletions_queue_url", DeletionWork(("paused/deleted",)))
    incident.send_work("held_deletions_queue_url", DeletionWork(("paused/held",)))
    for queue in EXPIRY_ALARMS.values():
        incident.make_messages_older(queue, OLD_S)
    incident.expect_alarms(EXPIRY_ALARMS, time.monotonic())
    incident.operator("status", codes=[1])
    incident.operator("deletions", "status", codes=[1])
    _tell("The pause ends. The held deletion is released")
    incident.apply(paused=False)
    incident.operator("deletions", "release", "--yes")
    incident.operator("drain", "--settled", "10s")


def _late_event(incident: Incident) -> None:
    late_s = incident.outputs()["max_lag_s"] + 60
    _tell(f"The event of a change arrives {late_s:,.0f} s after it")
    with notifications_off(incident.cloud):
        incident.put("late/0")
    incident.send_event("late/0", datetime.now(UTC) - timedelta(seconds=late_s))
    incident.expect_alarms(["lag"], time.monotonic())


def _tell(text: str) -> None:
    console.print(f"\n# {text}.", markup=False, style="bold cyan")


def _wait(condition: Callable[[], object]) -> None:
    """Wait until the condition holds. Raises StackError if it does not in time."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise stack.StackError("the local cloud did not show in time what the incident waits for")
        time.sleep(1)


def _wait_until_empty(incident: Incident, *queues: str) -> None:
    """Wait until the queues are empty. Raises StackError if their depths stay equal for too long."""
    depths, changed_at = None, time.monotonic()
    while any(now := [incident.depth(queue) for queue in queues]):
        if now != depths:
            depths, changed_at = now, time.monotonic()
        elif time.monotonic() - changed_at > PATIENCE_S:
            raise stack.StackError(f"no worker takes the messages of {' and '.join(queues)}: {depths}")
        time.sleep(1)


@contextmanager
def _cloud(directory: Path) -> Iterator[Incident]:
    """Run both stores, with a proxy in front of the target, and apply the module between them."""
    console.print("Starting a local cloud with a proxy in front of the target, and applying the module ...")
    with (
        servers.running(servers.ministack(region=stack.REGION), directory) as aws,
        servers.running(servers.moto(), directory) as store,
    ):
        faults = StoreFaults()
        proxy = Proxy("target", store.endpoint, faults, Tally(), directory / "logs" / "target-proxy.log")
        try:
            target = replace(stack.make_target(store), endpoint=proxy.endpoint)
            yield Incident(stack.apply(directory, aws.endpoint, target, None), proxy, faults, directory)
        finally:
            proxy.close()
            stack.down(directory)
