"""The versions of this program, Python and the libraries, without an import of one of them."""

from __future__ import annotations

import platform
import re
from importlib.util import find_spec
from pathlib import Path

from ... import __version__

#: The libraries that make the requests. awscrt comes with the extra `crt`.
LIBRARIES = ("boto3", "botocore", "awscrt")


def version_lines() -> list[str]:
    """Return a line for the program, for Python and for each library."""
    libraries = [f"{name} {installed_version(name) or 'not installed'}" for name in LIBRARIES]
    return [f"s3-syncer {__version__}", f"python {platform.python_version()}", *libraries]


def installed_version(package: str) -> str | None:
    """Return the version of the package that Python would import, or None if there is none.

    Read the `__version__` of its source. `importlib.metadata` takes longer than everything else that `--version` does,
    and it may name another copy than Python imports.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return None
    found = re.search(r"""^__version__ = ['"](.+?)['"]""", Path(spec.origin).read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else "of an unknown version"
