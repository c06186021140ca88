"""Certificates as a file: botocore and awscrt take the path of a CA bundle, and no text."""

from __future__ import annotations

import atexit
import os
import tempfile
from functools import cache


@cache
def ca_file(certificates: str) -> str:
    """Return the path of a file with these certificates in PEM. It exists as long as the process."""
    if hasattr(os, "memfd_create"):  # in memory, because an ECS task of the module has a read-only file system
        descriptor = os.memfd_create("ca-certificate")  # never closed
        path = f"/proc/self/fd/{descriptor}"
    else:
        descriptor, path = tempfile.mkstemp(suffix=".pem")
        atexit.register(os.unlink, path)
    with open(descriptor, "w", closefd=False) as file:
        file.write(certificates)
    return path
