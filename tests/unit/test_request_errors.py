"""Exceptions of boto3 become errors with the same reason for each key that fails equally."""

from __future__ import annotations

import pytest
from botocore.exceptions import BotoCoreError, ConnectionClosedError, EndpointConnectionError, ReadTimeoutError

from s3_syncer.core.errors import Transient
from s3_syncer.stores.request_errors import as_sync_error


@pytest.mark.parametrize("kind", [EndpointConnectionError, ReadTimeoutError, ConnectionClosedError])
def test_reason_has_the_address_of_the_store_without_the_key(kind: type[BotoCoreError]) -> None:
    addresses = [f"https://s3.example.com:9000/mirror/{key}?uploads" for key in ("a", "b/c")]
    first, second = (as_sync_error("head_object", "mirror", kind(endpoint_url=address)) for address in addresses)
    assert isinstance(first, Transient)
    assert first.reason == second.reason
    assert '"https://s3.example.com:9000"' in first.reason
