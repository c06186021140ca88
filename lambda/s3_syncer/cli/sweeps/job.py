"""A sweep as a command wants it: its settings, its options, and how to report it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...core.size_order import Order
from ...settings import RestoreSettings, Settings
from ...sync.key_sweep import SweepOptions
from ...sync.named_keys import NamedBatch
from ..output.report_upload import ReportObject
from ..signals import GRACE_S
from .outage import OUTAGE_TIMEOUT_S
from .resume_file import ResumeFile

#: CPU seconds and keys of a sweep after which more processes start. A start takes about one CPU second and 70 MiB, and
#: a short sweep does not regain them. A sweep that waits for stores uses little CPU, and needs no other process.
SPAWN_AFTER_CPU_S, SPAWN_AFTER_KEYS = 20.0, 10_000


@dataclass(frozen=True, slots=True)
class SweepJob:
    """A sweep, and how to report it."""

    command: str
    settings: Settings
    sweep_options: SweepOptions
    threads: int
    #: The restore to make, in place of a copy to the target.
    restore: RestoreSettings | None = None
    #: Report keys that only the target has as a note, not as differences.
    tolerates_target_only: bool = False
    #: Report keys in an archive as a count, not as differences.
    skips_archived: bool = False
    processes: int = 1
    #: Seconds for which the sweep waits for a store that does not respond; 0 is not at all.
    outage_timeout_s: float = OUTAGE_TIMEOUT_S
    #: True if the stores have responded in this command, so that an outage is no wrong endpoint.
    have_responded: bool = False
    #: When more processes start, see SPAWN_AFTER_CPU_S.
    spawn_after_cpu_s: float = SPAWN_AFTER_CPU_S
    spawn_after_keys: int = SPAWN_AFTER_KEYS
    stop_grace_s: float = GRACE_S
    #: The progress of a check that reads objects; None stores none.
    resume: ResumeFile | None = None
    #: The order in which objects are copied.
    order: Order = "key"
    #: The only keys of the sweep; None sweeps all keys.
    batches: Iterator[NamedBatch] | None = None
    #: Say what the check would read, and read nothing.
    only_estimates: bool = False
    reports: tuple[Path | ReportObject, ...] = ()
    #: Write everything as log records: see `logs.py`.
    log: bool = False
    #: List the keys that differ or failed at the end. Otherwise the log has already named them.
    list_findings: bool = True

    @property
    def is_dry_run(self) -> bool:
        """Return True if the job lists what `migrate` or `restore` would do.

        Its differences do not change the exit code.
        """
        return self.command in ("migrate", "restore") and self.sweep_options.dry_run

    @property
    def route(self) -> tuple[str, str]:
        """Return the URLs of what is read and of what is written, for the report."""
        settings = self.settings
        source = f"s3://{settings.source_bucket}/{settings.source_prefix}"
        target = f"{settings.target_endpoint}/{settings.target_bucket}/{settings.target_prefix}"
        return (source, target) if self.restore is None else (target, source)
