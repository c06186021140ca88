"""Parse the XML of responses, also where a store writes a key into it that XML cannot contain. Pure."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

#: The characters that XML 1.0 cannot contain, and the carriage return, which a parser reads as a line feed:
#: https://www.w3.org/TR/xml/#charsets. A byte that is not UTF-8 is a surrogate here: see `model.is_nameable`.
_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]")

#: A character that stands for a forbidden one while the text is parsed: the forbidden one is so much less. Unicode
#: gives these characters no meaning. A text that has one already is not repaired.
_STAND_IN_OFFSET = 0x100000
_STAND_IN = re.compile("[\U00100000-\U0010001f\U0010d800-\U0010dfff\U0010fffe\U0010ffff]")

_REFERENCE = re.compile(r"&#(?:[xX]([0-9A-Fa-f]{1,6})|([0-9]{1,7}));")
_BARE_AMPERSAND = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|#[0-9]+|#x[0-9A-Fa-f]+);)")

#: The elements with a key, or a text that contains one. A store that writes keys as they are writes `<` into them.
_TEXTS = re.compile(
    "<((?:Next)?(?:Key|Marker|KeyMarker|ContinuationToken)|Prefix|StartAfter|Resource|Location|Message|Value)>"
    r"(.*?)</\1>",
    re.DOTALL,
)

#: The XML declaration, and what some stores write before it to keep the connection open.
_DECLARATION = re.compile(r"\A\ufeff?\s*<\?xml[^>]*\?>")

#: What comes before the name of the root element, and that name.
_ROOT = re.compile(rb"\A(?:\xef\xbb\xbf)?\s*(?:<[?!][^>]*>\s*)*<([^\s/>?!]+)")

#: The elements that a response repeats, and the name of their list in boto3's form.
_LISTS = {
    "Contents": "Contents",
    "Upload": "Uploads",
    "Part": "Parts",
    # Not as in boto3: one list keeps the order of the versions and delete markers of a key.
    "Version": "Versions",
    "DeleteMarker": "Versions",
}

#: The element of a delete marker, and the field that marks one here. A version may come without an ETag, too.
DELETE_MARKER = "DeleteMarker"


class NotXmlError(ValueError):
    """The body of a response is not XML, also after its repair."""


def parse(body: bytes) -> Element:
    """Return the root element of a response. Raises NotXmlError.

    Some stores write a key as it is: with control characters, which no XML can contain, or with a bare `&`. They are
    kept, so that the text of the element is the key.
    """
    if b"\r" not in body:
        try:
            return ElementTree.fromstring(body)  # noqa: S314 - from a store that is trusted with the data itself
        except ElementTree.ParseError:
            pass
    try:
        root = ElementTree.fromstring(_repaired(body.decode(errors="surrogateescape")))  # noqa: S314 - as above
    except (ElementTree.ParseError, UnicodeEncodeError) as error:
        raise NotXmlError(str(error)) from error
    for element in root.iter():
        if element.text:
            element.text = _STAND_IN.sub(lambda found: chr(ord(found[0]) - _STAND_IN_OFFSET), element.text)
    return root


def has_ended(text: bytes | bytearray) -> bool:
    """Return True if no more bytes can belong to this text: its root element has ended, or it is not XML."""
    begun = bytes(text[:4]).removeprefix(b"\xef\xbb\xbf").lstrip()
    if begun and not begun.startswith((b"<", b"\xef")):
        return True
    root = _ROOT.match(text)
    if root is None:
        return False
    tag_end = text.find(b">", root.end())
    is_whole = text[tag_end - 1 : tag_end] == b"/" if tag_end > 0 else False
    return is_whole or text.rstrip().endswith(b"</" + root[1] + b">")


def fields(root: Element) -> dict[str, Any]:
    """Return the children of an element in boto3's form, but each value is the text of the response.

    A field that the response has twice, with different values, is None.
    """
    found: dict[str, Any] = {}
    if name(root) == "Tagging" and not len(root):  # some stores leave the tag set of an object without tags out
        found["TagSet"] = []
    for child in root:
        child_name = name(child)
        if child_name in _LISTS:
            mark = {DELETE_MARKER: "true"} if child_name == DELETE_MARKER else {}
            found.setdefault(_LISTS[child_name], []).append(fields(child) | mark)
        elif child_name == "RestoreStatus":
            found[child_name] = fields(child)
        elif child_name == "TagSet":
            found["TagSet"] = None if (child.text or "").strip() else [fields(tag) for tag in child]
        else:
            text = child.text or ""
            found[child_name] = text if found.get(child_name, text) == text else None
    return found


def error(body: bytes) -> tuple[str, str]:
    """Return the code and the message of an error response; both are empty if it has none."""
    try:
        root = parse(body)
    except NotXmlError:
        return "", ""
    found = fields(root) if name(root) == "Error" else {}
    return found.get("Code") or "", found.get("Message") or ""


def code(error: Element) -> str:
    """Return the code of an error document, or ""."""
    return fields(error).get("Code") or ""


def plain_error(root: Element) -> bytes:
    """Return an error response as every XML parser reads it: each field once, and without a namespace."""
    plain = Element("Error")
    for child_name, value in fields(root).items():
        if isinstance(value, str):
            SubElement(plain, child_name).text = _FORBIDDEN.sub("\ufffd", value)
    return ElementTree.tostring(plain)


def name(element: Element) -> str:
    """Return the name without the namespace, which some stores leave out."""
    return element.tag.rpartition("}")[2]


def _repaired(text: str) -> str:
    """Return the text with stand-ins for what XML cannot contain."""
    text = _DECLARATION.sub("", text)
    if _STAND_IN.search(text):
        return text
    text = _TEXTS.sub(_without_markup, text)
    text = _FORBIDDEN.sub(lambda found: chr(ord(found[0]) + _STAND_IN_OFFSET), text)
    return _BARE_AMPERSAND.sub("&amp;", _REFERENCE.sub(_character, text))


def _without_markup(element: re.Match[str]) -> str:
    """Return an element with the text that the store has written as it is."""
    text = element[2].replace("<", "&lt;").replace(">", "&gt;")
    return f"<{element[1]}>{text}</{element[1]}>"


def _character(reference: re.Match[str]) -> str:
    """Return the stand-in for a reference to a forbidden character, or else the usual reference."""
    code = int(reference[1], 16) if reference[1] else int(reference[2])
    is_forbidden = code <= 0xFFFF and _FORBIDDEN.match(chr(code)) is not None
    return chr(code + _STAND_IN_OFFSET) if is_forbidden else f"&#x{code:X};"
