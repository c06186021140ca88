"""The ways in which a store may take two keys for one. Pure.

S3 compares keys byte by byte. Stores above a file system or a database may not: `/a` is `a` there, or `README` is
`readme`. Such a store *folds* keys. A response to a HEAD does not name the key of its object, so it does not show that.

A *twin* of a key is another key that a store with a fold responds to, once it has the key. If the store has the key and
names the twin as missing, it does not have that fold. `sync/key_identity.py` asks the store.

A store may also *rewrite* keys: it drops a character, replaces it, or cuts the key there, as servers do at `;`, `#` or
the first character of four bytes. No list of such rules can be complete. But a store that lists a key under its own
name has not rewritten its characters. So each unusual kind of character counts until one listing has shown it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal
from urllib.parse import quote, unquote

#: Bytes of the longest name of a file, and of many columns of databases.
NAME_MAX = 255

#: A fold by its name.
Fold = str

#: The folds that a key has many spellings for: see `first_spelling`.
CASES: frozenset[Fold] = frozenset({"case", "case beyond ASCII"})

#: A store that responds to `d` because it has `d/x`: it shows directories as objects.
DIRECTORY: Fold = "directory"


@dataclass(frozen=True, slots=True)
class _Rule:
    """A fold: `folded` gives keys that are one the same text; `vary` returns such a key, or its own."""

    folded: Callable[[str], str]
    vary: Callable[[str], str]


def twins(prefix: str, key: str, excluded: Collection[Fold] = ()) -> dict[Fold, str | None]:
    """Return by fold that can concern the key its twin; None if no twin is known below the prefix.

    The store has the key as `prefix` and `key`. DIRECTORY concerns every key: see `directory_twin`.
    """
    name = prefix + key
    rules = _LETTERS if _UNUSUAL.search(name) is None else _ASCII_RULES if name.isascii() else _RULES
    found = dict.fromkeys(rewrites(prefix, key)) | {
        fold: _twin(rule, prefix, key)
        for fold, rule in rules.items()
        if fold not in excluded and rule.vary(name) != name
    }
    size = len(name.encode(errors="surrogatepass"))
    if size > NAME_MAX:
        # A store may cut the key. A proof for one length says nothing about a longer key.
        found[f"length {size}"] = key[:-1] + ("b" if key.endswith("a") else "a")
        if any(len(part.encode(errors="surrogatepass")) > NAME_MAX for part in name.split("/")[:-1]):
            found["length of a directory"] = None
    return {fold: twin for fold, twin in found.items() if fold not in excluded}


def rewrites(prefix: str, key: str) -> frozenset[Fold]:
    """Return the folds that a listing of the key excludes: one for each unusual kind of character.

    An ASCII character is a kind by itself. Every other kind has one category and one number of bytes, so that a process
    needs few listings for all keys of a script.
    """
    return frozenset(map(_kind, {*_UNUSUAL_CHARACTER.findall(prefix + key)}))


@lru_cache(maxsize=1000)
def _kind(character: str) -> Fold:
    if character.isascii():
        return f"character {character!r}"
    size = len(character.encode(errors="surrogatepass"))
    return f"characters {unicodedata.category(character)} of {size} bytes"


def first_spelling(name: str, start: str) -> str | None:
    """Return the first text from `start` on that is the name with letters in either case; None for none.

    A name has too many spellings to ask a store for each of them. This one skips all those between two keys of a
    listing.
    """
    found, spellings = None, [sorted({letter, _other_case(letter)}) for letter in name]
    lowest = "".join(each[0] for each in spellings)
    for place, letters in enumerate(spellings):
        if place == len(start):
            return start + lowest[place:]
        if higher := [letter for letter in letters if letter > start[place]]:
            found = start[:place] + higher[0] + lowest[place + 1 :]
        if start[place] not in letters:
            return found
    return start if len(start) == len(name) else found


def directory_twin(key: str) -> str | None:
    """Return the directory of the key, the twin for DIRECTORY; None if it has none."""
    return key.rpartition("/")[0].rstrip("/") or None


def _twin(rule: _Rule, prefix: str, key: str) -> str | None:
    name = prefix + key
    for other in (prefix + rule.vary(key), rule.vary(name)):
        is_below = other.startswith(prefix) and other not in (name, prefix)
        if is_below and rule.folded(other) == rule.folded(name) and other.count("\ufffd") == name.count("\ufffd"):
            return other.removeprefix(prefix)
    return None


def _one(folded: Callable[[str], str]) -> _Rule:
    """Return the rule of a fold with one spelling that folds to itself."""
    return _Rule(folded, folded)


def _two(folded: Callable[[str], str], unfolded: Callable[[str], str]) -> _Rule:
    """Return the rule of a fold that concerns both spellings: the store may have either of them."""

    def vary(name: str) -> str:
        return folded(name) if folded(name) != name else unfolded(name)

    return _Rule(folded, vary)


def _swapped(name: str, *, ascii_only: bool) -> str:
    """Return the name with each letter in its other case, where that case is one letter that leads back."""
    if name.isascii():
        return name.swapcase() if ascii_only else name

    return "".join(_other_case(each) if each.isascii() == ascii_only else each for each in name)


def _other_case(letter: str) -> str:
    """Return the letter in its other case, where that case is one letter that leads back; else the letter."""
    other = letter.swapcase()
    return other if len(other) == 1 and other.swapcase() == letter else letter


def _without_accents(name: str) -> str:
    return "".join(each for each in unicodedata.normalize("NFD", name) if not unicodedata.combining(each))


def _without_dot_segments(name: str) -> str:
    """Return the name without the segments `.` and `..`, as a web server or a file system resolves them."""
    kept: list[str] = []
    for part in name.split("/"):
        if part == "..":
            kept = kept[:-1]
        elif part != ".":
            kept.append(part)
    return "/".join(kept)


def _by_form(form: Literal["NFC", "NFD", "NFKC"]) -> Callable[[str], str]:
    return lambda name: unicodedata.normalize(form, name)


def _substituted(pattern: str, replacement: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)
    return lambda name: compiled.sub(replacement, name)


def _without_one(pattern: str) -> _Rule:
    """Return the rule of a fold that removes all that the pattern finds.

    A store may also remove only the first character. Both give the same name if the pattern finds one, so a key with
    more has no twin.
    """
    compiled = re.compile(pattern)
    return _Rule(
        lambda name: compiled.sub("", name) if max(map(len, compiled.findall(name)), default=0) <= 1 else name,
        lambda name: compiled.sub("", name),
    )


def _with_other_astral(name: str) -> str:
    """Return the name with other characters of four bytes. Some collations give all of them one weight."""
    return "".join(chr(ord(each) ^ 1) if each > "\uffff" else each for each in name)


#: Letters that collations without accents take for plain letters, and that Unicode does not decompose.
_STROKES = str.maketrans("\u0131\u00f8\u0142\u0111\u0127\u0167", "ioldht")
_JOINED = str.maketrans({"\u00df": "ss", "\u00e6": "ae", "\u0153": "oe", "\u00c6": "AE", "\u0152": "OE"})

_HIRAGANA, _KATAKANA = range(0x3041, 0x3097), range(0x30A1, 0x30F7)
_TO_HIRAGANA = dict(zip(_KATAKANA, _HIRAGANA, strict=True))
_OTHER_KANA = _TO_HIRAGANA | dict(zip(_HIRAGANA, _KATAKANA, strict=True))

#: The characters that Unicode calls Default_Ignorable, such as the zero-width space and the selectors of emoji.
_IGNORABLE = (
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]"
)

#: The folds of letters, which concern nearly every key. File systems compare without case, and keep it.
_LETTERS: Mapping[Fold, _Rule] = {
    "case": _Rule(str.lower, lambda name: _swapped(name, ascii_only=True)),
}

#: The folds that concern only keys with other characters than ASCII.
_RULES_BEYOND_ASCII: Mapping[Fold, _Rule] = {
    "case beyond ASCII": _Rule(str.lower, lambda name: _swapped(name, ascii_only=False)),
    "normal form": _two(_by_form("NFC"), _by_form("NFD")),
    "compatible characters": _one(_by_form("NFKC")),
    "accents": _one(_without_accents),
    "letters with strokes": _one(lambda name: name.translate(_STROKES)),
    "joined letters": _one(lambda name: name.translate(_JOINED)),
    "kana": _Rule(lambda name: name.translate(_TO_HIRAGANA), lambda name: name.translate(_OTHER_KANA)),
    "ignorable characters": _one(_substituted(_IGNORABLE, "")),
    "characters of four bytes": _Rule(_substituted("[\U00010000-\U0010ffff]", "\ufffd"), _with_other_astral),
    "characters beyond Latin-1": _one(_substituted(r"[^\x00-\xff]", "?")),
    "characters beyond ASCII": _one(_substituted(r"[^\x00-\x7f]", "?")),
}

#: The folds that can concern a key of ASCII characters. Each of them takes time for each key of a sweep.
_ASCII_RULES: Mapping[Fold, _Rule] = {
    **_LETTERS,
    "control characters": _one(_substituted(r"[\x00-\x1f\x7f]", "")),
    "leading slash": _without_one(r"\A/+"),
    "trailing slash": _without_one(r"/+\Z"),
    "double slash": _one(_substituted(r"/{2,}", "/")),
    "double blank": _one(_substituted(" {2,}", " ")),
    "dot segments": _one(_without_dot_segments),
    "backslash": _one(lambda name: name.replace("\\", "/")),
    "percent sequences": _two(unquote, quote),
    "plus": _two(lambda name: name.replace("+", " "), lambda name: name.replace(" ", "+")),
    "leading blank": _without_one(r"\A +"),
    "trailing blank": _without_one(r" +(?=/|\Z)"),
    "trailing dot": _without_one(r"(?<=[^/.])\.+(?=/|\Z)"),
}

_RULES: Mapping[Fold, _Rule] = {**_ASCII_RULES, **_RULES_BEYOND_ASCII}

#: Something in a name that a fold other than those of letters can concern.
_UNUSUAL = re.compile(r"[^A-Za-z0-9_./~-]|//|\A/|/\Z|(?:\A|/)\.|\.(?:/|\Z)")

#: A character that a store may rewrite.
_UNUSUAL_CHARACTER = re.compile(r"[^A-Za-z0-9_./~-]")
