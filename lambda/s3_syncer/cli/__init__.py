"""The command `s3-syncer`: sweeps of whole buckets, single keys, and the long-running service."""

from __future__ import annotations

import os
import sys
import traceback
from io import TextIOWrapper
from pathlib import Path


def main() -> None:
    """Run the command. An unexpected error exits with the code for a command that could not finish."""
    from ..process_tuning import limit_malloc_arenas, relax_gc

    _make_output_safe()
    limit_malloc_arenas()
    from .commands import cli
    from .exit_codes import UNUSABLE

    try:
        cli.calling(relax_gc)(prog_name="s3-syncer")
    except Exception:  # Python would exit with 1, which means that every difference was listed
        traceback.print_exc()
        sys.exit(UNUSABLE)


def _make_output_safe() -> None:
    """Let no output fail because standard output or standard error is closed, or cannot encode a key.

    Python has no stream for a descriptor that was closed. A character that a stream cannot encode is escaped.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - open to the end
        elif isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
