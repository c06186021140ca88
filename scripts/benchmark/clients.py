"""The commands of each client for a case: ours, its peers, and the floor that none can go below."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from benchmark.cases import Work
from benchmark.crt_plan import Plan
from devtools.bootstrap import BENCH, ROOT

REGION = "us-east-1"
BUCKET = "bucket"

#: Keys of a server that only this machine can reach, for as long as it is measured.
ACCESS_KEY_ID, SECRET_ACCESS_KEY = "bench-access-key", "bench-secret-key"

#: What rclone is told to keep going, and so what the floor keeps going.
CONCURRENCY = 64


@dataclass(frozen=True)
class Route:
    """What to do, from where to where, and a folder for the way."""

    work: Work
    source: str  # endpoint
    target: str
    count: int
    objects: Path  # file, see `objects.read`
    folder: Path  # empty when a run begins
    authority: str = ""  # file with whoever vouches for both; empty where they speak HTTP
    extra: tuple[str, ...] = ()  # more arguments for ours


@dataclass(frozen=True)
class Step:
    """A command. What it prints has to hold `says`: proof that it has looked at everything."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    says: str = ""


@dataclass(frozen=True)
class Client:
    name: str
    about: str
    steps: Callable[[Route], Iterator[Step]]


def ours(route: Route) -> Iterator[Step]:
    yield Step(
        [
            *(str(Path(sys.executable).with_name("s3-syncer")), "migrate", "--no-tags"),
            *("--source-bucket", BUCKET, "--target-bucket", BUCKET, "--target-region", REGION),
            *("--target-endpoint", route.target, *route.extra),
        ],
        {
            **source_account(),
            "AWS_ENDPOINT_URL_S3": route.source,
            "TARGET_ACCESS_KEY_ID": ACCESS_KEY_ID,
            "TARGET_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
            **trust(route),
        },
        says=f"equal: {route.count:,} keys looked at",
    )


def rclone(*options: str) -> Callable[[Route], Iterator[Step]]:
    def steps(route: Route) -> Iterator[Step]:
        tool = str(Path(sys.executable).with_name("rclone"))
        told = ["--config", "", "--stats", "1h", "--stats-log-level", "NOTICE"]
        told += ["--ca-cert", route.authority] if route.authority else []
        environment = {}
        for side, endpoint in (("SOURCE", route.source), ("TARGET", route.target)):
            for name, value in {
                "TYPE": "s3",
                "PROVIDER": "Rclone",
                "ENDPOINT": endpoint,
                "REGION": REGION,
                "ACCESS_KEY_ID": ACCESS_KEY_ID,
                "SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
            }.items():
                environment[f"RCLONE_CONFIG_{side}_{name}"] = value
        says = f"{route.count} / {route.count}, 100%"
        yield Step([tool, "sync", f"source:{BUCKET}", f"target:{BUCKET}", *options, *told], environment, says)

    return steps


def aws(route: Route) -> Iterator[Step]:
    tool = str(BENCH.path / "bin" / "aws")
    environment = {
        **source_account(),
        # The checksums that it adds by default are refused by many other stores.
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        # Or it asks before it sends an empty file, gets the final answer at once, and cannot read that any more.
        "BOTO_EXPERIMENTAL__NO_EMPTY_CONTINUE": "true",
        **trust(route),
    }
    there, folder = f"s3://{BUCKET}", str(route.folder)
    for endpoint, way in ((route.source, (there, folder)), (route.target, (folder, there))):
        yield Step([tool, "--endpoint-url", endpoint, "s3", "sync", *way, "--only-show-errors"], environment)


def s5cmd(route: Route) -> Iterator[Step]:
    tool = str(BENCH.path / "bin" / "s5cmd")
    there, folder = f"s3://{BUCKET}/", f"{route.folder}/"
    for endpoint, way in ((route.source, (f"{there}*", folder)), (route.target, (folder, there))):
        yield Step(
            [tool, "--endpoint-url", endpoint, "--log", "error", "cp", *way], {**source_account(), **trust(route)}
        )


def floor(route: Route) -> Iterator[Step]:
    if route.work is Work.COPY:
        yield crt("copy", route)
    else:
        yield crt("list", route, says=f"{2 * route.count} keys")


def crt(mode: str, route: Route, *, says: str = "") -> Step:
    """A run of `crt.py`, in the environment that has awscrt."""
    plan = Plan(
        source=urlsplit(route.source).netloc,
        target=urlsplit(route.target).netloc,
        authority=route.authority,
        bucket=BUCKET,
        access_key_id=ACCESS_KEY_ID,
        secret_access_key=SECRET_ACCESS_KEY,
        region=REGION,
        concurrency=CONCURRENCY,
        objects=str(route.objects),
    )
    file = route.objects.with_suffix(".plan.json")
    file.write_text(json.dumps(asdict(plan)))
    command = [str(BENCH.python), "-m", "benchmark.crt", mode, str(file)]
    return Step(command, {"PYTHONPATH": str(ROOT / "scripts")}, says)


_TUNED = ("--transfers", str(CONCURRENCY), "--checkers", str(CONCURRENCY), "--fast-list", "--checksum")

CLIENTS = {
    client.name: client
    for client in (
        Client("s3-syncer", "`s3-syncer migrate --no-tags` of this checkout", ours),
        Client("rclone", f"`rclone sync {' '.join(_TUNED)}`", rclone(*_TUNED)),
        Client("rclone-default", "`rclone sync`", rclone()),
        Client("aws", "`aws s3 sync` twice, through a folder", aws),
        Client("s5cmd", "`s5cmd cp` twice, through a folder", s5cmd),
        Client("floor", "the requests through awscrt, and no logic at all", floor),
    )
}


def environment(folder: Path, more: Mapping[str, str]) -> dict[str, str]:
    """Nothing of the caller's but where programs are: no setting of theirs may make a difference."""
    return {
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "AWS_EC2_METADATA_DISABLED": "true",
        **more,
    }


def trust(route: Route) -> dict[str, str]:
    return {"AWS_CA_BUNDLE": route.authority} if route.authority else {}


def source_account() -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
    }
