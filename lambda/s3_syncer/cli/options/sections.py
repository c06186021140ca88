"""The sections of the help that options of several modules are in."""

from __future__ import annotations

COPY, DELETES, QUEUE, SPEED = "What to copy", "Deletes", "Queue", "Speed and memory"
FAILURES, OUTPUT = "Failures", "Output"
