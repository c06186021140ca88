"""Write and check the tags of a copy.

A listing shows no tags. So a copy that has to stay without its tags would be equal for each later plain sweep. It is
removed again if the target had no object before: then every sweep finds the key missing, and names its error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ..core.errors import Permanent, SyncError
from ..stores.protocols import TargetBucket


def write_tags(target: TargetBucket, key: str, tags: Mapping[str, str], *, is_new: bool) -> None:
    """Write the tags of an object; `is_new` says that this worker has just brought it to the target."""
    with removing_untagged_copy(target, key, is_new=is_new):
        target.put_tags(key, tags)


@contextmanager
def removing_untagged_copy(target: TargetBucket, key: str, *, is_new: bool) -> Iterator[None]:
    """Remove a new object again if the block, which writes or checks its tags, raises Permanent.

    The error then says what has become of the object.
    """
    try:
        yield
    except SyncError as error:
        is_removed = is_new and isinstance(error, Permanent) and _is_deleted(target, key)
        kept = "The object in the target may have other tags: only --full finds that later"
        error.args = (f"{error.reason}. {'The copy was removed again' if is_removed else kept}",)
        raise


def _is_deleted(target: TargetBucket, key: str) -> bool:
    """Delete the object. Return False if that fails, for example without the permission to delete."""
    try:
        target.delete(key)
    except SyncError:
        return False
    return True
