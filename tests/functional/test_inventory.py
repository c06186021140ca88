"""`--inventory`: an S3 Inventory in the place of the source's listing."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus

import pytest
from tests.functional.command import run
from tests.functional.harness import SOURCE, TARGET, Rig

REPORTS = "the-reports"
MANIFEST = f"s3://{REPORTS}/inv/2026-11-28T01-00Z/manifest.json"
SCHEMA = "Bucket, Key, Size, LastModifiedDate, ETag, StorageClass"
VERSIONS = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, ETag"


@pytest.fixture
def inventoried(rig: Rig) -> Rig:
    rig.source.create_bucket(Bucket=REPORTS)
    return rig


def rows_of(rig: Rig) -> list[list[str]]:
    """Return a row for each object of the source, in another order than that of the keys."""
    found = rig.source.list_objects_v2(Bucket=SOURCE).get("Contents", [])
    return [
        [SOURCE, quote_plus(o["Key"]), str(o["Size"]), o["LastModified"].isoformat(), o["ETag"].strip('"'), "STANDARD"]
        for o in reversed(found)
    ]


def csv_file(rows: Iterable[Sequence[str]]) -> bytes:
    return gzip.compress("".join(",".join(f'"{value}"' for value in row) + "\n" for row in rows).encode())


def put(rig: Rig, *files: bytes, schema: str = SCHEMA, kind: str = "CSV", **changes: Any) -> None:
    """Store an inventory with these data files."""
    listed = []
    for number, data in enumerate(files):
        key = f"inv/data/{number}.csv.gz"
        rig.source.put_object(Bucket=REPORTS, Key=key, Body=data)
        listed.append({"key": key, "size": len(data), "MD5checksum": hashlib.md5(data).hexdigest()})
    manifest = {
        "sourceBucket": SOURCE,
        "destinationBucket": f"arn:aws:s3:::{REPORTS}",
        "version": "2016-11-30",
        "creationTimestamp": "1795827600000",
        "fileFormat": kind,
        "fileSchema": schema,
        "files": listed,
        **changes,
    }
    text = json.dumps(manifest).encode()
    folder = MANIFEST.removeprefix(f"s3://{REPORTS}/").removesuffix("manifest.json")
    rig.source.put_object(Bucket=REPORTS, Key=folder + "manifest.json", Body=text)
    rig.source.put_object(Bucket=REPORTS, Key=folder + "manifest.checksum", Body=hashlib.md5(text).hexdigest().encode())


def requests(rig: Rig) -> list[str]:
    """Return the requests to the source bucket."""
    return [r.path for r in rig.source_proxy.requests if not r.operation and REPORTS not in r.path]


def test_an_inventory_is_migrated_without_a_listing_of_the_source(inventoried: Rig) -> None:
    for key in ("a b", "ä+c", "f/%20", "d,e", 'quote"'):
        inventoried.put(key, key.encode())
    rows = [[value.replace('"', '""') for value in row] for row in rows_of(inventoried)]
    put(inventoried, csv_file(rows[:2]), csv_file(rows[2:]))
    inventoried.source_proxy.requests.clear()
    ended = run("migrate", "--inventory", MANIFEST)
    assert ended.code == 0
    assert ended.err.startswith("the inventory is of 2026-11-28 01:00 UTC, ")
    assert inventoried.target_keys() == inventoried.source_keys()
    inventoried.source_proxy.requests.clear()
    assert run("check", "--inventory", MANIFEST).code == 0
    assert requests(inventoried) == [], "the inventory shows everything about the source"


def test_what_was_written_and_deleted_since_the_inventory_is_looked_up(inventoried: Rig) -> None:
    for key in ("changed", "gone", "same"):
        inventoried.put(key, b"before")
    rows = rows_of(inventoried)
    inventoried.put("changed", b"afterwards")
    inventoried.source.delete_object(Bucket=SOURCE, Key="gone")
    put(inventoried, csv_file(rows))
    assert set(run("check", "--inventory", MANIFEST).named) == {"changed", "same"}
    assert run("migrate", "--inventory", MANIFEST).code == 0
    assert inventoried.target_keys() == ["changed", "same"]
    assert inventoried.target_body("changed") == b"afterwards"


def test_no_key_is_deleted_because_an_inventory_lacks_it(inventoried: Rig) -> None:
    inventoried.put("a")
    rows = rows_of(inventoried)
    inventoried.target.put_object(Bucket=TARGET, Key="extra")
    put(inventoried, csv_file(rows))
    assert run("migrate", "--inventory", MANIFEST).code == 0
    assert inventoried.target_keys() == ["a", "extra"]
    ended = run("migrate", "--inventory", MANIFEST, "--delete")
    assert (ended.code, "--inventory does not work with --delete" in ended.err) == (2, True)


def test_only_the_current_version_of_a_key_counts(inventoried: Rig) -> None:
    for key in ("kept", "deleted"):
        inventoried.put(key, b"body")
    etag = hashlib.md5(b"body").hexdigest()
    rows = [
        [SOURCE, "kept", "2", "true", "false", "4", etag],
        [SOURCE, "kept", "1", "false", "false", "9", "0" * 32],
        [SOURCE, "deleted", "2", "true", "true", "", ""],
        [SOURCE, "deleted", "1", "false", "false", "4", etag],
    ]
    put(inventoried, csv_file(rows), schema=VERSIONS)
    assert run("migrate", "--inventory", MANIFEST).code == 0
    assert inventoried.target_keys() == ["kept"]


def test_a_prefix_selects_its_keys(inventoried: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_PREFIX", "in/")
    inventoried.put("in/a")
    inventoried.put("out")
    put(inventoried, csv_file(rows_of(inventoried)))
    assert run("migrate", "--inventory", MANIFEST).code == 0
    assert inventoried.target_keys() == ["a"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sourceBucket": "another"}, "it is of the bucket another, not of the-source"),
        ({"fileFormat": "ORC"}, "its format is ORC: choose CSV or Parquet"),
        ({"fileSchema": "Bucket, Size"}, "has no column Key"),
        ({"files": None}, "the manifest cannot be read"),
        ({"files": [{"key": "inv/data/0.csv.gz", "size": 1, "MD5checksum": "0" * 32}]}, "its MD5 is not the one"),
        ({"fileSchema": "Bucket, Key"}, "a row has 6 columns instead of 2"),
    ],
)
def test_an_inventory_that_cannot_be_used_is_one_line(inventoried: Rig, changes: dict[str, Any], reason: str) -> None:
    inventoried.put("a")
    put(inventoried, csv_file(rows_of(inventoried)), **changes)
    ended = run("check", "--inventory", MANIFEST)
    assert ended.code == 3
    assert f"s3-syncer: the inventory {MANIFEST} cannot be used: " in ended.err
    assert reason in ended.err


def test_a_changed_manifest_is_refused(inventoried: Rig) -> None:
    put(inventoried)
    inventoried.source.put_object(Bucket=REPORTS, Key=MANIFEST.split("/", 3)[3], Body=b"{}")
    ended = run("check", "--inventory", MANIFEST)
    assert (ended.code, "its MD5 is not the one of s3://" in ended.err) == (3, True)


def test_a_file_that_is_no_gzip_is_refused(inventoried: Rig) -> None:
    put(inventoried, b"plain")
    assert "it is no gzip file" in run("check", "--inventory", MANIFEST).err


def test_parquet_without_pyarrow_says_what_to_install(inventoried: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    put(inventoried, b"PAR1", kind="Parquet", schema="message s3.inventory {}")
    assert "pip install 's3-syncer[inventory]'" in run("check", "--inventory", MANIFEST).err


def test_a_parquet_inventory_is_read(inventoried: Rig) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    for key in ("a b", "c%20d", "ä"):
        inventoried.put(key, key.encode())
    found = inventoried.source.list_objects_v2(Bucket=SOURCE)["Contents"]
    table = pyarrow.table(
        {
            "bucket": [SOURCE] * len(found),
            "key": [o["Key"] for o in found],
            "size": [o["Size"] for o in found],
            "last_modified_date": [o["LastModified"].astimezone(UTC).replace(tzinfo=None) for o in found],
            "e_tag": [o["ETag"].strip('"') for o in found],
        }
    )
    file = io.BytesIO()
    parquet.write_table(table, file)
    put(inventoried, file.getvalue(), kind="Parquet", schema="message s3.inventory {}")
    assert run("migrate", "--inventory", MANIFEST).code == 0
    assert inventoried.target_keys() == ["a b", "c%20d", "ä"]
    inventoried.source_proxy.requests.clear()
    assert run("check", "--inventory", MANIFEST).code == 0
    assert requests(inventoried) == []
    put(inventoried, b"PAR1", kind="Parquet", schema="message s3.inventory {}")
    assert "it is no Parquet file" in run("check", "--inventory", MANIFEST).err


def test_what_is_no_manifest_is_wrong_usage(rig: Rig) -> None:
    for text in ("manifest.json", "s3://bucket", "s3://bucket/symlink.txt"):
        ended = run("check", "--inventory", text)
        assert (ended.code, "write s3://bucket/.../manifest.json" in ended.err) == (2, True)


def test_an_inventory_can_be_limited_to_recent_changes(inventoried: Rig) -> None:
    now = datetime.now(UTC)
    etag = hashlib.md5(b"1").hexdigest()
    for key in ("old", "new"):
        inventoried.put(key, b"1")
    rows = [[SOURCE, "old", "1", "2026-01-01T00:00:00.000Z", etag, "STANDARD"]]
    rows += [[SOURCE, "new", "1", now.isoformat(), etag, "STANDARD"]]
    put(inventoried, csv_file(rows))
    assert set(run("check", "--inventory", MANIFEST, "--since", "1d").named) >= {"new"}
