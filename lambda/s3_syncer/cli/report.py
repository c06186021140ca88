"""The report of a sweep: JSON for programs, one self-contained HTML page for people. Pure but for writing the file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

from .. import __version__
from .tally import Sample, Tally

#: The endings a report's file name may have.
ENDINGS = (".json", ".html")

_WIDTH, _HEIGHT = 720, 160  # of a plot, in CSS pixels


@dataclass(frozen=True, slots=True)
class Report:
    """What a sweep did and found, once it is over."""

    command: str
    source: str
    target: str
    started: str  # RFC 3339
    result: str  # "equal", "different" or "stopped"
    tally: Tally

    def write(self, path: Path) -> None:
        """Writes the report in the form its ending asks for. Raises OSError."""
        path.write_text(self.html() if path.suffix == ".html" else self.json(), encoding="utf-8")

    def content(self) -> dict[str, Any]:
        tally = self.tally
        return {
            "s3_syncer": __version__,
            "command": self.command,
            "source": self.source,
            "target": self.target,
            "started": self.started,
            "result": self.result,
            "duration_s": round(tally.elapsed_s, 3),
            "keys": tally.keys,
            "bytes": tally.bytes,
            "actions": dict(sorted(tally.actions.items())),
            "drift": [{"key": key, "reason": reason} for key, reason in sorted(tally.drift.items())],
            "failures": [{"key": key, "reason": reason} for key, reason in sorted(tally.failures.items())],
            "notices": tally.notices,
            "samples": [
                {"at_s": round(s.at_s, 3), "keys": s.looked, "changed": s.changed, "bytes": s.bytes}
                for s in tally.samples
            ],
        }

    def json(self) -> str:
        return json.dumps(self.content(), indent=2, ensure_ascii=False) + "\n"

    def html(self) -> str:
        tally = self.tally
        seconds = max(tally.elapsed_s, 1e-9)
        totals = [
            ("Result", self.result),
            ("Keys looked at", f"{tally.keys:,}"),
            *((action.capitalize(), f"{count:,}") for action, count in sorted(tally.actions.items())),
            ("Different, and left so", f"{len(tally.drift):,}"),
            ("Failures", f"{len(tally.failures):,}"),
            ("Bytes sent", f"{tally.bytes:,}"),
            ("Time", f"{seconds:,.1f} s"),
            ("Keys per second", f"{tally.keys / seconds:,.0f}"),
            ("MB per second", f"{tally.bytes / seconds / 1e6:,.1f}"),
        ]
        plots = _plot("Keys looked at per second", tally.samples, "looked", 1, "") + _plot(
            "MB sent per second", tally.samples, "bytes", 1e6, " MB/s"
        )
        return _PAGE.format(
            title=escape(f"s3-syncer {self.command}: {self.result}"),
            result=escape(self.result),
            route=f"{escape(self.source)} &rarr; {escape(self.target)}",
            started=escape(self.started),
            version=escape(__version__),
            totals="".join(f"<tr><th>{escape(name)}<td>{escape(value)}" for name, value in totals),
            plots=plots,
            notices="".join(f"<p class=notice>{escape(notice)}" for notice in tally.notices),
            failures=_table("Failures", sorted(tally.failures.items())),
            drift=_table("Different, and left so", sorted(tally.drift.items())),
        )


def _table(title: str, rows: Iterable[tuple[str, str]]) -> str:
    body = "".join(f"<tr><td class=key>{escape(key)}<td>{escape(reason)}" for key, reason in rows)
    heading = f"<h2>{escape(title)}</h2>"
    return heading + (f"<table class=list><tr><th>Key<th>Reason{body}</table>" if body else "<p>None.")


def _plot(title: str, samples: list[Sample], what: str, unit: float, suffix: str) -> str:
    """A line of rates over time as an SVG drawing: rate between each sample and the one before it."""
    rates = [
        (b.at_s, (getattr(b, what) - getattr(a, what)) / unit / (b.at_s - a.at_s))
        for a, b in pairwise(samples)
        if b.at_s > a.at_s
    ]
    if len(rates) < 2:
        return f"<h2>{escape(title)}</h2><p>Too short a run to plot."
    last, top = rates[-1][0], max(rate for _, rate in rates) or 1.0
    points = " ".join(f"{at / last * _WIDTH:.1f},{_HEIGHT - rate / top * _HEIGHT:.1f}" for at, rate in rates)
    return (
        f"<h2>{escape(title)}</h2><svg viewBox='-60 -12 {_WIDTH + 80} {_HEIGHT + 40}' role=img>"
        f"<path class=axis d='M0,0V{_HEIGHT}H{_WIDTH}'/><polyline points='{points}'/>"
        f"<text x=-6 y=6 class=end>{top:,.1f}{suffix}</text><text x=-6 y={_HEIGHT} class=end>0</text>"
        f"<text x=0 y={_HEIGHT + 20}>0 s</text><text x={_WIDTH} y={_HEIGHT + 20} class=end>{last:,.0f} s</text></svg>"
    )


_PAGE = """<!doctype html>
<html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width"><title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1d2733 }}
h1 {{ font-size: 1.5rem; margin-bottom: 0 }} h2 {{ font-size: 1.1rem; margin-top: 2rem }}
.result {{ padding: .1rem .6rem; border-radius: 1rem; color: #fff; background: #b3541e }}
.equal {{ background: #26734d }}
table {{ border-collapse: collapse }} th, td {{ text-align: left; padding: .2rem 1rem .2rem 0; vertical-align: top }}
th {{ font-weight: 600 }} .list {{ width: 100% }} .list td {{ border-top: 1px solid #d8dee6 }}
.key {{ font-family: ui-monospace, monospace; font-size: .9rem; word-break: break-all }}
svg {{ width: 100% }} polyline {{ fill: none; stroke: #1f6feb; stroke-width: 2 }}
.axis {{ fill: none; stroke: #8b98a9 }}
text {{ font-size: 12px; fill: #4a5868 }} .end {{ text-anchor: end }} .notice {{ color: #b3541e }}
</style>
<h1>{title} <span class="result {result}">{result}</span></h1>
<p>{route}<br>{started}, s3-syncer {version}
{notices}<table>{totals}</table>
{plots}
{failures}
{drift}
</html>
"""
