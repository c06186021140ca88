"""Pages of a listing as stores write them, and as none should: the quick reading and the XML parser agree."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import quote
from xml.etree.ElementTree import ParseError
from xml.sax.saxutils import escape

import pytest

from s3_syncer.core.model import KeyPage, ListEntry
from s3_syncer.crt import list_objects
from s3_syncer.crt.list_objects import ObjectListing, parse_page
from s3_syncer.crt.protocols import HttpResponse

NOON = "2026-01-01T12:00:00.000Z"
S3 = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def entry(key: str = "k", *, etag: str = "&quot;e&quot;", size: str = "1", time: str = NOON, behind: str = "") -> str:
    told = f"<Key>{key}</Key><LastModified>{time}</LastModified><ETag>{etag}</ETag>{behind}<Size>{size}</Size>"
    return f"<Contents>{told}<StorageClass>STANDARD</StorageClass></Contents>"


def answer(
    *entries: str, before: str = "<IsTruncated>false</IsTruncated>", after: str = "", space: str = S3, url: bool = True
) -> bytes:
    encoding = "<EncodingType>url</EncodingType>" if url else ""
    body = f"<ListBucketResult{space}><Name>b</Name>{encoding}{before}{''.join(entries)}{after}</ListBucketResult>"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'.encode()


def listed(key: str = "k", etag: str | None = "e", size: int = 1) -> ListEntry:
    return ListEntry(key, size, etag, datetime(2026, 1, 1, 12, tzinfo=UTC))


OWNER = "<Owner><ID>1</ID><DisplayName>me</DisplayName></Owner>"

USUAL: Mapping[str, tuple[bytes, list[ListEntry]]] = {
    "as AWS writes it": (
        answer(entry("a", behind="<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm>"), entry("b")),
        [listed("a"), listed("b")],
    ),
    "the page described at its end": (
        answer(entry(), before="", after="<IsTruncated>false</IsTruncated>"),
        [listed()],
    ),
    "quotes as they are": (answer(entry(etag='"e"')), [listed()]),
    "quotes as Go writes them": (answer(entry(etag="&#34;e&#34;")), [listed()]),
    "no quotes": (answer(entry(etag="e")), [listed()]),
    "an owner": (answer(entry().replace("<StorageClass>", f"{OWNER}<StorageClass>")), [listed()]),
    "an owner before the size": (answer(entry(behind=OWNER)), [listed()]),
    "no storage class": (answer(entry().replace("<StorageClass>STANDARD</StorageClass>", "")), [listed()]),
    "laid out": (answer(entry().replace("><", ">\n  <")), [listed()]),
    "no name space": (answer(entry(), space=""), [listed()]),
    "encoded keys": (answer(entry("a%2Fb+c%3C%26%0A%C3%A9")), [listed("a/b c<&\né")]),
    "the key of the prefix itself": (answer(entry(""), entry("a")), [listed(""), listed("a")]),
}

UNUSUAL: Mapping[str, tuple[bytes, list[ListEntry]]] = {
    "nothing": (answer(), []),
    "keys as they are": (answer(entry("a+b%20&amp;"), url=False), [listed("a+b%20&")]),
    "another order": (
        answer(f"<Contents><Size>1</Size><ETag>e</ETag><Key>k</Key><LastModified>{NOON}</LastModified></Contents>"),
        [listed()],
    ),
    "one entry without an ETag": (
        answer(entry("a"), entry("b").replace("<ETag>&quot;e&quot;</ETag>", "")),
        [listed("a"), listed("b", etag=None)],
    ),
    "an empty ETag": (answer(entry("a", etag="")), [listed("a", etag=None)]),
    "quotes in yet another way": (answer(entry(etag="&#x22;e&#x22;")), [listed()]),
    "other entities in an ETag": (answer(entry(etag="&quot;e&amp;f&quot;")), [listed(etag="e&f")]),
    "entities in keys": (answer(entry("a&amp;b")), [listed("a&b")]),
    "attributes": (
        answer(entry("a"), entry("b").replace("<Contents>", '<Contents x="1">')),
        [listed("a"), listed("b")],
    ),
    "another prefix for the name space": (
        answer(entry())
        .replace(b"<", b"<s:")
        .replace(b"<s:/", b"</s:")
        .replace(b"<s:?", b"<?")
        .replace(b" xmlns=", b" xmlns:s="),
        [listed()],
    ),
    "an entry that is none": (answer(entry("a"), f"<!-- {entry('b')} -->"), [listed("a")]),
    "literal text": (answer(entry("<![CDATA[k]]>")), [listed()]),
    "told of between entries": (
        answer(entry("a"), "<IsTruncated>false</IsTruncated>", entry("b"), before=""),
        [listed("a"), listed("b")],
    ),
    "not told of at all": (answer(entry(), before=""), [listed()]),
}


@pytest.mark.parametrize("name", [*USUAL, *UNUSUAL])
def test_a_page_is_read_as_it_is_meant(name: str) -> None:
    body, entries = {**USUAL, **UNUSUAL}[name]
    assert parse_page(body, "") == (KeyPage.of(entries), None)


@pytest.mark.parametrize("name", USUAL)
def test_the_usual_page_needs_no_parser(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(list_objects, "_parse_any")
    body, entries = USUAL[name]
    assert parse_page(body, "") == (KeyPage.of(entries), None)


@pytest.mark.parametrize("name", UNUSUAL)
def test_what_is_not_surely_usual_goes_to_the_parser(name: str) -> None:
    assert list_objects._parse_usual(UNUSUAL[name][0].decode(), "") is None


@pytest.mark.parametrize("seed", range(30))
def test_the_quick_reading_is_that_of_the_parser(seed: int) -> None:
    rand = random.Random(seed)
    alphabet = "ab/ +%&<>\"'é\U0001f600\n\t~="
    entries = [
        entry(
            quote("".join(rand.choices(alphabet, k=rand.randint(1, 8))), safe=rand.choice(["", "/", "+"])),
            etag=escape(f'"{rand.randbytes(4).hex()}"', {'"': rand.choice(["&quot;", "&#34;", '"'])}),
            size=str(rand.randrange(10**12)),
            time=f"2026-01-0{rand.randint(1, 9)}T00:00:00{rand.choice(['', '.123'])}{rand.choice(['Z', '+00:00'])}",
            behind=rand.choice(["", OWNER, "<ChecksumType>FULL_OBJECT</ChecksumType>"]),
        )
        for _ in range(20)
    ]
    more = "<IsTruncated>true</IsTruncated><NextContinuationToken>a&amp;b</NextContinuationToken>"
    body = answer(*entries, before=more)
    quick = list_objects._parse_usual(body.decode(), "")
    assert quick == list_objects._parse_any(body, "")
    assert quick is not None
    assert quick[1] == "a&b"
    assert len(quick[0]) == 20


def test_the_prefix_is_taken_off_the_keys() -> None:
    assert parse_page(answer(entry("p%2F"), entry("p%2Fa")), "p/") == (KeyPage.of([listed(""), listed("a")]), None)


@pytest.mark.parametrize(
    ("body", "prefix"),
    [
        (answer(entry("other/a")), "p/"),
        (answer(entry(), before="<IsTruncated>true</IsTruncated>"), ""),
        (answer(entry(time="2026-01-01T12:00:00")), ""),
        (answer(entry(time="soon")), ""),
        (answer(entry(size="big")), ""),
        (answer(entry().replace("<Size>1</Size>", "")), ""),
        (answer(entry())[:-9], ""),
        (b"<html><body>Welcome</body></html>", ""),
        (b"\xff\xfe", ""),
        (b"", ""),
    ],
    ids=[
        "foreign key",
        "no token",
        "local time",
        "no time",
        "no number",
        "no size",
        "cut",
        "web page",
        "binary",
        "empty",
    ],
)
def test_what_is_no_page_is_left_to_the_common_path(body: bytes, prefix: str) -> None:
    with pytest.raises((ParseError, ValueError)):
        parse_page(body, prefix)
    assert ObjectListing(Saying(200, body), prefix).list_page({}) is None


class Saying:
    """A store with one answer."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status, self.body, self.headers = status, body, dict[str, str]()
        self.queries: list[str] = []

    def request(self, method: str, key: str | None, *, query: str = "") -> HttpResponse:
        assert (method, key) == ("GET", None)
        self.queries.append(query)
        return self


def test_a_position_is_asked_for_in_the_words_of_the_protocol() -> None:
    side = Saying(200, answer(entry("p%2Fa")))
    listing = ObjectListing(side, "p/")
    assert (
        listing.list_page({})
        == listing.list_page({"StartAfter": "p/é+", "MaxKeys": 2})
        == (KeyPage.of([listed("a")]), None)
    )
    listing.list_page({"ContinuationToken": "a=="})
    about = "?encoding-type=url&list-type=2&prefix=p%2F"
    assert side.queries == [
        about,
        f"{about}&start-after=p%2F%C3%A9%2B&max-keys=2",
        f"{about}&continuation-token=a%3D%3D",
    ]


def test_a_refusal_is_left_to_the_common_path() -> None:
    assert ObjectListing(Saying(503, answer(entry())), "").list_page({}) is None
