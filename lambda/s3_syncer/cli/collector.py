"""How Python looks for garbage in a process of the command."""

from __future__ import annotations

import gc


def spare_collector() -> None:
    """Lets Python look for garbage in cycles seldom, and not among what has been imported, which stays.

    Pages of keys come and go by the ten thousand and make no cycles: to look at them again and again was a seventh of
    the processor time of a comparison without changes.
    """
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
