"""`--no-tags` beside a worker that mirrors tags: the tags of the target's objects stay."""

from __future__ import annotations

import pytest
from tests.functional.command import run
from tests.functional.harness import TARGET, Rig
from tests.functional.proxy import Exchange, meanwhile, refuse

from s3_syncer.core.units import MIB

pytestmark = pytest.mark.real_store

RED = {"colour": "red"}

SIZES = [10, 2 * MIB, 70 * MIB]
IDS = ["small", "streamed", "in parts"]


def tags(rig: Rig) -> dict[str, str]:
    answer = rig.target.get_object_tagging(Bucket=TARGET, Key="key")
    return {tag["Key"]: tag["Value"] for tag in answer["TagSet"]}


@pytest.mark.parametrize("command", [("migrate",), ("sync", "key")], ids=["migrate", "sync"])
@pytest.mark.parametrize("size", SIZES, ids=IDS)
def test_an_update_keeps_the_tags(rig: Rig, size: int, command: tuple[str, ...]) -> None:
    rig.target.put_object(Bucket=TARGET, Key="key", Body=b"older", Tagging="colour=red")
    rig.put("key", b"x" * size)
    assert run(*command, "--no-tags").code == 0
    assert (rig.target_head("key")["ContentLength"], tags(rig)) == (size, RED)


@pytest.mark.parametrize("size", SIZES, ids=IDS)
def test_a_late_copy_does_not_replace_that_of_a_worker_with_tags(rig: Rig, size: int) -> None:
    body = b"x" * size
    rig.put("key", body)

    def copy_with_tags() -> None:
        rig.target.put_object(Bucket=TARGET, Key="key", Body=body, Tagging="colour=red")

    rig.target_proxy.when(meanwhile(copy_with_tags), "POST" if size > 64 * MIB else "PUT", key="key")
    assert run("migrate", "--no-tags").code == 0
    assert (rig.target_head("key")["ContentLength"], tags(rig)) == (size, RED)


@pytest.mark.parametrize("refusal", [(501, "NotImplemented"), (400, "InvalidArgument")])
def test_a_store_that_refuses_conditions_gets_none(rig: Rig, refusal: tuple[int, str]) -> None:
    def fault(exchange: Exchange) -> None:
        if "if-none-match" in {name.lower() for name in exchange.request.headers}:
            refuse(*refusal)(exchange)
        else:
            exchange.forward()

    rig.put("key", b"new")
    rig.target_proxy.when(fault, "PUT", times=1e9)
    assert run("migrate", "--no-tags").code == 0
    assert rig.differences() == []
