"""The command `s3-syncer`: sweeps of whole buckets, single keys, and the long-running service."""

from __future__ import annotations

import os
import signal
import sys
import traceback

from .exit_codes import DIFFERENT, EQUAL, UNUSABLE
from .standard_streams import StandardStreams


def main() -> None:
    """Run the command. An unexpected error exits with the code for a command that could not finish."""
    streams = StandardStreams()
    try:
        from ..process_tuning import limit_malloc_arenas, relax_gc, spare_imported_modules

        relax_gc()
        streams.install()
        _drop_empty_variables()
        limit_malloc_arenas()
        from .commands import cli

        cli.calling(spare_imported_modules)(prog_name="s3-syncer")
    except KeyboardInterrupt:  # during the imports: click handles it from then on
        sys.exit(128 + signal.SIGINT)
    except SystemExit as end:
        if streams.lost_output and end.code in (None, EQUAL, DIFFERENT):  # both say that every line was printed
            sys.exit(UNUSABLE)
        raise
    except Exception:  # Python would exit with 1, which means that every difference was listed
        traceback.print_exc()
        sys.exit(UNUSABLE)


def _drop_empty_variables() -> None:
    """Let an empty variable of AWS count as not set, as the variables of the options do.

    boto3 takes an empty region or profile as its name. An empty path of a configuration file stays: it means no file.
    """
    for name, value in list(os.environ.items()):
        if name.startswith("AWS_") and not name.endswith("_FILE") and not value:
            del os.environ[name]
