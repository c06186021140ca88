"""What events cost the function and the service: each kind of them, and the start, in one process."""

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
from benchmark.clients import ACCESS_KEY_ID, BUCKET, REGION, SECRET_ACCESS_KEY, environment, source_account
from benchmark.measure import Failed
from devtools import signals
from devtools.bootstrap import ROOT
from localcloud import servers
from localcloud.servers import Server
from localcloud.stack import PACKAGE

#: Messages at once: in a batch of the function, the module's default, and in the lanes of the service, the command's.
AT_ONCE = {"function": 10, "service": 32}

SECRET = "target"  # noqa: S105 - its name
PATIENCE_S = 5.0

#: In the order in which `handler.py` makes them, in words.
CHANGES = {"new": "new object", "again": "the same event again", "overwritten": "overwritten", "deleted": "deleted"}

COLUMNS = ("event, small object", "CPU ms", "ms", "events/s")


@dataclass(frozen=True)
class Setting:
    """Between which stores the events are done."""

    about: str
    tags: bool
    #: What does them: see `handler.py`.
    driver: str = "function"


SETTINGS = {
    "function": Setting("between two rclone servers, tags off", tags=False),
    "function-tags": Setting("between two moto servers, tags on", tags=True),
    "service": Setting("between two rclone servers, tags off", tags=False, driver="service"),
    "service-tags": Setting("between two moto servers, tags on", tags=True, driver="service"),
}


def measure(setting: Setting, events: int, rounds: int) -> list[Mapping[str, Any]]:
    """What each round's process said: see `handler.py`. Raises Failed."""
    said = []
    with _environment(setting) as (variables, folder):
        code = ROOT / "lambda"
        if setting.driver == "function":
            code = folder / "package"
            zipfile.ZipFile(PACKAGE).extractall(code)
        variables["PYTHONPATH"] = f"{code}:{ROOT / 'scripts'}"
        for _ in range(rounds):
            said.append(_run(variables, folder, events, setting.driver))
            if not said[-1]["from"].startswith(str(code)):
                raise Failed(f"{said[-1]['from']} was measured, not what is in {code}")
    return said


def _run(variables: Mapping[str, str], folder: Path, events: int, driver: str) -> Mapping[str, Any]:
    command = [sys.executable, "-m", "benchmark.handler", str(events), driver, str(AT_ONCE[driver])]
    process = subprocess.Popen(
        command,
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
    said: Mapping[str, Any] = json.loads(text)
    return said


@contextmanager
def _environment(setting: Setting) -> Iterator[tuple[dict[str, str], Path]]:
    """The function's own, as the Terraform module and Lambda would set it, and a folder."""
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(TemporaryDirectory(prefix="bench-", dir=ROOT / ".local")))
        aws = cleanup.enter_context(servers.running(servers.moto(), folder / "aws"))
        if setting.tags:
            other = cleanup.enter_context(servers.running(servers.moto(), folder / "other"))
            source, target = aws, other
            for server in (source, target):
                stores.client(server).create_bucket(Bucket=BUCKET)
        else:
            source, target = (cleanup.enter_context(stores.empty(folder / side)) for side in ("source", "target"))
        _keep_secret(aws)
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


def _keep_secret(aws: Server) -> None:
    client = boto3.client(
        "secretsmanager",
        endpoint_url=aws.endpoint,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY_ID,
        aws_secret_access_key=SECRET_ACCESS_KEY,
    )
    keys = {"access_key_id": ACCESS_KEY_ID, "secret_access_key": SECRET_ACCESS_KEY}
    client.create_secret(Name=SECRET, SecretString=json.dumps(keys))


def table(said: Sequence[Mapping[str, Any]], events: int) -> list[tuple[str, ...]]:
    """Medians over the rounds, a line for each kind of event."""
    lines: list[tuple[str, ...]] = []
    for name, words in CHANGES.items():
        cpu, wall = (median(run[name][what] for run in said) / events for what in ("cpu_s", "wall_s"))
        lines.append((words, f"{cpu * 1000:.2f}", f"{wall * 1000:.2f}", f"{1 / wall:,.0f}"))
    for name, words in (("import", "the cold import"), ("first", "the first event of a process")):
        cpu, wall = (median(run[name][what] for run in said) for what in ("cpu_s", "wall_s"))
        lines.append((words, f"{cpu * 1000:.0f}", f"{wall * 1000:.0f}", ""))
    return lines
