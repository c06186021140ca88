"""Units of sizes in bytes."""

from __future__ import annotations

import re

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
TIB = 1024 * GIB

#: The GB of sizes that people read and type, as in `cli/output/progress.py`.
GB = 1000**3

_POWERS = "BKMGTPE"

_SIZE = re.compile(rf"(\d+\.?\d*|\.\d+)(?:(B)|([{_POWERS[1:]}])(?:iB?)?)?", re.IGNORECASE | re.ASCII)


def parse_size(text: str) -> int | None:
    """Return a size in bytes as rclone reads it, or None for "off". Raises ValueError.

    The unit is KiB, or B, K, M, G, T, P or E in powers of 1024: https://rclone.org/docs/#size-options
    """
    if text.lower() == "off":
        return None
    size = _SIZE.fullmatch(text)
    if size is None:
        raise ValueError(f"{text!r} is not a size: write 500B, 100K, 10M or 1.5G, or 100 for 100 KiB")
    power = 0 if size[2] else _POWERS.index((size[3] or "K").upper())
    return int(float(size[1]) * 1024**power)


def format_size(size: int) -> str:
    """Return a size in bytes as text that `parse_size` reads, in the largest unit without a fraction."""
    power = 0
    while size and size % 1024 == 0 and power < len(_POWERS) - 1:
        size, power = size // 1024, power + 1
    return f"{size}{_POWERS[power]}" + ("iB" if power else "")
