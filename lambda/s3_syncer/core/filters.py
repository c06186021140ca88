"""Include and exclude patterns as rclone reads them (https://rclone.org/filtering/). Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass


class BadPattern(ValueError):
    """The pattern is invalid; the message names the mistake."""


def key_filter(include: Sequence[str], exclude: Sequence[str]) -> Callable[[str], bool] | None:
    """Return the predicate for the keys to process, or None if every key is processed. Raises BadPattern.

    The first pattern that matches decides, includes before excludes. With at least one include, a key that matches no
    pattern is excluded.
    """
    if not include and not exclude:
        return None
    include, exclude = _trimmed(include), _trimmed(exclude)
    for glob in include:
        if glob.endswith("/"):  # in rclone it matches directories only, and so never includes a file
            raise BadPattern(f"{glob!r} includes no key: write {glob + '**'!r}")
    rules = [(compile_glob(glob), True) for glob in include]
    rules += [(compile_glob(glob + "**" if glob.endswith("/") else glob), False) for glob in exclude]
    return KeyFilter(tuple(rules), otherwise=not include)


@dataclass(frozen=True, slots=True)
class KeyFilter:
    """A predicate for keys. It is a value, so that it can be sent to other processes."""

    rules: tuple[tuple[re.Pattern[str], bool], ...]
    otherwise: bool

    def __call__(self, key: str) -> bool:
        return next((include for pattern, include in self.rules if pattern.search(key)), self.otherwise)


#: The characters that Go's strings.TrimSpace removes.
_BLANKS = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"


def _trimmed(globs: Sequence[str]) -> list[str]:
    """Return the patterns of one option without the blanks at the end of the last one, as rclone does.

    rclone joins the patterns to a line of CSV and trims it. A pattern that CSV puts in quotes keeps its blanks: one
    that starts with a blank, or contains a comma, a quote or a line break.
    """
    if not globs:
        return []
    *others, last = globs
    is_quoted = last[:1] in _BLANKS or any(character in last for character in ',"\r\n')
    return [*others, last if is_quoted else last.rstrip(_BLANKS)]


def compile_glob(glob: str) -> re.Pattern[str]:
    """Return a glob as a regular expression over whole keys. Raises BadPattern.

    With a leading `/` it matches from the start of the key, otherwise also behind any `/`. `*` and `?` stop at `/`, and
    `**` does not. `[...]`, `{a,b}`, `{{regex}}` and `\\` are as in rclone.
    """
    if not glob:
        raise BadPattern("an empty pattern")
    anchor, body = ("^", glob[1:]) if glob.startswith("/") else ("(?:^|/)", glob)
    try:
        return re.compile(anchor + "".join(_translate(body)) + r"\Z", re.DOTALL)
    except (BadPattern, re.error) as error:
        raise BadPattern(f"{glob!r}: {error}") from error


_TOKEN = re.compile(
    r"\{\{(?P<regex>.*?)\}\}(?!\})"  # up to the last } of several
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
            yield "[" + re.sub(r"[&|~]", r"\\\g<0>", text) + "]"  # two of them are a set operator in Python
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
