"""Pages of a listing, valid and invalid: the fast parser and the XML parser return the same."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import quote
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

import pytest
from tests.support.clock import FakeClock

from s3_syncer.core.errors import SyncError
from s3_syncer.core.model import Archive, KeyPage, ListEntry, ListPage
from s3_syncer.stores import response_xml
from s3_syncer.stores.response_xml import NotXmlError
from s3_syncer.transport import list_objects
from s3_syncer.transport.list_objects import ObjectListing, parse_page
from s3_syncer.transport.pauses import FAILURES_IN_A_ROW, PAUSE_S, Pauses
from s3_syncer.transport.protocols import Headers, HttpResponse

NOON = "2026-01-01T12:00:00.000Z"
S3 = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


def entry(key: str = "k", *, etag: str = "&quot;e&quot;", size: str = "1", time: str = NOON, behind: str = "") -> str:
    fields = f"<Key>{key}</Key><LastModified>{time}</LastModified><ETag>{etag}</ETag>{behind}<Size>{size}</Size>"
    return f"<Contents>{fields}<StorageClass>STANDARD</StorageClass></Contents>"


def listing(
    *entries: str, before: str = "<IsTruncated>false</IsTruncated>", after: str = "", space: str = S3, url: bool = True
) -> bytes:
    encoding = "<EncodingType>url</EncodingType>" if url else ""
    body = f"<ListBucketResult{space}><Name>b</Name>{encoding}{before}{''.join(entries)}{after}</ListBucketResult>"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}'.encode()


AT_NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def listed(key: str = "k", etag: str | None = "e", size: int = 1, time: datetime | None = AT_NOON) -> ListEntry:
    return ListEntry(key, size, etag, time)


def last_page(*entries: ListEntry) -> ListPage:
    return ListPage(KeyPage.of(entries), None, is_last=True)


OWNER = "<Owner><ID>1</ID><DisplayName>me</DisplayName></Owner>"

#: Restore statuses, and if a restore is in progress; None if the object was restored.
RESTORES: Mapping[str, tuple[str, tuple[bool | None] | None]] = {
    "and the listing does not say more": ("", (None,)),
    "not restored": ("<RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress></RestoreStatus>", (False,)),
    "being restored": ("<RestoreStatus><IsRestoreInProgress>true</IsRestoreInProgress></RestoreStatus>", (True,)),
    "restored": (
        "<RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress>"
        f"<RestoreExpiryDate>{NOON}</RestoreExpiryDate></RestoreStatus>",
        None,
    ),
}

USUAL: Mapping[str, tuple[bytes, list[ListEntry]]] = {
    "as AWS writes it": (
        listing(entry("a", behind="<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm>"), entry("b")),
        [listed("a"), listed("b")],
    ),
    "the fields of the page at its end": (
        listing(entry(), before="", after="<IsTruncated>false</IsTruncated>"),
        [listed()],
    ),
    "plain quotes": (listing(entry(etag='"e"')), [listed()]),
    "quotes as Go writes them": (listing(entry(etag="&#34;e&#34;")), [listed()]),
    "no quotes": (listing(entry(etag="e")), [listed()]),
    "an owner": (listing(entry().replace("<StorageClass>", f"{OWNER}<StorageClass>")), [listed()]),
    "an owner before the size": (listing(entry(behind=OWNER)), [listed()]),
    "no storage class": (listing(entry().replace("<StorageClass>STANDARD</StorageClass>", "")), [listed()]),
    "indented": (listing(entry().replace("><", ">\n  <")), [listed()]),
    "no name space": (listing(entry(), space=""), [listed()]),
    **{
        f"{kind}, {name}": (
            listing(
                entry("a"),
                entry("b").replace("STANDARD", kind).replace("</Contents>", f"{status}</Contents>"),
                entry("c").replace("STANDARD", "GLACIER_IR"),
            ),
            [listed("a"), replace(listed("b"), archive=archive and Archive(kind, archive[0])), listed("c")],
        )
        for kind in ("GLACIER", "DEEP_ARCHIVE")
        for name, (status, archive) in RESTORES.items()
    },
    "encoded keys": (listing(entry("a%2Fb+c%3C%26%0A%C3%A9")), [listed("a/b c<&\né")]),
    "the key of the prefix itself": (listing(entry(""), entry("a")), [listed(""), listed("a")]),
}

UNUSUAL: Mapping[str, tuple[bytes, list[ListEntry]]] = {
    "an empty page": (listing(), []),
    "keys without encoding": (listing(entry("a+b%20&amp;"), url=False), [listed("a+b%20&")]),
    "another order": (
        listing(f"<Contents><Size>1</Size><ETag>e</ETag><Key>k</Key><LastModified>{NOON}</LastModified></Contents>"),
        [listed()],
    ),
    "one entry without an ETag": (
        listing(entry("a"), entry("b").replace("<ETag>&quot;e&quot;</ETag>", "")),
        [listed("a"), listed("b", etag=None)],
    ),
    "an empty ETag": (listing(entry("a", etag="")), [listed("a", etag=None)]),
    "quotes in a third form": (listing(entry(etag="&#x22;e&#x22;")), [listed()]),
    "other entities in an ETag": (listing(entry(etag="&quot;e&amp;f&quot;")), [listed(etag="e&f")]),
    "entities in keys": (listing(entry("a&amp;b")), [listed("a&b")]),
    "attributes": (
        listing(entry("a"), entry("b").replace("<Contents>", '<Contents x="1">')),
        [listed("a"), listed("b")],
    ),
    "another prefix for the name space": (
        listing(entry())
        .replace(b"<", b"<s:")
        .replace(b"<s:/", b"</s:")
        .replace(b"<s:?", b"<?")
        .replace(b" xmlns=", b" xmlns:s="),
        [listed()],
    ),
    "an entry in a comment": (listing(entry("a"), f"<!-- {entry('b')} -->"), [listed("a")]),
    "literal text": (listing(entry("<![CDATA[k]]>")), [listed()]),
    "the field between entries": (
        listing(entry("a"), "<IsTruncated>false</IsTruncated>", entry("b"), before=""),
        [listed("a"), listed("b")],
    ),
    "a time without a zone": (listing(entry(time="2026-01-01T12:00:00")), [listed(time=None)]),
    "a time that is none": (listing(entry(time="soon")), [listed(time=None)]),
    "a bare ampersand": (listing(entry("a&b")), [listed("a&b")]),
    "a control character": (listing(entry("a\x01b"), url=False), [listed("a\x01b")]),
    "a reference to a control character": (listing(entry("a&#x1;b"), url=False), [listed("a\x01b")]),
    "a carriage return": (listing(entry("a\rb"), url=False), [listed("a\rb")]),
}


@pytest.mark.parametrize("name", [*USUAL, *UNUSUAL])
def test_a_page_is_parsed(name: str) -> None:
    body, entries = {**USUAL, **UNUSUAL}[name]
    assert parse_page(body, "") == last_page(*entries)


@pytest.mark.parametrize("name", USUAL)
def test_a_usual_page_needs_no_xml_parser(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    body, entries = USUAL[name]
    parse = response_xml.parse

    def parse_fields(body: bytes) -> Element:
        assert b"<Contents" not in body
        return parse(body)

    monkeypatch.setattr(response_xml, "parse", parse_fields)
    assert parse_page(body, "") == last_page(*entries)


@pytest.mark.parametrize("name", UNUSUAL)
def test_a_page_that_may_be_unusual_goes_to_the_xml_parser(name: str) -> None:
    assert list_objects._parse_usual(UNUSUAL[name][0], "") is None


@pytest.mark.parametrize("seed", range(30))
def test_both_parsers_return_the_same_page(seed: int) -> None:
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
    body = listing(*entries, before=more)
    usual = list_objects._parse_usual(body, "")
    assert usual == list_objects._response(response_xml.parse(body)).list_page("")
    assert usual is not None
    assert usual.following == {"ContinuationToken": "a&b"}
    assert len(usual.keys) == 20


def test_the_prefix_is_removed_from_the_keys() -> None:
    assert parse_page(listing(entry("p%2F"), entry("p%2Fa")), "p/") == last_page(listed(""), listed("a"))


@pytest.mark.parametrize(
    ("fields", "following", "is_last"),
    [
        ("<IsTruncated>true</IsTruncated>", None, False),
        ("<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>", "t", False),
        ("<NextContinuationToken>t</NextContinuationToken>", "t", None),
        ("<IsTruncated>maybe</IsTruncated>", None, None),
        ("<IsTruncated>false</IsTruncated><IsTruncated>true</IsTruncated>", None, None),
        ("", None, None),
    ],
)
def test_a_page_has_what_the_store_says_of_the_next_one(fields: str, following: str | None, is_last: bool) -> None:
    position = {"ContinuationToken": following} if following else None
    expected = ListPage(KeyPage.of([listed()]), position, is_last)
    assert parse_page(listing(entry(), before=fields), "") == expected


@pytest.mark.parametrize("body", [entry(size="big"), entry(size="-1"), entry().replace("<Size>1</Size>", "")])
def test_an_entry_without_a_size_is_an_entry(body: str) -> None:
    assert parse_page(listing(body), "").keys.sizes == [None]


@pytest.mark.parametrize("etag", ["-", "null", '"0"', "&quot;&quot;", "?"])
def test_a_placeholder_is_no_etag(etag: str) -> None:
    assert parse_page(listing(entry(etag=etag)), "").keys.etags == [None]


@pytest.mark.parametrize(
    ("body", "prefix"),
    [
        (listing(entry("other/a")), "p/"),
        (listing(entry())[:-9], ""),
        (b"<html><body>Welcome</body></html>", ""),
        (b"\xff\xfe", ""),
        (b"", ""),
    ],
    ids=[
        "foreign key",
        "broken off",
        "web page",
        "binary",
        "empty",
    ],
)
def test_an_invalid_page_is_left_to_boto3(body: bytes, prefix: str) -> None:
    with pytest.raises((NotXmlError, SyncError)):
        parse_page(body, prefix)
    assert ObjectListing(OneResponse(200, body), prefix, Pauses()).list_page({}) is None


class OneResponse:
    """A client with one response for every request."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status, self.body, self.headers = status, body, dict[str, str]()
        self.queries: list[str] = []

    def request(self, method: str, key: str | None, *, query: str, headers: Headers) -> HttpResponse:
        assert (method, key, list(headers)) == ("GET", None, [])
        self.queries.append(query)
        return self


def test_a_position_becomes_query_parameters() -> None:
    client = OneResponse(200, listing(entry("p%2Fa")))
    pages = ObjectListing(client, "p/", Pauses())
    assert pages.list_page({}) == pages.list_page({"StartAfter": "p/é+", "MaxKeys": 2}) == last_page(listed("a"))
    pages.list_page({"ContinuationToken": "a=="})
    pages.list_page({"Marker": "b"})
    about = "?encoding-type=url&list-type=2&prefix=p%2F"
    assert client.queries == [
        about,
        f"{about}&start-after=p%2F%C3%A9%2B&max-keys=2",
        f"{about}&continuation-token=a%3D%3D",
        "?encoding-type=url&prefix=p%2F&marker=b",
    ]


def test_an_error_response_is_left_to_boto3() -> None:
    assert ObjectListing(OneResponse(503, listing(entry())), "", Pauses()).list_page({}) is None


@pytest.mark.parametrize(
    ("status", "failures", "pauses"),
    [
        (403, 1, True),
        (0, FAILURES_IN_A_ROW, True),
        (500, FAILURES_IN_A_ROW, True),
        (500, FAILURES_IN_A_ROW - 1, False),
        (503, FAILURES_IN_A_ROW, False),
    ],
)
def test_failed_listings_pause_the_transport(status: int, failures: int, pauses: bool) -> None:
    """The requests about keys share the pause. A store that is busy has not failed."""
    client, clock = OneResponse(status, listing(entry())), FakeClock()
    shared = Pauses(clock=clock)
    pages = ObjectListing(client, "", shared)
    for _ in range(failures):
        assert pages.list_page({}) is None
    client.status = 200
    assert (pages.list_page({}) is None) is pauses
    assert shared.is_paused("get_object") is pauses
    assert len(client.queries) == failures + (not pauses)
    clock.now += PAUSE_S
    assert pages.list_page({}) is not None


def test_failed_requests_about_keys_pause_the_listings() -> None:
    client = OneResponse(200, listing(entry()))
    shared = Pauses(clock=FakeClock())
    for _ in range(FAILURES_IN_A_ROW):
        shared.note("get_object", HttpResponse(500), is_ordinary=False)
    assert ObjectListing(client, "", shared).list_page({}) is None
    assert client.queries == []


def test_listings_pause_while_no_page_can_be_read() -> None:
    client = OneResponse(200, b"<html>")
    shared = Pauses(clock=FakeClock())
    for _ in range(9):
        assert ObjectListing(client, "", shared).list_page({}) is None
    assert len(client.queries) == 2
    assert not shared.is_paused("get_object")


def archives(page: ListPage | None) -> Mapping[str, Archive]:
    assert page is not None
    return page.keys.archives


@pytest.mark.parametrize("case", [case for case in USUAL if "GLACIER" in case or "DEEP" in case])
def test_both_parsers_find_the_archive_of_each_object(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry is equal to one in another archive, so the other tests do not compare them."""
    body, entries = USUAL[case]
    expected = {entry.key: entry.archive for entry in entries if entry.archive is not None}
    assert archives(parse_page(body, "")) == expected
    monkeypatch.setattr(list_objects, "_parse_usual", lambda body, prefix: None)
    assert archives(parse_page(body, "")) == expected


def test_the_keys_of_archives_have_no_prefix() -> None:
    body = listing(entry("p%2Fa").replace("STANDARD", "GLACIER"))
    assert archives(parse_page(body, "p/")) == {"a": Archive("GLACIER")}
