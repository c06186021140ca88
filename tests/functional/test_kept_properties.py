"""Targets that answer 200 and do not keep what they are given."""

from __future__ import annotations

from math import inf

import pytest
from tests.functional.command import run
from tests.functional.harness import Rig, boto3_only
from tests.functional.proxy import Exchange

from s3_syncer.cli.sweeps import local_sweep
from s3_syncer.sync import converge

FINDING = "the target does not keep Cache-Control: the source has 'max-age=60', the target has nothing"


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converge, "CONFIRM_AFTER_S", 0.0)


def without_cache_control(exchange: Exchange) -> None:
    exchange.forward(without="cache-control")


def accepted(exchange: Exchange) -> None:
    exchange.reply(200, "")


def losing_tags(exchange: Exchange) -> None:
    if "tagging" in exchange.request.query:
        accepted(exchange)
    else:
        exchange.forward(without="x-amz-tagging")


@pytest.fixture
def rig_with_loss(rig: Rig) -> Rig:
    for key in ("a", "b"):
        rig.put(key, b"body", CacheControl="max-age=60")
    rig.put("c", b"body")
    rig.target_proxy.when(without_cache_control, "PUT", times=inf)
    return rig


def test_an_event_becomes_a_dead_letter_with_both_values(rig_with_loss: Rig) -> None:
    delivery = rig_with_loss.sync("a", "c")
    assert delivery.returned == []
    assert delivery.actions == {"a": "dead-letter", "c": "copy"}
    assert delivery.reasons["a"] == FINDING
    assert [letter.error for letter in rig_with_loss.dead_letters()] == [FINDING]


def test_lost_tags_are_found_too(rig: Rig) -> None:
    rig.put("a", b"body", Tagging="colour=red")
    rig.target_proxy.when(losing_tags, "PUT", key="a", times=inf)
    delivery = rig.sync("a")
    assert delivery.reasons["a"] == (
        "the target does not keep the tags: the source has {'colour': 'red'}, the target has nothing"
    )


@pytest.mark.parametrize("way", ["crt", "boto3"])
@pytest.mark.parametrize("arguments", [["migrate"], ["migrate", "--full"]], ids=" ".join)
def test_a_migration_names_the_keys_as_failed(
    rig_with_loss: Rig, arguments: list[str], way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if way == "boto3":
        monkeypatch.setattr(local_sweep, "crt_transports", boto3_only)
    ended = run(*arguments)
    assert ended.code == 1
    assert ended.named == dict.fromkeys("ab", f"failed: {FINDING}")


def test_sync_names_the_key_as_failed(rig_with_loss: Rig) -> None:
    ended = run("sync", "a", "c")
    assert ended.code == 1
    assert ended.named == {"a": f"failed: {FINDING}", "c": "copy: absent from the target"}


def test_the_object_stays_with_what_the_target_keeps(rig_with_loss: Rig) -> None:
    rig_with_loss.sync("a")
    assert rig_with_loss.target_head("a")["ContentLength"] == len(b"body")
