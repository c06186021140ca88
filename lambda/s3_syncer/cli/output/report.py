"""Write the report of a sweep, as JSON or as one self-contained HTML page.

Pure but for writing the file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from html import escape
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

from ... import __version__
from ...core.proof import Proof
from .file_errors import naming
from .findings import Finding, Findings
from .progress import format_bytes, format_duration
from .proof_summary import NAMES, as_json, sample_result
from .stats import Sample, SweepStats

#: Suffixes of the file name of a report, and the media type of each.
CONTENT_TYPES = {".json": "application/json", ".html": "text/html; charset=utf-8"}

#: Maximum number of failures, and of differences, on the HTML page.
MAX_ROWS = 1000

#: Maximum number of failures for which the page shows the keys without a click.
MAX_OPEN_ROWS = 20

_WIDTH, _HEIGHT = 720, 160  # of a plot, in CSS pixels

_SHORTEST_S = 0.1  # minimum seconds between two samples for a meaningful rate


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a sweep that has ended."""

    command: str
    source: str
    target: str
    started: str  # RFC 3339
    result: str  # "equal", "different", "unproven", "stopped" or "failed"
    stats: SweepStats
    #: The error of a failed sweep.
    error: str = ""
    #: True if the sweep compared headers, metadata and tags of every key, also of keys with equal listing entries.
    full: bool = False

    def write(self, path: Path) -> None:
        """Write the report in the format of the suffix. Raises OSError."""
        # A key that is not UTF-8 has surrogates: they are escaped, which JSON can read.
        with naming(path), path.open("w", encoding="utf-8", errors="backslashreplace") as file:
            for piece in self.html() if path.suffix == ".html" else self.json():
                file.write(piece)

    def totals(self) -> dict[str, Any]:
        """Return the part of the JSON report that is not about single keys."""
        stats = self.stats
        return {
            "s3_syncer": __version__,
            "command": self.command,
            "source": self.source,
            "target": self.target,
            "started": self.started,
            "result": self.result,
            "full": self.full,
            "error": self.error or None,
            "duration_s": round(stats.elapsed_s, 3),
            "keys": stats.keys,
            "bytes": stats.bytes,
            "actions": dict(sorted(stats.actions.items())),
            "concurrency": asdict(concurrency) if (concurrency := stats.concurrency()) is not None else None,
            **({"target_only": stats.target_only} if stats.tolerates_target_only else {}),
            "unproven": {
                "keys": stats.differences.counts["unproven"],
                "bytes": stats.differences.sizes["unproven"],
            },
            **({} if stats.reads is None else as_json(stats.proofs, stats.reads, stats.bytes_read())),
            "archived": asdict(stats.archived("archived")),
            "restores": asdict(stats.archived("restore")),
            "failures_by_reason": dict(stats.failures.reasons.most_common()),
            "notices": stats.notes,
            "samples": [
                {"at_s": round(s.at_s, 3), "keys": s.compared, "changed": s.changed, "bytes": s.bytes}
                for s in stats.samples
            ],
        }

    def json(self) -> Iterator[str]:
        """Yield the JSON report in pieces, because all findings together may not fit in memory."""
        yield json.dumps(self.totals(), indent=2, ensure_ascii=False).removesuffix("\n}")
        for name, findings in (("differences", self.stats.differences), ("failures", self.stats.failures)):
            yield f',\n  "{name}": ['
            separator = "\n    "
            for finding in findings:
                fields = {name: value for name, value in asdict(finding).items() if name != "request_id" or value}
                yield separator + json.dumps(fields, ensure_ascii=False)
                separator = ",\n    "
            yield "]"
        yield "\n}\n"

    def html(self) -> Iterator[str]:
        """Yield the HTML page in pieces."""
        stats = self.stats
        seconds = max(stats.elapsed_s, 1e-9)
        totals = [
            ("Keys compared", f"{stats.keys:,}"),
            ("Compared by", "everything of each key" if self.full else "size, ETag and time"),
            *((_ACTIONS.get(action, action), f"{count:,}") for action, count in sorted(stats.actions.items())),
            *((_KINDS[what], f"{count:,}") for what, count in sorted(stats.differences.counts.items())),
            *(
                (_KINDS[what], f"{stats.skipped.counts[what]:,} ({format_bytes(stats.skipped.sizes[what])})")
                for what in sorted(stats.skipped.counts)
            ),
            *([("Only in the target, not deleted", f"{stats.target_only:,}")] if stats.target_only else []),
            *((_PROOFS[proof], f"{stats.proofs[proof]:,}") for proof in _PROOFS if stats.proofs[proof]),
            ("Failed", f"{len(stats.failures):,}"),
            *([("Read from both stores", format_bytes(stats.bytes_read()))] if stats.reads is not None else []),
            ("Sent", format_bytes(stats.bytes)),
            ("Time", format_duration(seconds)),
            ("Keys compared per second", f"{stats.compared_per_s:,.0f}"),
            ("Bytes sent per second", format_bytes(stats.bytes / seconds)),
        ]
        plots: list[tuple[str, str, Callable[[float], str]]] = [
            *([("Objects copied per second", "changed", _count)] if stats.writes else []),
            *([("Bytes sent per second", "bytes", format_bytes)] if stats.writes else []),
            ("Keys compared per second", "compared", _count),
        ]
        sample = None if stats.reads is None else sample_result(stats.proofs, stats.reads)
        sample_text = "" if sample is None else sample.text(is_equal=self.result == "equal")
        yield _PAGE.format(
            title=escape(f"s3-syncer {self.command}"),
            result=escape(self.result),
            source=escape(self.source),
            target=escape(self.target),
            started=escape(self.started),
            version=escape(__version__),
            notices="".join(f"<p class=notice>{escape(notice)}" for notice in (self.error, *stats.notes) if notice),
            sample=f"<p class=about>{escape(sample_text)}" if sample_text else "",
            totals="".join(f"<tr><th>{escape(name)}<td>{escape(value)}" for name, value in totals),
            plots="".join(_plot(title, stats.samples, total, label) for title, total, label in plots),
        )
        yield from _by_reason("Failures", stats.failures)
        yield from _table("Differences", stats.differences)
        yield "</html>\n"


_ACTIONS = {
    "copy": "Copied",
    "update": "Updated",
    "tags": "Tags written",
    "lock": "Locks written",
    "delete": "Deleted",
    "undo": "Copied, then removed again",
}
_PROOFS: Mapping[Proof, str] = {proof: f"Equal by {name}" for proof, name in NAMES.items()}
_KINDS = {
    "missing": "Missing from the target",
    "differs": "Different",
    "extra": "Only in the target",
    "unproven": "Content not proven",
    "stale": "Deleted from the source after the copy",
    "archived": "In an archive, not restored",
    "restore": "In an archive, restore requested or planned",
}


def _table(title: str, findings: Findings) -> Iterator[str]:
    yield f"<h2>{escape(title)}</h2>"
    if not len(findings):
        yield "<p>None."
        return
    several = len(findings.counts) > 1
    yield f"<table class=list><tr><th>Key{'<th>What' if several else ''}<th>Reason"
    for finding in islice(findings, MAX_ROWS):
        what = f"<td class=what>{escape(finding.what)}" if several else ""
        yield f"<tr><td class=key>{escape(finding.key)}{what}<td>{escape(finding.text)}"
    yield "</table>"
    if len(findings) > MAX_ROWS:
        yield f"<p>and {len(findings) - MAX_ROWS:,} more: a .json report lists all of them."


def _by_reason(title: str, findings: Findings) -> Iterator[str]:
    """Yield the number of keys of each reason, and then the keys of each reason."""
    yield f"<h2>{escape(title)}</h2>"
    if not len(findings):
        yield "<p>None."
        return
    yield "<table class=list><tr><th class=number>Keys<th>Reason"
    for reason, number in findings.reasons.most_common():
        yield f"<tr><td class=number>{number:,}<td>{escape(reason)}"
    yield "</table>"
    groups: dict[str, list[Finding]] = {}
    for finding in islice(findings, MAX_ROWS):
        groups.setdefault(finding.reason, []).append(finding)
    is_open = " open" if len(findings) <= MAX_OPEN_ROWS else ""
    for reason, found in groups.items():
        yield f"<details{is_open}><summary>{escape(reason)}</summary><table class=list>"
        for finding in found:
            request = f"<td class=what>request {escape(finding.request_id)}" if finding.request_id else ""
            yield f"<tr><td class=key>{escape(finding.key)}{request}"
        yield "</table></details>"
    if len(findings) > MAX_ROWS:
        yield f"<p>and {len(findings) - MAX_ROWS:,} more: a .json report lists all of them."


def _count(rate: float) -> str:
    return f"{rate:,.0f}"


def _plot(title: str, samples: list[Sample], total: str, label: Callable[[float], str]) -> str:
    """Return an SVG plot of the growth of a total per second, between each sample and the one before it."""
    rates = [
        (b.at_s, (getattr(b, total) - getattr(a, total)) / (b.at_s - a.at_s))
        for a, b in pairwise(samples)
        if b.at_s - a.at_s > _SHORTEST_S
    ]
    heading = f"<h2>{escape(title)}</h2>"
    if len(rates) < 2:
        return f"{heading}<p>The run was too short for a plot."
    first, last, top = rates[0][0], rates[-1][0], max(rate for _, rate in rates) or 1.0
    points = " ".join(
        f"{(at - first) / (last - first) * _WIDTH:.1f},{_HEIGHT - max(0.0, rate) / top * _HEIGHT:.1f}"
        for at, rate in rates
    )
    return (
        f"{heading}<svg viewBox='-80 -12 {_WIDTH + 100} {_HEIGHT + 40}' role=img aria-label='{escape(title)}'>"
        f"<polygon points='0,{_HEIGHT} {points} {_WIDTH},{_HEIGHT}'/><polyline points='{points}'/>"
        f"<path d='M0,0V{_HEIGHT}H{_WIDTH}'/>"
        f"<text x=-8 y=8 class=end>{escape(label(top))}</text><text x=-8 y={_HEIGHT} class=end>0</text>"
        f"<text x=0 y={_HEIGHT + 20}>{format_duration(first)}</text>"
        f"<text x={_WIDTH} y={_HEIGHT + 20} class=end>{format_duration(last)}</text></svg>"
    )


_PAGE = """<!doctype html>
<html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width"><title>{title}: {result}</title>
<style>
:root {{ --ink: #1d2733; --soft: #5a6776; --line: #d8dee6; --good: #1f7a4d; --bad: #b3411e; --plot: #1f6feb }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: var(--ink) }}
h1 {{ font-size: 1.5rem; margin: 0 0 .5rem }} h2 {{ font-size: 1.1rem; margin: 2rem 0 .5rem }}
.result {{ font-size: 1rem; padding: .15rem .7rem; border-radius: 1rem; color: #fff; background: var(--bad) }}
.equal {{ background: var(--good) }} .notice {{ color: var(--bad) }}
.about {{ color: var(--soft); font-size: .9rem; margin: 0; overflow-wrap: anywhere }}
table {{ border-collapse: collapse }} th, td {{ text-align: left; padding: .2rem 2rem .2rem 0; vertical-align: top }}
th {{ font-weight: 600 }} .totals {{ margin-top: 1.5rem }} .totals td {{ text-align: right; padding-right: 0 }}
.totals td, .what {{ white-space: nowrap; font-variant-numeric: tabular-nums }}
.list {{ width: 100% }} .list td {{ border-top: 1px solid var(--line); overflow-wrap: anywhere }}
.list .number {{ text-align: right; width: 5rem; font-variant-numeric: tabular-nums }}
details {{ margin: .8rem 0 }} summary {{ cursor: pointer; font-weight: 600; overflow-wrap: anywhere }}
.list .key {{ font: .85rem/1.6 ui-monospace, monospace; white-space: pre-wrap; min-width: 12rem }}
svg {{ width: 100%; font-size: 12px }} text {{ fill: var(--soft) }} .end {{ text-anchor: end }}
polyline {{ fill: none; stroke: var(--plot); stroke-width: 2; stroke-linejoin: round }}
polygon {{ fill: var(--plot); opacity: .1 }} path {{ fill: none; stroke: var(--line) }}
</style>
<h1>{title} <span class="result {result}">{result}</span></h1>
<p class=about>{source} &rarr; {target}
<p class=about>{started}, s3-syncer {version}
{notices}{sample}<table class=totals>{totals}</table>
{plots}
"""
