"""Certificates as a file: botocore and awscrt take the path of a CA bundle, and no text."""

from __future__ import annotations

import atexit
import os
import ssl
import tempfile
from functools import cache
from pathlib import Path

from ..core.errors import StoreUnusable

#: The variables with the path of a CA bundle, in the order in which boto3 reads them.
_BUNDLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")


def bundle_variable() -> str:
    """Return the name of the variable that names the CA bundle of boto3, or "" without one."""
    return next((name for name in _BUNDLES if os.environ.get(name)), "")


def require_usable_bundle() -> None:
    """Raise StoreUnusable if the CA bundle of the environment cannot be read."""
    if not (name := bundle_variable()):
        return
    path = os.environ[name]
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(**{"capath" if Path(path).is_dir() else "cafile": path})
    except OSError as error:
        raise StoreUnusable(
            f"{name} does not name certificates in PEM: {path!r}: {error.strerror or error}", "BadConfiguration"
        ) from error


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
