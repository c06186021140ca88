"""The time of day may jump: only the files that mean it read it, and durations are monotonic."""

from __future__ import annotations

import ast
from pathlib import Path

import s3_syncer

PACKAGE = Path(s3_syncer.__file__).parent

#: The files that read the time of day, and what for.
TIME_OF_DAY = {
    "cli/commands/dead_letters.py": "SQS has the time at which a letter was sent",
    "cli/commands/deletions.py": "SQS has the time since which a deletion is held",
    "cli/commands/explain.py": "log lines and letters have a time",
    "cli/commands/status.py": "log lines and metrics have a time",
    "cli/options/key_selection.py": "an inventory has a time",
    "cli/options/types.py": "a time ago",
    "cli/sweeps/outage.py": "the line for people says when the command gives up",
    "cli/sweeps/queue_migration.py": "only if AWS gives no time",
    "cli/sweeps/run.py": "the report has the time of the sweep",
    "doctor/calls.py": "the clock of the store is compared with that of this machine",
    "operations/dead_letters.py": "SQS has the time at which a letter was sent",
    "queue/batch_items.py": "an event has a time, and its lag is logged",
    "queue/waiting.py": "an event has a time, and its lag is logged",
    "sync/bandwidth.py": "a timetable",
    "sync/distributed_copy.py": "an event has a time, and its lag is logged",
    "transport/stream_http.py": "the time of day passes while a function is frozen; a jump only closes connections",
}


def reads_time_of_day(file: Path) -> bool:
    """Return True if the file names time.time, or datetime's now, utcnow or today."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = node.value.id, node.attr
            if name == ("time", "time") or (name[0] in ("datetime", "date") and name[1] in ("now", "utcnow", "today")):
                return True
    return False


def test_only_known_files_read_the_time_of_day() -> None:
    found = {str(file.relative_to(PACKAGE)) for file in PACKAGE.rglob("*.py") if reads_time_of_day(file)}
    assert found == set(TIME_OF_DAY)
