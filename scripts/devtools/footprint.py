"""`scripts/footprint`: measure cold import and memory of the function; count or trace its requests.

Each measurement starts a new process that imports the unpacked zip, as Lambda does. The process compiles the package,
because the zip has no bytecode. The bytecode of boto3 exists already. There is no awscrt, as in Lambda.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import boto3
import click
from moto import mock_aws
from rich import box
from rich.console import Console
from rich.table import Table

from benchmark import lambda_bench
from benchmark.cases import Distance
from localcloud.stack import PACKAGE
from s3_syncer.core.deadline import Deadline
from s3_syncer.stores.bucket import Bucket
from s3_syncer.stores.clients import pass_raw_properties
from s3_syncer.stores.credentials import FixedClient
from s3_syncer.sync.bucket_pair import BucketPair
from s3_syncer.sync.converge import converge
from s3_syncer.sync.transfer import Transfer

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MIB = 1024 * 1024
COLUMNS = 150

#: The program of a process that only imports boto3, for comparison: most of a cold import is that of boto3.
_BOTO3_PROBE = """
import json, time

began = time.perf_counter(), time.process_time()
import boto3
print(json.dumps({"boto3_s": time.perf_counter() - began[0], "boto3_cpu_s": time.process_time() - began[1]}))
"""

#: The program of the measured process: it imports the handler, and then builds the clients of the first call.
_PROBE = """
import json, os, pathlib, subprocess, time

def resident_bytes():
    statm = pathlib.Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(os.getpid())])) * 1024

began, began_cpu = time.perf_counter(), time.process_time()
import s3_syncer.lambda_handler
imported, imported_cpu = time.perf_counter(), time.process_time()

from s3_syncer.stores.clients import source_client, target_client
from s3_syncer.settings import Credentials
target = target_client("https://store.invalid", "us-east-1", Credentials("id", "secret"), 20)
leases = source_client(20).lease(), target.lease()
built = time.perf_counter()

print(json.dumps({
    "from": s3_syncer.lambda_handler.__file__,
    "import_s": imported - began,
    "import_cpu_s": imported_cpu - began_cpu,
    "clients_s": built - imported,
    "resident": resident_bytes(),
}))
"""


@click.command()
@click.option("--runs", default=9, show_default=True, help="Number of new processes; the output shows medians.")
@click.option("--trace", metavar="SOURCE_MS,TARGET_MS", help="Trace single events at these round trips instead.")
def main(runs: int, trace: str | None) -> None:
    """Measure the function's package, and count the requests for each kind of change."""
    if trace is not None:
        click.echo(trace_of_events(*map(float, trace.split(","))))
        return
    with tempfile.TemporaryDirectory() as unpacked:
        lambda_bench.unpack_function(Path(unpacked))
        measured = [measure(Path(unpacked)) for _ in range(runs)]
    names = ("import_s", "import_cpu_s", "boto3_s", "boto3_cpu_s", "clients_s", "resident")
    middle = {name: median(run[name] for run in measured) for name in names}
    lines = {
        "package": f"{PACKAGE.stat().st_size / 1000:.0f} kB zip",
        "cold import": f"{middle['import_s'] * 1000:.0f} ms, CPU {middle['import_cpu_s'] * 1000:.0f} ms",
        "import of boto3 alone": f"{middle['boto3_s'] * 1000:.0f} ms, CPU {middle['boto3_cpu_s'] * 1000:.0f} ms",
        "building both S3 clients": f"{middle['clients_s'] * 1000:.0f} ms",
        "idle memory": f"{middle['resident'] / MIB:.0f} MiB",
    }
    for name, value in lines.items():
        click.echo(f"{name:>26}  {value}")
    click.echo(f"{'':>26}  median of {runs} processes, Python {sys.version.split()[0]}, boto3 {boto3.__version__}\n")
    Console(width=COLUMNS).print(requests_table())


def measure(unpacked: Path) -> dict[str, Any]:
    """Run a new process with the package and one with boto3; return their seconds and resident bytes."""
    environment = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ} | {
        "PYTHONPATH": str(unpacked),
        "PYTHONDONTWRITEBYTECODE": "1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "id",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }
    run: dict[str, Any] = {}
    for program in (_PROBE, _BOTO3_PROBE):
        process = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        run |= json.loads(process.stdout)
    if not run["from"].startswith(str(unpacked)):
        raise click.ClickException(f"measured {run['from']}, which is not in the package")
    return run


# -- the trace -----------------------------------------------------------------------------------------------------


def trace_of_events(source_ms: float, target_ms: float) -> str:
    """Return the requests of one event of each kind, with their times, as text."""
    lines = [f"Milliseconds; source {source_ms:g} and target {target_ms:g} ms away, open connections, tags on"]
    for name, event in lambda_bench.trace(Distance(source_ms, target_ms)).items():
        lines.append(f"\n{lambda_bench.CHANGES[name]}: {event['wall_ms']:.0f}")
        for request in event["requests"]:
            began, ended = request["began_ms"], request["ended_ms"]
            lines.append(f"{began:7.0f} to {ended:3.0f}  {request['side']:6}  {request['method']}")
    return "\n".join(lines)


# -- requests ------------------------------------------------------------------------------------------------------


class Bench:
    """A pair of buckets in this process that counts the requests by side and kind."""

    def __init__(self, source: S3Client, target: S3Client, *, tags: bool) -> None:
        self.client = source
        self.counts: dict[str, Counter[str]] = {"source": Counter(), "target": Counter()}
        sides = {}
        for name, client in (("source", source), ("target", target)):
            client.create_bucket(Bucket=name)
            self._count(name, client)
            # The target is not AWS: it is known to count tags because it has counted those of `earlier`.
            is_source = name == "source"
            sides[name] = Bucket(name, "", FixedClient(client), tags=tags, documents_tag_counts=is_source)
        pass_raw_properties(target)
        transfer = Transfer(sides["source"], sides["target"], memory=64 * MIB, threads=2)
        self._pair = BucketPair(sides["source"], sides["target"], transfer, capabilities=transfer.capabilities)
        # The first requests of a process cost more: see "The check of the target" and "The very key" in convergence.md.
        source.put_object(Bucket="source", Key="directory/earlier", Body=b"earlier", Tagging="a=1")
        self.requests("directory/earlier")
        source.delete_object(Bucket="source", Key="directory/earlier")
        self.requests("directory/earlier")

    def _count(self, side: str, client: S3Client) -> None:
        def count(model: Any, **_: Any) -> None:
            self.counts[side][model.name] += 1

        client.meta.events.register("before-call.s3", count)

    def requests(self, key: str) -> dict[str, Counter[str]]:
        """Converge the key, and return its requests."""
        self.counts = {"source": Counter(), "target": Counter()}
        converge(self._pair, key, Deadline(), is_event=True)
        return self.counts


@contextmanager
def bench(*, tags: bool) -> Iterator[Bench]:
    with mock_aws():
        session = boto3.Session("id", "secret", region_name="us-east-1")
        made = Bench(session.client("s3"), session.client("s3"), tags=tags)
        yield made


Change = Callable[["S3Client"], object]

RETAGGED = {"TagSet": [{"Key": "a", "Value": "2"}]}


def changes(tagging: str) -> tuple[tuple[str, Change], ...]:
    """Return the changes of an object with these tags. Each starts from the result of the previous one."""
    return (
        ("new object", lambda s3: s3.put_object(Bucket="source", Key="k", Body=b"one", Tagging=tagging)),
        ("same event again", lambda _: None),
        ("overwritten", lambda s3: s3.put_object(Bucket="source", Key="k", Body=b"two", Tagging=tagging)),
        ("tags changed", lambda s3: s3.put_object_tagging(Bucket="source", Key="k", Tagging=RETAGGED)),
        ("deleted", lambda s3: s3.delete_object(Bucket="source", Key="k")),
    )


def requests_table() -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="Requests to make one key equal, a small object")
    table.add_column("change")
    for kind in ("with a tag", "without tags", "sync.tags off"):
        table.add_column(f"source, {kind}")
        table.add_column("target")
    rows: dict[str, list[str]] = {name: [] for name, _ in changes("")}
    for tags, tagging in ((True, "a=1"), (True, ""), (False, "")):
        with bench(tags=tags) as made:
            for name, change in changes(tagging):
                change(made.client)
                counts = made.requests("k")
                rows[name] += [_words(counts["source"]), _words(counts["target"])]
    for name, cells in rows.items():
        table.add_row(name, *cells)
    return table


def _words(counts: Counter[str]) -> str:
    return "\n".join(f"{number} {name}" for name, number in counts.items())


if __name__ == "__main__":
    main(prog_name="scripts/footprint")
