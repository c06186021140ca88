"""Measure a comparison of a huge bucket by its S3 Inventory: time, CPU and memory.

    PYTHONPATH=scripts python -m benchmark.inventory COUNT

Every key is equal on both sides. The inventory has files in CSV with a million keys each, in order.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmark import measure
from benchmark.clients import BUCKET, REGION, environment, source_account
from benchmark.fake_store import MODIFIED
from benchmark.inventory_store import REPORTS, SIZE, etag, key
from devtools.bootstrap import ROOT
from localcloud import servers
from localcloud.servers import OF_SCRIPTS, Program

KEYS_OF_A_FILE = 1_000_000

MANIFEST = "inventory/2026-01-02T01-00Z/manifest.json"


def write(count: int, folder: Path) -> None:
    """Write an inventory of `count` keys."""
    text = json.dumps(
        {
            "sourceBucket": BUCKET,
            "destinationBucket": f"arn:aws:s3:::{REPORTS}",
            "version": "2016-11-30",
            "creationTimestamp": "1767315600000",
            "fileFormat": "CSV",
            "fileSchema": "Bucket, Key, Size, LastModifiedDate, ETag",
            "files": list(_data_files(count, folder)),
        }
    ).encode()
    manifest = folder / MANIFEST
    manifest.parent.mkdir(parents=True)
    manifest.write_bytes(text)
    manifest.with_suffix(".checksum").write_text(hashlib.md5(text, usedforsecurity=False).hexdigest())


def _data_files(count: int, folder: Path) -> Iterator[dict[str, Any]]:
    (folder / "data").mkdir()
    for first in range(0, count, KEYS_OF_A_FILE):
        numbers = range(first, min(first + KEYS_OF_A_FILE, count))
        rows = (f'"{BUCKET}","{key(number)}","{SIZE}","{MODIFIED}","{etag(number)}"\n' for number in numbers)
        data = gzip.compress("".join(rows).encode(), compresslevel=1)
        name = f"data/{first}.csv.gz"
        (folder / name).write_bytes(data)
        yield {"key": name, "size": len(data), "MD5checksum": hashlib.md5(data, usedforsecurity=False).hexdigest()}


def store(count: int, folder: Path) -> Program:
    return Program(
        name="inventory-store",
        command=lambda port: [sys.executable, "-m", "benchmark.inventory_store", str(port), str(count), str(folder)],
        ready="/",
        environment=lambda _port: OF_SCRIPTS,
    )


def main(count: int) -> None:
    with TemporaryDirectory(prefix="bench-", dir=ROOT / ".local") as temporary:
        folder = Path(temporary)
        write(count, folder)
        with servers.running(store(count, folder), folder / "store") as server:
            usage = measure.run(
                [
                    *(
                        str(Path(sys.executable).with_name("s3-syncer")),
                        "check",
                        "--no-tags",
                        "--source-bucket",
                        BUCKET,
                    ),
                    *("--inventory", f"s3://{REPORTS}/{MANIFEST}", "--target-bucket", "mirror"),
                    *("--target-region", REGION, "--target-endpoint", server.endpoint),
                ],
                environment(
                    folder,
                    {
                        **source_account(),
                        "AWS_ENDPOINT_URL_S3": server.endpoint,
                        "TARGET_ACCESS_KEY_ID": "id",
                        "TARGET_SECRET_ACCESS_KEY": "key",
                    },
                ),
                folder / "log",
                says=f"equal: {count:,} keys compared",
                servers={server.pid: "source"},
            )
    print(
        f"{count:,} keys: {usage.wall_s:.1f} s, {count / usage.wall_s:,.0f} keys/s, {usage.cpu_s:.1f} s of CPU, "
        f"store {usage.servers_cpu_s:.1f} s of CPU, peak {usage.peak_bytes / 2**20:.0f} MiB"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
