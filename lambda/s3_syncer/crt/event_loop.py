"""One thread that waits for all sockets of the transport, and works on each as soon as it is ready.

The callback that ends one request sends the next one from the same thread. So a copy takes no change of threads, which
would cost more CPU time than the request itself.
"""

from __future__ import annotations

import logging
import selectors
import socket
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress

logger = logging.getLogger(__name__)

#: Called with the events of its socket, on the thread of the loop.
OnReady = Callable[[int], object]


class EventLoop:
    """The thread and its sockets. The thread ends once nothing uses the loop."""

    def __init__(self) -> None:
        self._waker = _Waker()
        self._thread = threading.Thread(
            target=_run, args=(weakref.ref(self), self._waker), name="transport", daemon=True
        )
        self._thread.start()
        weakref.finalize(self, self._waker.wake).atexit = False

    @classmethod
    def shared(cls) -> EventLoop:
        """Return the loop of this process: one thread for all clients, as only one has the interpreter."""
        global _shared
        with _sharing:
            loop = _shared() if _shared is not None else None
            if loop is None:
                loop = cls()
                _shared = weakref.ref(loop)
            return loop

    @property
    def selector(self) -> selectors.BaseSelector:
        """The selector that the thread waits for. Only this thread may change it."""
        return self._waker.selector

    def call(self, function: Callable[[], object]) -> None:
        """Call the function on the thread of the loop: now if this is the thread, otherwise soon."""
        if threading.get_ident() == self._thread.ident:
            function()
        else:
            self._waker.call(function)


_shared: weakref.ref[EventLoop] | None = None
_sharing = threading.Lock()


class _Waker:
    """The selector of the thread, and the calls of other threads.

    The thread keeps this object and not the loop, so that the loop can go.
    """

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self._calls: deque[Callable[[], object]] = deque()
        self._awake = False
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self.selector.register(self._reader, selectors.EVENT_READ, self._on_wake)

    def call(self, function: Callable[[], object]) -> None:
        self._calls.append(function)
        if not self._awake:
            self._awake = True
            self.wake()

    def wake(self) -> None:
        """Let the thread return from its wait."""
        with suppress(OSError):  # many bytes wait already, or the thread has ended
            self._writer.send(b"x")

    def close(self) -> None:
        """Close all sockets of the loop."""
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._writer.close()
        self.selector.close()

    def _on_wake(self, _events: int) -> None:
        with suppress(BlockingIOError):
            self._reader.recv(4096)
        self._awake = False  # before the calls are read, so that a later one wakes the thread again
        while self._calls:
            _guarded(self._calls.popleft())


def _run(loop: weakref.ref[EventLoop], waker: _Waker) -> None:
    """Wait for sockets and serve them, until the loop is gone."""
    select = waker.selector.select
    while loop() is not None:
        for key, events in select():
            on_ready: OnReady = key.data
            try:
                on_ready(events)
            except Exception:  # a fault of this program: the other sockets must be served all the same
                logger.exception("unexpected failure")
    waker.close()


def _guarded(function: Callable[[], object]) -> None:
    try:
        function()
    except Exception:  # as above
        logger.exception("unexpected failure")
