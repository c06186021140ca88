"""The command `s3-syncer`: sweeps and single keys on any machine, with progress and a report."""

from __future__ import annotations


def main() -> None:
    """The entry point of the command."""
    from ..process_tuning import share_heap
    from .collector import spare_collector

    share_heap()
    from .commands import cli

    spare_collector()
    cli(prog_name="s3-syncer")
