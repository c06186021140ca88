"""The tables of the dashboard show what is in the log of a worker."""

from __future__ import annotations

import json
from math import inf

from tests.functional.harness import Rig
from tests.functional.proxy import refuse

from devtools import permissions
from localcloud import logs_insights


def test_tables_show_failures_by_reason_and_the_slowest_keys(rig: Rig) -> None:
    for key in ("small", "large", "busy", "also busy", "too large"):
        rig.put(key, b"body")
    for key in ("busy", "also busy"):
        rig.target_proxy.when(refuse(503, "SlowDown"), "PUT", key=key, times=inf)
    rig.target_proxy.when(refuse(400, "EntityTooLarge"), "PUT", key="too large", times=inf)
    lines = rig.sync("small", "large", "busy", "also busy", "too large").log
    widgets = json.loads(permissions.plan().output("dashboard_body"))["widgets"]
    queries = {
        widget["properties"]["title"]: widget["properties"]["query"] for widget in widgets if widget["type"] == "log"
    }

    busy, dead = sorted(
        logs_insights.run(queries["Failures by reason"], lines), key=lambda row: row["action"], reverse=True
    )
    assert (busy["action"], busy["failures"], busy["keys"]) == ("retry", 2, 2)
    assert (dead["action"], dead["failures"], dead["keys"], dead["example"]) == ("dead-letter", 1, 1, "too large")
    assert "SlowDown" in busy["reason"]
    assert "EntityTooLarge" in dead["reason"]

    slowest = logs_insights.run(queries["Slowest keys"], lines)
    assert {row["key"] for row in slowest} == {"small", "large"}
    for row in slowest:
        assert set(row) == {"key", "action", "duration_ms", "lag_ms", "bytes", "attempts"}
    assert [row["duration_ms"] for row in slowest] == sorted((row["duration_ms"] for row in slowest), reverse=True)
