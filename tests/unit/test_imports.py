"""What decides must not know the libraries that talk to stores."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LAMBDA = Path(__file__).parent.parent.parent / "lambda"

PURE = [
    "cli.queue_progress",
    "core.backoff",
    "core.circuit_breaker",
    "core.compare",
    "core.deadline",
    "core.errors",
    "core.events",
    "core.filters",
    "core.headers",
    "core.key_ranges",
    "core.listing_diff",
    "core.model",
    "core.multipart",
    "core.work_items",
    "crt.list_objects",
    "crt.object_requests",
    "crt.s3_xml",
    "crt.small_object_copy",
    "crt.stream_copy",
    "logs",
    "queue.s3_batch",
    "queue.worker",
    "service.health",
    "service.heartbeat",
    "service.processor",
    "service.receiver",
    "service.service",
    "service.watchdog",
    "settings",
    "sync.converge",
    "sync.distributed_copy",
    "sync.etag_marker",
    "sync.limits",
    "sync.page_state",
    "sync.sweep",
    "sync.transfer",
]


@pytest.mark.parametrize("module", PURE)
def test_a_module_that_decides_imports_no_boto3(module: str) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(LAMBDA)!r}); import s3_syncer.{module}; "
        "print(*sorted({'boto3', 'botocore', 'urllib3', 'click', 'rich'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
