"""Compare both buckets byte by byte, with code that is independent of s3-syncer's own comparison."""

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

# The response headers that s3-syncer mirrors. `ExpiresString` is the unparsed Expires, because an invalid date is
# mirrored too.
MIRRORED_HEADERS = (
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "ContentType",
    "ExpiresString",
)

# The metadata entry by which s3-syncer recognises its copies. Only the copy has it.
ETAG_MARKER = "s3-syncer-source-etag"


@dataclass(frozen=True)
class Object:
    """The properties of an object that must be equal on both sides."""

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
    """Return every object of the bucket, with a hash of all its bytes."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    with ThreadPoolExecutor(THREADS) as pool:
        return dict(zip(keys, pool.map(lambda key: read_object(client, bucket, key), keys), strict=True))


def read_object(client: S3Client, bucket: str, key: str) -> Object:
    response: Mapping[str, Any] = client.get_object(Bucket=bucket, Key=key)
    digest, size = hashlib.sha256(), 0
    for chunk in response["Body"].iter_chunks(CHUNK):
        digest.update(chunk)
        size += len(chunk)
    # Ceph RGW leaves the tag set of an object without tags out.
    tags = client.get_object_tagging(Bucket=bucket, Key=key).get("TagSet", [])
    return Object(
        size=size,
        sha256=digest.hexdigest(),
        headers={name: response[name] for name in MIRRORED_HEADERS if response.get(name)},
        metadata={name: value for name, value in response["Metadata"].items() if name != ETAG_MARKER},
        tags={tag["Key"]: tag["Value"] for tag in tags},
    )


def differences(source: Mapping[str, Object], target: Mapping[str, Object]) -> Iterator[Difference]:
    """Return the differences in the order of the keys."""
    for key in sorted(source.keys() | target.keys()):
        source_object, target_object = source.get(key), target.get(key)
        if source_object is None or target_object is None:
            yield Difference(key, "presence", _presence(source_object), _presence(target_object))
            continue
        for what in ("size", "sha256", "headers", "metadata", "tags"):
            if getattr(source_object, what) != getattr(target_object, what):
                yield Difference(key, what, getattr(source_object, what), getattr(target_object, what))


def _presence(side: Object | None) -> str:
    return "absent" if side is None else "present"
