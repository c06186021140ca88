"""The exit codes of the command."""

from __future__ import annotations

#: Exit codes. 2 is wrong usage, and click returns it; 128 and the number of a signal is a stop by that signal.
#: DIFFERENT: the command finished, and named every difference and failed key. UNUSABLE: the command could not finish.
EQUAL, DIFFERENT, UNUSABLE = 0, 1, 3

#: The codes with their meaning, for the help and the reference.
EXIT_CODES = {
    f"{EQUAL}": "The command finished without a difference or a failed key. Also: a --dry-run that compared every key, "
    "and a stopped `serve`.",
    f"{DIFFERENT}": "The command finished and lists at least one difference, unproven key or failed key. Also: a "
    "`status` that is late, failing or paused, and a command that finds dead letters, held deletions or waiting "
    "messages.",
    "2": "Wrong usage.",  # click's own
    f"{UNUSABLE}": "The command could not finish: a store, the queue, the module, the credentials, a report file or "
    "standard output cannot be used, or an unexpected error.",
    "130, 143": "Stopped by Ctrl-C or SIGTERM. Run the same command again to continue. `serve` exits with 0 instead.",
}
