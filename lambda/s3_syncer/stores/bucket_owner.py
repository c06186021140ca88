"""Distinguish a bucket that belongs to another account than expected from a key that is denied.

S3 denies a request with the header of another owner, with the code of a missing permission.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from ..core.errors import POLICY_CODES, Refused, StoreUnusable
from ..settings import EXPECTED_OWNER_HEADER

#: The requests about content. A denial of another kind of request concerns a permission, such as that to read tags.
_READS = frozenset({"get_object", "head_object", "list_objects", "list_objects_v2"})


@contextmanager
def expect_owner(account_id: str, operation: str) -> Iterator[None]:
    """Raise StoreUnusable for a denial in the block, if the requests name the account of the bucket.

    The owner may be another account. A request about the bucket then decides: see `availability.py`.
    """
    try:
        yield
    except Refused as error:
        if not account_id or operation not in _READS or error.code not in POLICY_CODES:
            raise
        reason = f"{error.reason}. {other_owner(account_id)}"
        raise StoreUnusable(reason, error.code, request_id=error.request_id) from error


def other_owner(account_id: str) -> str:
    """Return the explanation of a denied listing. Its request names the account."""
    return f"Either the bucket does not belong to the account {account_id}, or its policy denies s3:ListBucket"


def without_owner(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers without the owner, for requests to another bucket."""
    return {name: value for name, value in headers.items() if name != EXPECTED_OWNER_HEADER}
