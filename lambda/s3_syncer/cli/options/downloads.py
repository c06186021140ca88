"""The options of `check` about the bytes of objects, as values."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import click

from ...core.proof import ReadOptions, Sample
from ...settings import Settings
from ...sync.key_sweep import SweepOptions
from ..sweeps.resume_file import ResumeFile, ResumeFileError, read_check

#: The options that need another one.
_NEEDS = {
    "ignore_checksums": "--download",
    "sample": "--download",
    "resume": "--download",
    "estimate": "--download",
    "sample_seed": "--sample",
}

#: Seeds are shorter than a line that a user copies.
_SEEDS = 1_000_000


def read_options(options: dict[str, Any]) -> ReadOptions | None:
    """Return the objects to read; None without --download.

    Raises UsageError for an option without the one that it needs.
    """
    for name, needed in _NEEDS.items():
        if options[name] not in (None, False) and not options[needed.removeprefix("--")]:
            option = "--" + name.replace("_", "-")
            raise click.UsageError(f"{option} has no effect without {needed}: add {needed} or omit {option}")
    if not options["download"]:
        return None
    for name in ("resume", "estimate"):
        for other in ("files_from", "inventory"):
            if options[name] and options[other] is not None:
                option = "--" + other.replace("_", "-")
                raise click.UsageError(f"--{name} does not work with {option}: omit one of them")
    share, sample = options["sample"], None
    if share is not None:
        seed = options["sample_seed"]
        if seed is None and options["resume"] is not None:
            seed = read_check(options["resume"]).get("seed")
        sample = Sample(share, secrets.randbelow(_SEEDS) if seed is None else seed)
    return ReadOptions(sample, options["ignore_checksums"])


def open_resume_file(options: dict[str, Any], settings: Settings, sweep_options: SweepOptions) -> ResumeFile | None:
    """Open the file of --resume. Raises UsageError if it belongs to another check, and OSError."""
    path: Path | None = options.get("resume")
    reads = sweep_options.reads
    if path is None or reads is None or options["estimate"]:
        return None
    sample = reads.sample
    check = {
        "source": f"s3://{settings.source_bucket}/{settings.source_prefix}",
        "source_endpoint": settings.source_connection.endpoint,
        "target": f"{settings.target_endpoint}/{settings.target_bucket}/{settings.target_prefix}",
        "sample": None if sample is None else sample.share,
        "seed": None if sample is None else sample.seed,
        "ignore_checksums": reads.ignore_checksums,
        **{name: list(options[name]) for name in ("include", "exclude")},
        **{name: options[name] for name in ("min_size", "max_size", "full", "one_way", "skip_archived")},
        **{name: options[name] for name in ("tags", "object_lock")},
        "since": None if sweep_options.since is None else sweep_options.since.isoformat(),
    }
    try:
        return ResumeFile(path, check)
    except ResumeFileError as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        reason = error.strerror or error
        raise click.UsageError(f"--resume {str(path)!r} cannot be used: {reason}. Name another file") from error
