"""Delay every byte between a client and a server, as distance does.

    python -m localcloud.relay PORT SERVER_PORT ROUND_TRIP_MS

Each byte waits for half a round trip in each direction. The first bytes of a connection wait for one round trip more,
because a distant server would accept the connection that much later. The relay has no limit of bandwidth, loses nothing
and models no window of TCP, so it favors clients with few connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections import deque
from functools import partial

from localcloud.servers import HOST

#: Bytes on their way in one direction before the relay reads no more: 640 MB/s at 100 ms.
IN_FLIGHT_MAX = 64 * 2**20

#: The kernel accepts this many connections before the relay does.
BACKLOG = 1024


class Direction:
    """The bytes that are on their way in one direction. `None` is the end of the stream."""

    def __init__(self, loop: asyncio.AbstractEventLoop, delay_s: float, opens_at: float) -> None:
        self._loop, self._delay_s, self._opens_at = loop, delay_s, opens_at
        self._on_their_way: deque[tuple[float, bytes | None]] = deque()
        self._size, self._is_scheduled, self._is_held = 0, False, False
        self.reader: asyncio.Transport | None = None
        self.writer: asyncio.Transport | None = None

    def take(self, data: bytes | None) -> None:
        """Take bytes from the reader, and write them when they have waited."""
        due = max(self._loop.time(), self._opens_at) + self._delay_s
        self._on_their_way.append((due, data))
        self._size += len(data or b"")
        if self._size > IN_FLIGHT_MAX and self.reader:
            self.reader.pause_reading()
        self._schedule()

    def open(self, writer: asyncio.Transport) -> None:
        """Begin to write. Until then, the bytes wait."""
        self.writer = writer
        self._schedule()

    def hold(self) -> None:
        """Write nothing for now, because the other end takes no more."""
        self._is_held = True

    def resume(self) -> None:
        """Write again, because the other end takes more."""
        self._is_held = False
        self._schedule()

    def _schedule(self) -> None:
        if self.writer and self._on_their_way and not (self._is_scheduled or self._is_held):
            self._is_scheduled = True
            self._loop.call_at(self._on_their_way[0][0], self._deliver)

    def _deliver(self) -> None:
        """Write everything that has waited long enough."""
        self._is_scheduled = False
        if self._is_held:
            return
        assert self.writer
        now = self._loop.time()
        ready = []
        while self._on_their_way and self._on_their_way[0][0] <= now:
            ready.append(self._on_their_way.popleft()[1])
        if data := b"".join(piece for piece in ready if piece is not None):
            self._size -= len(data)
            self.writer.write(data)
        if None in ready:
            with contextlib.suppress(OSError):  # the other end is gone as well
                self.writer.write_eof()
        if self._size <= IN_FLIGHT_MAX and self.reader:
            self.reader.resume_reading()
        self._schedule()


class End(asyncio.Protocol):
    """One end of a relayed connection: it reads one direction and writes the other."""

    def __init__(self, reads: Direction, writes: Direction) -> None:
        self.reads, self.writes = reads, writes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reads.reader = transport
        self.writes.open(transport)

    def data_received(self, data: bytes) -> None:
        self.reads.take(data)

    def eof_received(self) -> bool:
        self.reads.take(None)
        return True  # the other direction may go on

    def pause_writing(self) -> None:
        self.writes.hold()

    def resume_writing(self) -> None:
        self.writes.resume()

    def connection_lost(self, error: Exception | None) -> None:
        if error and self.reads.writer:
            self.reads.writer.abort()
        elif self.reads.writer:
            self.reads.take(None)


async def accept(reader_of_client: End, server_port: int) -> None:
    """Connect to the server, or end the client's connection."""
    loop = asyncio.get_running_loop()
    request, response = reader_of_client.reads, reader_of_client.writes
    try:
        await loop.create_connection(lambda: End(response, request), HOST, server_port)
    except OSError:
        if response.writer:
            response.writer.abort()


def client_end(loop: asyncio.AbstractEventLoop, server_port: int, round_trip_s: float, tasks: set[object]) -> End:
    """Return the end of a new client, and begin to connect it to the server."""
    now, delay_s = loop.time(), round_trip_s / 2
    end = End(Direction(loop, delay_s, now + round_trip_s), Direction(loop, delay_s, now))
    task = loop.create_task(accept(end, server_port))
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return end


async def main(port: int, server_port: int, round_trip_s: float) -> None:
    loop, tasks = asyncio.get_running_loop(), set[object]()
    end = partial(client_end, loop, server_port, round_trip_s, tasks)
    server = await loop.create_server(end, HOST, port, backlog=BACKLOG)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 1000))
