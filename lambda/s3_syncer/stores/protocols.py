"""The interfaces of a store: one Protocol per role."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ..core.errors import SyncError
from ..core.model import KeyPage, ListPage, ObjectLock, ObjectState, Upload, WriteGuard
from ..core.multipart import Part, UploadedPart
from ..settings import NO_OPTIONS, RequestOptions

if TYPE_CHECKING:
    from .capabilities import TagSupport
    from .credentials import Lease
    from .request_limiter import RequestLimiter


class ClientSource(Protocol):
    """A source of clients, and of a fresher one after a store refused it: see `credentials.py`."""

    def lease(self) -> Lease: ...

    def renew(self, refused: Lease) -> Lease | None: ...


@dataclass(frozen=True, slots=True)
class BucketLocation:
    """The name of a bucket, the prefix that bounds its keys, and what the requests to it have in common."""

    name: str
    prefix: str
    clients: ClientSource
    options: RequestOptions = NO_OPTIONS
    limiter: RequestLimiter | None = None
    #: True if AWS itself answers. It keeps every promise of its documentation.
    is_on_aws: bool = False


class Listing(Protocol):
    """A bucket that can list its keys."""

    def listing(self, after: str = "", until: str | None = None, *, in_order: bool = True) -> Iterator[KeyPage]: ...


class SourceBucket(Protocol):
    """The bucket that is copied from: see `bucket.Bucket`."""

    @property
    def tag_support(self) -> TagSupport: ...

    def note_copied(self, operation: str) -> None: ...

    def head(self, key: str, *, confirm_missing: bool = False, tags: bool = True) -> ObjectState | None: ...

    def first(self, after: str) -> str | None: ...

    def get_small(self, key: str) -> ObjectState | None: ...

    def first_part(self, key: str) -> tuple[int, int] | None: ...

    def part_size(self, key: str, number: int) -> int: ...

    def read(self, key: str, etag: str, start: int, size: int) -> bytearray: ...


class TargetBucket(Protocol):
    """The bucket that is copied to: see `bucket.Bucket`."""

    @property
    def prefix(self) -> str: ...

    def note_copied(self, operation: str) -> None: ...

    def head(self, key: str, *, tags: bool = True) -> ObjectState | None: ...

    def is_missing(self, key: str) -> bool: ...

    def lists(self, key: str) -> bool: ...

    def with_tags(self, key: str, state: ObjectState) -> ObjectState: ...

    def read(self, key: str, etag: str, start: int, size: int) -> bytearray: ...

    def tags(self, key: str) -> Mapping[str, str]: ...

    def put(
        self,
        key: str,
        data: bytes | bytearray,
        md5: bytes,
        state: ObjectState,
        marker: str | None,
        guard: WriteGuard | None = None,
    ) -> str: ...

    def put_tags(self, key: str, tags: Mapping[str, str]) -> None: ...

    def put_lock(self, key: str, lock: ObjectLock, there: ObjectLock) -> None: ...

    def require_tags(self, key: str, *, is_there: bool) -> None: ...

    def delete(self, key: str) -> None: ...

    def create_upload(self, key: str, state: ObjectState, marker: str | None) -> str: ...

    def upload_part(self, key: str, upload_id: str, part: Part, data: bytes | bytearray, md5: bytes) -> str: ...

    def complete_upload(
        self, key: str, upload_id: str, etags: Mapping[int, str], guard: WriteGuard | None = None
    ) -> str: ...

    def abort_upload(self, key: str, upload_id: str) -> None: ...

    def uploads(self, key: str) -> Sequence[Upload]: ...

    def parts(
        self, key: str, upload_id: str, after: int = 0, until: int | None = None
    ) -> Mapping[int, UploadedPart]: ...


class ArchiveBucket(Protocol):
    """A bucket with objects in an archive: see `bucket.Bucket`."""

    @property
    def lists_restores(self) -> bool: ...

    def head(self, key: str, *, confirm_missing: bool = False, tags: bool = True) -> ObjectState | None: ...

    def restore(self, key: str, request: Mapping[str, Any]) -> None: ...


class ListedSourceBucket(SourceBucket, ArchiveBucket, Listing, Protocol): ...


class ListedTargetBucket(TargetBucket, Listing, Protocol): ...


class RequestGate(Protocol):
    """Holds the requests to a store while it is unavailable: see `cli/sweeps/outage.py`."""

    def wait(self) -> None:
        """Wait while the store is unavailable. Raises OutOfTime at a stop, or StoreUnusable."""

    def check(self) -> None:
        """Raise OutOfTime at a stop, or StoreUnusable."""

    def on_response(self) -> None:
        """Note that the store responded to a request."""

    def may_repeat(self, error: SyncError, failures: int, probe: Callable[[], object], busy_s: float = 0.0) -> bool:
        """Return True, after a wait, if a request with this confirmed error is to be repeated.

        `failures` is the number of its attempts. `busy_s` is the time for which the store was too busy for each
        request of its kind; 0.0 if it was not. `probe` makes a harmless request, and raises a SyncError if it fails.
        Raises what `wait` raises.
        """


class Transport(Protocol):
    """A faster way than boto3 to one bucket. It returns None where boto3 must make the request."""

    def list_page(self, position: Mapping[str, Any]) -> ListPage | None:
        """Return the page of the listing at a position, given as parameters of `list_objects_v2`."""

    def try_call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the response in boto3's form; it has an "Error" where boto3 would raise ClientError."""
