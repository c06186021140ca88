"""Keep the Python state of awscrt's threads from one callback to the next.

awscrt calls Python on threads that it started itself. Python makes a state for such a thread at the begin of each
callback, and frees it at the end: https://docs.python.org/3/c-api/init.html#c.PyGILState_Ensure. That maps and unmaps
memory, seven times for a small object that is copied.
"""

from __future__ import annotations

import ctypes
import threading

_state = threading.local()


def keep_state() -> None:
    """Keep the state of the thread that calls this, until the process ends.

    The call takes one reference more to the state. Python frees it with the interpreter.
    """
    if not hasattr(_state, "is_kept"):
        ctypes.pythonapi.PyGILState_Ensure()
        _state.is_kept = True
