"""A denial of a bucket that may belong to another account than expected."""

from __future__ import annotations

import pytest

from s3_syncer.core.errors import Refused, StoreUnusable, SyncError
from s3_syncer.stores.bucket_owner import expect_owner

ACCOUNT = "210987654321"


@pytest.mark.parametrize(
    ("operation", "kind"),
    {
        "head_object": StoreUnusable,
        "get_object": StoreUnusable,
        "list_objects": StoreUnusable,  # a store that knows only the first version of the listing
        "list_objects_v2": StoreUnusable,
        "get_object_tagging": Refused,
        "restore_object": Refused,
    }.items(),
)
def test_denied_request_about_content_may_mean_another_owner(operation: str, kind: type[SyncError]) -> None:
    with pytest.raises(kind), expect_owner(ACCOUNT, operation):
        raise Refused("access denied", "AccessDenied")


def test_denied_request_without_an_expected_owner_stays_as_it_is() -> None:
    with pytest.raises(Refused), expect_owner("", "get_object"):
        raise Refused("access denied", "AccessDenied")
