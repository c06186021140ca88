"""Metrics of the service for Prometheus: its decisions about keys, and the messages of its queues.

Decisions are counted from their log records, whatever the log level is. docs/ecs-service.md has the names.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from .. import __version__
from ..sync.outcome import MIRRORED
from .health import STATUSES, Health, Page

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

PATH = "/metrics"

MISSING = "metrics need the package prometheus-client: run `pip install 's3-syncer[metrics]'`, or use the image"

#: The results of messages, as in `health.Health`.
RESULTS = ("done", "returned", "dead_letters")

#: The lines that count the bytes of an object, as the metric BytesSynced does: see monitoring.tf. The lines about parts
#: and ranges contain the same bytes once more.
SENT = frozenset({"copy", "update", "complete"})

#: The lines that decide nothing about a key: work that goes on, the sum of a range, and the state of a store.
#: No metric in monitoring.tf counts these lines as objects or messages.
NO_DECISIONS = frozenset({"waiting", "part", "range", "delete-limit", "circuit-open", "circuit-closed"})

#: Upper ends of the lag's buckets in seconds: usual events take about one, and the alarms begin at minutes.
LAG_BUCKETS_S = (0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600, 21600)


def metrics_page(health: Callable[[], Health]) -> Callable[[], Page]:
    """Return the function for `GET /metrics`. Without prometheus-client, its page says what to install."""
    try:
        from prometheus_client import CollectorRegistry
    except ImportError:
        return lambda: Page(501, "text/plain; charset=utf-8", f"{MISSING}\n".encode())
    metrics = ServiceMetrics(CollectorRegistry(), health)
    _count_decisions(metrics)
    return metrics.page


class ServiceMetrics(logging.Handler):
    """The metrics of one service, in a registry of prometheus-client. As a handler, it counts log records."""

    def __init__(self, registry: CollectorRegistry, health: Callable[[], Health]) -> None:
        from prometheus_client import Counter, Gauge, Histogram, Info, ProcessCollector

        super().__init__(logging.INFO)
        self._registry, self._health, self._page_lock = registry, health, threading.Lock()
        self._messages = Counter("s3_syncer_messages", "Messages by result.", ["result"], registry=registry)
        self._counted = dict.fromkeys(RESULTS, 0)
        self._in_flight = Gauge("s3_syncer_messages_in_flight", "Messages in work.", registry=registry)
        self._last_poll_s = Gauge(
            "s3_syncer_last_poll_age_seconds", "Seconds since the queue last responded to a poll.", registry=registry
        )
        self._status = Gauge("s3_syncer_status", "1 for the present status.", ["status"], registry=registry)
        self._decisions = Counter("s3_syncer_decisions", "Decisions about keys.", ["action"], registry=registry)
        self._bytes = Counter("s3_syncer_sent_bytes", "Bytes of objects sent to the target.", registry=registry)
        self._lag_s = Histogram(
            "s3_syncer_lag_seconds",
            "Seconds from the event of a key until the target got the change.",
            buckets=LAG_BUCKETS_S,
            registry=registry,
        )
        Info("s3_syncer", "The version.", registry=registry).info({"version": __version__})
        ProcessCollector(registry=registry)
        for result in RESULTS:
            self._messages.labels(result)

    def emit(self, record: logging.LogRecord) -> None:
        """Count the record, if it is about a decision."""
        fields = vars(record)
        action = fields.get("action")
        if action is None or action in NO_DECISIONS:
            return
        self._decisions.labels(action).inc()
        if action in SENT:
            self._bytes.inc(fields.get("bytes") or 0)
        if action in MIRRORED and fields.get("lag_ms") is not None:
            self._lag_s.observe(fields["lag_ms"] / 1000)

    def page(self) -> Page:
        """Return all metrics in the format of Prometheus."""
        from prometheus_client import generate_latest

        with self._page_lock:
            now = self._health()
            for result in RESULTS:
                total = getattr(now, result)
                self._messages.labels(result).inc(total - self._counted[result])
                self._counted[result] = total
            self._in_flight.set(now.in_flight)
            self._last_poll_s.set(now.last_poll_s)
            for status in STATUSES:
                self._status.labels(status).set(status == now.status)
            return Page(200, "text/plain; version=0.0.4; charset=utf-8", generate_latest(self._registry))


def _count_decisions(metrics: ServiceMetrics) -> None:
    """Give the log records to the metrics, also those below the level of the log."""
    logger = logging.getLogger(__package__.partition(".")[0])
    level = logger.getEffectiveLevel()
    for handler in logger.handlers:
        handler.setLevel(max(handler.level, level))
    logger.setLevel(min(level, logging.INFO))
    logger.addHandler(metrics)
