"""The arithmetic of scripts/scale, computed by hand, and its tables in docs/capacity-planning.md."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from scaling import main
from scaling.figures import FIGURES
from scaling.model import (
    Data,
    Driver,
    copying,
    duration_s,
    estimate,
    function,
    looking,
    migrate,
    service,
    tiered,
    worker_speed,
    workers_after,
)

#: Round numbers, so that each result can be worked out by hand.
VALUES = dict.fromkeys(FIGURES, 1.0) | {
    "source_reads": 5.0,
    "target_requests": 4.0,
    "cpu_ms_per_object": 2.0,
    "cpu_s_per_gb": 8.0,
    "cpu_us_per_look": 50.0,
    "lane_source_reads": 2.0,
    "lane_target_requests": 1.0,
    "lane_cpu_ms_per_object": 0.5,
    "lane_cpu_s_per_gb": 4.0,
    "lane_cpu_us_per_look": 5.0,
    "lane_mib": 8.0,
    "latency_ms": 20.0,
    "list_ms": 100.0,
    "function_mb_per_s": 50.0,
    "task_mb_per_s": 100.0,
    "part_mib": 16.0,
    "whole_mib": 64.0,
    "s3_reads_per_prefix": 5000.0,
    "lambda_start": 5.0,
    "lambda_more_per_min": 300.0,
    "slice_s": 60.0,
    "s3_read": 0.0004,
    "s3_list": 0.005,
    "log_bytes_per_object": 100.0,
}

KB, MB, GB = 1e3, 1e6, 1e9
ONE = Driver("one", machines=1, lanes=1, threads=9, vcpu=1, memory_gb=2, function=False)

# -- one object --------------------------------------------------------------------------------------------------------


def test_a_small_object_takes_what_was_counted() -> None:
    each = copying(100 * KB, VALUES)
    assert (each.reads, each.writes) == (5, 4)
    assert each.cpu_s == pytest.approx(0.002 + 0.0001 * 8)
    assert each.wait_s == pytest.approx(9 * 0.020)


def test_a_large_object_takes_a_read_and_a_write_for_each_part() -> None:
    each = copying(100 * MB, VALUES)  # 5.96 parts of 16 MiB
    assert (each.reads, each.writes) == (5 + 5, 4 + 7)
    assert copying(64 * 1024 * 1024, VALUES).reads == 5, "up to there it goes in one piece"


def test_the_lane_takes_less_of_what_it_takes() -> None:
    each = copying(100 * KB, VALUES, lane=True)
    assert (each.reads, each.writes) == (2, 1)
    assert each.cpu_s == pytest.approx(0.0005 + 0.0001 * 4)
    assert each.wait_s == pytest.approx(3 * 0.020)
    large = copying(100 * MB, VALUES, lane=True)
    assert (large.reads, large.writes) == (5 + 5, 4 + 7), "a large object is looked at as ever"
    assert large.cpu_s == pytest.approx(0.002 + 0.1 * 4), "and its bytes take the lane"
    assert looking(VALUES, lane=True).cpu_s == pytest.approx(looking(VALUES).cpu_s / 10)


# -- one worker --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("threads", "vcpu", "size", "per_s", "by"),
    [
        (9, 1, 1, 50, "waiting"),  # 9 at a time, 0.18 s each
        (90, 0.5, 1, 250, "processor"),  # 2 ms each on half a processor
        (900, 4, 1 * MB, 100, "network"),  # 100 MB/s
    ],
)
def test_a_worker_is_as_fast_as_what_is_slowest(threads: int, vcpu: float, size: float, per_s: float, by: str) -> None:
    driver = replace(ONE, threads=threads, vcpu=vcpu)
    speed = worker_speed(driver, copying(size, VALUES), size, VALUES)
    assert (round(speed.objects_per_s, 2), speed.bound_by) == (pytest.approx(per_s, rel=0.01), by)


def test_the_lanes_of_a_task_share_its_processor_and_its_network() -> None:
    for size in (1, 1 * MB):
        whole, lane = (replace(ONE, lanes=lanes, threads=900) for lanes in (1, 4))
        each = copying(size, VALUES)
        alone, shared = (worker_speed(driver, each, size, VALUES) for driver in (whole, lane))
        assert shared.objects_per_s == pytest.approx(alone.objects_per_s / 4)
        assert lane.workers == 4


def test_a_look_is_bound_by_the_listing() -> None:
    found = estimate(Data("", 1e6, 1), replace(migrate(), ranges=1), VALUES, copies=False)
    assert (found.objects_per_s, found.bound_by, found.seconds) == (10_000, "listing", 100)
    assert found.costs["S3 requests"] == pytest.approx(2000 * 0.005 / 1000)
    assert (found.egress, found.costs["logs"]) == (0, 0)


def test_several_ranges_at_once_are_listed_until_the_processor_is_busy() -> None:
    for ranges, found in ((4, (40_000, "listing")), (32, (200_000, "processor"))):
        look = estimate(Data("", 1e6, 1), replace(migrate(), ranges=ranges), VALUES, copies=False)
        assert (pytest.approx(look.objects_per_s), look.bound_by) == found


# -- all of them -------------------------------------------------------------------------------------------------------


def test_workers_double_every_minute_until_all_are_at_work() -> None:
    driver = function(50)
    assert [workers_after(minutes, driver, VALUES) for minutes in range(8)] == [1, 2, 4, 8, 16, 32, 50, 50]


def test_lambda_adds_no_more_functions_than_it_does() -> None:
    slow = {**VALUES, "lambda_more_per_min": 10.0}
    assert [workers_after(minutes, function(1000), slow) for minutes in (0, 3, 6, 99, 100)] == [1, 8, 64, 995, 1000]
    assert workers_after(6, service(1000), slow) == 64, "tasks are not Lambda's"


def test_one_task_shares_with_nobody() -> None:
    assert workers_after(10, migrate(), VALUES) == 1


def test_the_time_is_that_of_the_doubling_and_then_of_all() -> None:
    speed = worker_speed(replace(ONE, machines=4), copying(1, VALUES), 1, VALUES)  # 50 objects a second
    driver = replace(ONE, machines=4)
    # one worker for a minute, two for the next, then four: 3,000 + 6,000, and the rest at 200 a second
    assert duration_s(9_000 + 20_000, driver, speed, math.inf, VALUES) == pytest.approx(120 + 100, rel=1e-4)
    assert duration_s(1_500, driver, speed, math.inf, VALUES) == pytest.approx(30, rel=1e-4)


def test_s3_bounds_the_rate_by_prefix() -> None:
    many, one = (estimate(Data("", 1e6, 1), service(100, lanes=1, threads=9), VALUES, prefixes=p) for p in (100, 1))
    assert many.bound_by == "waiting"
    assert one.bound_by == "S3's rate for a prefix"
    assert one.reads_per_s == pytest.approx(5000)
    assert one.seconds > many.seconds


# -- money -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("amount", "cost"), [(0, 0), (5, 10), (10, 20), (15, 25), (30, 40), (100, 75)])
def test_each_tier_has_its_price(amount: float, cost: float) -> None:
    assert tiered(amount, [(10, 2), (20, 1), (math.inf, 0.5)]) == pytest.approx(cost)


def test_the_bill_of_a_function() -> None:
    prices = {"sqs": 0.5, "lambda_call": 0.2, "lambda_gb_s": 2e-5, "logs_gb": 0.5, "egress_gb": 0.1}
    driver = function(10, memory_mb=1024, threads=9)
    found = estimate(Data("", 1e6, 10 * KB), driver, {**VALUES, **prices})
    worked_s = 1e6 / 50  # of all functions together; 333 ranges of a minute
    assert found.costs == pytest.approx(
        {
            "S3 requests": 1e6 * 5 * 0.0004 / 1000 + 2000 * 0.005 / 1000,
            "queue": worked_s / 60 * 3 * 0.5e-6,
            "compute": worked_s * 1 * 2e-5 + worked_s / 60 * 0.2e-6,
            "logs": 0.1 * 0.5,
        },
        rel=1e-3,
    )
    assert found.egress == pytest.approx(1.0)
    assert found.cost == pytest.approx(sum(found.costs.values()))


def test_the_bill_of_tasks() -> None:
    prices = {"fargate_vcpu_h": 0.04, "fargate_gb_h": 0.01}
    found = estimate(Data("", 540_000, 1), migrate(vcpu=1, memory_gb=2, threads=9), {**VALUES, **prices})
    assert found.seconds == pytest.approx(3600, rel=1e-3)
    assert found.costs["compute"] == pytest.approx(0.06, rel=1e-3)
    assert found.costs["queue"] == 0


# -- the program -------------------------------------------------------------------------------------------------------


def scale(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main.main, arguments)
    return result.exit_code, result.output


def test_the_document_is_what_the_model_says() -> None:
    assert scale("--check") == (0, "")


def test_a_document_that_is_not_is_found_and_mended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = tmp_path / "capacity-planning.md"
    document.write_text(f"# Before\n{main.BEGIN}\nold\n{main.END}\nafter\n")
    monkeypatch.setattr(main, "DOCUMENT", document)
    code, said = scale("--check")
    assert code == 1
    assert "-old" in said
    assert scale("--write") == (0, "")
    assert scale("--check") == (0, "")
    assert document.read_text().startswith(f"# Before\n{main.BEGIN}\n")
    assert document.read_text().endswith(f"{main.END}\nafter\n")


def test_any_figure_can_be_another() -> None:
    code, ordinary = scale("--objects", "1000000", "--size", "0")
    assert code == 0
    assert "1,000,000 objects of 0 B" in ordinary
    _, slow = scale("--objects", "1000000", "--size", "0", "--set", "latency_ms=250")
    assert slow != ordinary


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--set", "latency=5"), "there is no figure 'latency': --figures shows them all"),
        (("--set", "latency_ms=fast"), "write latency_ms=NUMBER, in ms"),
        (("--check", "--objects", "5"), "leave out --set, --objects, --prefixes"),
    ],
)
def test_a_mistake_has_one_clear_line(arguments: tuple[str, ...], says: str) -> None:
    code, said = scale(*arguments)
    assert code == 2
    assert says in said


def test_every_figure_says_where_it_comes_from() -> None:
    code, said = scale("--figures")
    assert code == 0
    for name, figure in FIGURES.items():
        assert f"`{name}`" in said
        assert figure.source in said
