"""Run a module of the product with a shorter `LATE_WRITE_S`.

    python shortened.py SECONDS MODULE [ARGUMENT ...]

The product compares a key once more when a write can no longer take effect, 15 minutes after it was sent. In a run of
scripts/chaos that is earlier: the proxies hold no request longer than `proxy.HOLD_MAX_S`. With the shorter time, a run
of minutes includes these comparisons. Nothing else of the product is changed.
"""

from __future__ import annotations

import runpy
import sys

from s3_syncer.core import fence

if __name__ == "__main__":
    # Before any other module of the product is imported, because they import the value.
    fence.LATE_WRITE_S = int(sys.argv[1])
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
