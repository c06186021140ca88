"""Check which keys the target refuses or folds, and how it lists keys. It writes scratch keys only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .calls import Answer, Page
from .report import Check, Status
from .scratch import Scratch
from .target import ABILITIES

#: Keys of which some stores make another key: the key, and the key that it may become.
FOLDED: Mapping[str, tuple[str, str]] = {
    "double slash": ("double//slash", "double/slash"),
    "slash at the end": ("end/", "end"),
    "segment .": ("dot/./x", "dot/x"),
    "segment ..": ("up/away/../x", "up/x"),
    "backslash": ("back\\slash", "back/slash"),
    "upper case": ("UPPER", "upper"),
    "not NFC": ("A\u030angstrom", "\u00c5ngstrom"),
}

#: Keys that some stores refuse or list under another name.
ODD: Mapping[str, str] = {
    "blank": "a b",
    "plus": "a+b",
    "percent": "a%2Bb",
    "markup": "a&b<c>",
    "quotes": "a'b\"c",
    "question mark": "a?b#c",
    "blank at the end": "blank ",
    "dot at the end": "dot.",
    "tab": "tab\t",
    "line feed": "line\nfeed",
    "carriage return": "carriage\rreturn",
    "control character": "control\x01",
    "letters with accents": "\u00fcber",
    "other scripts": "\u6f22\u5b57",
    "full-width letter": "\uff21",
    "emoji": "\U0001f600",
    "object above another": "above",
    "object below another": "above/below",
}

#: Longest key in bytes: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
KEY_MAX = 1024

#: Keys on a page of the listing, so that it has several pages.
PAGE = 7

#: Most pages that are read: a listing that repeats itself ends.
PAGES_MAX = 20


def check_keys(scratch: Scratch) -> Iterator[Check]:
    """Write every kind of key, list them all, and compare."""
    refused: dict[str, str] = {}
    kinds: dict[str, str] = {}
    folded: list[str] = []
    longest = "k" * (KEY_MAX - len(scratch.prefix.encode()))
    for kind, name in (*ODD.items(), ("1,024 bytes", longest), *((kind, odd) for kind, (odd, _) in FOLDED.items())):
        answer = scratch.put(name, kind.encode())
        if answer.is_ok:
            kinds[scratch.key(name)] = kind
        else:
            refused[kind] = answer.code
    for kind, (odd, plain) in FOLDED.items():
        if scratch.key(odd) in kinds and scratch.ask("head_object", plain).is_ok:
            folded.append(kind)
    yield _named("folded keys", folded, "the store makes another key of these: such a key fails", "none", "folded_keys")
    finding = ", ".join(f"{kind} ({code})" for kind, code in refused.items())
    yield Check(
        ABILITIES,
        "refused keys",
        Status.NOTE if refused else Status.OK,
        f"{finding}: such a key fails" if refused else "none",
        {"refused_keys": refused},
    )
    yield from _check_listing(scratch, kinds, set(folded))


def _named(name: str, found: list[str], problem: str, none: str, fact: str) -> Check:
    finding = f"{problem}: {', '.join(found)}" if found else none
    return Check(ABILITIES, name, Status.NOTE if found else Status.OK, finding, {fact: found})


def _check_listing(scratch: Scratch, kinds: Mapping[str, str], folded: set[str]) -> Iterator[Check]:
    """Check the names, the order and the pages of a listing of the keys that were written."""
    pages = list(_pages(scratch))
    broken = next((page.answer for page in pages if not page.answer.is_ok), None)
    if broken is not None:
        yield Check(ABILITIES, "listing", Status.PROBLEM, broken.reason, {"listing": False})
        return
    listed = [key for page in pages for key in page.keys]
    hidden = [kind for key, kind in kinds.items() if key not in listed and kind not in folded]
    yield _named(
        "listed names", hidden, "these are not listed under their name: such a key fails", "as written", "renamed_keys"
    )
    is_sorted = listed == sorted(listed, key=str.encode)
    yield Check(
        ABILITIES,
        "order of listings",
        Status.OK if is_sorted else Status.NOTE,
        "by the bytes of UTF-8"
        if is_sorted
        else "not by the bytes of UTF-8: each key is compared alone, which is slow",
        {"sorted_listings": is_sorted},
    )
    if any(page.is_last is None for page in pages):
        finding = "a page does not say if more keys follow (IsTruncated)"
        yield Check(ABILITIES, "pages of listings", Status.PROBLEM, finding, {"listing_pages": False})
    elif len(set(listed)) < len(listed) and not hidden:
        finding = "the pages have a key twice"
        yield Check(ABILITIES, "pages of listings", Status.PROBLEM, finding, {"listing_pages": False})
    else:
        yield Check(ABILITIES, "pages of listings", Status.OK, f"{len(pages)} pages", {"listing_pages": True})
    if listed and is_sorted:
        yield _check_start_after(scratch, listed)


def _pages(scratch: Scratch) -> Iterator[Page]:
    token: str | None = None
    for _ in range(PAGES_MAX):
        page = scratch.listed(MaxKeys=PAGE, **({"ContinuationToken": token} if token else {}))
        yield page
        token = page.token
        if not page.answer.is_ok or page.is_last is not False:
            return
        if not token:
            yield Page(Answer(code="NoToken", reason="a page without NextContinuationToken says that more keys follow"))
            return


def _check_start_after(scratch: Scratch, listed: list[str]) -> Check:
    middle = len(listed) // 2
    page = scratch.listed(StartAfter=listed[middle], MaxKeys=2)
    keys = list(page.keys[:1])
    if keys == listed[middle + 1 : middle + 2]:
        return Check(ABILITIES, "StartAfter", Status.OK, "honoured", {"start_after": True})
    if keys == [listed[middle]]:
        return Check(ABILITIES, "StartAfter", Status.OK, "lists the key itself, too", {"start_after": True})
    finding = page.answer.reason or "ignored: a large bucket cannot be cut into ranges"
    return Check(ABILITIES, "StartAfter", Status.PROBLEM, finding, {"start_after": False})
