"""Every number that the model goes by, and where it comes from. Prices: us-east-1, US dollars, without free tiers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["measured", "price", "limit", "assumed"]

REMEMBERED = "as remembered in November 2026, not looked up"


@dataclass(frozen=True)
class Figure:
    """A number, its unit, and the command that measured it, or the address where it stood and when."""

    value: float
    unit: str
    kind: Kind
    source: str


def _of(kind: Kind) -> Callable[[float, str, str], Figure]:
    return lambda value, unit, source: Figure(value, unit, kind, source)


_measured, _assumed, _limit, _price = _of("measured"), _of("assumed"), _of("limit"), _of("price")

_BENCH = "`scripts/bench`, 2 cores, Python 3.11, 2026-11-25"
_BEFORE = "2 cores shared with much else, 2026-11-25, when all of it went over boto3"

FIGURES: Mapping[str, Figure] = {
    # what one object takes
    "source_reads": _measured(4, "requests", "`scripts/footprint`: 1 GET, 1 HEAD, 2 GetObjectTagging for a new one"),
    "target_requests": _measured(
        *(4, "requests"),
        "`scripts/footprint`: 1 HEAD, 1 PUT, 1 GetObjectTagging, 1 PutObjectTagging for a new one with a tag",
    ),
    "cpu_ms_per_object": _measured(6.5, "ms", f"case function-tags, a new object, {_BENCH}"),
    "cpu_s_per_gb": _measured(3.6, "s", f"case mixed, less what its objects take by their number, {_BEFORE}"),
    "cpu_us_per_look": _measured(81, "us", f"case no-change, a key listed on both sides, {_BEFORE}"),
    # the same in tasks, which have the lane
    "lane_mib": _limit(1, "MiB", "`crt/small_object_copy.py`: larger objects are checked with HEAD, and streamed"),
    "lane_source_reads": _measured(
        2, "requests", "`tests/functional/test_crt_transport.py`: 1 GET, 1 GetObjectTagging for a new one"
    ),
    "lane_target_requests": _measured(1, "requests", "the same: 1 PUT for a new one without tags"),
    "lane_cpu_ms_per_object": _measured(0.37, "ms", f"case small (10 KiB each), tags off, {_BENCH}"),
    "lane_cpu_s_per_gb": _measured(2.0, "s", f"case large, less half a second for the start, {_BENCH}"),
    "lane_cpu_us_per_look": _measured(6.6, "us", f"case latency, a key listed on both sides, {_BENCH}"),
    "log_bytes_per_object": _measured(250, "B", "a `copy` line of the log"),
    # what nobody has measured on AWS
    "latency_ms": _assumed(25, "ms", "a request to either store, with few bytes"),
    "list_ms": _assumed(150, "ms", "a page of 1,000 keys"),
    "function_mb_per_s": _assumed(75, "MB/s", "a function below 2 GB of memory; third parties' probes say 70 to 80"),
    "task_mb_per_s": _assumed(125, "MB/s", "a Fargate task of 1 vCPU: 1 Gbit/s"),
    "part_mib": _assumed(
        16, "MiB", "parts of larger objects, `core/multipart.py`; larger parts if 10,000 are not enough"
    ),
    "whole_mib": _assumed(64, "MiB", "objects up to this go in one piece, `transfer.py`"),
    # limits on the way
    "s3_reads_per_prefix": _limit(
        *(5500, "GET and HEAD/s"),
        "https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html, as remembered",
    ),
    "sqs_in_flight": _limit(
        *(120_000, "messages"),
        "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html, a stored copy",
    ),
    "lambda_start": _limit(
        *(5, "functions"),
        "https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html, a stored copy",
    ),
    "lambda_more_per_min": _limit(300, "functions/min", "the same"),
    "slice_s": _limit(60, "s", "`sync/range_sweep.py`: a range is cut in two so often, so the workers on it double"),
    # prices
    "s3_read": _price(0.0004, "$/1,000 GET or HEAD", "https://c3x.dev/blog/s3-request-fees-explained, a stored copy"),
    "s3_list": _price(0.005, "$/1,000 LIST", "the same"),
    "sqs": _price(0.40, "$/M requests", "https://cloudburn.io/blog/amazon-sqs-pricing, as of March 2026"),
    "lambda_call": _price(0.20, "$/M calls", "https://cloudchipr.com/blog/aws-lambda-pricing, as of 2024"),
    "lambda_gb_s": _price(0.0000133334, "$/GB-s on arm64, the first 7.5 G", "the same"),
    "lambda_gb_s_2": _price(0.0000120001, "$/GB-s, the next 11.25 G", "the same"),
    "lambda_gb_s_3": _price(0.0000106667, "$/GB-s beyond", REMEMBERED),
    "fargate_vcpu_h": _price(
        0.03238, "$/vCPU-h on arm64", "https://www.vantage.sh/blog/fargate-pricing, a stored copy"
    ),
    "fargate_gb_h": _price(0.00356, "$/GB-h", "the same"),
    "logs_gb": _price(0.50, "$/GB", REMEMBERED),
    "egress_gb": _price(
        0.09,
        "$/GB, the first 10 TB of a month",
        "https://thenegotiationexperts.com/blog/aws-egress-data-transfer-cost-negotiation/, a stored copy of 2026",
    ),
    "egress_gb_2": _price(0.085, "$/GB, the next 40 TB", "the same"),
    "egress_gb_3": _price(0.07, "$/GB, the next 100 TB", "the same"),
    "egress_gb_4": _price(0.05, "$/GB beyond 150 TB", "the same"),
}
