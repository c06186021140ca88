"""Make standard output and standard error safe: they may be closed, full, or unable to encode a key.

A command that has more to do must not end because its lines cannot be written. It says once that lines are missing.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from io import BufferedWriter, FileIO, TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class StandardStreams:
    """The standard streams of this process, from `install` on."""

    def __init__(self) -> None:
        #: True after standard output has lost bytes, for example because the disk is full.
        self.lost_output = False

    def install(self) -> None:
        """Let no write fail because a stream is closed or full, or cannot encode a key.

        One write to standard output raises BrokenPipeError, after the reader of the pipe has closed it, as of
        `| head -1`. It ends a command that does nothing but print.
        """
        logging.raiseExceptions = False  # logging would print a traceback for each line that it cannot write
        sys.stdout = _opened(sys.stdout, self._on_lost_output)
        sys.stderr = _opened(sys.stderr, lambda _: None)

    def _on_lost_output(self, error: OSError) -> None:
        if isinstance(error, BrokenPipeError):
            raise error
        if not self.lost_output:
            self.lost_output = True
            print(f"s3-syncer: standard output is incomplete: {error}", file=sys.stderr, flush=True)


def _opened(stream: object, on_lost: Callable[[OSError], None]) -> TextIOWrapper:
    """Return the stream to use in place of a standard stream, which is None if its descriptor was closed."""
    if not isinstance(stream, TextIOWrapper):
        return Path(os.devnull).open("w", encoding="utf-8")  # open to the end
    stream.flush()
    return TextIOWrapper(
        BufferedWriter(_Descriptor(stream.fileno(), on_lost)),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering,
    )


class _Descriptor(FileIO):
    """A descriptor that loses the bytes that it cannot write.

    `on_lost` gets each error, but only the first one of a closed pipe.
    """

    def __init__(self, descriptor: int, on_lost: Callable[[OSError], None]) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._on_lost, self._is_broken_pipe = on_lost, False

    def write(self, data: ReadableBuffer) -> int:
        if not self._is_broken_pipe:
            try:
                return super().write(data)
            except OSError as error:
                self._is_broken_pipe = isinstance(error, BrokenPipeError)
                self._on_lost(error)
        return memoryview(data).nbytes
