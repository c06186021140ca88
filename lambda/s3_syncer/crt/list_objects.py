"""Request and parse pages of a listing, without the CPU time that boto3 takes for each key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any
from urllib.parse import quote, unquote_plus
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from ..core.model import KeyPage, ListPage
from .protocols import HttpClient

_PARAMETERS = {"StartAfter": "start-after", "ContinuationToken": "continuation-token", "MaxKeys": "max-keys"}


class ObjectListing:
    """Lists the keys of one bucket below a prefix."""

    def __init__(self, client: HttpClient, prefix: str) -> None:
        self._client, self._prefix = client, prefix

    def list_page(self, position: Mapping[str, Any]) -> ListPage | None:
        """Return the page at a position, given in boto3's parameters, or None if boto3 must request it."""
        parameters = {"encoding-type": "url", "list-type": "2", "prefix": self._prefix}
        parameters |= {_PARAMETERS[name]: str(value) for name, value in position.items()}
        query = "?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters.items())
        response = self._client.request("GET", None, query=query)
        if response.status != 200:
            return None
        try:
            return parse_page(response.body, self._prefix)
        except (ElementTree.ParseError, ValueError):
            return None


#: An entry as nearly all stores write it. The pattern never backtracks: each repeat is possessive or a negated class.
_ENTRY = re.compile(
    r"<Contents>\s*<Key>([^<]*)</Key>\s*<LastModified>([^<]*)</LastModified>\s*<ETag>([^<]*)</ETag>"
    r"\s*(?:<(?!Size>|/?Contents>)[^<]*)*+<Size>([^<]*)</Size>"
    r"\s*(?:<(?!/?Contents>)[^<]*)*+</Contents>"
)


def parse_page(body: bytes, prefix: str) -> ListPage:
    """Return the page in a response. Raises ParseError or ValueError if it is not a listing of S3.

    A page of only usual entries is parsed without an XML parser, in a fifth of the time.
    """
    return _parse_usual(body.decode(), prefix) or _parse_any(body, prefix)


def _parse_usual(text: str, prefix: str) -> ListPage | None:
    """Return the page, or None unless it certainly has only usual entries."""
    found = _ENTRY.findall(text)
    if not found or len(found) != text.count("<Contents") or ("!" in text and "<!" in text):
        return None
    # The fields of the page usually stand around the entries. A page with fields elsewhere goes to the XML parser.
    start, end = text.index("<Contents"), text.rindex("</Contents>") + len("</Contents>")
    fields = _PageFields.parse(text[:start] + text[end:])
    if not fields.url_encoded or fields.truncated is None:
        return None
    keys, times, quoted, sizes = (list(column) for column in zip(*found, strict=True))
    # Stores written in Go use the second form of the quotes.
    unquoted = [etag.replace("&quot;", '"').replace("&#34;", '"').strip('"') for etag in quoted]
    if "" in unquoted or "&" in "".join(keys) or "&" in "".join(unquoted):
        return None
    etags: list[str | None] = [*unquoted]
    return fields.page(keys, list(map(int, sizes)), etags, list(map(datetime.fromisoformat, times)), prefix)


def _parse_any(body: bytes, prefix: str) -> ListPage:
    """Return the page. Raises ParseError or ValueError if it is not a listing of S3."""
    fields = _PageFields.parse(body)
    key_tag, size_tag, etag_tag, time_tag = (fields.space + tag for tag in ("Key", "Size", "ETag", "LastModified"))
    keys: list[str] = []
    sizes: list[int] = []
    etags: list[str | None] = []
    times: list[datetime] = []
    for item in fields.root.iterfind(fields.space + "Contents"):
        key, size, modified = item.findtext(key_tag), item.findtext(size_tag), item.findtext(time_tag)
        if key is None or size is None or modified is None:
            raise ValueError("an entry has no Key, Size or LastModified")
        etag = item.findtext(etag_tag)
        keys.append(key)
        sizes.append(int(size))
        etags.append(etag.strip('"') if etag else None)
        times.append(datetime.fromisoformat(modified))
    return fields.page(keys, sizes, etags, times, prefix)


_ZONE = attrgetter("tzinfo")


@dataclass(frozen=True, slots=True)
class _PageFields:
    """The fields of a response that concern the page as a whole."""

    root: Element
    space: str

    @classmethod
    def parse(cls, text: str | bytes) -> _PageFields:
        root = ElementTree.fromstring(text)  # noqa: S314 - from a store that is trusted with the data itself
        space, _, name = root.tag.rpartition("}")
        if name != "ListBucketResult":
            raise ValueError(f"{name} is not a listing")
        return cls(root, space + "}" if space else "")

    @property
    def url_encoded(self) -> bool:
        return self._field("EncodingType") == "url"

    @property
    def truncated(self) -> str | None:
        return self._field("IsTruncated")

    def page(
        self, keys: list[str], sizes: list[int], etags: list[str | None], times: list[datetime], prefix: str
    ) -> ListPage:
        """Return the page with these columns; `keys` are still encoded as in the response."""
        together = "".join(keys)
        if self.url_encoded and ("%" in together or "+" in together):
            keys = [unquote_plus(key) if "%" in key or "+" in key else key for key in keys]
        if prefix:
            if not all(key.startswith(prefix) for key in keys):
                raise ValueError("a key is outside of the prefix")
            keys = [key[len(prefix) :] for key in keys]
        if None in set(map(_ZONE, times)):
            raise ValueError("a time has no time zone")
        page = KeyPage(keys, sizes, etags, times)
        if self.truncated != "true":
            return page, None
        token = self._field("NextContinuationToken")
        if not token:
            raise ValueError("the listing is truncated but has no NextContinuationToken")
        return page, token

    def _field(self, name: str) -> str | None:
        return self.root.findtext(self.space + name)
