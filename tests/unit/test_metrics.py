"""The metrics of the service for Prometheus, with and without prometheus-client."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from devtools.bootstrap import ROOT
from s3_syncer.logs import log_json
from s3_syncer.service import metrics as metrics_module
from s3_syncer.service.health import STATUSES, Health
from s3_syncer.service.metrics import MISSING, metrics_page

HEALTH = Health("ok", "", in_flight=3, done=10, returned=2, dead_letters=1, last_poll_s=0.5)


@pytest.fixture(autouse=True)
def _own_logger() -> Iterator[None]:
    """Restore the handlers and the level of the log."""
    logger = logging.getLogger("s3_syncer")
    handlers, level, propagate = list(logger.handlers), logger.level, logger.propagate
    yield
    logger.handlers[:], logger.propagate = handlers, propagate
    logger.setLevel(level)


def decide(action: str, **fields: object) -> None:
    level = {"dead-letter": logging.ERROR, "retry": logging.WARNING}.get(action, logging.INFO)
    logging.getLogger("s3_syncer.queue").log(level, "%s", action, extra={"action": action, "key": "k", **fields})


def test_without_the_library_the_page_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    page = metrics_page(lambda: HEALTH)()
    assert (page.status_code, page.body.decode()) == (501, f"{MISSING}\n")
    assert "pip install 's3-syncer[metrics]'" in MISSING


class TestWithTheLibrary:
    @pytest.fixture(autouse=True)
    def _library(self) -> None:
        pytest.importorskip("prometheus_client")

    def values(self, text: str) -> dict[str, float]:
        return {name: float(value) for name, value in re.findall(r"^(s3_syncer\S+) (\S+)$", text, re.MULTILINE)}

    def test_decisions_bytes_and_lag_come_from_the_log(self) -> None:
        page = metrics_page(lambda: HEALTH)
        decide("copy", bytes=1000, lag_ms=1_500)
        decide("copy", bytes=24, lag_ms=None)
        decide("complete", bytes=0, lag_ms=700)
        decide("retry", lag_ms=900_000)  # still behind: it is counted when it is synced
        logging.getLogger("s3_syncer").info("stopped")
        found = self.values(page().body.decode())
        assert found['s3_syncer_decisions_total{action="copy"}'] == 2
        assert found['s3_syncer_decisions_total{action="retry"}'] == 1
        assert found["s3_syncer_sent_bytes_total"] == 1024
        assert (found["s3_syncer_lag_seconds_count"], found["s3_syncer_lag_seconds_sum"]) == (2, pytest.approx(2.2))
        assert found['s3_syncer_lag_seconds_bucket{le="1.0"}'] == 1

    def test_the_bytes_of_an_object_count_once(self) -> None:
        page = metrics_page(lambda: HEALTH)
        decide("copy", bytes=1000)
        decide("range", keys=1, changed=1, bytes=1000)
        decide("part", bytes=8)
        decide("part", bytes=8)
        decide("complete", bytes=16)
        assert self.values(page().body.decode())["s3_syncer_sent_bytes_total"] == 1016

    def test_only_decisions_about_keys_are_counted(self) -> None:
        """monitoring.tf counts the same lines: a large object is one `complete`, however long it takes."""
        page = metrics_page(lambda: HEALTH)
        for action in ("waiting", "part", "range", "delete-limit", "circuit-open", "circuit-closed"):
            decide(action, bytes=8, lag_ms=1)
        module = (ROOT / "monitoring.tf").read_text()
        table = re.findall(r"^ +[A-Z]\w+ += (\[\"[\w\", -]+\])$", module, re.MULTILINE)
        counted = [action for actions in table for action in json.loads(actions)]
        assert {"copy", "complete", "held", "dead-letter"} <= {*counted}
        for action in counted:
            decide(action)
        found = self.values(page().body.decode())
        assert {name: value for name, value in found.items() if name.startswith("s3_syncer_decisions_total")} == {
            f's3_syncer_decisions_total{{action="{action}"}}': 1 for action in counted
        }

    def test_messages_and_status_are_those_of_the_health(self) -> None:
        now = [HEALTH]
        page = metrics_page(lambda: now[0])
        page()
        now[0] = replace(HEALTH, status="degraded", in_flight=0, done=15)
        for _ in range(2):  # a page changes nothing
            found = self.values(page().body.decode())
            assert found['s3_syncer_messages_total{result="done"}'] == 15
            assert found['s3_syncer_messages_total{result="dead_letters"}'] == 1
            assert (found["s3_syncer_messages_in_flight"], found["s3_syncer_last_poll_age_seconds"]) == (0, 0.5)
            shown = {status: found[f's3_syncer_status{{status="{status}"}}'] for status in STATUSES}
            assert shown == {status: float(status == "degraded") for status in STATUSES}

    def test_decisions_count_below_the_level_of_the_log(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdout", output := io.StringIO())
        log_json("WARNING")
        page = metrics_page(lambda: HEALTH)
        decide("copy", bytes=1)
        decide("retry")
        assert '"retry"' in output.getvalue()
        assert '"copy"' not in output.getvalue()
        assert self.values(page().body.decode())['s3_syncer_decisions_total{action="copy"}'] == 1

    def test_every_metric_is_documented(self) -> None:
        decide("copy", bytes=1, lag_ms=1)
        text = metrics_page(lambda: HEALTH)().body.decode()
        documented = (ROOT / "docs" / "ecs-service.md").read_text()
        kinds = re.findall(r"^# TYPE (s3_syncer\S*) (\S+)$", text, re.MULTILINE)
        assert len(kinds) > 7
        for name, kind in kinds:
            if not name.endswith("_created"):
                assert f"`{name}" in documented, f"{name}, a {kind}"

    def test_buckets_grow(self) -> None:
        assert list(metrics_module.LAG_BUCKETS_S) == sorted(set(metrics_module.LAG_BUCKETS_S))
