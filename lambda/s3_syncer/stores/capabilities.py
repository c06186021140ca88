"""The knowledge of the stores that their responses have given in this process.

A store is not described by its name, only by what it does. `TagSupport` decides if the tags of an object must be read.
`TargetCapabilities` decides two questions: if a copy needs the ETag marker, and if the target must be read after a
write.

A write without a later read proves too little: a store can accept a header and drop it. One HEAD after each write would
cost a small object a quarter more requests. So the read is spared where all of these are true:

- The ETag in the response to the write proves the bytes. The caller knows that.
- An earlier HEAD in this process has shown that the target keeps each property of the object: see `properties_of`.
- The write is not a sample: one in SAMPLE_EVERY writes is read in any case, because a store can change.

A read that finds a difference drops the knowledge, so that every write is read again until the target proves itself.

It also knows which keys the target keeps apart, so that a response to one of them is not about another key: see
`core/key_folding.py` and `sync/key_identity.py`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Set
from typing import Literal

from ..core.key_folding import Fold, twins
from ..core.model import ObjectState

#: Writes of which one is read again although the target is known to keep its properties. A request of that kind adds
#: 1 / SAMPLE_EVERY requests to each object.
SAMPLE_EVERY = 100

#: Checks that must show the tags of a PUT before the target counts as a store that keeps them. A single one may have
#: seen the tags that another worker wrote to the same object with PutObjectTagging.
TAGS_WITH_OBJECT_CHECKS = 3

#: Properties that are remembered; with more, all are dropped and learnt again. Each takes about 200 bytes.
MAX_PROPERTIES = 10_000

#: Headers with few different values. A store can keep one value and change another: some append a charset to
#: `text/plain` only. So each value is a separate property.
_BY_VALUE = frozenset({"Cache-Control", "Content-Encoding", "Content-Language", "Content-Type"})

#: A property of an object: its name, and its value or the kind of its value.
Property = tuple[str, str]

#: The properties of a write of tags, of a write of an object with its tags, and of a removal of all tags. Some stores
#: ignore the tags that come with an object, and keep those that are written later.
TAGS_WRITTEN: Property = ("tags", "written")
TAGS_WITH_OBJECT: Property = ("tags", "written with the object")
TAGS_REMOVED: Property = ("tags", "removed")

#: All of them: the tags must be read to check such a write.
TAG_PROPERTIES = frozenset({TAGS_WRITTEN, TAGS_WITH_OBJECT, TAGS_REMOVED})

_EXISTS: Property = ("object", "exists")


def properties_of(state: ObjectState) -> frozenset[Property]:
    """Return the properties that a store must keep for a copy of the object to be equal, without tags."""
    headers = ((name, value if name in _BY_VALUE else _kind(value)) for name, value in state.headers.items())
    metadata = ((f"x-amz-meta-{name}", _kind(value)) for name, value in state.metadata.items())
    return frozenset((_EXISTS, *headers, *metadata))


def _kind(value: str) -> str:
    """Return the kind of a value: what a store must keep to keep the value.

    Stores that change values drop or encode some characters, change upper case or blanks, limit the length, or drop an
    empty or short value, such as an Expires of `0`. The lengths of one kind differ by less than a factor of two.
    """
    kind = f"below {1 << len(value).bit_length()} characters"
    if not value.isascii():
        kind += ", not ASCII"
    if value != value.lower():
        kind += ", upper case"
    if value != " ".join(value.split()):
        kind += ", blanks"
    return kind


class TargetCapabilities:
    """The knowledge about one target. Safe to share between threads."""

    def __init__(self, *, sample_every: int = SAMPLE_EVERY) -> None:
        self._sample_every = sample_every
        self._lock = threading.Lock()
        # Guarded by the lock.
        self._gives_md5: bool | None = None
        self._kept: set[Property] = set()
        self._lost: set[str] = set()
        self._being_read: set[Property] = set()
        self._writes = 0
        self._conditional_writes = True
        self._apart: frozenset[Fold] = frozenset()
        self._unproven: frozenset[Fold] = frozenset()
        self._tags_with_object = True
        self._tags_with_object_checks = 0

    @property
    def gives_md5(self) -> bool | None:
        """Return True if each ETag that was checked was the MD5 of all bytes; None before the first."""
        return self._gives_md5

    def record_etag(self, *, is_md5: bool) -> None:
        """Record if an ETag of the target was an MD5. After one that was none, `gives_md5` stays False."""
        with self._lock:
            self._gives_md5 = is_md5 and self._gives_md5 is not False

    @property
    def conditional_writes(self) -> bool:
        """False once the store has refused a write with a condition and then accepted it without."""
        return self._conditional_writes

    def record_conditions_refused(self) -> None:
        """Record that the store does not accept writes with a condition."""
        self._conditional_writes = False

    @property
    def tags_with_object(self) -> bool:
        """False once the store has ignored the tags that came with an object."""
        return self._tags_with_object

    def record_tags_ignored(self) -> None:
        """Record that the store ignored the tags that came with an object."""
        self._tags_with_object = False

    @property
    def apart(self) -> frozenset[Fold]:
        """The folds that the target has shown not to have: it keeps keys that differ so apart."""
        return self._apart

    @property
    def unproven(self) -> frozenset[Fold]:
        """The folds for which a twin proved nothing: the target may have them, and no twin is asked for again."""
        return self._unproven

    def record_folds(self, *, apart: Set[Fold] = frozenset(), unproven: Set[Fold] = frozenset()) -> None:
        """Record what twins have shown of these folds."""
        with self._lock:
            self._apart |= apart
            self._unproven |= unproven

    def keeps_apart(self, prefix: str, key: str) -> bool:
        """Return True if no fold that the target may have concerns the key."""
        return not twins(prefix, key, self._apart)

    def needs_read(self, properties: Set[Property]) -> bool:
        """Count a write of these properties; return True if the target must be read after it."""
        with self._lock:
            self._writes += 1
            return self._writes % self._sample_every == 0 or not properties <= self._kept

    def claim_read(self, properties: Set[Property]) -> bool:
        """Count a write as `needs_read` does; return True if the caller must read the target after it.

        Of several writes at a time with the same new properties, only the first is read. The caller calls `end_read`.
        """
        with self._lock:
            self._writes += 1
            is_new = not properties <= self._kept | self._being_read
            if not is_new and self._writes % self._sample_every:
                return False
            self._being_read |= properties
            return True

    def end_read(self, properties: Set[Property], *, kept: bool) -> None:
        """Record the result of a read that was claimed."""
        with self._lock:
            self._being_read -= properties
        if kept:
            self.record_kept(properties)
        else:
            self.forget_kept()

    def keeps(self, properties: Set[Property]) -> bool:
        """Return True if earlier reads have shown that the target keeps all of these properties."""
        with self._lock:
            return properties <= self._kept

    def record_kept(self, properties: Set[Property]) -> None:
        """Record that a check has shown an object of the target with these properties as the source has them.

        The tags of a PUT need TAGS_WITH_OBJECT_CHECKS of them in a row.
        """
        with self._lock:
            if len(self._kept) + len(properties) > MAX_PROPERTIES:
                self._kept.clear()
            if TAGS_WITH_OBJECT in properties:
                self._tags_with_object_checks += 1
                if self._tags_with_object_checks < TAGS_WITH_OBJECT_CHECKS:
                    properties = properties - {TAGS_WITH_OBJECT}
            self._kept |= properties

    def is_lost(self, reason: str) -> bool:
        """Return True if a finding has confirmed that writes do not remove a difference with this reason."""
        return reason in self._lost

    def record_lost(self, reason: str) -> None:
        """Record a confirmed finding by the reason of its difference, such as `header Cache-Control`."""
        with self._lock:
            self._lost.add(reason)

    def forget_kept(self) -> None:
        """Forget which properties the target keeps: a read after a write found a difference."""
        with self._lock:
            self._kept.clear()
            self._tags_with_object_checks = 0


#: The kind of request that returned an object. A store can return `x-amz-tagging-count` for one kind only.
ObjectRequest = Literal["HEAD", "GET"]


#: Seconds after a read of tags in which `TagSupport` expects the caller to have the permission for it.
PERMITTED_S = 60


class TagSupport:
    """The knowledge about the object tags of one store. Safe to share between threads.

    S3 returns `x-amz-tagging-count` with an object that has tags, if the caller may read tags. Other stores keep tags
    and never return the header, or return it for GET only. So a response without it proves that an object has no tags
    only in these cases:

    - The store has no tags at all.
    - The store is AWS, which documents the header (`documents_counts`), and has returned the tags of an object.
    - The store has returned the header of an object with tags, in a response of the same kind.

    The second and the third case end for this process at the first object with tags and a response without the header.
    They also end when access to the tags of an object is denied. The tags of one in SAMPLE_EVERY of these objects are
    read in any case.

    A caller that loses the permission to read tags gets no header any more. So these cases hold for PERMITTED_S seconds
    after the last tags that the store has returned.
    """

    def __init__(
        self,
        *,
        documents_counts: bool = False,
        sample_every: int = SAMPLE_EVERY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._documents_counts, self._sample_every, self._clock = documents_counts, sample_every, clock
        self._lock = threading.Lock()
        self._permitted_at = 0.0  # the time of the last tags that the store has returned
        # Guarded by the lock.
        self._exists: bool | None = None
        self._counted: set[ObjectRequest] = set()
        self._counts_are_reliable = True
        self._spared = 0

    @property
    def exists(self) -> bool | None:
        """True once the store has returned the tags of an object; False if it has no tags; None before both."""
        return self._exists

    @property
    def may_be_absent(self) -> bool:
        """Return True if a response can still show that the store has no tags. AWS has tags in any case."""
        return not self._documents_counts and not self._exists

    def record_exists(self) -> None:
        """Record that the store has returned the tags of an object."""
        self._permitted_at = self._clock()
        self._exists = True

    def record_absent(self) -> bool:
        """Record that the store has no tags. Return True for the first call."""
        with self._lock:
            is_new, self._exists = self._exists is None, False
            return is_new

    def record_denied(self) -> None:
        """Record that the tags of an object cannot be read, so that its response has no count either."""
        self._counts_are_reliable = False

    def record_tags(self, request: ObjectRequest, count: int, number: int) -> None:
        """Record the count in the response to a request of this kind, and the number of tags of its object."""
        with self._lock:
            if count and number:
                self._counted.add(request)
            elif number:
                self._counts_are_reliable = False

    def needs_read(self, request: ObjectRequest, count: int) -> bool:
        """Count a response with this count; return True if the tags of its object must be read."""
        if self._exists is False:
            return False
        is_permitted = self._exists and self._clock() < self._permitted_at + PERMITTED_S
        with self._lock:
            is_counted = self._documents_counts or request in self._counted
            if count or not (is_permitted and is_counted and self._counts_are_reliable):
                return True
            self._spared += 1
            return self._spared % self._sample_every == 0
