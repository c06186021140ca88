"""The whole of both sides compared, byte by byte, by code that shares nothing with the product's own comparison."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

THREADS = 8
CHUNK = 1024 * 1024

# What a reader of the object is told about it, besides its length. The raw Expires, because a date that nobody can
# parse is mirrored too.
HEADERS = (
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "ContentType",
    "ExpiresString",
)

# The note by which the product recognises its own copies; the one thing a copy may have and its source may not.
OWN_NOTE = "s3-syncer-source-etag"


@dataclass(frozen=True)
class Object:
    """All that a mirror must have in common with its source."""

    size: int
    sha256: str
    headers: Mapping[str, str]
    metadata: Mapping[str, str]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Difference:
    key: str
    what: str
    source: object
    target: object

    def __str__(self) -> str:
        return f"{self.key!r}: {self.what}: source {self.source!r}, target {self.target!r}"


def read_bucket(client: S3Client, bucket: str) -> dict[str, Object]:
    """Every object, read to its last byte."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    with ThreadPoolExecutor(THREADS) as pool:
        return dict(zip(keys, pool.map(lambda key: read_object(client, bucket, key), keys), strict=True))


def read_object(client: S3Client, bucket: str, key: str) -> Object:
    answer: Mapping[str, Any] = client.get_object(Bucket=bucket, Key=key)
    digest, size = hashlib.sha256(), 0
    for chunk in answer["Body"].iter_chunks(CHUNK):
        digest.update(chunk)
        size += len(chunk)
    tags = client.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
    return Object(
        size=size,
        sha256=digest.hexdigest(),
        headers={name: answer[name] for name in HEADERS if answer.get(name)},
        metadata={name: value for name, value in answer["Metadata"].items() if name != OWN_NOTE},
        tags={tag["Key"]: tag["Value"] for tag in tags},
    )


def differences(source: Mapping[str, Object], target: Mapping[str, Object]) -> Iterator[Difference]:
    """Everything that is not equal, in the order of the keys."""
    for key in sorted(source.keys() | target.keys()):
        here, there = source.get(key), target.get(key)
        if here is None or there is None:
            yield Difference(key, "presence", _presence(here), _presence(there))
            continue
        for what in ("size", "sha256", "headers", "metadata", "tags"):
            if getattr(here, what) != getattr(there, what):
                yield Difference(key, what, getattr(here, what), getattr(there, what))


def _presence(side: Object | None) -> str:
    return "absent" if side is None else "present"
