"""The command `s3-syncer`: sweeps of whole buckets, single keys, and the long-running service."""

from __future__ import annotations

import sys
import traceback


def main() -> None:
    """Run the command. An unexpected error exits with the code for a command that could not finish."""
    from ..process_tuning import limit_malloc_arenas, relax_gc

    limit_malloc_arenas()
    from .commands import cli
    from .run import UNUSABLE

    relax_gc()
    try:
        cli(prog_name="s3-syncer")
    except Exception:  # Python would exit with 1, which means that every difference was listed
        traceback.print_exc()
        sys.exit(UNUSABLE)
