"""What is known of an object on one side. Pure values: no I/O, no boto3."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

#: User metadata key under which the target remembers the source's ETag. Written only when the target's own
#: ETag cannot be expected to equal the source's; ignored by every comparison and never copied onwards.
SOURCE_ETAG_MARKER = "s3-syncer-source-etag"

#: Bytes of user metadata a store accepts: the UTF-8 lengths of all keys and values together.
#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html
MAX_METADATA_BYTES = 2048

#: Characters of the longest ETag S3 gives: an MD5 in hex and the number of parts.
LONGEST_ETAG = len("d41d8cd98f00b204e9800998ecf8427e-10000")

#: Bytes that a look brings along at most: what is larger is worth a request of its own, and memory held for it.
INLINE_BODY_MAX = 256 * 1024

#: The content headers that are mirrored, as HTTP names them.
CONTENT_HEADERS = (
    "Cache-Control",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Content-Type",
    "Expires",
)

#: A parameter of our own: boto3's Expires takes a date only, and the header may be any text. See `clients.py`.
RAW_EXPIRES = "RawExpires"

#: An MD5 in hex, as ETags have it.
MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class ObjectState:
    """One look at one object: enough to compare it, and to pin every later read to it.

    Two states are equal when everything that is mirrored is equal. The modification time is left out: an object
    rewritten with the same bytes and properties is still the object that was looked at.
    """

    size: int
    etag: str
    last_modified: datetime = field(compare=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    marker: str | None = None
    #: The store says that the bytes are encrypted with a KMS key, so the ETag is not their MD5.
    kms: bool = False
    #: The storage class that keeps the bytes from being read now, or None when they can be read.
    archived: str | None = field(default=None, compare=False)
    #: All of its bytes, where the look brought them along: see `bucket.Bucket.take`.
    body: bytearray | None = field(default=None, compare=False, repr=False)

    @property
    def md5(self) -> str | None:
        """The hex MD5 of the bytes where the ETag is known to be that, else None."""
        return self.etag if MD5.fullmatch(self.etag) and not self.kms else None

    @property
    def part_count(self) -> int | None:
        """The number of parts the object was uploaded in, or None for a single PUT."""
        _, dash, count = self.etag.rpartition("-")
        return int(count) if dash and count.isdigit() else None

    @property
    def marker_fits(self) -> bool:
        """Whether a copy of this object's metadata leaves room for the marker.

        The ETag at hand does not matter, so the answer holds for every version with the same metadata: whoever finds
        a copy without a marker can tell from its metadata alone whether it might be one of this project's.
        """
        used = sum(len(k.encode()) + len(v.encode()) for k, v in self.metadata.items())
        return used + len(SOURCE_ETAG_MARKER) + LONGEST_ETAG <= MAX_METADATA_BYTES


@dataclass(frozen=True, slots=True)
class ListEntry:
    """What a listing tells of a key. Some stores leave the ETag out."""

    key: str
    size: int
    etag: str | None
    last_modified: datetime


@dataclass(frozen=True, slots=True)
class KeyPage:
    """What a listing tells of keys that follow each other in it, in columns.

    Most listings are compared with one that is the same, and columns are compared without a look at each entry.
    """

    keys: list[str]
    sizes: list[int]
    etags: list[str | None]
    times: list[datetime]

    @classmethod
    def of(cls, entries: Iterable[ListEntry]) -> KeyPage:
        rows = [(entry.key, entry.size, entry.etag, entry.last_modified) for entry in entries]
        keys, sizes, etags, times = zip(*rows, strict=True) if rows else ((), (), (), ())
        return cls(list(keys), list(sizes), list(etags), list(times))

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[ListEntry]:
        return map(ListEntry, self.keys, self.sizes, self.etags, self.times)

    def __add__(self, other: KeyPage) -> KeyPage:
        return KeyPage(
            self.keys + other.keys, self.sizes + other.sizes, self.etags + other.etags, self.times + other.times
        )

    def part(self, start: int, stop: int | None = None) -> KeyPage:
        """The entries from number `start` to before `stop`."""
        if start == 0 and stop in (None, len(self)):
            return self
        within = slice(start, stop)
        return KeyPage(self.keys[within], self.sizes[within], self.etags[within], self.times[within])


#: A page of a listing and the token of the one behind it, None when there is none.
ListPage = tuple[KeyPage, str | None]


@dataclass(frozen=True, slots=True)
class Upload:
    """A multipart upload that was neither completed nor aborted, begun `age_s` seconds ago by the store's clock."""

    id: str
    age_s: float
