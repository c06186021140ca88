"""Test the corrections of moto's server in `scripts/localcloud/moto_patches.py`."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from tests.functional.harness import MIB, TARGET, Account, put_parts

from localcloud import servers
from localcloud.servers import Server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with servers.running(servers.moto(), tmp_path) as server:
        Account(server.endpoint).client("s3").create_bucket(Bucket=TARGET)
        yield server


def test_concurrent_completions_get_the_same_response(server: Server) -> None:
    store = Account(server.endpoint).client("s3")
    at = {"Bucket": TARGET, "Key": "key"}
    at["UploadId"] = store.create_multipart_upload(**at)["UploadId"]
    etag = store.upload_part(**at, PartNumber=1, Body=bytes(8 * MIB))["ETag"]

    def complete(_: int) -> str:
        parts: Any = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
        return str(store.complete_multipart_upload(**at, MultipartUpload=parts)["ETag"])

    with ThreadPoolExecutor(4) as pool:
        etags = set(pool.map(complete, range(4)))
    assert etags == {store.head_object(Bucket=TARGET, Key="key")["ETag"]}


def test_aborted_upload_cannot_be_completed(server: Server) -> None:
    store = Account(server.endpoint).client("s3")
    at = {"Bucket": TARGET, "Key": "key"}
    at["UploadId"] = store.create_multipart_upload(**at)["UploadId"]
    etag = store.upload_part(**at, PartNumber=1, Body=b"part")["ETag"]
    store.abort_multipart_upload(**at)
    with pytest.raises(ClientError, match="NoSuchUpload"):
        store.complete_multipart_upload(**at, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads the memory of a process in /proc")
def test_completion_of_a_huge_object_needs_at_most_twice_its_memory(server: Server) -> None:
    def peak() -> int:
        status = Path(f"/proc/{server.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024

    before = peak()
    put_parts(Account(server.endpoint).client("s3"), TARGET, "key", [bytes(32 * MIB)] * 6)
    # The third multiple is for a part as it arrives, and for memory that the process keeps: 3.07 with Python 3.13.
    assert peak() - before < 3.3 * 6 * 32 * MIB


def test_connections_stay_open(server: Server) -> None:
    connection = http.client.HTTPConnection(servers.HOST, server.port)
    signed = {"Authorization": "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request"}
    sockets, statuses = set(), []
    for method, key, body in (("PUT", "key", b"text"), ("HEAD", "key", None), ("GET", "missing", None)):
        connection.request(method, f"/{TARGET}/{key}", body, signed)
        sockets.add(id(connection.sock))
        response = connection.getresponse()
        response.read()
        statuses.append(response.status)
    connection.request("GET", f"/{TARGET}/key", None, signed)
    assert connection.getresponse().read() == b"text"
    assert statuses == [200, 200, 404]
    assert None not in sockets
    assert len(sockets) == 1
