"""Find out if the target has the very key that it responds to.

A HEAD says that *something* responds to a key. On a target that folds keys it may be the object of another key, which
must be neither overwritten nor deleted, nor taken for a copy: see `core/key_folding.py`. Only a listing names keys.

To list each key before each write is expensive: a LIST costs as much as a PUT. So the target is asked once in each
process, for each fold, if it has that fold. It does not if it has a key and names the key's twin as missing, with the
object of the key unchanged before and after. That costs a GET of the twin and a HEAD. If the twin exists too, and both
keys are listed, they are two objects. One LIST shows for each unusual kind of character that the target does not
rewrite it. Only for keys that a fold still concerns, each check is a LIST.
"""

from __future__ import annotations

from ..core.errors import Changed, Permanent
from ..core.key_folding import DIRECTORY, directory_twin, rewrites, twins
from ..core.model import ObjectState
from ..stores.capabilities import TargetCapabilities
from ..stores.protocols import TargetBucket

#: The finding for a key of the source to which an object with another key responds.
NOT_LISTED = "the target does not list this key: the object of another key responds to it"
NOT_LISTED_CODE = "NotListed"


def not_listed() -> Permanent:
    """Return the error for a key that cannot be copied, because the target has another key in its place."""
    return Permanent(NOT_LISTED, NOT_LISTED_CODE)


def has_key(
    target: TargetBucket,
    capabilities: TargetCapabilities,
    key: str,
    found: ObjectState,
    *,
    is_listed: bool | None = None,
    deletes: bool = False,
) -> bool:
    """Return True if `found`, the response to a HEAD of the key, is the object of this very key.

    `is_listed` says if a listing of the caller has shown the key; None without a listing. A listing that has not shown
    the key may be too old, so the key is listed again. `deletes` also excludes a directory that responds like an
    object: a deletion may remove all that it contains.

    Raises Changed if the target has another object by now.
    """
    if is_listed:
        return True
    possible = twins(target.prefix, key, capabilities.apart)
    if deletes and DIRECTORY not in capabilities.apart:
        possible[DIRECTORY] = directory_twin(key)
    asked = {fold: twin for fold, twin in possible.items() if twin is not None and fold not in capabilities.unproven}
    apart = {fold for fold, twin in asked.items() if _is_missing(target, twin)}
    if apart:
        _ensure_same(target, key, found)
        capabilities.record_folds(apart=apart)
    if is_listed is None and apart == possible.keys():
        return True
    undecided = asked.keys() - apart
    if not target.lists(key):
        _ensure_same(target, key, found)
        capabilities.record_folds(unproven=undecided)
        return False
    # A directory that is an object too says nothing about other directories.
    apart = {fold for fold in undecided if fold != DIRECTORY and target.lists(asked[fold])}
    capabilities.record_folds(apart=apart | rewrites(target.prefix, key), unproven=undecided - apart)
    return True


def _is_missing(target: TargetBucket, twin: str) -> bool:
    """Return True if the target names the twin as missing. Access denied, for example, proves nothing."""
    try:
        return target.is_missing(twin)
    except Permanent:
        return False


def _ensure_same(target: TargetBucket, key: str, found: ObjectState) -> None:
    """Raise Changed unless the target still has the object that was found."""
    now = target.head(key, tags=False)
    if now is None or (now.etag, now.last_modified) != (found.etag, found.last_modified):
        raise Changed("the object in the target changed while it was compared", "Changed")
