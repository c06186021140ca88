"""The command `s3-syncer`: sweeps and single keys on any machine, with progress and a report."""

from __future__ import annotations


def main() -> None:
    """The entry point of the command."""
    from ..process_tuning import limit_malloc_arenas, relax_gc

    limit_malloc_arenas()
    from .commands import cli

    relax_gc()
    cli(prog_name="s3-syncer")
