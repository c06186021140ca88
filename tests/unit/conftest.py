"""Property-based tests take the time they take: on a busy machine a time limit per example fails for nothing."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("unit", deadline=None)
settings.load_profile("unit")
