"""A thread that does not hide its failure."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Background:
    """Run `work` in a thread until it returns. `closing` asks it to return."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.closing = threading.Event()
        self._work = work
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask the work to end, and wait for its end."""
        self.closing.set()
        if self._thread.ident is not None:
            self._thread.join()

    def check(self) -> None:
        """Raise the exception that ended the work, if one did."""
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # `check` raises it in another thread
            self._failure = error
