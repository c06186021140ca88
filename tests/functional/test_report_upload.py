"""Reports that are uploaded to a bucket, with the credentials of the source."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.functional.command import run
from tests.functional.harness import SOURCE, Rig

KEY = "reports/of today.json"


def test_report_is_an_object_with_its_media_type(rig: Rig) -> None:
    rig.put("a", b"some bytes")
    places = [f"s3://{SOURCE}/{KEY}", f"s3://{SOURCE}/r.html"]
    assert run("migrate", *(word for place in places for word in ("--report", place))).code == 0
    uploaded = rig.source.get_object(Bucket=SOURCE, Key=KEY)
    assert json.loads(uploaded["Body"].read())["actions"] == {"copy": 1}
    assert uploaded["ContentType"] == "application/json"
    assert rig.source.head_object(Bucket=SOURCE, Key="r.html")["ContentType"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(("command", "code"), [("migrate", 0), ("check", 1)])
def test_failed_upload_is_one_line_and_keeps_the_exit_code_and_the_report(
    rig: Rig, command: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    rig.put("a", b"some bytes")
    ended = run(command, "--report", "s3://no-such-bucket/r.json")
    assert ended.code == code
    (line,) = (line for line in ended.err.splitlines() if "report" in line)
    assert line.startswith("s3-syncer: the report could not be uploaded to s3://no-such-bucket/r.json, and is in ")
    assert "NoSuchBucket" in line
    kept = re.search(r"is in (\S+\.json)", line)
    assert kept is not None
    assert json.loads(Path(kept[1]).read_text())["keys"] == 1


def test_no_file_stays_after_an_upload(rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    rig.put("a", b"some bytes")
    assert run("check", "--report", f"s3://{SOURCE}/r.html").code == 1
    assert list(tmp_path.iterdir()) == []
