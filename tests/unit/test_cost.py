"""Unit tests of `s3-syncer cost`: the numbers are those of docs/limits.md."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from s3_syncer.cli.commands import cli
from s3_syncer.operations.cost import PART_BYTES, InventoryError, Objects, estimate, inventory_objects


def objects(*sizes: int | None) -> Objects:
    found = Objects()
    found.add(sizes)
    return found


def test_objects_are_counted_with_the_requests_that_read_them() -> None:
    found = objects(0, 10, PART_BYTES, PART_BYTES + 1, None)
    assert (found.keys, found.gets, found.unknown) == (5, 5, 1)
    assert (found.bytes, found.largest) == (2 * PART_BYTES + 11, PART_BYTES + 1)


def test_million_changes_cost_what_the_documents_say() -> None:
    million = Objects(keys=1_000_000, bytes=100_000 * 1_000_000, gets=1_000_000)
    rows = {row.what: row.usd for row in estimate(million, 1_000_000)}
    assert [round(usd, 2) for usd in rows["changes of a month: requests and workers"]] == [1.74, 3.97]
    assert rows["changes of a month: egress"] == pytest.approx((9.0, 9.0))
    assert rows["migration: egress"] == pytest.approx((9.0, 9.0))
    assert rows["migration: requests to the source"][0] == pytest.approx(0.41)
    assert rows["one full comparison"][0] == pytest.approx(0.805)


def test_empty_bucket_costs_the_month_only() -> None:
    assert sum(row.usd[1] for row in estimate(Objects(), 0)) == pytest.approx(2.28)  # docs/limits.md


def test_inventory_has_the_current_objects_below_the_prefix() -> None:
    lines = [
        '"b","photos/a+b","true","false","5"\n',
        '"b","photos/old","false","false","7"\n',
        '"b","photos/gone","true","true",""\n',
        '"b","photos/%C3%A4","true","false","11"\n',
        '"b","other","true","false","13"\n',
    ]
    columns = ["Bucket", "Key", "IsLatest", "IsDeleteMarker", "Size"]
    assert [each.size for each in inventory_objects(lines, columns, "photos/")] == [5, 11]
    assert [(each.key, each.size) for each in inventory_objects(lines, columns, "photos/a ")] == [("b", 5)]


@pytest.mark.parametrize(
    ("line", "columns", "message"),
    [("b,k", ["Bucket", "Key"], "must contain Key and Size"), ("b,k", ["Bucket", "Key", "Size"], "line 1 does not")],
)
def test_file_that_is_no_inventory_is_an_error(line: str, columns: list[str], message: str) -> None:
    with pytest.raises(InventoryError, match=message):
        list(inventory_objects([line], columns, ""))


def test_command_reads_a_compressed_inventory(tmp_path: Path) -> None:
    file = tmp_path / "data.csv.gz"
    file.write_bytes(gzip.compress(b'"b","k","1000"\n"b","l","2000"\n'))
    ended = CliRunner().invoke(cli, ["cost", "--inventory", str(file), "--json"])
    assert ended.exit_code == 0, ended.output
    assert json.loads(ended.output)["objects"] == {"keys": 2, "bytes": 3000, "gets": 2, "largest": 2000, "unknown": 0}
    assert "2 objects, 3.0 kB" in CliRunner().invoke(cli, ["cost", "--inventory", str(file)]).output
