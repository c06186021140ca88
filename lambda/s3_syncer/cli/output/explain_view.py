"""The explanation of a key as text."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from ...core.model import ObjectState
from ...operations.explain import Decision, Explanation
from ...operations.log_lines import LogLine
from ...operations.status import format_span
from .stats import printable

#: Lines of the log that are shown, the newest.
_LINES = 20

#: The effect of each decision, in words.
_EFFECTS = {
    "copy": "it would be copied",
    "update": "it would be copied over the object of the target",
    "tags": "its tags would be written",
    "lock": "its retention or legal hold would be written",
    "delete": "it would be deleted from the target",
    "kept": "it would stay in the target, because deletes are off",
    "unchanged": "nothing would be done",
    "excluded": "nothing would be done, because the filters exclude it",
    "retry": "it would fail, and be tried again",
    "dead-letter": "it would fail, and go to the dead-letter queue",
}


def explanation_lines(found: Explanation) -> Iterator[str]:
    """Yield the lines of the text."""
    yield printable(found.key)
    yield f"  source     {_state(found.source, found.errors.get('source'))}"
    yield f"  target     {_state(found.target, found.errors.get('target'))}"
    if found.target is not None and found.target.marker:
        yield f"  marker     {printable(found.target.marker)}: the ETag of the source's object that was copied"
    yield f"  now        {effect(found.decision)}"
    yield f"  rule       {printable(found.decision.reason)}"
    yield f"  message    {found.place}"
    for letter in found.letters:
        yield f"  dead       {_time(letter.sent_at)}  {printable(letter.error or letter.reason)}"
    lines = found.lines[-_LINES:]
    for index, line in enumerate(lines):
        yield f"  {'log' if not index else '':<9}  {_line(line)}"
    if not lines:
        yield f"  log        no line about the key in {format_span(found.log_s)}"
    elif len(found.lines) > len(lines):
        yield f"             and {len(found.lines) - len(lines):,} earlier lines: see --json"
    for note in found.notes:
        yield f"  note       {printable(note)}"


def effect(decision: Decision) -> str:
    """Return what a worker would do now."""
    return _EFFECTS.get(decision.action, f"the action {decision.action}")


def _state(state: ObjectState | None, error: str | None) -> str:
    if error is not None:
        return f"unknown: {printable(error)}"
    if state is None:
        return "absent"
    time = "no time" if state.last_modified is None else f"{state.last_modified.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    parts = [f"{state.size:,} bytes", f"ETag {state.etag or 'none'}", time]
    parts += [f"archived in {state.archived}"] if state.archived else []
    parts += [f"{name}: {value}" for name, value in state.headers.items()]
    parts += [f"x-amz-meta-{name}: {value}" for name, value in state.metadata.items()]
    parts += [f"tag {name}={value}" for name, value in state.tags.items()]
    return printable(", ".join(parts))


def _line(line: LogLine) -> str:
    fields = line.fields
    parts = [_time(line.at), line.action or str(fields.get("message", "")), line.reason]
    parts += [f"{fields['bytes']:,} bytes" for _ in [0] if isinstance(fields.get("bytes"), int) and fields["bytes"]]
    parts += [f"lag {fields['lag_ms'] / 1000:.1f} s" for _ in [0] if isinstance(fields.get("lag_ms"), (int, float))]
    parts += [f"delivery {fields['attempts']}" for _ in [0] if isinstance(fields.get("attempts"), int)]
    return printable("  ".join(part for part in parts if part))


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"
