"""Include and exclude patterns as rclone reads them (https://rclone.org/filtering/). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence


class BadPattern(ValueError):
    """The pattern cannot be read; the message says where it goes wrong."""


def key_filter(include: Sequence[str], exclude: Sequence[str]) -> Callable[[str], bool] | None:
    """Whether a key is wanted, or None when every key is. Raises BadPattern.

    The first pattern that matches decides, includes before excludes; with any include, what matches none is excluded.
    """
    if not include and not exclude:
        return None
    rules = [(compile_glob(glob), True) for glob in include] + [(compile_glob(glob), False) for glob in exclude]

    def wanted(key: str) -> bool:
        return next((verdict for pattern, verdict in rules if pattern.search(key)), not include)

    return wanted


def compile_glob(glob: str) -> re.Pattern[str]:
    """A glob as a regular expression over whole keys.

    A leading `/` ties it to the beginning, otherwise it matches from any `/` on; a trailing `/` means everything
    below. `*` and `?` stop at `/`, `**` does not; `[...]`, `{a,b}` and `{{regex}}` are as in rclone.
    """
    body = glob[1:] if glob.startswith("/") else glob
    anchor = "^" if glob.startswith("/") else "(?:^|/)"
    if body.endswith("/"):
        body += "**"
    try:
        return re.compile(anchor + _translate(body, glob) + r"\Z", re.DOTALL)
    except re.error as error:
        raise BadPattern(f"{glob!r}: {error}") from error


def _translate(body: str, glob: str) -> str:
    out, position, braces = [], 0, 0
    while position < len(body):
        rest = body[position:]
        step = 1
        if rest.startswith("{{"):
            end = rest.find("}}")
            if end < 0:
                raise BadPattern(f"{glob!r}: '{{{{' has no '}}}}'")
            out.append(f"(?:{rest[2:end]})")
            step = end + 2
        elif rest.startswith("***"):
            raise BadPattern(f"{glob!r}: more than two '*' in a row")
        elif rest.startswith("**"):
            out.append(".*")
            step = 2
        elif rest[0] == "*":
            out.append("[^/]*")
        elif rest[0] == "?":
            out.append("[^/]")
        elif rest[0] == "[":
            end = rest.find("]", 2)
            if end < 0:
                raise BadPattern(f"{glob!r}: '[' has no ']'")
            out.append(rest[: end + 1])
            step = end + 1
        elif rest[0] == "{":
            if braces:
                raise BadPattern(f"{glob!r}: a '{{' inside a '{{'")
            braces += 1
            out.append("(?:")
        elif rest[0] == "}":
            if not braces:
                raise BadPattern(f"{glob!r}: '}}' has no '{{'")
            braces -= 1
            out.append(")")
        elif rest[0] == "," and braces:
            out.append("|")
        elif rest[0] == "\\" and len(rest) > 1:
            out.append(re.escape(rest[1]))
            step = 2
        else:
            out.append(re.escape(rest[0]))
        position += step
    if braces:
        raise BadPattern(f"{glob!r}: '{{' has no '}}'")
    return "".join(out)
