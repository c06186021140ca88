"""The Object Lock of an object: read from a response, and compared. Pure.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from .headers import moment
from .model import LOCK_HOLD, LOCK_MODE, LOCK_UNTIL, NO_LOCK, ObjectLock, Retention

#: The modes of a retention. The one that fewer users can shorten comes later.
MODES = ("GOVERNANCE", "COMPLIANCE")

#: A retention that ends within this time counts as ended: a store refuses a write with a retention that has ended, and
#: the write may come that late.
_ENDING = timedelta(minutes=1)


def read(headers: Mapping[str, str]) -> ObjectLock:
    """Return the lock that the headers of a HEAD or GET show, in lower case.

    A response has them only if its user may read the lock. A retention that has ended by the clock of the store is
    left out, because it protects nothing.
    """
    legal_hold = {"ON": True, "OFF": False}.get(headers.get(LOCK_HOLD, "").upper())
    mode, until = headers.get(LOCK_MODE, "").upper(), moment(headers.get(LOCK_UNTIL, ""))
    now = moment(headers.get("date", ""))
    if mode not in MODES or until is None or (now is not None and until <= now + _ENDING):
        return NO_LOCK if legal_hold is None else ObjectLock(None, legal_hold)
    return ObjectLock(Retention(mode, until.replace(microsecond=0)), legal_hold)


def retention_to_write(source: ObjectLock, target: ObjectLock) -> Retention | None:
    """Return the retention that the target's object needs, or None if its own is at least as strong.

    A retention is never shortened and its mode is never weakened, so the result has the later end and the stronger
    mode of both.
    """
    wanted, there = source.retention, target.retention
    if wanted is None or there is None:
        return wanted
    needed = Retention(max(wanted.mode, there.mode, key=MODES.index), max(wanted.until, there.until))
    return None if needed == there else needed


def differs(source: ObjectLock, target: ObjectLock) -> bool:
    """Return True if the target's object is protected less than the source's, or has another legal hold.

    An object that the target protects longer is no difference: it may have the default retention of its bucket.
    """
    return retention_to_write(source, target) is not None or has_other_hold(source, target)


def has_other_hold(source: ObjectLock, target: ObjectLock) -> bool:
    """Return True if the source says if its object has a legal hold, and the target's object differs.

    The source says nothing if the object never had a hold, or if its user may not read it. Then the target's hold
    stays.
    """
    return source.legal_hold is not None and source.legal_hold != bool(target.legal_hold)
