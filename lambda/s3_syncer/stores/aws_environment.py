"""Environment variables of boto3 with an unusable value: boto3 does not name them in its errors."""

from __future__ import annotations

import os
import re

from ..settings_reader import web_address

#: What to write into the variables of boto3, by the beginning of their names.
_EXPECTED = {
    "AWS_CONFIG_FILE": "the path of a file with sections such as [profile NAME]",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": "the URL of the credentials of a container",
    "AWS_DEFAULT_PROFILE": "the name of a profile",
    "AWS_DEFAULT_REGION": "a Region such as eu-west-1",
    "AWS_ENDPOINT_URL": "a URL such as https://s3.example.com",
    "AWS_METADATA_SERVICE_": "a whole number",
    "AWS_PROFILE": "the name of a profile",
    "AWS_SHARED_CREDENTIALS_FILE": "the path of a file with sections such as [NAME]",
}


def advice(error: Exception) -> str:
    """Return ": write ... into ..." for the variables that this error of boto3 may be about, or "".

    Those are the variables with a value that the error quotes, and the endpoints that are no URLs.
    """
    text = str(error)
    found = [
        f"write {expected} into {name}"
        for name, value in sorted(os.environ.items())
        for beginning, expected in _EXPECTED.items()
        if value and name.startswith(beginning) and (_quotes(text, value) or _is_bad_endpoint(name, value))
    ]
    return ": " + ", and ".join(found) if found else ""


def _quotes(text: str, value: str) -> bool:
    """Return True if the text has the value in quotes or parentheses, or ends with it."""
    shown = f"(?:{re.escape(value)}|{re.escape(repr(value)[1:-1])})"
    return re.search(rf"(?:['\"(`]|: ){shown}(?:['\")`.]|$)", text) is not None


def _is_bad_endpoint(name: str, value: str) -> bool:
    return name.startswith("AWS_ENDPOINT_URL") and web_address(value) is None
