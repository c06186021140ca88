"""Keep connections of clients open in front of a store that closes them.

moto closes each connection after one response, and real stores do not.

python -m benchmark.keep_alive PORT STORE_PORT
"""

from __future__ import annotations

import http.client
import sys
from http.server import ThreadingHTTPServer

from localcloud.proxy_handler import ProxyHandler
from localcloud.servers import HOST

#: Headers of one connection, and those that the proxy writes itself.
OWN_HEADERS = {"connection", "date", "server", "transfer-encoding"}


class KeepAliveHandler(ProxyHandler):
    """Sends each request to the store on a new connection, and the response on the client's."""

    disable_nagle_algorithm = True
    wbufsize = -1
    store_port: int

    def serve(self, body: bytes) -> None:
        store = http.client.HTTPConnection(HOST, self.store_port)
        try:
            store.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):
                    store.putheader(name, value)
            store.endheaders(body)
            response = store.getresponse()
            content = response.read()
        finally:
            store.close()
        self.send_response(response.status, response.reason)
        headers = [(name, value) for name, value in response.getheaders() if name.lower() not in OWN_HEADERS]
        for name, value in headers:
            self.send_header(name, value)
        if self.command != "HEAD" and not any(name.lower() == "content-length" for name, _ in headers):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()


def main(port: int, store_port: int) -> None:
    KeepAliveHandler.store_port = store_port
    ThreadingHTTPServer((HOST, port), KeepAliveHandler).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
