"""Units of sizes in bytes."""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
TIB = 1024 * GIB

#: The GB of sizes that people read and type, as in `cli/progress.py`.
GB = 1000**3
