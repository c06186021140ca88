"""Read what the module expects of AWS, for `docs/aws-behaviour.md` and `scripts/first-apply`."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_suffix(".toml")

#: How a behaviour can be checked without AWS, with the heading of its section. The least certain comes first.
CHECKED = {
    "never": "Never checked",
    "documents": "Checked by documents only",
    "emulator": "Checked on the emulated AWS",
}


@dataclass(frozen=True)
class Behaviour:
    """A behaviour of AWS, with the commands that show it there."""

    title: str
    checked: str
    by: str
    why: str
    commands: Sequence[str]
    expect: str


def read(file: Path = FILE) -> list[Behaviour]:
    """Return all behaviours, the least certain first."""
    found = [Behaviour(**each) for each in tomllib.loads(file.read_text())["behaviour"]]
    return sorted(found, key=lambda each: list(CHECKED).index(each.checked))


def markdown(behaviours: Sequence[Behaviour]) -> str:
    """Return a section for each way to check, with the commands of each behaviour."""
    return "\n".join(line for checked, heading in CHECKED.items() for line in _section(behaviours, checked, heading))


def _section(behaviours: Sequence[Behaviour], checked: str, heading: str) -> Iterator[str]:
    yield f"## {heading}\n"
    for each in behaviours:
        if each.checked == checked:
            yield f"### {each.title}\n\n{each.why}\n\nChecked by: {each.by}.\n"
            yield "\n".join(["```sh", *each.commands, "```\n"])
            yield f"{each.expect}\n"


def checklist(behaviours: Sequence[Behaviour], *, name: str, bucket: str, directory: str) -> Iterator[str]:
    """Yield the lines of a checklist, with the commands for this module."""
    for number, each in enumerate(behaviours, 1):
        yield f"[ ] {number}. {each.title} ({CHECKED[each.checked].lower()})"
        yield f"    {each.why}"
        for command in each.commands:
            here = command.replace("$NAME", name).replace("$BUCKET", bucket).replace("DIRECTORY", directory)
            yield f"      {here}"
        yield f"    {each.expect.replace('$NAME', name)}"
        yield ""
