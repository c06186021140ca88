"""The commands of each client: s3-syncer, other S3 clients, and a baseline of plain requests."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from benchmark.baseline_plan import Plan
from benchmark.cases import Work
from devtools.bootstrap import BENCH, ROOT

REGION = "us-east-1"
BUCKET = "bucket"

#: Credentials of servers that only this machine can reach, and only during the benchmark.
ACCESS_KEY_ID, SECRET_ACCESS_KEY = "bench-access-key", "bench-secret-key"

#: Requests at the same time, for the baseline.
CONCURRENCY = 64

#: Objects at the same time, for rclone. No single setting is its best one in every case.
TRANSFERS = (4, 16, 64, 256)


@dataclass(frozen=True)
class Route:
    """The work of one run: both endpoints, the objects, and a folder for copies through the disk."""

    work: Work
    source: str  # endpoint
    target: str
    count: int
    objects: Path  # file, see `objects.read`
    folder: Path  # empty when a run begins
    authority: str = ""  # file with the CA certificate of both endpoints; empty if they use HTTP
    tags: bool = False  # s3-syncer copies them; rclone never does
    extra: tuple[str, ...] = ()  # more arguments for s3-syncer


@dataclass(frozen=True)
class Step:
    """A command. Its output must contain `says`, which proves that the command compared every object."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    says: str = ""


@dataclass(frozen=True)
class Client:
    name: str
    about: str
    steps: Callable[[Route], Iterator[Step]]


def s3_syncer(route: Route) -> Iterator[Step]:
    yield _s3_syncer("migrate", route, source=route.source, target=route.target)


def restore(route: Route) -> Iterator[Step]:
    """Yield the same copy as a restore: the store to read is the target of the options."""
    yield _s3_syncer("restore", route, source=route.target, target=route.source)


def _s3_syncer(command: str, route: Route, *, source: str, target: str) -> Step:
    return Step(
        [
            *(str(Path(sys.executable).with_name("s3-syncer")), command, "--tags" if route.tags else "--no-tags"),
            *("--source-bucket", BUCKET, "--target-bucket", BUCKET, "--target-region", REGION),
            *("--target-endpoint", target, *route.extra),
        ],
        {
            **source_account(),
            "AWS_ENDPOINT_URL_S3": source,
            "TARGET_ACCESS_KEY_ID": ACCESS_KEY_ID,
            "TARGET_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
            **trust(route),
        },
        says=f"equal: {route.count:,} key{'s' if route.count != 1 else ''} compared",
    )


def rclone(*options: str) -> Callable[[Route], Iterator[Step]]:
    def steps(route: Route) -> Iterator[Step]:
        tool = str(Path(sys.executable).with_name("rclone"))
        common = ["--config", "", "--stats", "1h", "--stats-log-level", "NOTICE"]
        common += ["--ca-cert", route.authority] if route.authority else []
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
        yield Step([tool, "sync", f"source:{BUCKET}", f"target:{BUCKET}", *options, *common], environment, says)

    return steps


def aws(route: Route) -> Iterator[Step]:
    tool = str(BENCH.path / "bin" / "aws")
    environment = {
        **source_account(),
        # Many other stores reject the checksums that the AWS CLI adds by default.
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
        # Without this setting the AWS CLI sends "Expect: 100-continue" for an empty file. rclone's server sends the
        # final response at once, and the AWS CLI then fails to read it.
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


def baseline(route: Route) -> Iterator[Step]:
    if route.work is Work.COPY:
        yield baseline_step("copy", route)
    else:
        yield baseline_step("list", route, says=f"{2 * route.count} keys")


def baseline_step(mode: str, route: Route, *, says: str = "") -> Step:
    """Return the command that runs `baseline.py` in the environment that has awscrt."""
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
        tags=route.tags,
    )
    file = route.objects.with_suffix(".plan.json")
    file.write_text(json.dumps(asdict(plan)))
    command = [str(BENCH.python), "-m", "benchmark.baseline", mode, str(file)]
    return Step(command, {"PYTHONPATH": str(ROOT / "scripts")}, says)


def _tuned(transfers: int, *more: str) -> tuple[str, ...]:
    return ("--transfers", str(transfers), "--checkers", str(transfers), "--fast-list", "--checksum", *more)


def _rclone(name: str, *options: str) -> Client:
    return Client(name, f"`{' '.join(('rclone sync', *options))}`", rclone(*options))


CLIENTS = {
    client.name: client
    for client in (
        Client("s3-syncer", "`s3-syncer migrate` of this checkout", s3_syncer),
        Client("restore", "`s3-syncer restore --no-tags` of this checkout", restore),
        *(_rclone(f"rclone-{transfers}", *_tuned(transfers)) for transfers in TRANSFERS),
        _rclone("rclone-parts", *_tuned(8, "--s3-upload-concurrency", "16", "--multi-thread-streams", "16")),
        _rclone("rclone-default"),
        Client("aws", "`aws s3 sync` twice, through a folder", aws),
        Client("s5cmd", "`s5cmd cp` twice, through a folder", s5cmd),
        Client("baseline", "the same requests through awscrt, without any logic", baseline),
    )
}


def environment(folder: Path, more: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a client.

    Only PATH comes from the caller, so no other setting affects the figures.
    """
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
