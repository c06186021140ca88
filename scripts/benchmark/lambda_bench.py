"""Measure the time and CPU of events in the Lambda function and in the service, and of their start.

Runs `lambda_bench_child.py` in a process, once for each round, or `event_trace.py`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import boto3

from benchmark import stores
from benchmark.cases import HERE, Distance
from benchmark.clients import ACCESS_KEY_ID, BUCKET, REGION, SECRET_ACCESS_KEY, environment, source_account
from benchmark.measure import Failed
from devtools import signals
from devtools.bootstrap import ROOT
from localcloud import servers
from localcloud.servers import Server
from localcloud.stack import PACKAGE

#: Messages at the same time: the batch of the function (the module's default), and the concurrency of the service
#: (the default of `serve`).
CONCURRENCY = {"function": 10, "service": 32}

SECRET = "target"  # noqa: S105 - its name
PATIENCE_S = 5.0

#: The kinds of event in words, in the order in which `lambda_bench_child.py` makes them.
CHANGES = {"new": "new object", "again": "same event again", "overwritten": "overwritten", "deleted": "deleted"}

COLUMNS = ("event, small object", "CPU ms", "ms", "events/s")


@dataclass(frozen=True)
class Setting:
    """The driver of the events, and the stores that it works between."""

    about: str
    tags: bool
    #: `function` or `service`: see `lambda_bench_child.py`.
    driver: str = "function"


SETTINGS = {
    "function": Setting("between two rclone servers, tags off", tags=False),
    "function-tags": Setting("between two moto servers, tags on", tags=True),
    "service": Setting("between two rclone servers, tags off", tags=False, driver="service"),
    "service-tags": Setting("between two moto servers, tags on", tags=True, driver="service"),
}


def measure(setting: Setting, events: int, rounds: int) -> list[Mapping[str, Any]]:
    """Return the figures of each round, as `lambda_bench_child.py` prints them. Raises Failed."""
    figures = []
    arguments = (str(events), setting.driver, str(CONCURRENCY[setting.driver]))
    with _environment(setting, HERE) as (variables, folder):
        code = _add_code(variables, folder, setting)
        for _ in range(rounds):
            figures.append(_run("benchmark.lambda_bench_child", arguments, variables, folder))
            if not figures[-1]["from"].startswith(str(code)):
                raise Failed(f"measured {figures[-1]['from']}, which is not in {code}")
    return figures


def trace(distance: Distance) -> Mapping[str, Mapping[str, Any]]:
    """Return one event of each kind with its requests: the median by time of several. Raises Failed."""
    setting = SETTINGS["function-tags"]
    with _environment(setting, distance) as (variables, folder):
        _add_code(variables, folder, setting)
        traced = _run("benchmark.event_trace", (), variables, folder)
    return {
        name: sorted(events, key=lambda event: event["wall_ms"])[len(events) // 2] for name, events in traced.items()
    }


def unpack_function(folder: Path) -> None:
    """Unpack the package of the function into a folder for PYTHONPATH, and hide awscrt.

    The runtime of Lambda has boto3 and its dependencies, but no awscrt. botocore imports awscrt where it is installed.
    """
    zipfile.ZipFile(PACKAGE).extractall(folder)
    (folder / "awscrt.py").write_text("raise ModuleNotFoundError(__name__)\n")


def _add_code(variables: dict[str, str], folder: Path, setting: Setting) -> Path:
    """Let Python find the measured code first, and return its folder.

    The code is the package of the function, or this checkout.
    """
    code = ROOT / "lambda"
    if setting.driver == "function":
        code = folder / "package"
        unpack_function(code)
    variables["PYTHONPATH"] = f"{code}:{ROOT / 'scripts'}"
    return code


def _run(module: str, arguments: Sequence[str], variables: Mapping[str, str], folder: Path) -> Mapping[str, Any]:
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env=dict(variables),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    _, text = signals.communicate(process, PATIENCE_S)
    if process.returncode != 0:
        raise Failed(text[-2000:])
    figures: Mapping[str, Any] = json.loads(text)
    return figures


@contextmanager
def _environment(setting: Setting, distance: Distance) -> Iterator[tuple[dict[str, str], Path]]:
    """Yield the environment that the Terraform module and Lambda set for the function, and a folder."""
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(TemporaryDirectory(prefix="bench-", dir=ROOT / ".local")))
        aws = cleanup.enter_context(servers.running(servers.moto(), folder / "aws"))
        empty = stores.empty_like_aws if setting.tags else stores.empty
        source, target = (cleanup.enter_context(empty(folder / side)) for side in ("source", "target"))
        _create_secret(aws)
        source = cleanup.enter_context(stores.far(source, distance.source_ms, folder / "source"))
        target = cleanup.enter_context(stores.far(target, distance.target_ms, folder / "target"))
        variables = environment(
            folder,
            {
                **source_account(),
                "AWS_ENDPOINT_URL": aws.endpoint,
                "AWS_ENDPOINT_URL_S3": source.endpoint,
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
                "SOURCE_BUCKET": BUCKET,
                "TARGET_ENDPOINT": target.endpoint,
                "TARGET_REGION": REGION,
                "TARGET_BUCKET": BUCKET,
                "TARGET_SECRET_ARN": SECRET,
                "QUEUE_URL": f"{aws.endpoint}/queue",
                "DEAD_LETTER_QUEUE_URL": f"{aws.endpoint}/dead",
                "SYNC_TAGS": str(setting.tags).lower(),
            },
        )
        yield variables, folder


def _create_secret(aws: Server) -> None:
    client = boto3.client(
        "secretsmanager",
        endpoint_url=aws.endpoint,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY_ID,
        aws_secret_access_key=SECRET_ACCESS_KEY,
    )
    keys = {"access_key_id": ACCESS_KEY_ID, "secret_access_key": SECRET_ACCESS_KEY}
    client.create_secret(Name=SECRET, SecretString=json.dumps(keys))


def table(rounds: Sequence[Mapping[str, Any]], events: int) -> list[tuple[str, ...]]:
    """Return the medians over the rounds, one row for each kind of event."""
    lines: list[tuple[str, ...]] = []
    for name, words in CHANGES.items():
        cpu, wall = (median(run[name][what] for run in rounds) / events for what in ("cpu_s", "wall_s"))
        lines.append((words, f"{cpu * 1000:.2f}", f"{wall * 1000:.2f}", f"{1 / wall:,.0f}"))
    for name, words in (("import", "cold import"), ("first", "first event of a process")):
        cpu, wall = (median(run[name][what] for run in rounds) for what in ("cpu_s", "wall_s"))
        lines.append((words, f"{cpu * 1000:.0f}", f"{wall * 1000:.0f}", ""))
    return lines
