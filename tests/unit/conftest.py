"""How examples are made for the property-based tests.

The same ones each time, or a check would fail now and then on whoever happens to run it. New faults are looked for with
`--hypothesis-profile=search`: other examples each time, and many more where a test does not say how many. Examples take
the time they take: on a busy machine a limit fails for nothing.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "unit", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True, database=None
)
settings.register_profile("search", settings.get_profile("unit"), derandomize=False, max_examples=2000)
settings.load_profile("unit")
