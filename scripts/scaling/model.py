"""How long a migration takes and what it costs, by who does it. Pure arithmetic over `figures.FIGURES`.

A worker copies several objects at a time, and is as fast as the slowest of: waiting for answers, its processor, its
network, and its listings. A range begins with one worker and is halved every minute, so the workers on it double until
all that may are at work.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Values = Mapping[str, float]

GB, MIB = 1e9, 1024.0 * 1024
PAGE_KEYS = 1000

#: Every page is listed once to compare it, and once more to see that nothing is left.
LOOKS = 2

#: Send, receive and delete.
REQUESTS_PER_MESSAGE = 3

#: MB of a function's memory for which Lambda gives it one processor.
#: https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
MB_PER_VCPU = 1769


@dataclass(frozen=True)
class Data:
    """What is to be migrated: so many objects, each of so many bytes, none of them in the target yet."""

    name: str
    objects: float
    size: float

    @property
    def bytes(self) -> float:
        return self.objects * self.size


@dataclass(frozen=True)
class Driver:
    """Who does it: so many machines at most, each with `lanes` workers that share its processor and its network.

    A worker copies `threads` objects at a time and lists so many ranges at once. `spreads` is whether workers share the
    range out among themselves.
    """

    name: str
    machines: int
    lanes: int
    threads: int
    vcpu: float
    memory_gb: float
    function: bool
    spreads: bool = True
    ranges: int = 1

    @property
    def workers(self) -> int:
        return self.machines * self.lanes


def function(calls: int, memory_mb: int = 1024, threads: int = 8) -> Driver:
    vcpu = memory_mb / MB_PER_VCPU
    return Driver(f"function, {calls:,} at a time", calls, 1, threads, vcpu, memory_mb / 1024, function=True)


def service(tasks: int, vcpu: float = 1, memory_gb: float = 2, lanes: int = 32, threads: int = 2) -> Driver:
    return Driver(f"service, {tasks} tasks", tasks, lanes, threads, vcpu, memory_gb, function=False)


def migrate(vcpu: float = 1, memory_gb: float = 2, threads: int = 32) -> Driver:
    return Driver("migrate, one task", 1, 1, threads, vcpu, memory_gb, function=False, spreads=False, ranges=32)


@dataclass(frozen=True)
class Copying:
    """What it takes to copy one object."""

    #: Requests to the source and to the target.
    reads: float
    writes: float
    #: Seconds on a processor, and seconds of waiting for one answer after the other.
    cpu_s: float
    wait_s: float


def copying(size: float, values: Values, *, lane: bool = False) -> Copying:
    """By the common path, or by the lane as far as it takes such an object."""
    pieces = 1 if size <= values["whole_mib"] * MIB else math.ceil(size / (values["part_mib"] * MIB))
    way = "lane_" if lane and size <= values["lane_mib"] * MIB else ""
    reads = values[f"{way}source_reads"] + pieces - 1
    writes = values[f"{way}target_requests"] + (pieces + 1 if pieces > 1 else 0)  # its parts, begun and completed
    per_gb = values["lane_cpu_s_per_gb" if lane else "cpu_s_per_gb"]
    cpu_s = values[f"{way}cpu_ms_per_object"] / 1e3 + size / GB * per_gb
    return Copying(reads, writes, cpu_s, (reads + writes) * values["latency_ms"] / 1e3)


def looking(values: Values, *, lane: bool = False) -> Copying:
    """What it takes to see in the listings of both sides that an object is equal."""
    return Copying(0, 0, values["lane_cpu_us_per_look" if lane else "cpu_us_per_look"] / 1e6, 0)


@dataclass(frozen=True)
class Speed:
    """Objects a second, and what keeps it from being more."""

    objects_per_s: float
    bound_by: str


def worker_speed(driver: Driver, each: Copying, size: float, values: Values) -> Speed:
    """Of one worker, when the others of its machine are at work too."""
    bandwidth = values["function_mb_per_s" if driver.function else "task_mb_per_s"] * 1e6 / driver.lanes
    bounds = {
        "waiting": driver.threads / each.wait_s if each.wait_s else math.inf,
        "processor": driver.vcpu / driver.lanes / each.cpu_s if each.cpu_s else math.inf,
        "network": bandwidth / size if size else math.inf,
        "listing": driver.ranges * PAGE_KEYS / (values["list_ms"] / 1e3),
    }
    slowest = min(bounds, key=lambda name: bounds[name])
    return Speed(bounds[slowest], slowest)


def workers_after(minutes: int, driver: Driver, values: Values) -> float:
    """How many work on a range that began with one, so many minutes ago."""
    if not driver.spreads:
        return driver.workers
    halved: float = 2.0 ** min(minutes * 60 / values["slice_s"], 64)
    scaled = values["lambda_start"] + minutes * values["lambda_more_per_min"] if driver.function else math.inf
    return min(driver.workers, halved, scaled)


def duration_s(objects: float, driver: Driver, speed: Speed, most_per_s: float, values: Values) -> float:
    """Seconds until all objects are done; together they do `most_per_s` at the most."""
    left, minutes = objects, 0
    while True:
        workers = workers_after(minutes, driver, values)
        per_s = min(workers * speed.objects_per_s, most_per_s)
        if workers == driver.workers or left <= per_s * 60:
            return minutes * 60 + left / per_s
        left -= per_s * 60
        minutes += 1


def tiered(amount: float, tiers: Iterable[tuple[float, float]]) -> float:
    """The price of an amount, the first tier holding so much at its price, the next so much, and so on."""
    cost = 0.0
    for holds, price in tiers:
        taken = min(amount, holds)
        cost += taken * price
        amount -= taken
    return cost


@dataclass(frozen=True)
class Estimate:
    """What becomes of it. Costs in dollars, `egress` not among the others' sum."""

    data: Data
    driver: Driver
    seconds: float
    objects_per_s: float
    bound_by: str
    reads_per_s: float
    writes_per_s: float
    in_flight: float
    costs: Mapping[str, float]
    egress: float

    @property
    def cost(self) -> float:
        return sum(self.costs.values())

    @property
    def gbit_per_s(self) -> float:
        return self.objects_per_s * self.data.size * 8 / 1e9


def estimate(
    data: Data, driver: Driver, values: Values, *, prefixes: float = math.inf, copies: bool = True
) -> Estimate:
    """`prefixes` is how many partitions S3 has made of the source; without `copies` everything is equal already."""
    lane = not driver.function  # there is no awscrt in Lambda
    each, size = (copying(data.size, values, lane=lane), data.size) if copies else (looking(values, lane=lane), 0.0)
    speed = worker_speed(driver, each, size, values)
    s3_most = prefixes * values["s3_reads_per_prefix"] / (each.reads + LOOKS / PAGE_KEYS)
    together = driver.workers * speed.objects_per_s
    seconds = duration_s(data.objects, driver, speed, s3_most, values)
    full = min(together, s3_most)
    worked_s = data.objects / min(speed.objects_per_s, full / driver.workers)  # of all workers together
    messages = worked_s / values["slice_s"] if driver.spreads else 0.0
    return Estimate(
        data=data,
        driver=driver,
        seconds=seconds,
        objects_per_s=full,
        bound_by=speed.bound_by if together <= s3_most else "S3's rate for a prefix",
        reads_per_s=full * (each.reads + LOOKS / PAGE_KEYS),
        writes_per_s=full * (each.writes + LOOKS / PAGE_KEYS),
        in_flight=driver.workers if driver.spreads else 0.0,
        costs={
            "S3 requests": data.objects
            * (each.reads * values["s3_read"] + LOOKS / PAGE_KEYS * values["s3_list"])
            / 1e3,
            "queue": messages * REQUESTS_PER_MESSAGE * values["sqs"] / 1e6,
            "compute": _compute(driver, seconds, worked_s, messages, values),
            "logs": data.objects * values["log_bytes_per_object"] / GB * values["logs_gb"] if copies else 0.0,
        },
        egress=_egress(data.bytes if copies else 0.0, values),
    )


def _compute(driver: Driver, seconds: float, worked_s: float, calls: float, values: Values) -> float:
    if not driver.function:
        hourly = driver.vcpu * values["fargate_vcpu_h"] + driver.memory_gb * values["fargate_gb_h"]
        return driver.machines * seconds / 3600 * hourly
    tiers = ((7.5e9, values["lambda_gb_s"]), (11.25e9, values["lambda_gb_s_2"]), (math.inf, values["lambda_gb_s_3"]))
    return tiered(worked_s * driver.memory_gb, tiers) + calls * values["lambda_call"] / 1e6


def _egress(bytes_: float, values: Values) -> float:
    holds = (10e3, 40e3, 100e3, math.inf)
    prices = ("egress_gb", "egress_gb_2", "egress_gb_3", "egress_gb_4")
    return tiered(bytes_ / GB, [(gb, values[price]) for gb, price in zip(holds, prices, strict=True)])
