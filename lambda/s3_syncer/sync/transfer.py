"""Copies one object from the source to the target, in one piece or in parts, within a memory budget.

Nothing touches a disk. Every read is pinned to the ETag that was looked at, every write carries its MD5, and a
multipart upload is aborted on every way out but success, or a stop that it can be gone on with after.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Protocol

from ..core.deadline import Deadline, OutOfTime
from ..core.errors import Changed, Permanent, Retryable, SyncError
from ..core.model import ObjectState
from ..core.multipart import (
    MIB,
    Limits,
    Part,
    PartPlan,
    UploadedPart,
    check_size,
    is_own,
    matches_plan,
    multipart_etag,
    plan,
    reproduce,
)
from ..core.work_items import Work
from ..stores.protocols import SourceBucket, TargetBucket
from .etag_marker import EtagMarkerPolicy, source_etag_marker
from .limits import BandwidthLimiter, BufferBudget

#: Smallest object in bytes whose upload is kept to be gone on with; a smaller one is soon sent again.
RESUME_MIN = 256 * MIB

#: Largest object in bytes that goes in one piece, memory allowing. One GET and one PUT cost less than the four
#: requests of the smallest multipart upload, and keep an ETag that is an MD5 an MD5.
WHOLE_MAX = 64 * MIB


class StreamCopier(Protocol):
    """A way from store to store that holds few of the bytes at a time: see `crt/stream_copy.py`.

    It returns the ETag that the target gave to exactly the source's bytes, or None where the common path has to be
    gone, whatever the reason.
    """

    @property
    def holds(self) -> int:
        """Bytes that a stream holds."""

    def part(self, key: str, etag: str, upload: str, part: Part) -> str | None: ...

    def whole(self, key: str, state: ObjectState, marker: str | None, *, by_etag: bool = False) -> str | None: ...


class Transfer:
    """Copies between one source and one target. Safe to share between threads.

    `memory` bounds the bytes in flight over all copies, `threads` the parts in flight, `bytes_per_s` the bandwidth.
    With `resumes` the upload of a large object is kept when time runs out, to be gone on with where that is safe.
    """

    def __init__(
        self,
        source: SourceBucket,
        target: TargetBucket,
        *,
        memory: int,
        threads: int,
        bytes_per_s: float | None = None,
        resumes: bool = False,
        limits: Limits | None = None,
        stream_copier: StreamCopier | None = None,
    ) -> None:
        self._source, self._target = source, target
        self._stream_copier = stream_copier
        self._resumes = resumes
        self._memory = BufferBudget(memory)
        self._bandwidth = BandwidthLimiter(bytes_per_s)
        self._limits = limits or Limits()
        self._whole_max = min(WHOLE_MAX, memory // 2)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="part")
        self.marker_policy = EtagMarkerPolicy()
        self._part_etags_are_md5 = True  # the ETags of the target's parts are their MD5s, as far as is known

    @property
    def memory(self) -> BufferBudget:
        return self._memory

    @property
    def bandwidth(self) -> BandwidthLimiter:
        return self._bandwidth

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def copy(self, key: str, state: ObjectState, deadline: Deadline) -> Sequence[Work]:
        """Makes the target's object what `state` was when it was looked at, and leaves no work. Raises a SyncError."""
        layout = self.plan(key, state)
        if layout is None:
            self._copy_whole(key, state, deadline)
        else:
            self._copy_parts(key, state, layout, deadline)
        if state.tags:
            self._target.put_tags(key, state.tags)
        return ()

    def plan(self, key: str, state: ObjectState) -> PartPlan | None:
        """How to cut the object, or None for one piece. Raises Permanent when it cannot be copied at all."""
        if state.archived:
            raise Permanent(
                f"the object is in {state.archived}: restore it and it will be copied then",
                "InvalidObjectState",
            )
        check_size(state.size, self._limits)
        # Under KMS an ETag tells nothing of the parts, so the source's layout is of no use.
        if state.part_count is not None and state.size > 0 and not state.kms:
            told = self._source.first_part(key)
            same = told and reproduce(state.size, *told, largest_part=self._memory.size, limits=self._limits)
            if same:
                return same
        if state.size <= self._whole_max:
            return None
        return plan(state.size, largest_part=self._memory.size, limits=self._limits)

    def begin(self, key: str, state: ObjectState) -> str:
        """Begins the upload of a copy in parts; returns its id."""
        return self._target.create_upload(key, state, source_etag_marker(state))

    def _copy_whole(self, key: str, state: ObjectState, deadline: Deadline) -> None:
        self._bandwidth.wait(state.size, deadline)
        if state.body is None and self._streamed_whole(key, state):
            return
        with self._memory.hold(state.size):
            data = self._source.read(key, state.etag, 0, state.size) if state.body is None else state.body
            md5 = _md5(data)
            if state.md5 not in (None, md5.hex()):
                raise Retryable(f"the bytes read do not hash to the source's ETag {state.etag}", "BadDigest")
            marker = self.marker_policy.marker_for(state)
            etag = self._target.put(key, data, md5, state, marker)
            if self.marker_policy.needs_rewrite(state, marker, etag):
                self._target.put(key, data, md5, state, source_etag_marker(state))

    def _streamed_whole(self, key: str, state: ObjectState) -> bool:
        if self._stream_copier is None:
            return False
        marker = self.marker_policy.marker_for(state)
        with self._memory.hold(self._stream_copier.holds):
            etag = self._stream_copier.whole(key, state, marker, by_etag=self.marker_policy.target_gives_md5)
        return etag is not None and not self.marker_policy.needs_rewrite(state, marker, etag)

    def _copy_parts(self, key: str, state: ObjectState, layout: PartPlan, deadline: Deadline) -> None:
        keeps = self._resumes and state.size >= RESUME_MIN and resumable(state, layout)
        found = self._found(key, state, layout) if keeps else None
        upload, etags = found or (self.begin(key, state), {})
        try:
            missing = [part for part in layout.parts() if part.number not in etags]
            etags |= self.send(key, state, upload, missing, deadline)
            if found:
                _prove(state, etags)
            self._target.complete_upload(key, upload, etags)
        except OutOfTime:
            if not keeps:
                self.abandon(key, upload)
            raise
        except BaseException:
            self.abandon(key, upload)
            raise

    def abandon(self, key: str, upload: str) -> None:
        """Aborts the upload after a failure. Raises no SyncError of its own."""
        with suppress(SyncError):  # the failure that led here is the one to report
            self._target.abort_upload(key, upload)

    def _found(self, key: str, state: ObjectState, layout: PartPlan) -> tuple[str, dict[int, str]] | None:
        """An unfinished upload of this object, and its parts' ETags by number; one of other bytes is dropped."""
        try:
            uploads = self._target.uploads(key)
        except Permanent:  # a store that does not tell
            return None
        for upload in uploads:
            with suppress(Changed):  # it has just been completed, or dropped
                sent = self._target.parts(key, upload.id)
                if not matches_plan(layout, sent):
                    continue
                if self.last_part_matches(key, state, layout, sent):
                    return upload.id, {number: part.etag for number, part in sent.items()}
                self.abandon(key, upload.id)
        return None

    def last_part_matches(
        self, key: str, state: ObjectState, layout: PartPlan, sent: Mapping[int, UploadedPart]
    ) -> bool:
        """Whether the last of the parts that an upload has got is this object's, by its MD5.

        Tells an upload of another object, and a store whose parts' ETags are no MD5s, by one read. That *all* parts are
        this object's only the hash over their hashes can prove, the source's ETag.
        """
        last = next(part for part in layout.parts() if part.number == max(sent))
        with self._memory.hold(last.size):
            return _md5(self._source.read(key, state.etag, last.start, last.size)).hex() == sent[last.number].etag

    def send(
        self, key: str, state: ObjectState, upload: str, parts: Iterable[Part], deadline: Deadline
    ) -> dict[int, str]:
        """Sends parts of the object, pinned to its ETag, several at a time; returns their ETags by number."""

        def send(part: Part) -> str:
            self._bandwidth.wait(part.size, deadline)
            etag = self._streamed_part(key, state, upload, part, deadline)
            if etag is not None:
                return etag
            with self._memory.hold(part.size):
                deadline.progress()
                deadline.check()
                data = self._source.read(key, state.etag, part.start, part.size)
                md5 = _md5(data)
                etag = self._target.upload_part(key, upload, part, data, md5)
                self._part_etags_are_md5 = etag == md5.hex()
                return etag

        futures = {part.number: self._pool.submit(send, part) for part in parts}
        try:
            wait(futures.values(), return_when=FIRST_EXCEPTION)
        finally:  # after a failure, let what has begun end before the upload is aborted under it
            for future in futures.values():
                future.cancel()
            wait([future for future in futures.values() if not future.cancelled()])
        for future in futures.values():
            if not future.cancelled() and (error := future.exception()):
                raise error
        return {number: future.result() for number, future in futures.items()}

    def _streamed_part(self, key: str, state: ObjectState, upload: str, part: Part, deadline: Deadline) -> str | None:
        """The ETag of a part that was streamed, and so is proven; None where none can be."""
        if self._stream_copier is None or not self._part_etags_are_md5:
            return None
        with self._memory.hold(self._stream_copier.holds):
            deadline.progress()
            deadline.check()
            return self._stream_copier.part(key, state.etag, upload, part)


def _prove(state: ObjectState, etags: Mapping[int, str]) -> None:
    """Raises Changed unless parts with these ETags make the object."""
    if multipart_etag(etags) != state.etag:
        raise Changed("the parts that were found are not all of this object", "OtherParts")


def resumable(state: ObjectState, layout: PartPlan) -> bool:
    """Whether the source's ETag can prove that parts which others sent make this object.

    It has to be the hash over the hashes of the parts of this very layout. A layout of our own never counts: who
    copies in it completes its upload without such a proof, and so must be the only one to send parts to it.
    """
    return state.part_count == layout.count and not state.kms and not is_own(layout)


def _md5(data: bytes | bytearray) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()
