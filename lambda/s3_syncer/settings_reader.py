"""Read environment variables, and collect their mistakes."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from itertools import combinations
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

from .core.model import is_nameable
from .core.units import parse_size

#: The names that are no bucket of objects, and the reason with the way out. boto3 addresses and signs requests to such
#: a name in another way, also at a store that is not AWS.
#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_DIRECTORY_BUCKET = (
    "names a directory bucket, which has no event notifications, no tags and no sorted listings: "
    "write the name of a general purpose bucket"
)
_ACCESS_POINT = (
    "names an access point, but events and policies name the bucket behind it: write the name of that bucket"
)
_NO_BUCKETS = {
    re.compile("--xa?-s3$"): _DIRECTORY_BUCKET,
    re.compile("--table-s3$"): "names the bucket of an S3 table: write the name of a general purpose bucket",
    re.compile("^arn:.*:accesspoint|-s3alias$|--ol-s3$|\\.mrap$"): _ACCESS_POINT,
    re.compile("^arn:"): "is an ARN: write the name of the bucket",
    re.compile("[^A-Za-z0-9._-]"): "is not the name of a bucket: write the name alone, like my-bucket",
}

#: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-arns
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/.+")

Choice = TypeVar("Choice", bound=str)


class SettingsError(ValueError):
    """The environment has mistakes. The message names each mistake and what to write instead."""


class Reader:
    """Reads variables and collects their mistakes, so that one run names all of them."""

    def __init__(self, environment: Mapping[str, str], label: Callable[[str], str] = str) -> None:
        """Read from `environment`; `label` turns the name of a variable into the name for messages."""
        self._environment, self.label = environment, label
        self._mistakes: list[str] = []

    def mistake(self, message: str) -> None:
        """Add a mistake to the report of `done`."""
        self._mistakes.append(message)

    def done(self) -> None:
        """Raise SettingsError if a variable had a mistake."""
        if self._mistakes:
            raise SettingsError("; ".join(self._mistakes))

    def text(self, name: str, default: str = "") -> str:
        return self._environment.get(name, "").strip() or default

    def required(self, name: str) -> str:
        value = self.text(name)
        if not value:
            self.mistake(f"{self.label(name)} is not set")
        return value

    def different(self, *names: str) -> None:
        """Add a mistake if two of the variables have the same value, unless it is empty."""
        for name, other in combinations(names, 2):
            if self.text(name) and self.text(name) == self.text(other):
                self.mistake(f"{self.label(other)} must differ from {self.label(name)}")

    def prefix(self, name: str) -> str:
        """Return the prefix unchanged: a space or a slash at its start is a part of the keys."""
        value = self._environment.get(name, "")
        if not is_nameable(value):
            self.mistake(f"{self.label(name)} must be UTF-8, not {value!r}")
        return value

    def lines(self, name: str) -> list[str]:
        """Return the lines that are not empty, with the blanks at their start and end."""
        return split_lines(self._environment.get(name, ""))

    def bucket(self, name: str) -> str:
        value = self.required(name)
        for pattern, reason in _NO_BUCKETS.items():
            if pattern.search(value):
                self.mistake(f"{self.label(name)} {reason}")
                break
        return value

    def account(self, name: str) -> str:
        value = self.text(name)
        if value and not re.fullmatch("[0-9]{12}", value):
            self.mistake(f"{self.label(name)} must be the ID of an AWS account with 12 digits, not {value!r}")
        return value

    def role(self, name: str) -> str:
        value = self.text(name)
        if value and not _ROLE.fullmatch(value):
            self.mistake(
                f"{self.label(name)} must be the ARN of a role such as arn:aws:iam::123456789012:role/reader, "
                f"not {value!r}"
            )
        return value

    def event_bus(self, name: str) -> str:
        """Return the ARN of an EventBridge bus, or ""."""
        value = self.text(name)
        if value and not re.fullmatch(r"arn:[a-z-]+:events:[a-z0-9-]+:\d{12}:event-bus/[\w./-]+", value, re.ASCII):
            self.mistake(
                f"{self.label(name)} must be the ARN of an event bus, like "
                f"arn:aws:events:eu-west-1:123456789012:event-bus/default, not {value!r}"
            )
        return value

    def endpoint(self, name: str, *, bucket: str, is_required: bool = True) -> str:
        """Return the URL without a slash at its end. It may have a path, which must not end with the `bucket`."""
        value = (self.required(name) if is_required else self.text(name)).rstrip("/")
        if not value:
            return value
        url = web_address(value)
        if "@" in value:  # first, because the other messages repeat the value
            self.mistake(f"{self.label(name)} must not carry credentials")
        elif url is None:
            self.mistake(f"{self.label(name)} must be a URL such as https://s3.example.com, not {value!r}")
        elif url.query or url.fragment:
            self.mistake(f"{self.label(name)} must end after the path: write {_up_to_path(url)}")
        elif url.path.endswith(f"/{bucket}"):
            # Every key would get the name of the bucket as a prefix.
            self.mistake(f"{self.label(name)} must not contain the bucket: write {value.removesuffix(f'/{bucket}')}")
        return value

    def certificates(self, name: str) -> str:
        value = self.text(name)
        if "PRIVATE KEY" in value:
            self.mistake(f"{self.label(name)} must not contain a private key: write the certificates alone")
        elif value:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=value)
            except (OSError, TypeError, ValueError):  # ssl.SSLError is an OSError; text that is not ASCII a TypeError
                self.mistake(f"{self.label(name)} must have certificates in PEM, with -----BEGIN CERTIFICATE-----")
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        value = self.text(name, str(default)).lower()
        if value not in ("true", "false"):
            self.mistake(f"{self.label(name)} must be true or false, not {value!r}")
        return value == "true"

    def whole(self, name: str, *, default: int) -> int:
        value = self.text(name, str(default))
        if not value.isdecimal() or int(value) == 0:
            self.mistake(f"{self.label(name)} must be a whole number above 0, not {value!r}")
            return default
        return int(value)

    def size(self, name: str) -> int | None:
        """Return the size in bytes of a variable, or None for no limit."""
        try:
            return parse_size(self.text(name, "off"))
        except ValueError as error:
            self.mistake(f"{self.label(name)}: {error}")
            return None

    def choice(self, name: str, allowed: tuple[Choice, ...], *, default: Choice | None = None) -> Choice:
        """Return the allowed value that equals the variable but for its case. The default is the first one."""
        value = self.text(name, default or allowed[0])
        for each in allowed:
            if each.lower() == value.lower():
                return each
        self.mistake(f"{self.label(name)} must be one of {', '.join(filter(None, allowed))}, not {value!r}")
        return default or allowed[0]

    def word(self, name: str) -> str:
        """Return a value for a header: visible characters of ASCII without a space, or none."""
        value = self.text(name)
        if not re.fullmatch("[!-~]*", value):
            self.mistake(f"{self.label(name)} must have letters, digits and punctuation of ASCII only, not {value!r}")
        return value


def split_lines(text: str) -> list[str]:
    """Return the lines that are not empty. Only a line feed, or one behind a carriage return, ends a line."""
    return [line for line in re.split(r"\r?\n", text) if line]


def web_address(text: str) -> SplitResult | None:
    """Return the parts of a URL, or None if it has no host, or an impossible port or address."""
    try:
        url = urlsplit(text)
        host = re.fullmatch("[A-Za-z0-9_.:%-]+", url.hostname or "")  # with Punycode for other characters
        usable = url.scheme in ("http", "https") and host and url.port != 0
    except ValueError:
        return None
    return url if usable else None


def _up_to_path(url: SplitResult) -> str:
    return f"{url.scheme}://{url.netloc}{url.path}".rstrip("/")
