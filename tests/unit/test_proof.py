"""The proof that the bytes of a pair of objects are equal, the random sample, and its confidence."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest

from s3_syncer.core.model import ObjectState
from s3_syncer.core.proof import ReadOptions, Sample, one_damaged_in, stored_proof

MD5, OTHER_MD5 = "0" * 31 + "1", "0" * 31 + "2"


def state(etag: str = MD5, **properties: Any) -> ObjectState:
    return ObjectState(7, etag, datetime(2026, 1, 1, tzinfo=UTC), **properties)


@pytest.mark.parametrize(
    ("source", "target", "proof"),
    [
        (state(), state(), "etag"),
        (state(f"{MD5}-3"), state(f"{MD5}-3"), "etag"),
        (state(f"{MD5}-3"), state(OTHER_MD5, marker=f"{MD5}-3"), "marker"),
        (state(f"{MD5}-3"), state(OTHER_MD5), "time"),
        (state(f"{MD5}-3", checksums={"crc64nvme": "a="}), state(checksums={"crc64nvme": "a="}), "checksum"),
        (state(f"{MD5}-3", checksums={"sha256": "a=-3"}), state(checksums={"sha256": "a=-3"}), "checksum"),
        (
            state(f"{MD5}-3", checksums={"crc32": "a=", "sha1": "b="}),
            state(checksums={"crc32": "c=", "sha1": "b="}),
            "checksum",
        ),
    ],
)
def test_what_the_stores_have_proves_equal_bytes(source: ObjectState, target: ObjectState, proof: str) -> None:
    assert stored_proof(source, target) == proof


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"crc32": "a="}, {"crc32": "a="}),
        ({"crc32c": "a="}, {"crc32c": "a="}),
        ({"crc64nvme": "a="}, {"crc64nvme": "b="}),
        ({"sha256": "a="}, {"sha1": "a="}),
        ({"sha256": "a="}, {}),
        ({}, {}),
    ],
)
def test_short_different_or_other_checksums_prove_nothing(one: dict[str, str], other: dict[str, str]) -> None:
    pair = state(f"{MD5}-3", checksums=one), state(OTHER_MD5, marker=f"{MD5}-3", checksums=other)
    assert stored_proof(*pair) == "marker"


def test_only_objects_without_a_proof_are_read() -> None:
    options = ReadOptions()
    assert [options.reads("key", proof) for proof in ("etag", "checksum", "marker", "time")] == [
        False,
        False,
        True,
        True,
    ]


def test_every_object_is_read_if_checksums_are_ignored() -> None:
    options = ReadOptions(ignore_checksums=True)
    assert all(options.reads("key", proof) for proof in ("etag", "checksum", "marker", "time"))


def test_a_sample_has_about_its_share_of_any_keys() -> None:
    keys = [f"folder/{number:06}" for number in range(20_000)]
    for share in (0.01, 0.2):
        chosen = [key for key in keys if Sample(share, 7).has(key)]
        assert abs(len(chosen) - share * len(keys)) < 5 * (share * len(keys)) ** 0.5


def test_a_seed_gives_the_same_sample_again_and_another_seed_another_one() -> None:
    keys = [f"key {number}" for number in range(1000)]
    one, again, other = ([key for key in keys if Sample(0.1, seed).has(key)] for seed in (1, 1, 2))
    assert one == again != other


def test_a_sample_of_everything_has_every_key() -> None:
    assert all(Sample(1.0, seed).has(f"key {seed}") for seed in range(1000))


def test_a_key_that_is_no_utf_8_can_be_in_a_sample() -> None:
    assert Sample(1.0, 1).has("\udcff")


@pytest.mark.parametrize("read", [1, 3, 10, 100, 459, 10_000])
def test_the_confidence_is_at_least_that_of_the_formula(read: int) -> None:
    one_in = one_damaged_in(read)
    assert 1 - (1 - 1 / one_in) ** read >= 0.99
    assert 1 - (1 - 1 / (one_in + 1)) ** read < 0.99


def test_a_simulated_sample_finds_damage_as_often_as_it_says() -> None:
    keys, random_ = [f"key {number}" for number in range(2000)], random.Random(1)
    one_in = one_damaged_in(200)
    found = 0
    for seed in range(400):
        damaged = random_.sample(keys, -(-len(keys) // one_in))
        found += any(Sample(0.1, seed).has(key) for key in damaged)
    assert found / 400 > 0.97
