"""Memory does not grow with the bucket. A million keys take no more: see docs/migration.md."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tests.functional.command import started
from tests.functional.generated import generated, key

#: Megabytes that the whole process may use. There are no copies here, so their budget stays unused.
MOST_MB = 200

#: Keys of the source, and the number of them that the target has; the rest is missing, and is reported.
SOURCE_KEYS, TARGET_KEYS = 100_000, 75_000

#: Not `ru_maxrss`, which a process inherits from its parent, here from all tests before this one.
PRINT_PEAK = """
import atexit, re, sys
peak = lambda: re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]
atexit.register(lambda: sys.stderr.write(f"peak {peak()}\\n"))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports the peak in KiB")
def test_a_large_bucket_is_compared_and_reported_in_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, data = tmp_path / "report.html", tmp_path / "report.json"
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "TARGET_SECRET_ARN", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    with generated(source=SOURCE_KEYS, target=TARGET_KEYS) as endpoint:
        environment = {
            "SOURCE_BUCKET": "source",
            "TARGET_BUCKET": "target",
            "AWS_ENDPOINT_URL_S3": endpoint,
            "TARGET_ENDPOINT": endpoint,
            **dict.fromkeys(("AWS_DEFAULT_REGION", "TARGET_REGION"), "us-east-1"),
            **dict.fromkeys(("AWS_ACCESS_KEY_ID", "TARGET_ACCESS_KEY_ID"), "an id"),
            **dict.fromkeys(("AWS_SECRET_ACCESS_KEY", "TARGET_SECRET_ACCESS_KEY"), "a secret"),
        }
        arguments = ("check", "--report", str(page), "--report", str(data))
        with started(*arguments, before=PRINT_PEAK, **environment) as command:
            ended = command.ended(seconds=480)

    assert ended.code == 1, ended.err
    missing = SOURCE_KEYS - TARGET_KEYS
    assert f"{SOURCE_KEYS:,} keys compared, {missing:,} missing, 0 failed" in ended.err
    assert len(ended.out.splitlines()) == missing
    content = json.loads(data.read_text())
    assert {finding["key"] for finding in content["differences"]} == {
        key(number) for number in range(TARGET_KEYS, SOURCE_KEYS)
    }
    assert page.stat().st_size < 1_000_000
    peak_mb = int(ended.err.split("peak ")[1]) * 1024 / 1e6
    assert peak_mb < MOST_MB
