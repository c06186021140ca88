"""The XML of responses, and its repair where a store writes a key into it as it is."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from s3_syncer.stores.response_xml import NotXmlError, error, fields, has_ended, parse, plain_error


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("a", "a"),
        ("a&amp;b&lt;c&#x41;&#66;", "a&b<cAB"),
        ("a&b", "a&b"),
        ("a&b;&", "a&b;&"),
        ("a\x01b\x00\x1f", "a\x01b\x00\x1f"),
        ("&#x1;&#1;&#X1;", "\x01\x01\x01"),
        ("a\rb\r\n", "a\rb\r\n"),
        ("&#13;", "\r"),
        ("\ufffe\uffff", "\ufffe\uffff"),
        ("a<b", "a<b"),
        ("a]]>b", "a]]>b"),
        ("a<b>&\x02c</d>", "a<b>&\x02c</d>"),
        ("\u00e9 \U0001f600\x01", "\u00e9 \U0001f600\x01"),
        ("\u00e9\udcff\x01", "\u00e9\udcff\x01"),
        ("&#xD83D;", "\ud83d"),
    ],
)
def test_a_key_is_read_as_the_store_means_it(text: str, key: str) -> None:
    body = f"<R xmlns='n'><Upload><Key>k</Key></Upload><Upload><Key>{text}</Key><UploadId>i</UploadId></Upload></R>"
    expected = {"Uploads": [{"Key": "k"}, {"Key": key, "UploadId": "i"}]}
    assert fields(parse(body.encode(errors="surrogateescape"))) == expected


@pytest.mark.parametrize(
    "before", ["", "  \n", "\ufeff", "<?xml version='1.0'?>", " <?xml version='1.1' encoding='x'?>"]
)
def test_a_declaration_needs_no_place_and_no_version(before: str) -> None:
    assert fields(parse(f"{before}<R><Key>\x01</Key></R>".encode())) == {"Key": "\x01"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"text",
        b"<R>",
        b"<R><Key>a</R>",
        "<R>\U00100001\x01</R>".encode(),  # a character of the repair itself
        b"<html><br>maintenance</html>",
    ],
)
def test_other_bodies_are_not_xml(body: bytes) -> None:
    with pytest.raises(NotXmlError):
        parse(body)
    assert error(body) == ("", "")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"<R><A>1</A><A>1</A></R>", {"A": "1"}),
        (b"<R><A>1</A><A>2</A></R>", {"A": None}),
        (b"<R><A>1</A><A>2</A><A>2</A></R>", {"A": None}),
        (b"<R><A/></R>", {"A": ""}),
        (b"<R><TagSet/></R>", {"TagSet": []}),
        (b"<R><TagSet>\n</TagSet></R>", {"TagSet": []}),
        (b"<R><TagSet>?</TagSet></R>", {"TagSet": None}),
        (b"<R><TagSet><Tag><Key>a</Key><Value/></Tag></TagSet></R>", {"TagSet": [{"Key": "a", "Value": ""}]}),
        (
            b"<R><Version><Key>a</Key></Version><DeleteMarker><Key>b</Key></DeleteMarker></R>",
            {"Versions": [{"Key": "a"}, {"Key": "b", "DeleteMarker": "true"}]},
        ),
        (b"<R><Contents/><Part><Size>1</Size></Part></R>", {"Contents": [{}], "Parts": [{"Size": "1"}]}),
    ],
)
def test_the_fields_are_in_the_form_of_boto3(body: bytes, expected: dict[str, Any]) -> None:
    assert fields(parse(body)) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"<Error><Code>A</Code><Message>b</Message></Error>", ("A", "b")),
        (b"<Error xmlns='n'><Code>A</Code></Error>", ("A", "")),
        (b"<Error><Code>A</Code><Resource>/b/k\x01?a&b</Resource></Error>", ("A", "")),
        (b"<Error><Code>A</Code><Code>A</Code></Error>", ("A", "")),
        (b"<Error><Code>A</Code><Code>B</Code></Error>", ("", "")),
        (b"<Error/>", ("", "")),
        (b"<html><Code>A</Code></html>", ("", "")),
    ],
)
def test_an_error_is_read(body: bytes, expected: tuple[str, str]) -> None:
    assert error(body) == expected


def test_an_error_is_written_as_every_parser_reads_it() -> None:
    body = b"<Error xmlns='n'><Code>A</Code><Code>A</Code><Resource>k\x01&\xc3\xa9</Resource></Error>"
    root = ElementTree.fromstring(plain_error(parse(body)))
    assert [(child.tag, child.text) for child in root] == [("Code", "A"), ("Resource", "k\ufffd&\u00e9")]


@pytest.mark.parametrize(
    ("text", "ended"),
    [
        ("", False),
        (" \n", False),
        ("<", False),
        ("<?xml version='1.0'?>\n", False),
        ("<?xml version='1.0'?><R xmlns='n'><A>1</A></", False),
        ("<?xml version='1.0'?><R xmlns='n'><A>1</A></R>", True),
        ("\ufeff<R><A>1</A></R>\n", True),
        ("<R><A>&\x01<b</A></R>", True),
        ("<R><A/>", False),
        ("<R/>", True),
        ("<R a='b' />", True),
        ("<!DOCTYPE html><html><br>maintenance</html>", True),
        ("<html><p>maintenance", False),
        ("503 Service Unavailable", True),
    ],
)
def test_a_document_ends_with_its_root_element(text: str, ended: bool) -> None:
    assert has_ended(text.encode()) == ended
