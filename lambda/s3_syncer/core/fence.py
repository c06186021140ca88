"""Refuse the requests of work that was given up, and remember the writes that may still take effect.

A worker gives work up while a thread still runs it: at the deadline, at a stop, or when its message belongs to another
worker. Lambda freezes such a thread, and runs it on in a later invocation. A write that it sends then would overwrite
newer content, and no message would be left to repair that. So each piece of work has a `Fence`, and every attempt of
every request asks it first. That includes the attempts that boto3 repeats by itself.

A write without a response may take effect later, because the store may have received the request. Its key is
*uncertain*, and must be compared again after LATE_WRITE_S. docs/adr/0011-fenced-writers.md has the reasons.

The fence of a thread is a context variable. `carried` takes it to another thread. Pure.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

from . import log_context
from .deadline import Deadline, OutOfTime

#: Seconds after which a store no longer begins to process a request, because the signature has expired. "The signed
#: portions (using AWS Signatures) of requests are valid within 15 minutes of the timestamp in the request." It is also
#: the longest delay of a new SQS message.
#: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html
LATE_WRITE_S = 900

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class Fence:
    """The permission of one piece of work to send requests, until `close`. Safe to share between threads.

    A fence also counts as closed once `expires` has passed, while `is_held` returns False, and while the fence around
    it, `outer`, is closed.
    """

    def __init__(
        self,
        *,
        expires: Deadline | None = None,
        is_held: Callable[[], bool] | None = None,
        outer: Fence | None = None,
    ) -> None:
        self._expires, self._is_held, self._outer = expires, is_held, outer
        self._lock = threading.Lock()
        self._is_closed = False
        self._requests: dict[Request, None] = {}  # in the order of their begin, which a simulation must repeat
        self._uncertain: set[str] = set()

    @property
    def is_closed(self) -> bool:
        """Return True if the work must send no further request."""
        return (
            self._is_closed
            or (self._expires is not None and self._expires.passed())
            or (self._is_held is not None and not self._is_held())
            or (self._outer is not None and self._outer.is_closed)
        )

    @property
    def uncertain(self) -> frozenset[str]:
        """Return the keys with a write that may still take effect."""
        with self._lock:
            return frozenset(self._uncertain)

    def ensure_open(self) -> None:
        """Raise OutOfTime if the fence is closed."""
        if self.is_closed:
            raise OutOfTime("the work was given up: it sends no further request")

    def close(self) -> None:
        """Refuse all further requests, and break the connections of those in flight.

        A thread that waits for a response ends at once. The keys of writes in flight become uncertain.
        """
        with self._lock:
            self._is_closed = True
            requests = list(self._requests)
        for request in requests:
            request.abandon()

    def add(self, request: Request) -> None:
        """Note a request in flight, here and in the outer fences. Raises OutOfTime if one of them is closed."""
        with self._lock:
            self._requests[request] = None
        if self._outer is not None:
            self._outer.add(request)
        self.ensure_open()

    def remove(self, request: Request) -> None:
        """Forget a request that is no longer in flight."""
        with self._lock:
            self._requests.pop(request, None)
        if self._outer is not None:
            self._outer.remove(request)

    def mark_uncertain(self, key: str) -> None:
        """Note that a write to the key may still take effect."""
        with self._lock:
            self._uncertain.add(key)
        if self._outer is not None:
            self._outer.mark_uncertain(key)


class Request:
    """One request, over all of its attempts. `end` it when no further attempt follows.

    `written_key` is the key of the object that the request changes. None is for a read, and for a write to a multipart
    upload before its completion. As a context manager, it is the request of the current thread inside the block.
    """

    def __init__(self, written_key: str | None) -> None:
        self._written_key, self._fence = written_key, current()
        self._in_flight = False
        self._break_connection: Callable[[], object] | None = None

    def __enter__(self) -> Request:
        self._before = _request.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _request.reset(self._before)

    @property
    def is_connected(self) -> bool:
        """Return True if the attempt in flight has a connection, so that the store may have received it."""
        return self._break_connection is not None

    def begin(self, break_connection: Callable[[], object] | None = None) -> None:
        """Begin an attempt: from now on it may take effect. Raises OutOfTime if the fence is closed.

        If the attempt before got no response, the key becomes uncertain. `break_connection` breaks the connection of
        the attempt, if it has one already: see `connect`.
        """
        if self._in_flight:
            self._lose()
            self._break_connection = None
        self._in_flight = True
        if break_connection is not None:
            self._break_connection = break_connection
        if self._fence is not None:
            try:
                self._fence.add(self)
            except OutOfTime:
                self._forget()  # nothing was sent
                raise

    def connect(self, break_connection: Callable[[], object]) -> None:
        """Set the function that breaks the connection of the attempt. Raises OutOfTime if the fence is closed.

        Before `begin`, so little of the request is sent that it cannot take effect.
        """
        self._break_connection = break_connection
        if self._fence is not None:
            self._fence.add(self)

    def answered(self) -> None:
        """Note that the attempt can no longer take effect: its response was read, or nothing was sent.

        If the fence has closed during the attempt, the key becomes uncertain: its work sends no request that would
        compare the key after this write.
        """
        if self._in_flight and self._fence is not None and self._fence.is_closed:
            self._lose()
        self._forget()

    def end(self) -> None:
        """End the request. If its last attempt got no response, the key becomes uncertain."""
        if self._in_flight:
            self._lose()
        self._forget()

    def abandon(self) -> None:
        """Break the connection of the attempt in flight. The key becomes uncertain if the attempt has begun."""
        if self._in_flight:
            self._lose()
        if (break_connection := self._break_connection) is not None:
            break_connection()

    def _forget(self) -> None:
        self._in_flight, self._break_connection = False, None
        if self._fence is not None:
            self._fence.remove(self)

    def _lose(self) -> None:
        if self._fence is not None and self._written_key is not None:
            self._fence.mark_uncertain(self._written_key)


_fence: ContextVar[Fence | None] = ContextVar("fence", default=None)
_request: ContextVar[Request | None] = ContextVar("request", default=None)


def current() -> Fence | None:
    """Return the fence of this thread, or None if its work cannot be given up."""
    return _fence.get()


def current_request() -> Request | None:
    """Return the request that this thread makes, or None."""
    return _request.get()


@contextmanager
def fenced(fence: Fence | None) -> Iterator[None]:
    """Make this the fence of the thread inside the block."""
    before = _fence.set(fence)
    try:
        yield
    finally:
        _fence.reset(before)


def carried(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Return the function for another thread, where it has the fence and the log fields of this thread.

    The request that the other thread makes is not its own: a callback may run while that thread waits.
    """
    fence, fields = current(), log_context.current()

    def run(*arguments: _Parameters.args, **options: _Parameters.kwargs) -> _Result:
        # Without context managers: this runs twice for each request over awscrt, and they take four times as long.
        request_before, fence_before = _request.set(None), _fence.set(fence)
        fields_before = log_context.fields.set(fields)
        try:
            return function(*arguments, **options)
        finally:
            log_context.fields.reset(fields_before)
            _fence.reset(fence_before)
            _request.reset(request_before)

    return run


@contextmanager
def request(written_key: str | None = None) -> Iterator[Request]:
    """Make one request inside the block, with any number of attempts: see `Request`."""
    made = Request(written_key)
    try:
        with made:
            yield made
    finally:
        made.end()


def check() -> None:
    """Ask for permission before each attempt of any request.

    Raises OutOfTime if the fence of the thread is closed. Inside `request`, this begins an attempt of it. Call
    `answered` once its response was read.
    """
    if (request := _request.get()) is not None:
        request.begin()
    elif (fence := _fence.get()) is not None:
        fence.ensure_open()


def answered() -> None:
    """Note that the response to the attempt of this thread was read, or that nothing was sent."""
    if (request := _request.get()) is not None:
        request.answered()


def is_closed() -> bool:
    """Return True if the fence of the thread is closed."""
    return (fence := _fence.get()) is not None and fence.is_closed


def ensure_open() -> None:
    """Raise OutOfTime if the fence of the thread is closed. Begins no attempt."""
    if (fence := _fence.get()) is not None:
        fence.ensure_open()
