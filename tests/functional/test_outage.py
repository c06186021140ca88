"""A store that fails for one key, and a store that fails for a while: neither ends a migration."""

from __future__ import annotations

import pytest
from tests.functional.command import run
from tests.functional.harness import Rig, notification
from tests.functional.proxy import Fault, refuse, reset

ODD = "folder//odd"

#: Errors that a store or a proxy may return for one key, although they are errors of the store as a whole.
ODD_FAULTS = {
    "signature": refuse(403, "SignatureDoesNotMatch"),
    "header": refuse(400, "AuthorizationHeaderMalformed"),
    "access key": refuse(403, "InvalidAccessKeyId"),
    "access": refuse(403, "AccessDenied"),
    "token": refuse(400, "InvalidToken"),
    "clock": refuse(403, "RequestTimeTooSkewed"),
    "bucket": refuse(404, "NoSuchBucket"),
    "redirect": refuse(301, "PermanentRedirect"),
    "reset": reset,
    "bad gateway": refuse(502, "BadGateway"),
    "busy": refuse(503, "ServiceUnavailable"),
}


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("fault", ODD_FAULTS.values(), ids=ODD_FAULTS)
def test_key_that_a_store_handles_oddly_is_one_failed_key(rig: Rig, side: str, fault: Fault) -> None:
    """It once ended the whole migration: 95 of 3,001 keys were copied."""
    keys = [f"{number:03}" for number in range(20)]
    for key in (*keys, ODD):
        rig.put(key, b"some bytes")
    proxy = rig.source_proxy if side == "source" else rig.target_proxy
    proxy.when(fault, key=ODD, times=1e9)
    ended = run("migrate", "--concurrency", "2", "--no-tags")
    assert ended.code == 1
    assert ended.named.keys() == {ODD}
    assert rig.target_keys() == keys


@pytest.mark.parametrize("fault", [refuse(403, "SignatureDoesNotMatch"), reset], ids=["signature", "reset"])
def test_sync_names_an_odd_key_and_continues(rig: Rig, fault: Fault) -> None:
    for key in ("a", "b"):
        rig.put(key, b"some bytes")
    rig.target_proxy.when(fault, key="a", times=1e9)
    ended = run("sync", "a", "b")
    assert ended.code == 1
    assert [what.partition(":")[0] for what in ended.named.values()] == ["failed", "copy"]


def test_event_of_an_odd_key_returns_with_its_reason(rig: Rig) -> None:
    for key in ("a", "b"):
        rig.put(key, b"some bytes")
    rig.target_proxy.when(refuse(403, "SignatureDoesNotMatch"), key="a", times=1e9)
    delivery = rig.deliver(notification("a"), notification("b"))
    assert len(delivery.returned) == 1
    assert delivery.actions == {"a": "retry", "b": "copy"}
    assert "Only this key fails so" in delivery.reasons["a"]
