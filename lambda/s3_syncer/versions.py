"""The versions of this program, Python and the AWS libraries, and the oldest boto3 that works."""

from __future__ import annotations

import logging
import platform
import re
import sys

import boto3
import botocore

from . import __version__
from .core.errors import StoreUnusable

logger = logging.getLogger(__name__)

#: The first boto3 and botocore with the checksum settings that the client of the target needs. Both are checked,
#: because a Lambda layer can replace one of them. pyproject.toml requires the same.
MINIMUM = "1.36.0"


def log_versions() -> None:
    """Log the versions as one record: call it first, so that a log starts with them."""
    logger.info("started", extra=versions())


def versions() -> dict[str, str]:
    """Return the versions by name. `awscrt` is missing if botocore does not find it."""
    found = {
        "s3_syncer": __version__,
        "python": platform.python_version(),
        "boto3": boto3.__version__,
        "botocore": botocore.__version__,
    }
    awscrt = sys.modules.get("awscrt")  # botocore imports it if it is installed
    return found if awscrt is None else {**found, "awscrt": awscrt.__version__}


def require_boto3() -> None:
    """Raise StoreUnusable if boto3 or botocore is older than `MINIMUM`."""
    for name, version in (("boto3", boto3.__version__), ("botocore", botocore.__version__)):
        if _numbers(version) < _numbers(MINIMUM):
            raise StoreUnusable(
                f"{name} {version} is too old: s3-syncer needs {MINIMUM} or later. Run `pip install --upgrade boto3`. "
                "For the Lambda function, choose a later function.runtime, or write the path of a zip that also "
                "contains boto3 into function.package_path",
                "OldBoto3",
            )


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers at the start of a version: (1, 36, 0) for 1.36.0 and for 1.36.0rc1."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])
