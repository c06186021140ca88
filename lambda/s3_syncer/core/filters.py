"""Include and exclude patterns as rclone reads them (https://rclone.org/filtering/). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass


class BadPattern(ValueError):
    """The pattern cannot be read; the message says where it goes wrong."""


def key_filter(include: Sequence[str], exclude: Sequence[str]) -> Callable[[str], bool] | None:
    """Whether a key is wanted, or None when every key is. Raises BadPattern.

    The first pattern that matches decides, includes before excludes; with any include, what matches none is excluded.
    """
    if not include and not exclude:
        return None
    for glob in include:
        if glob.endswith("/"):  # rclone takes it for directories only, so that no file is ever included
            raise BadPattern(f"{glob!r} includes no key: write {glob + '**'!r}")
    rules = [(compile_glob(glob), True) for glob in include]
    rules += [(compile_glob(glob + "**" if glob.endswith("/") else glob), False) for glob in exclude]
    return KeyFilter(tuple(rules), otherwise=not include)


@dataclass(frozen=True, slots=True)
class KeyFilter:
    """Says of a key whether it is wanted. A value, so that other processes can be told."""

    rules: tuple[tuple[re.Pattern[str], bool], ...]
    otherwise: bool

    def __call__(self, key: str) -> bool:
        return next((verdict for pattern, verdict in self.rules if pattern.search(key)), self.otherwise)


def compile_glob(glob: str) -> re.Pattern[str]:
    """A glob as a regular expression over whole keys. Raises BadPattern.

    A leading `/` ties it to the beginning, otherwise it matches from any `/` on. `*` and `?` stop at `/`, `**` does
    not; `[...]`, `{a,b}`, `{{regex}}` and `\\` are as in rclone.
    """
    if not glob:
        raise BadPattern("an empty pattern")
    anchor, body = ("^", glob[1:]) if glob.startswith("/") else ("(?:^|/)", glob)
    try:
        return re.compile(anchor + "".join(_translate(body)) + r"\Z", re.DOTALL)
    except (BadPattern, re.error) as error:
        raise BadPattern(f"{glob!r}: {error}") from error


_TOKEN = re.compile(
    r"\{\{(?P<regex>.*?)\}\}(?!\})"  # up to the last of several }
    r"|\[(?P<set>[^\[\]]+)\]"
    r"|\\(?P<escaped>.)"
    r"|(?P<stars>\*+)"
    r"|(?P<other>\{\{|.)",
    re.DOTALL,
)

_MISTAKES = {
    "{{": "'{{' has no '}}'",
    "[": "'[' has no ']', or another '[' before it: write [a-z] for [[:lower:]]",
    "]": "']' has no '['",
    "\\": "nothing follows the '\\'",
}


def _translate(body: str) -> Iterator[str]:
    depth = 0  # of braces
    for token in _TOKEN.finditer(body):
        kind, text = token.lastgroup, token[token.lastgroup or 0]
        if kind == "regex":
            yield f"(?:{text})"
        elif kind == "set":
            yield "[" + re.sub(r"[&|~]", r"\\\g<0>", text) + "]"  # two of these would be an operator to Python
        elif kind == "escaped":
            yield f"\\{text}" if text.isalnum() else re.escape(text)  # \d is a digit, as in rclone
        elif kind == "stars":
            if len(text) > 2:
                raise BadPattern("more than two '*' in a row")
            yield ".*" if len(text) == 2 else "[^/]*"
        elif text == "?":
            yield "[^/]"
        elif text == "{":
            depth += 1
            yield "(?:"
        elif text == "}":
            depth -= 1
            if depth < 0:
                raise BadPattern("'}' has no '{'")
            yield ")"
        elif text == "," and depth:
            yield "|"
        elif text in _MISTAKES:
            raise BadPattern(_MISTAKES[text])
        else:
            yield re.escape(text)
    if depth:
        raise BadPattern("'{' has no '}'")
