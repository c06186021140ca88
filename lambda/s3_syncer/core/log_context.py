"""Fields of every log line about a piece of work, in all threads that do it. Pure.

The fields of a thread are a context variable. `fence.carried` takes them to another thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

#: The fields of the thread. Only `core/fence.py` sets them without `log_fields`.
fields: ContextVar[Mapping[str, object]] = ContextVar("log_fields", default=MappingProxyType({}))


def current() -> Mapping[str, object]:
    """Return the fields of this thread."""
    return fields.get()


@contextmanager
def log_fields(added: Mapping[str, object]) -> Iterator[None]:
    """Add these fields to the log lines of this thread inside the block."""
    before = fields.set(added)
    try:
        yield
    finally:
        fields.reset(before)
