"""The values that describe objects and listings. Pure: no I/O, no boto3."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

#: Key of the user metadata in which the target stores the source's ETag. It is written only if the target's ETag is not
#: expected to equal the source's. Comparisons ignore it, and a further copy does not carry it.
SOURCE_ETAG_MARKER = "s3-syncer-source-etag"

#: Bytes of user metadata that a store accepts: the UTF-8 lengths of all keys and values together.
#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html
MAX_METADATA_BYTES = 2048

#: Characters of the longest ETag of S3: an MD5 in hex and the number of parts.
LONGEST_ETAG = len("d41d8cd98f00b204e9800998ecf8427e-10000")

#: Bytes of the largest object with a body that the comparison also fetches. A larger object is worth a separate
#: request, with memory reserved for it.
INLINE_BODY_MAX = 256 * 1024

#: A parameter that this project adds to boto3. Its Expires accepts a date only, and the header may be any text. See
#: `stores/clients.py`.
RAW_EXPIRES = "RawExpires"

#: Another parameter that this project adds to boto3, which refuses user metadata that is not ASCII: names and values.
RAW_METADATA = "RawMetadata"

#: The headers of the Object Lock of an object.
LOCK_MODE, LOCK_UNTIL = "x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date"
LOCK_HOLD = "x-amz-object-lock-legal-hold"

#: An MD5 in hex, as in ETags.
MD5 = re.compile(r"[0-9a-f]{32}")


def is_nameable(key: str) -> bool:
    """Return True if a request can name the key, which means that it is UTF-8.

    Other bytes of a key are surrogates, as Python's `surrogateescape` makes them. S3 has no such keys. A store above a
    file system may have them, and its listing shows them.
    """
    if key.isascii():
        return True
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


def key_bytes(key: str) -> bytes:
    """Return the bytes of a key. Listings are in their order, also where a key is not UTF-8."""
    try:
        return key.encode(errors="surrogateescape")
    except UnicodeEncodeError:  # a surrogate that the store has written as one
        return key.encode(errors="surrogatepass")


def md5_of(data: bytes | bytearray) -> bytes:
    """Return the MD5 of the bytes, with which a store checks a body. It protects against damage only."""
    return hashlib.md5(data, usedforsecurity=False).digest()


@dataclass(frozen=True, slots=True)
class Retention:
    """A retention: no user can delete the version of the object before its end."""

    mode: str
    until: datetime


@dataclass(frozen=True, slots=True)
class ObjectLock:
    """The Object Lock of a version: its retention and its legal hold."""

    retention: Retention | None = None
    #: None if the response does not say it: the object never had a legal hold, or the user may not read it.
    legal_hold: bool | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a write that protect the new version, in lower case; none without a lock."""
        found = {LOCK_HOLD: "ON"} if self.legal_hold else {}
        if self.retention is not None:
            until = self.retention.until.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            found |= {LOCK_MODE: self.retention.mode, LOCK_UNTIL: until}
        return found


NO_LOCK = ObjectLock()


@dataclass(frozen=True, slots=True)
class ObjectState:
    """One object as a response describes it: enough to compare it, and to pin every later read to it.

    Two states are equal if all mirrored properties are equal. The modification time is not compared: an object that is
    rewritten with the same bytes and properties counts as unchanged.
    """

    size: int
    etag: str
    #: None if the response has no time, or one that cannot be read.
    last_modified: datetime | None = field(compare=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    #: No lock if `sync.object_lock` is off.
    lock: ObjectLock = NO_LOCK
    marker: str | None = None
    #: True if the store encrypts the bytes with a KMS key, so that the ETag is not their MD5.
    kms: bool = False
    #: The storage class that prevents a read until the object is restored; None if it can be read.
    archived: str | None = field(default=None, compare=False)
    #: The number of metadata entries that the object has and the response does not show: `x-amz-missing-meta`.
    hidden_metadata: int = 0
    #: True if a restore of the archived object is in progress.
    is_restoring: bool = field(default=False, compare=False)
    #: The number of tags, as a response without tags says it; 0 if it does not say it.
    tag_count: int = field(default=0, compare=False)
    #: The checksums in Base64, by algorithm in lower case, if the request asked for them: see `core/proof.py`.
    checksums: Mapping[str, str] = field(default_factory=dict, compare=False)
    #: All bytes, if the response had them: see `bucket.Bucket.get_small`.
    body: bytearray | None = field(default=None, compare=False, repr=False)

    @property
    def archive(self) -> Archive | None:
        """The archive that the object must be restored from before a read, or None."""
        return None if self.archived is None else Archive(self.archived, self.is_restoring)

    @property
    def md5(self) -> str | None:
        """The hex MD5 of the bytes if the ETag is known to be it, else None."""
        return self.etag if MD5.fullmatch(self.etag) and not self.kms else None

    @property
    def part_count(self) -> int | None:
        """The number of parts the object was uploaded in, or None for a single PUT."""
        _, dash, count = self.etag.rpartition("-")
        return int(count) if dash and count.isdigit() else None

    @property
    def marker_fits(self) -> bool:
        """Return True if a copy of this object's metadata leaves room for the marker.

        The result does not depend on this ETag, so it holds for every version with the same metadata. So the metadata
        of a copy without a marker shows if the copy may be one of this project's.
        """
        used = sum(len(k.encode()) + len(v.encode()) for k, v in self.metadata.items())
        return used + len(SOURCE_ETAG_MARKER) + LONGEST_ETAG <= MAX_METADATA_BYTES


@dataclass(frozen=True, slots=True)
class WrittenObject:
    """An object that was written, as the response to the write describes it."""

    #: The ETag; "" if the response has none.
    etag: str
    #: True if the ETag shows that the store has exactly the bytes that were sent.
    proves_bytes: bool
    #: True if the tags were sent with the object, and not by PutObjectTagging.
    carried_tags: bool = False


@dataclass(frozen=True, slots=True)
class WriteGuard:
    """The object that a write may replace, and the tags that the write keeps.

    A PUT replaces an object together with its tags. So a worker without tag sync writes the tags again that it read. It
    asks the store to refuse the write if there is another object by now: a worker with tag sync may have written it.
    """

    #: The ETag of the object that the write may replace; None if the target had none.
    etag: str | None
    #: None for the tags of the object that is written.
    tags: Mapping[str, str] | None = field(default_factory=dict)
    #: False if the store refuses conditional writes.
    conditional: bool = True


@dataclass(frozen=True, slots=True)
class Archive:
    """The archive that keeps an object from being read until it is restored."""

    #: The storage class, or the access tier of Intelligent-Tiering.
    storage_class: str
    #: True if a restore is in progress, False if none is; None if the response does not say it.
    is_restoring: bool | None = None


@dataclass(frozen=True, slots=True)
class ListEntry:
    """One key of a listing. Some stores list no size, no ETag, or no time."""

    key: str
    size: int | None
    etag: str | None
    last_modified: datetime | None
    #: The archive that the object is in; None if it is in none, or was restored. No comparison depends on it.
    archive: Archive | None = field(default=None, compare=False)

    @property
    def listed_size(self) -> int:
        """The size in bytes, or 0 if the listing does not show it."""
        return self.size or 0


@dataclass(frozen=True, slots=True)
class KeyPage:
    """Consecutive keys of a listing, in columns.

    Most listings are compared with an equal one, and columns are compared without an object for each entry. Few
    objects are in an archive, so these are in a mapping by key.
    """

    keys: list[str]
    sizes: list[int | None]
    etags: list[str | None]
    times: list[datetime | None]
    archives: Mapping[str, Archive] = field(default_factory=dict)
    #: The entries with a key that no request can name. No column has them: their order is not that of Python.
    unnameable: tuple[ListEntry, ...] = ()

    @classmethod
    def of(cls, entries: Iterable[ListEntry]) -> KeyPage:
        rows, archives = [], {}
        for entry in entries:
            rows.append((entry.key, entry.size, entry.etag, entry.last_modified))
            if entry.archive is not None:
                archives[entry.key] = entry.archive
        keys, sizes, etags, times = zip(*rows, strict=True) if rows else ((), (), (), ())
        return cls(list(keys), list(sizes), list(etags), list(times), archives)

    def with_unnameable_apart(self) -> KeyPage:
        """Return the page with the keys that no request can name in `unnameable` only."""
        if is_nameable("".join(self.keys)):
            return self
        entries = list(self)
        page = KeyPage.of(entry for entry in entries if is_nameable(entry.key))
        return replace(page, unnameable=tuple(entry for entry in entries if not is_nameable(entry.key)))

    def unnameable_within(self, after: str, until: str | None) -> tuple[ListEntry, ...]:
        """Return the entries of a range that no request can name. `until` belongs to it; None is no end."""
        first, last = key_bytes(after), None if until is None else key_bytes(until)
        names = [(entry, key_bytes(entry.key)) for entry in self.unnameable]
        return tuple(entry for entry, name in names if name > first and (last is None or name <= last))

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[ListEntry]:
        columns = (self.keys, self.sizes, self.etags, self.times)
        return (
            map(ListEntry, *columns, map(self.archives.get, self.keys)) if self.archives else map(ListEntry, *columns)
        )

    def __add__(self, other: KeyPage) -> KeyPage:
        return KeyPage(
            self.keys + other.keys,
            self.sizes + other.sizes,
            self.etags + other.etags,
            self.times + other.times,
            {**self.archives, **other.archives},
            self.unnameable + other.unnameable,
        )

    def without_prefix(self, prefix: str) -> KeyPage:
        """Return the entries without the first characters of each key, which are those of the prefix."""
        start = len(prefix)
        archives = {key[start:]: archive for key, archive in self.archives.items()}
        unnameable = tuple(replace(entry, key=entry.key[start:]) for entry in self.unnameable)
        return KeyPage([key[start:] for key in self.keys], self.sizes, self.etags, self.times, archives, unnameable)

    def part(self, start: int, stop: int | None = None) -> KeyPage:
        """Return the entries from number `start` to before `stop`, and all that no request can name."""
        if start == 0 and stop in (None, len(self)):
            return self
        within = slice(start, stop)
        columns = self.keys[within], self.sizes[within], self.etags[within], self.times[within]
        # All pages of a listing are joined and cut, so what is not left out here would grow with each page.
        archives = {key: self.archives[key] for key in columns[0] if key in self.archives} if self.archives else {}
        return KeyPage(*columns, archives, self.unnameable)


@dataclass(frozen=True, slots=True)
class ListPage:
    """A page of a listing, as its response describes it."""

    keys: KeyPage
    #: The parameters of boto3 for the next page; None if the response names none.
    following: Mapping[str, str] | None = None
    #: True if the response says that no page follows, False if it says that one does, None if it says neither.
    is_last: bool | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """An unfinished multipart upload, created `age_s` seconds ago by the store's clock."""

    id: str
    age_s: float
