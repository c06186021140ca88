"""The knowledge if a target refuses to overwrite an object."""

from __future__ import annotations

from s3_syncer.crt.overwrite_prevention import MAX_CHECKS, Condition, OverwritePrevention

NONE, PROVEN, CHECKED = Condition.NONE, Condition.PROVEN, Condition.CHECKED


def test_no_write_has_the_condition_while_the_first_one_is_checked() -> None:
    known = OverwritePrevention()
    assert [known.claim() for _ in range(3)] == [CHECKED, NONE, NONE]
    assert not known.is_proven
    known.end_check(is_honoured=True)
    assert [known.claim() for _ in range(3)] == [PROVEN] * 3
    assert known.is_proven


def test_a_check_that_showed_nothing_is_made_again() -> None:
    known = OverwritePrevention()
    for _ in range(MAX_CHECKS - 1):
        assert known.claim() is CHECKED
        known.end_check(is_honoured=None)
        assert not known.is_proven
    assert known.claim() is CHECKED
    known.end_check(is_honoured=True)
    assert known.is_proven


def test_few_checks_that_show_nothing_are_enough() -> None:
    known = OverwritePrevention()
    for _ in range(MAX_CHECKS):
        assert known.claim() is CHECKED
        known.end_check(is_honoured=None)
    assert {known.claim() for _ in range(300)} == {NONE}


def test_a_target_that_ignores_the_condition_gets_it_once() -> None:
    known = OverwritePrevention()
    assert known.claim() is CHECKED
    known.end_check(is_honoured=False)
    assert {known.claim() for _ in range(300)} == {NONE}


def test_samples_find_a_target_that_changes() -> None:
    known = OverwritePrevention(is_proven=True, sample_every=10)
    assert [known.claim() for _ in range(20)].index(CHECKED) == 9
    assert known.is_proven
    known.end_check(is_honoured=False)
    assert not known.is_proven
    assert {known.claim() for _ in range(300)} == {NONE}


def test_only_one_write_at_a_time_is_a_sample() -> None:
    known = OverwritePrevention(is_proven=True, sample_every=10)
    assert [known.claim() for _ in range(100)].count(CHECKED) == 1
    for _ in range(2 * MAX_CHECKS):
        known.end_check(is_honoured=None)
        assert known.is_proven, "a sample that showed nothing"
        assert [known.claim() for _ in range(10)].count(CHECKED) == 1


def test_a_proof_that_ends_late_does_not_outweigh_an_overwritten_object() -> None:
    known = OverwritePrevention(is_proven=True, sample_every=1)
    assert known.claim() is CHECKED
    known.record_ignored()
    known.end_check(is_honoured=True)
    assert not known.is_proven
