"""Copies one object from the source to the target, in one piece or in parts, within a memory budget.

Nothing is written to disk. Every read is pinned to the ETag of the compared object, and every write carries its MD5.
A multipart upload is aborted unless the copy succeeds, or stops in such a way that a later run can continue it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple, Protocol

from ..core.bandwidth_timetable import NO_LIMIT, BandwidthTimetable
from ..core.deadline import Deadline, OutOfTime
from ..core.errors import Archived, Changed, Permanent, SyncError
from ..core.fence import carried
from ..core.headers import carries_tags
from ..core.model import ObjectState, WriteGuard, WrittenObject, md5_of
from ..core.multipart import (
    USUAL_LIMITS,
    Limits,
    Part,
    PartPlan,
    UploadedPart,
    check_size,
    contradicts,
    is_resumable,
    matches_plan,
    multipart_etag,
    own_plan,
)
from ..core.units import MIB
from ..stores.capabilities import TagSupport, TargetCapabilities
from ..stores.object_tags import may_refuse_tags
from ..stores.protocols import SourceBucket, TargetBucket
from .bandwidth import BandwidthLimiter
from .buffer_budget import BufferBudget
from .direction import TO_MIRROR, ToMirror
from .etag_marker import source_etag_marker
from .tag_writes import write_tags

#: Bytes of the smallest object that keeps an unfinished upload for a later run. A smaller one is quickly sent again.
RESUME_MIN = 256 * MIB

#: Largest object in bytes that is copied in one piece, if memory allows. One GET and one PUT cost less than the four
#: requests of the smallest multipart upload. And an ETag that is an MD5 stays an MD5.
WHOLE_MAX = 64 * MIB


class SentPart(NamedTuple):
    """A part that was sent: its ETag from the target, and the MD5 of its bytes; None if not hashed."""

    etag: str
    md5: str | None


class StreamCopier(Protocol):
    """Copies from store to store with a small part of the object in memory: see `crt/stream_copy.py`.

    Its methods return None if `Transfer` must copy the bytes itself, for any reason.
    """

    @property
    def buffer_size(self) -> int:
        """The bytes of memory that one stream holds."""

    def part(self, key: str, etag: str, upload_id: str, part: Part, must_hash: Callable[[], bool]) -> SentPart | None:
        """Upload a part of the object with this ETag. Its ETag is its MD5, unless the caller need not hash it.

        `must_hash` is called when the part is about to be sent.
        """

    def takes(self, state: ObjectState) -> bool:
        """Return True if `whole` may send this object."""

    def whole(
        self,
        key: str,
        state: ObjectState,
        marker: str | None,
        *,
        by_etag: bool = False,
        guard: WriteGuard | None = None,
    ) -> str | None:
        """Copy the object. Return the ETag that the target gave to exactly its bytes."""


class Transfer:
    """Copies between one source and one target. Safe to share between threads.

    `memory` limits the bytes in flight over all copies, `threads` the parts in flight, `bandwidth` the bytes a second.
    With `resumes`, a large object keeps its upload when time runs out, if a later run can safely continue it. Without
    `tags`, the target's objects keep their tags: see `write_guards.py`.
    """

    def __init__(
        self,
        source: SourceBucket,
        target: TargetBucket,
        *,
        memory: int,
        threads: int,
        bandwidth: BandwidthTimetable = NO_LIMIT,
        resumes: bool = False,
        limits: Limits = USUAL_LIMITS,
        stream_copier: StreamCopier | None = None,
        capabilities: TargetCapabilities | None = None,
        tags: bool = True,
        direction: ToMirror = TO_MIRROR,
    ) -> None:
        self._source, self._target, self.direction = source, target, direction
        self._stream_copier = stream_copier
        self._resumes = resumes
        self._memory = BufferBudget(memory)
        self._bandwidth = BandwidthLimiter(bandwidth)
        self._limits = limits
        self._whole_max = min(direction.largest_whole(WHOLE_MAX, memory), memory // 2, self._limits.max_part)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="part")
        self.capabilities = capabilities or TargetCapabilities()
        self.marker_policy = direction.marker_policy(self.capabilities)
        self.guards = direction.guards(target, self.capabilities, tags=tags)
        self._mirrors_tags = tags
        self._part_etags_are_md5: bool | None = None  # None until a part was hashed.
        self._etags_prove_parts = True  # False once they did not.
        self._wrong_uploads: set[str] = set()  # they have parts of another object
        self._wrong_hashes: set[tuple[str, str, str | None]] = set()  # a key, its ETag, and the hash of the parts read

    @property
    def memory(self) -> BufferBudget:
        return self._memory

    @property
    def source_tags(self) -> TagSupport:
        return self._source.tag_support

    def note_copied(self) -> None:
        """Note that both stores served requests about bytes that another client copied.

        Without that evidence a few refused keys look like a store that refuses all keys: see `stores/rejections.py`.
        """
        self._source.note_copied("get_object")
        self._target.note_copied("put_object")

    @property
    def bandwidth(self) -> BandwidthLimiter:
        return self._bandwidth

    def copy(
        self, key: str, state: ObjectState, deadline: Deadline, replaced: ObjectState | None = None
    ) -> WrittenObject:
        """Copy the object that `state` describes over the `replaced` one of the target. Raises a SyncError.

        A small object takes its tags along, so that a target which refuses the tags gets no object without them.
        """
        if not state.tags:
            return self._copy(key, state, deadline, replaced)
        self._target.require_tags(key, is_there=replaced is not None)
        try:
            written = self._copy(key, state, deadline, replaced)
        except Permanent as error:
            if may_refuse_tags(error):
                hint = "The object has tags: set sync.tags = false (--no-tags) to copy it without"
                error.args = (f"{error.reason}. {hint}",)
            raise
        if self.capabilities.tags_with_object and written.carried_tags:
            return written
        write_tags(self._target, key, state.tags, is_new=replaced is None)
        return replace(written, carried_tags=False)

    def _copy(self, key: str, state: ObjectState, deadline: Deadline, replaced: ObjectState | None) -> WrittenObject:
        plan = self.plan(key, state)
        if plan is None:
            written = self._copy_whole(key, state, deadline, self.guards.guard(key, replaced))
            return replace(written, carried_tags=carries_tags(state))
        return self._copy_parts(key, state, plan, deadline, replaced)

    def plan(self, key: str, state: ObjectState, *, own: bool = False) -> PartPlan | None:
        """Return the part plan of the object, or None for one piece. Raises Permanent if it cannot be copied.

        With `own`, the source's part plan is not reproduced.
        """
        if state.archive is not None:
            raise Archived.of(state.archive)
        if state.hidden_metadata:
            raise Permanent(
                f"the source does not return {state.hidden_metadata} metadata entries of the object "
                "(x-amz-missing-meta), so a copy would lose them: write the object again with printable metadata",
                "HiddenMetadata",
            )
        check_size(state.size, self._limits)
        if not own and (
            same := self.direction.same_etag_plan(
                self._source, key, state, largest_part=self._memory.size, limits=self._limits
            )
        ):
            return same
        if state.size <= self._whole_max:
            return None
        return own_plan(state.size, largest_part=self._memory.size, limits=self._limits)

    def create_upload(self, key: str, state: ObjectState) -> str:
        """Create the multipart upload of a copy; return its id."""
        return self._target.create_upload(key, state, self.marker_policy.marker_of_upload(state))

    def _copy_whole(self, key: str, state: ObjectState, deadline: Deadline, guard: WriteGuard | None) -> WrittenObject:
        self._bandwidth.wait(state.size, deadline)
        if state.body is None and self._stream_copier is not None and self._stream_copier.takes(state):
            if streamed := self._stream_whole(self._stream_copier, key, state, guard):
                return streamed
            guard = self.guards.renewed(key, guard)  # the stream may have written the object
        with self._memory.hold(state.size):
            data = self._source.read(key, state.etag, 0, state.size) if state.body is None else state.body
            md5 = md5_of(data)
            self.direction.check_bytes(state, md5.hex())
            marker = self.marker_policy.marker_for(state)

            def put(guard: WriteGuard | None) -> str:
                return self._target.put(key, data, md5, state, marker, guard)

            etag = self.guards.write(key, guard, put)
            if self.marker_policy.needs_rewrite(state, marker, etag):
                marker = source_etag_marker(state)
                etag = self.guards.write(key, guard and replace(guard, etag=etag), put)
            return WrittenObject(etag, proves_bytes=etag == md5.hex())

    def _stream_whole(
        self, copier: StreamCopier, key: str, state: ObjectState, guard: WriteGuard | None
    ) -> WrittenObject | None:
        """Stream the object; return None if it must be copied without a stream."""
        marker = self.marker_policy.marker_for(state)
        by_etag = self.marker_policy.target_gives_md5
        with self._memory.hold(copier.buffer_size):
            etag = copier.whole(key, state, marker, by_etag=by_etag, guard=guard)
        if etag is None:
            return None
        self.note_copied()
        if self.marker_policy.needs_rewrite(state, marker, etag):
            return None
        return WrittenObject(etag, proves_bytes=etag == state.md5)

    def _copy_parts(
        self, key: str, state: ObjectState, plan: PartPlan, deadline: Deadline, replaced: ObjectState | None
    ) -> WrittenObject:
        trusted = self.direction.trusted(state)
        keeps = self._resumes and state.size >= RESUME_MIN and is_resumable(trusted, plan)
        found = self._unfinished_upload(key, state, plan) if keeps else None
        upload_id, etags = found or (self.create_upload(key, state), {})
        try:
            missing = [part for part in plan.parts() if part.number not in etags]
            hashed = not self._etags_prove_parts or found is not None or not is_resumable(trusted, plan)
            sent = self.send_parts(key, state, upload_id, missing, deadline, hashed=hashed)
            md5s = etags | {number: part.md5 or part.etag for number, part in sent.items()}
            if any(part.md5 is None for part in sent.values()):
                self._prove_parts(trusted, md5s)
            self._check_parts(key, trusted, plan, md5s, found and upload_id)
            etags |= {number: part.etag for number, part in sent.items()}
            etag = self.guards.complete(key, upload_id, etags, replaced)
            if found and self._mirrors_tags and not state.tags:  # the source may have had some when the upload began
                self._target.put_tags(key, {})
            return WrittenObject(etag, proves_bytes=etag in (multipart_etag(md5s), state.etag))
        except OutOfTime:
            if not keeps:
                self.abort(key, upload_id)
            raise
        except BaseException:
            self.abort(key, upload_id)
            raise

    def _prove_parts(self, state: ObjectState, etags: Mapping[int, str]) -> None:
        """Raise Changed if these ETags do not prove the parts, so that they are sent again and hashed.

        Bytes were damaged, the source has another part plan, or the ETags are no MD5s any more. The parts of later
        objects are hashed, too, because each object would be sent twice.
        """
        if multipart_etag(etags) != state.etag:
            self._etags_prove_parts = False
            raise Changed("the ETags of the parts do not give the source's ETag", "UnprovenParts")

    def _check_parts(
        self, key: str, state: ObjectState, plan: PartPlan, md5s: Mapping[int, str], continued: str | None
    ) -> None:
        """Raise Changed if parts with these MD5s are not the object's, so that it is copied again at once.

        If an earlier run began the upload with the id `continued`, its parts may be those of another version. Otherwise
        bytes were damaged between the source and this worker. If that happens twice in the same way, another copy would
        not help: raises Permanent.
        """
        if not contradicts(state, plan, md5s):
            return
        if continued:
            self._wrong_uploads.add(continued)
            raise Changed("the unfinished upload has parts of another version of the object", "OtherParts")
        if self.is_source_plan(key, plan):
            reason = f"the MD5s of the parts read do not give the source's ETag {state.etag}"
            wrong_hash = key, state.etag, multipart_etag(md5s)
            if wrong_hash in self._wrong_hashes:
                raise Permanent(f"{reason}: two copies had the same bytes", "BadDigest")
            self._wrong_hashes.add(wrong_hash)
            raise Changed(reason, "BadDigest")

    def is_source_plan(self, key: str, plan: PartPlan) -> bool:
        """Return True if the source has exactly the parts of this plan. Needs a request for each part."""
        return all(self._source.part_size(key, part.number) == part.size for part in plan.parts())

    def abort(self, key: str, upload_id: str) -> None:
        """Abort the upload after a failure. Raises no SyncError itself."""
        with suppress(SyncError):  # the earlier failure is the one to report
            self._target.abort_upload(key, upload_id)

    def _unfinished_upload(self, key: str, state: ObjectState, plan: PartPlan) -> tuple[str, dict[int, str]] | None:
        """Return an unfinished upload of this object and its ETags by part number; abort one of other bytes."""
        try:
            uploads = self._target.uploads(key)
        except Permanent:  # the store does not list uploads
            return None
        for upload in uploads:
            with suppress(Changed):  # it has just been completed or aborted
                sent = self._target.parts(key, upload.id)
                if upload.id in self._wrong_uploads or not matches_plan(plan, sent):
                    continue
                if self.last_part_matches(key, state, plan, sent):
                    return upload.id, {number: part.etag for number, part in sent.items()}
                self.abort(key, upload.id)
        return None

    def last_part_matches(self, key: str, state: ObjectState, plan: PartPlan, sent: Mapping[int, UploadedPart]) -> bool:
        """Return True if the ETag of the last part that an upload has is the MD5 of this object's bytes there.

        With one read this detects an upload of another object, and a store with part ETags that are no MD5s. It does
        not prove that *all* parts are this object's. Only the hash over their hashes proves that: the source's ETag.
        """
        return self._part_matches(key, state, plan, sent, max(sent))

    def has_md5_etags(self, key: str, state: ObjectState, plan: PartPlan, sent: Mapping[int, UploadedPart]) -> bool:
        """Return True if the ETag of the last or the first part is the MD5 of this object's bytes there.

        The part ETags of the target are MD5s then. Two parts are compared, because one may have damaged bytes.
        """
        return any(self._part_matches(key, state, plan, sent, number) for number in (max(sent), min(sent)))

    def _part_matches(
        self, key: str, state: ObjectState, plan: PartPlan, sent: Mapping[int, UploadedPart], number: int
    ) -> bool:
        part = next(part for part in plan.parts() if part.number == number)
        with self._memory.hold(part.size):
            return md5_of(self._source.read(key, state.etag, part.start, part.size)).hex() == sent[number].etag

    def send_parts(
        self,
        key: str,
        state: ObjectState,
        upload_id: str,
        parts: Iterable[Part],
        deadline: Deadline,
        *,
        hashed: bool = True,
    ) -> dict[int, SentPart]:
        """Send parts of the object, pinned to its ETag, several at a time; return them by number.

        If they need not be `hashed`, a streamed part is not, as soon as the target has shown that the ETags of its
        parts are MD5s. The caller must then prove the parts by their ETags.
        """

        def send(part: Part) -> SentPart:
            self._bandwidth.wait(part.size, deadline)
            if streamed := self._stream_part(key, state, upload_id, part, deadline, hashed=hashed):
                return streamed
            with self._memory.hold(part.size):
                deadline.progress()
                deadline.check()
                data = self._source.read(key, state.etag, part.start, part.size)
                md5 = md5_of(data)
                etag = self._target.upload_part(key, upload_id, part, data, md5)
                self._part_etags_are_md5 = etag == md5.hex()
                return SentPart(etag, md5.hex())

        futures = {part.number: self._pool.submit(carried(send), part) for part in parts}
        try:
            wait(futures.values(), return_when=FIRST_EXCEPTION)
        finally:  # after a failure, the parts in flight must end before the upload is aborted
            for future in futures.values():
                future.cancel()
            wait([future for future in futures.values() if not future.cancelled()])
        for future in futures.values():
            if not future.cancelled() and (error := future.exception()):
                raise error
        return {number: future.result() for number, future in futures.items()}

    def _stream_part(
        self, key: str, state: ObjectState, upload_id: str, part: Part, deadline: Deadline, *, hashed: bool
    ) -> SentPart | None:
        """Stream a part; return None if it must be sent without a stream."""

        def must_hash() -> bool:
            return hashed or not self._part_etags_are_md5

        if self._stream_copier is None or self._part_etags_are_md5 is False:
            return None
        with self._memory.hold(self._stream_copier.buffer_size):
            deadline.progress()
            deadline.check()
            sent = self._stream_copier.part(key, state.etag, upload_id, part, must_hash)
        if sent is not None:
            self._part_etags_are_md5 = self._part_etags_are_md5 or sent.md5 is not None
            self.note_copied()
        return sent
