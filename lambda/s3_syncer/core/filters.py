"""The keys that are mirrored: include and exclude patterns and sizes, as rclone reads them. Pure.

A key that the filters exclude is never copied, deleted or reported. docs/adr/0016-filters.md has the rules, and where
they differ from rclone (https://rclone.org/filtering/).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, TypeGuard

from .units import format_size


class BadFilter(ValueError):
    """A filter is invalid; the message names the mistake."""


@dataclass(frozen=True, slots=True)
class NameFilter:
    """The include and exclude patterns of one place.

    It is a value, so that it can be sent to other processes, and be compared.
    """

    include: tuple[str, ...]
    exclude: tuple[str, ...]
    #: Each key stands behind this, for the patterns.
    before: str
    #: Each pattern in the order in which they are tried, compiled and as text, with True for an include.
    rules: tuple[tuple[re.Pattern[str], str, bool], ...]

    @classmethod
    def of(cls, include: Sequence[str], exclude: Sequence[str], before: str = "") -> Self:
        """Compile the patterns. Raises BadFilter."""
        included, excluded = _trimmed(include), _trimmed(exclude)
        for glob in included:
            if glob.endswith("/"):  # in rclone it matches directories only, and so never includes a file
                raise BadFilter(f"{glob!r} includes no key: write {glob + '**'!r}")
        rules = [(compile_glob(glob), glob, True) for glob in included]
        rules += [(compile_glob(glob + "**" if glob.endswith("/") else glob), glob, False) for glob in excluded]
        return cls(tuple(include), tuple(exclude), before, tuple(rules))

    def exclusion(self, key: str) -> str | None:
        """Return the reason why the name of the key excludes it, or None.

        The first pattern that matches decides, includes before excludes. With at least one include, a key that matches
        no pattern is excluded.
        """
        name = self.before + key
        for pattern, glob, is_include in self.rules:
            if pattern.search(name):
                return None if is_include else f"excluded by the pattern {glob!r}"
        return "excluded because no include pattern matches the key" if self.include else None


class Sized(Protocol):
    """An object, or its listing entry. The size in bytes is None if a listing does not show it."""

    @property
    def size(self) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters on names and sizes. An object passes them if each of them lets it pass.

    Keys are relative to the prefix, so both sides of a key have the same name.
    """

    names: tuple[NameFilter, ...] = ()
    #: The smallest and largest size in bytes that is mirrored; None is no limit.
    min_size: int | None = None
    max_size: int | None = None

    @classmethod
    def of(
        cls,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        min_size: int | None = None,
        max_size: int | None = None,
    ) -> Self:
        """Return the filters with these patterns and sizes in bytes. Raises BadFilter."""
        if min_size is not None and max_size is not None and min_size > max_size:
            raise BadFilter(
                f"no object has at least {format_size(min_size)} and at most {format_size(max_size)}: "
                "write a maximum size that is not below the minimum size"
            )
        names = (NameFilter.of(include, exclude),) if include or exclude else ()
        return cls(names, min_size, max_size)

    @classmethod
    def from_json(cls, content: object) -> Self:
        """Return the filters of `to_json`. Raises BadFilter."""
        found = content.get("names", []) if isinstance(content, Mapping) else None
        if not isinstance(content, Mapping) or not isinstance(found, list):
            raise BadFilter('the filters must be an object, with a list "names"')
        names = tuple(_name_filter(each) for each in found)
        sizes = [content.get(name) for name in ("min_size", "max_size")]
        if not all(size is None or (type(size) is int and size >= 0) for size in sizes):
            raise BadFilter('"min_size" and "max_size" must be whole numbers or null')
        return cls(names, *sizes)

    def to_json(self) -> dict[str, Any]:
        """Return the filters as JSON."""
        names = [
            {"include": list(each.include), "exclude": list(each.exclude), "before": each.before} for each in self.names
        ]
        return {"names": names, "min_size": self.min_size, "max_size": self.max_size}

    def __bool__(self) -> bool:
        """Return True if a key can be excluded."""
        return self != NO_FILTERS

    def __and__(self, other: Filters) -> Filters:
        """Return the filters that let pass what both let pass."""
        smallest = [size for size in (self.min_size, other.min_size) if size is not None]
        largest = [size for size in (self.max_size, other.max_size) if size is not None]
        names = tuple(dict.fromkeys((*self.names, *other.names)))
        return Filters(names, max(smallest, default=None), min(largest, default=None))

    def below(self, prefix: str) -> Filters:
        """Return the same filters for keys that are relative to a longer prefix, which ends with this one."""
        names = tuple(replace(each, before=each.before + prefix) for each in self.names)
        return replace(self, names=names)

    @property
    def has_sizes(self) -> bool:
        """Return True if a size can exclude an object."""
        return self.min_size is not None or self.max_size is not None

    def exclusion_by_name(self, key: str) -> str | None:
        """Return the reason why the name of the key excludes it, or None."""
        return next((reason for each in self.names if (reason := each.exclusion(key))), None)

    def exclusion_by_size(self, source: Sized | None, target: Sized | None) -> str | None:
        """Return the reason why the size excludes the key, or None, also if no size is known.

        The object of the source decides. The object of the target decides only if the source has none.
        """
        decides = target if source is None else source
        size = None if decides is None else decides.size
        if size is None:
            return None
        if self.min_size is not None and size < self.min_size:
            return f"excluded by its size: {size:,} bytes are less than the minimum of {format_size(self.min_size)}"
        if self.max_size is not None and size > self.max_size:
            return f"excluded by its size: {size:,} bytes are more than the maximum of {format_size(self.max_size)}"
        return None

    def exclusion(self, key: str, source: Sized | None, target: Sized | None) -> str | None:
        """Return the reason why name or size exclude the key, or None."""
        return self.exclusion_by_name(key) or self.exclusion_by_size(source, target)


#: Every key is mirrored.
NO_FILTERS = Filters()


def _name_filter(content: object) -> NameFilter:
    found = content if isinstance(content, Mapping) else {}
    include, exclude, before = found.get("include"), found.get("exclude"), found.get("before")
    if not _is_texts(include) or not _is_texts(exclude) or not isinstance(before, str):
        raise BadFilter('each of "names" must have lists of strings "include" and "exclude", and a string "before"')
    return NameFilter.of(include, exclude, before)


def _is_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


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
    """Return a glob as a regular expression over whole keys. Raises BadFilter.

    With a leading `/` it matches from the start of the key, otherwise also behind any `/`. `*` and `?` stop at `/`, and
    `**` does not. `[...]`, `{a,b}`, `{{regex}}` and `\\` are as in rclone.
    """
    if not glob:
        raise BadFilter("a pattern is empty: write one such as *.jpg or photos/**, or omit it")
    anchor, body = ("^", glob[1:]) if glob.startswith("/") else ("(?:^|/)", glob)
    try:
        return re.compile(anchor + "".join(_translate(body)) + r"\Z", re.DOTALL)
    except (BadFilter, re.error) as error:
        raise BadFilter(f"{glob!r}: {error}") from error


_TOKEN = re.compile(
    r"\{\{(?P<regex>.*?)\}\}(?!\})"  # up to the last } of several
    r"|\[(?P<set>[^\[\]]+)\]"
    r"|\\(?P<escaped>.)"
    r"|(?P<stars>\*+)"
    r"|(?P<other>\{\{|.)",
    re.DOTALL,
)

_MISTAKES = {
    "{{": "'{{' has no '}}': write '\\{\\{' for the characters themselves",
    "[": "'[' has no ']', or another '[' before it: write '\\[' for the character itself, or [a-z] for [[:lower:]]",
    "]": "']' has no '[': write '\\]' for the character itself",
    "\\": "nothing follows the '\\': write '\\\\' for the character itself",
}


#: The letters that have a meaning behind a backslash, in Go and in Python.
_CLASSES = "aAbBdDfnrsStvwW"

#: Parts of a regular expression that Go and Python do not read alike. filters.tf has the same rule.
_OTHER_IN_GO = re.compile(r"\(\?[^:]|\[\[:|\\[1-9CEGKNpPQRUuXZz]")


def _translate(body: str) -> Iterator[str]:
    depth = 0  # of braces
    for token in _TOKEN.finditer(body):
        kind, text = token.lastgroup, token[token.lastgroup or 0]
        if kind == "regex":
            if (other := _OTHER_IN_GO.search(text)) is not None:
                raise BadFilter(f"{other[0]!r} in a regular expression, which Go and Python read in different ways")
            yield f"(?:{text})"
        elif kind == "set":
            found = "[" + re.sub(r"[&|~]", r"\\\g<0>", text) + "]"  # two of them are a set operator in Python
            re.compile(found)  # by itself: with another set behind it, `[^]` would be valid
            yield found
        elif kind == "escaped":
            if text not in _CLASSES and (text.isalnum() or not text.isascii()):
                raise BadFilter(f"'\\{text}' has no meaning: write {text!r} alone")
            yield f"\\{text}" if text.isalnum() else re.escape(text)  # \d is a digit, as in rclone
        elif kind == "stars":
            if len(text) > 2:
                raise BadFilter("more than two '*' in a row")
            yield ".*" if len(text) == 2 else "[^/]*"
        elif text == "?":
            yield "[^/]"
        elif text == "{":
            depth += 1
            yield "(?:"
        elif text == "}":
            depth -= 1
            if depth < 0:
                raise BadFilter("'}' has no '{'")
            yield ")"
        elif text == "," and depth:
            yield "|"
        elif text in _MISTAKES:
            raise BadFilter(_MISTAKES[text])
        else:
            yield re.escape(text)
    if depth:
        raise BadFilter("'{' has no '}'")
