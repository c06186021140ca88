"""What decides must not know the libraries that talk to stores."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LAMBDA = Path(__file__).parent.parent.parent / "lambda"

PURE = [
    "batch",
    "cli.waiting",
    "compare",
    "converge",
    "deadline",
    "errors",
    "events",
    "headers",
    "health",
    "held",
    "join",
    "keyspace",
    "lane.answers",
    "lane.copies",
    "lane.pages",
    "lane.requests",
    "lane.streams",
    "layout",
    "logs",
    "model",
    "parts",
    "pause",
    "service",
    "settings",
    "sweep",
    "transfer",
    "work",
    "worker",
]


@pytest.mark.parametrize("module", PURE)
def test_a_module_that_decides_imports_no_boto3(module: str) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(LAMBDA)!r}); import s3_syncer.{module}; "
        "print(*sorted({'boto3', 'botocore', 'urllib3', 'click', 'rich'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
