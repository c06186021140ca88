"""The command `s3-syncer`: sweeps and single keys on any machine, with progress and a report."""

from __future__ import annotations

import sys
import traceback


def main() -> None:
    """The entry point of the command."""
    from ..process_tuning import limit_malloc_arenas, relax_gc

    limit_malloc_arenas()
    from .commands import cli
    from .run import UNUSABLE

    relax_gc()
    try:
        cli(prog_name="s3-syncer")
    except Exception:  # Python would exit with 1, which says that every difference was named
        traceback.print_exc()
        sys.exit(UNUSABLE)
