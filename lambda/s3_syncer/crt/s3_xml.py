"""Parse the XML of responses. Pure."""

from __future__ import annotations

from xml.etree import ElementTree


def parse_tag_set(body: bytes) -> list[dict[str, str]] | None:
    """Return the tags in a response, in boto3's form, or None if it contains no tag set."""
    tree = _tree(body)
    found = None if tree is None or _name(tree) != "Tagging" else _child(tree, "TagSet")
    if found is None:
        return None
    tags = []
    for tag in found:
        key, value = _child(tag, "Key"), _child(tag, "Value")
        if key is None or value is None:
            return None
        tags.append({"Key": key.text or "", "Value": value.text or ""})
    return tags


def parse_error(body: bytes) -> tuple[str, str]:
    """Return the code and the message of an error response; both are empty if it has none."""
    tree = _tree(body)
    if tree is None or _name(tree) != "Error":
        return "", ""
    code, message = _child(tree, "Code"), _child(tree, "Message")
    return (code is not None and code.text) or "", (message is not None and message.text) or ""


def _tree(body: bytes) -> ElementTree.Element | None:
    try:
        return ElementTree.fromstring(body)  # noqa: S314 - from a store that is trusted with the data itself
    except ElementTree.ParseError:
        return None


def _child(parent: ElementTree.Element, name: str) -> ElementTree.Element | None:
    return next((child for child in parent if _name(child) == name), None)


def _name(element: ElementTree.Element) -> str:
    """Return the name without the namespace, which some stores leave out."""
    return element.tag.rpartition("}")[2]
