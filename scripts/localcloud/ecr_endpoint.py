"""Serve the registry of the emulated ECR under the host name that ECR has on AWS: a proxy for engines.

An image address such as `000000000000.dkr.ecr.us-east-1.amazonaws.com/s3-syncer/command:0.1.0` has no port, and engines
use TLS. An engine with the variables of `Endpoint.environment` sends its requests for such a host to the emulator. The
proxy passes the requests for any other host on to that host.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import trustme

from localcloud.servers import HOST

#: The end of the host name of a registry; before it are the account and the region.
REGISTRY = ".dkr.ecr.{region}.amazonaws.com"

CHUNK = 256 * 1024


class Endpoint:
    """A running proxy."""

    def __init__(self, region: str, emulator_port: int, authorities: Path) -> None:
        """Write the CA of the certificate of the registry to `authorities`, beside the public ones."""
        self._suffix = REGISTRY.format(region=region)
        self._emulator_port = emulator_port
        self._authorities = authorities
        authority = trustme.CA()
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(f"*{self._suffix}").configure_cert(self._context)
        public = ssl.create_default_context().get_ca_certs(binary_form=True)
        trusted = [*map(ssl.DER_cert_to_PEM_cert, public), authority.cert_pem.bytes().decode()]
        authorities.write_text("".join(trusted))
        self._port = 0

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables with which an engine finds the registry and trusts it."""
        return {"HTTPS_PROXY": f"http://{HOST}:{self._port}", "SSL_CERT_FILE": str(self._authorities)}

    async def serve(self, started: threading.Event, stopped: asyncio.Event) -> None:
        """Serve until `stopped` is set."""
        server = await asyncio.start_server(self._connect, HOST, 0)
        self._port = server.sockets[0].getsockname()[1]
        started.set()
        async with server:
            await stopped.wait()
        for connection in asyncio.all_tasks() - {asyncio.current_task()}:
            connection.cancel()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, which begins with `CONNECT host:port HTTP/1.1`."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
            request = await reader.readuntil(b"\r\n\r\n")
            host, _, port = request.split()[1].decode().rpartition(":")
            emulated = host.endswith(self._suffix)
            address = (HOST, self._emulator_port) if emulated else (host, int(port))
            with_store, to_store = await asyncio.open_connection(*address)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await writer.drain()
            if emulated:
                await writer.start_tls(self._context)
            await asyncio.gather(_copy(reader, to_store), _copy(with_store, writer))
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy to the end of the stream, and close the other one."""
    try:
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
    finally:
        writer.close()


@contextlib.contextmanager
def running(region: str, emulator_port: int, authorities: Path) -> Iterator[Endpoint]:
    """Run the proxy in a thread for the duration of the block."""
    endpoint, started = Endpoint(region, emulator_port, authorities), threading.Event()
    loop, stopped = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(endpoint.serve(started, stopped),))
    thread.start()
    try:
        started.wait()
        yield endpoint
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join()
        loop.close()
