"""Pages of a listing, as they come over the wire, without what boto3 spends on each key."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol
from urllib.parse import quote, unquote_plus
from xml.etree import ElementTree

from ..model import Listed
from .copies import Answer

#: Keys and the token of the page behind them, None when there is none.
Page = tuple[list[Listed], str | None]

_PARAMETERS = {"StartAfter": "start-after", "ContinuationToken": "continuation-token", "MaxKeys": "max-keys"}


class Asking(Protocol):
    """See `wire.Wire`."""

    def ask(self, method: str, key: str | None, *, query: str = "") -> Answer: ...


class Pages:
    """Lists the keys of one bucket below a prefix."""

    def __init__(self, side: Asking, prefix: str) -> None:
        self._side, self._prefix = side, prefix

    def page(self, position: Mapping[str, Any]) -> Page | None:
        """The page at a position, in boto3's words; None when the common path had better ask for it."""
        told = {"encoding-type": "url", "list-type": "2", "prefix": self._prefix}
        told |= {_PARAMETERS[name]: str(value) for name, value in position.items()}
        query = "?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in told.items())
        answer = self._side.ask("GET", None, query=query)
        if answer.status != 200:
            return None
        try:
            return parsed(answer.body, self._prefix)
        except (ElementTree.ParseError, ValueError):
            return None


def parsed(body: bytes, prefix: str) -> Page:
    """The page in an answer. Raises ParseError or ValueError when it is not one as S3 answers it."""
    root = ElementTree.fromstring(body)  # noqa: S314 - from a store that is trusted with the data itself
    space, name = root.tag[: root.tag.rfind("}") + 1], root.tag.rpartition("}")[2]
    if name != "ListBucketResult":
        raise ValueError(f"{name} is no listing")
    encoded = root.findtext(space + "EncodingType") == "url"
    key_tag, size_tag, etag_tag, time_tag = (space + tag for tag in ("Key", "Size", "ETag", "LastModified"))
    start, entries = len(prefix), []
    for item in root.iterfind(space + "Contents"):
        key, size, modified = item.findtext(key_tag), item.findtext(size_tag), item.findtext(time_tag)
        if key is None or size is None or modified is None:
            raise ValueError("an entry without key, size or time")
        if encoded and ("%" in key or "+" in key):
            key = unquote_plus(key)
        if not key.startswith(prefix):
            raise ValueError("a key outside of the prefix")
        etag, moment = item.findtext(etag_tag), datetime.fromisoformat(modified)
        if moment.tzinfo is None:
            raise ValueError("a time that is nowhere")
        entries.append(Listed(key[start:], int(size), etag.strip('"') if etag else None, moment))
    if root.findtext(space + "IsTruncated") != "true":
        return entries, None
    token = root.findtext(space + "NextContinuationToken")
    if not token:
        raise ValueError("there is more, and no token to ask for it")
    return entries, token
