"""The Hypothesis profiles of the property-based tests.

The default profile generates the same examples in each run, so that a test does not fail only sometimes.
`--hypothesis-profile=search` looks for new faults: it generates different examples each time, and many more if the test
sets no number. There is no deadline, because it would fail on a busy machine without a fault.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "unit", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True, database=None
)
settings.register_profile("search", settings.get_profile("unit"), derandomize=False, max_examples=2000)
settings.load_profile("unit")
