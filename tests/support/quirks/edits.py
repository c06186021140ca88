"""Change responses and requests, for the quirks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from urllib.parse import unquote

from tests.support.odd_requests import Element, Quirk, Request, Response, Store


def edits(names: Iterable[str], edit: Callable[[str], list[str]]) -> Quirk:
    """Replace each header and element of these names by those that `edit` returns for its text."""
    lower = [name.lower() for name in names]

    def quirk(request: Request, store: Store) -> Response:
        response = store(request)
        headers = [
            (name, new)
            for name, value in response.headers
            for new in (edit(value) if name.lower() in lower else [value])
        ]
        xml = edited_element(response.xml, lower, edit) if response.xml is not None else []
        return replace(response, headers=tuple(headers), xml=xml[0] if xml else response.xml)

    return quirk


def edited_element(element: Element, names: Iterable[str], edit: Callable[[str], list[str]]) -> list[Element]:
    """Return the elements that replace an element."""
    lower = [name.lower() for name in names]
    name, content = element
    if name.lower() in lower:
        # An element that has elements is repeated as often as a text would be; it can be replaced by a text.
        is_text = isinstance(content, str)
        replaced: list[Element] = []
        for text in edit(content if isinstance(content, str) else ""):
            replaced.append((name, text if is_text or text else content))
        return replaced
    if isinstance(content, str):
        return [element]
    return [(name, [new for child in content for new in edited_element(child, lower, edit)])]


def if_found(response: Response, edit: Callable[[Response], Response]) -> Response:
    return edit(response) if response.status in (200, 206) else response


def with_headers(request: Request, keeps: Callable[[str, str], bool]) -> Request:
    return replace(request, headers={name: value for name, value in request.headers.items() if keeps(name, value)})


def children(element: Element | None, name: str) -> list[Element]:
    content = element[1] if element is not None else []
    return [] if isinstance(content, str) else [child for child in content if child[0] == name]


def text_of(element: Element | None, name: str) -> str:
    """Return the text of the first element of that name, or an empty string."""
    return next((content for _, content in children(element, name) if isinstance(content, str)), "")


def entries_of(response: Response) -> list[Element]:
    """Return the objects that a listing shows."""
    return children(response.xml, "Contents")


def without_elements(response: Response, *names: str) -> Response:
    """Return the response without these elements of its XML."""
    name, content = response.xml or ("", "")
    if isinstance(content, str):
        return response
    return replace(response, xml=(name, [child for child in content if child[0] not in names]))


def adding(response: Response, *elements: Element) -> Response:
    """Return the response with further elements at the end of its XML; an error stays."""
    if response.xml is None or response.status != 200:
        return response
    name, content = response.xml
    assert not isinstance(content, str)
    return replace(response, xml=(name, [*content, *elements]))


def with_entries(response: Response, edit: Callable[[Element], Element | None]) -> Response:
    """Return a listing with each object as `edit` returns it, or without it."""
    shown = [new for entry in entries_of(response) if (new := edit(entry)) is not None]
    return adding(without_elements(response, "Contents"), *shown)


def only_keys(response: Response, is_shown: Callable[[str], bool]) -> Response:
    """Return a listing with these keys only."""
    decode = partial(unquote, errors="surrogateescape") if text_of(response.xml, "EncodingType") else str
    return with_entries(response, lambda entry: entry if is_shown(decode(text_of(entry, "Key"))) else None)
