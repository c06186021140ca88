"""`scripts/demo` with few objects, on a local cloud that the test starts, not on a running one."""

from __future__ import annotations

from pathlib import Path

import pytest

from localcloud import demo, stack


@pytest.mark.timeout(1200)  # it waits up to 600 s for empty queues
def test_the_demo_ends_with_equal_buckets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "DIRECTORY", tmp_path)
    cloud = stack.up(tmp_path, print)
    try:
        assert demo.demonstrate(cloud, objects=20)
    finally:
        stack.down(tmp_path)
