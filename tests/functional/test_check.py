"""`s3-syncer check` lists every difference, and changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.functional.command import run, started
from tests.functional.harness import MIB, TARGET, Rig, put_parts
from tests.functional.proxy import page

pytestmark = pytest.mark.real_store

KEYS = [f"folder/key {number}" for number in range(5)]


@pytest.fixture
def migrated(rig: Rig) -> Rig:
    for key in KEYS:
        rig.put(key, key.encode(), Metadata={"a": "b"}, ContentType="text/plain")
    assert run("migrate").code == 0
    rig.clear()
    return rig


def test_equal_buckets_exit_with_0(migrated: Rig) -> None:
    for arguments, is_plain in ((["check"], True), (["check", "--full"], False)):
        ended = run(*arguments)
        assert (ended.code, ended.out) == (0, "")
        assert ended.err.startswith("equal: 5 keys compared, 0 failed")
        assert ("note: compared by size, ETag and time" in ended.err) == is_plain
    assert migrated.target_proxy.writes() == []
    assert {request.operation for request in migrated.source_proxy.writes()} == {"GetSecretValue"}


def listed_prefixes(rig: Rig) -> list[list[str]]:
    """Return the prefix of each listing, by side. Fails if a store got any other request."""
    sides = [[r for r in side.requests if not r.operation] for side in (rig.source_proxy, rig.target_proxy)]
    assert all("list-type" in request.query for requests in sides for request in requests)
    return [[request.query["prefix"][0] for request in requests] for requests in sides]


def test_equal_buckets_need_one_listing_each(rig: Rig) -> None:
    for number in range(5):
        rig.put(f"folder/key-{number}", b"body")
    assert run("migrate").code == 0
    rig.clear()
    assert run("check").code == 0
    assert listed_prefixes(rig) == [[""], [""]]


def test_the_first_key_with_a_blank_is_looked_up_on_each_side(migrated: Rig) -> None:
    """A store may list such keys under other names: see `KeyListing`."""
    assert run("check").code == 0
    assert listed_prefixes(migrated) == [["", KEYS[0]], ["", KEYS[0]]]


def test_one_different_byte_is_listed_and_exits_with_1(migrated: Rig) -> None:
    body = KEYS[3].encode()[:-1] + b"#"
    migrated.target.put_object(Bucket=TARGET, Key=KEYS[3], Body=body, Metadata={"a": "b"}, ContentType="text/plain")
    ended = run("check")
    assert ended.code == 1
    assert ended.named == {KEYS[3]: "differs: content"}
    assert ended.err.startswith("different: 5 keys compared, 1 differs, 0 failed, 12 B to send")
    assert migrated.target_proxy.writes() == []


def test_every_kind_of_difference_is_listed(migrated: Rig) -> None:
    migrated.put("longer", b"12")
    migrated.target.put_object(Bucket=TARGET, Key="longer", Body=b"1")
    migrated.put("missing")
    migrated.target.put_object(Bucket=TARGET, Key="extra\x1b[2J")
    ended = run("check")
    assert ended.code == 1
    assert ended.named == {
        "longer": "differs: size",
        "missing": "missing: absent from the target",
        r"'extra\x1b[2J'": "extra: absent from the source",
    }
    ended = run("check", "--one-way")
    assert ended.named.keys() == {"longer", "missing"}
    migrated.target.delete_object(Bucket=TARGET, Key="longer")
    assert run("check", "--one-way", "--include", "/folder/**").code == 0


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ({"Metadata": {"a": "c"}, "ContentType": "text/plain"}, "metadata"),
        ({"Metadata": {"a": "b"}, "ContentType": "text/html"}, "header Content-Type"),
        ({"Metadata": {"a": "b"}, "ContentType": "text/plain", "CacheControl": "no-store"}, "header Cache-Control"),
        ({"Metadata": {"a": "b"}, "ContentType": "text/plain", "Tagging": "a=b"}, "tags"),
    ],
)
def test_full_check_finds_changes_made_in_the_target(migrated: Rig, written: dict[str, Any], reason: str) -> None:
    migrated.target.put_object(Bucket=TARGET, Key=KEYS[2], Body=KEYS[2].encode(), **written)
    assert run("check").code == 0
    ended = run("check", "--full")
    assert (ended.code, ended.named) == (1, {KEYS[2]: f"differs: {reason}"})
    if reason == "tags":
        assert run("check", "--full", "--no-tags").code == 0
    assert run("migrate", "--full").code == 0
    assert run("check", "--full").code == 0


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_page_instead_of_a_listing_is_not_an_empty_bucket(migrated: Rig, side: str) -> None:
    proxy = migrated.source_proxy if side == "source" else migrated.target_proxy
    proxy.when(page, "GET", query="list-type", times=1e9)
    for arguments in (["check", "--one-way"], ["migrate", "--delete"]):
        ended = run(*arguments)
        assert (ended.code, ended.out) == (3, "")
        assert ended.err == f"s3-syncer: list_objects_v2 in the-{side}: the response is not an S3 response\n"
    assert migrated.target_proxy.writes() == []


def test_full_check_finds_tags_written_in_the_source(migrated: Rig) -> None:
    migrated.tag(KEYS[0], {"a": "b"})
    ended = run("check", "--full")
    assert (ended.code, ended.named) == (1, {KEYS[0]: "differs: tags"})
    assert "0 B to send" in ended.err, "a tag update sends no object data"


def test_empty_buckets_are_equal(rig: Rig) -> None:
    ended = run("check")
    assert (ended.code, ended.out) == (0, "")


@pytest.fixture
def unproven(migrated: Rig) -> Rig:
    """Another tool has copied a key in parts, with other bytes of the same size."""
    migrated.put("large", b"a" * 6 * MIB, ContentType="text/plain")
    put_parts(migrated.target, TARGET, "large", (b"b" * 5 * MIB, b"b" * MIB), ContentType="text/plain")
    migrated.clear()
    return migrated


def test_a_full_check_names_unproven_keys_apart_from_differences(unproven: Rig, tmp_path: Path) -> None:
    ended = run("check", "--full", "--report", str(tmp_path / "report.json"))
    assert ended.code == 1
    assert ended.named == {
        "large": "unproven: content is not proven: the ETags cannot be compared, and the copy has no ETag marker"
    }
    assert ended.err.startswith("unproven: 6 keys compared, 1 unproven (6.3 MB), 0 failed")
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["result"], report["unproven"]) == ("unproven", {"keys": 1, "bytes": 6 * MIB})
    assert [difference["what"] for difference in report["differences"]] == ["unproven"]
    assert run("check").code == 0, "a plain check trusts the time, as aws s3 sync does"


def test_a_full_migration_proves_the_content_of_each_key(unproven: Rig) -> None:
    planned = run("migrate", "--full", "--dry-run")
    assert planned.code == 0
    assert "1 would be copied to prove the content (6.3 MB), 0 failed, 6.3 MB to send" in planned.err
    assert unproven.target_proxy.writes() == []
    assert run("migrate", "--full").code == 0
    assert unproven.differences() == []
    unproven.clear()
    assert run("migrate", "--full").code == run("check", "--full").code == 0
    assert unproven.target_proxy.writes() == []


def test_an_event_proves_the_content_of_its_key(unproven: Rig) -> None:
    assert unproven.sync("large").actions == {"large": "update"}
    assert unproven.differences() == []
    assert unproven.sync("large").actions == {"large": "unchanged"}


def test_an_empty_variable_of_aws_counts_as_not_set(rig: Rig) -> None:
    """boto3 takes an empty profile as its name, and awscrt cannot sign for an empty region."""
    rig.put("key", b"body")
    empty = dict.fromkeys(("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE", "AWS_CA_BUNDLE", "AWS_DEFAULTS_MODE"), "")
    target = {"TARGET_ACCESS_KEY_ID": "id", "TARGET_SECRET_ACCESS_KEY": "secret", "TARGET_SECRET_ARN": ""}
    with started("check", **empty, **target) as command:
        ended = command.ended()
    assert (ended.code, ended.named) == (1, {"key": "missing: absent from the target"}), ended.err
