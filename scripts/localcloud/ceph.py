"""Run a Ceph cluster with an S3 gateway (RGW) on this machine: a real store for the tests.

A monitor, an OSD that keeps everything in memory, and the gateway listen on 127.0.0.1. They run in the foreground below
one directory and need no root. Only `install` does. The cluster is new each time and takes about 15 s.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import secrets
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from localcloud import debian
from localcloud.servers import HOST, ServerError, free_port

#: The packages of Debian and Ubuntu: about 290 MB on the disk.
PACKAGES = ("ceph-mon", "ceph-osd", "radosgw", "ceph-common")

PROGRAMS = ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")

#: Most seconds that one daemon may take to start or to stop.
TIMEOUT_S = 120

#: Most bytes that the OSD keeps in memory.
CAPACITY = 4 * 1024**3

_CONFIGURATION = """\
[global]
fsid = {fsid}
mon_host = [v2:{host}:{monitor_v2},v1:{host}:{monitor_v1}]
mon_initial_members = a
public_addr = {host}
cluster_addr = {host}
public_network = 127.0.0.0/8
ms_bind_ipv6 = false
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
# The default of the gateway, `secure`, is impossible without authentication, and it would wait for ever.
ms_mon_client_mode = crc
ms_client_mode = crc
run_dir = {directory}
admin_socket = {directory}/$name.asok
log_file = {directory}/$name.log
crash_dir = {directory}
# One copy of each object, on the only OSD.
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 2000
mon_data_avail_warn = 2
mon_data_avail_crit = 1
[mon]
mon_data = {directory}/mon
mon_cluster_log_file = {directory}/cluster.log
[osd]
osd_data = {directory}/osd
osd_objectstore = memstore
memstore_device_bytes = {capacity}
osd_class_load_list = *
osd_class_default_list = *
[client.rgw]
rgw_data = {directory}/rgw
rgw_frontends = beast endpoint={host}:{gateway}
# A quota applies at once, and a deleted object gives its memory back within a minute. The defaults are hours.
rgw_bucket_quota_ttl = 0
rgw_user_quota_bucket_sync_interval = 1
rgw_user_quota_sync_interval = 1
rgw_gc_obj_min_wait = 60
rgw_gc_processor_period = 60
"""


def is_installed() -> bool:
    return all(map(shutil.which, PROGRAMS))


def install() -> None:
    """Install Ceph with apt. Raises ServerError where that is impossible."""
    debian.install("Ceph", PROGRAMS, PACKAGES)


class Ceph:
    """A cluster with one S3 user, for any number of buckets."""

    def __init__(self, directory: Path) -> None:
        self.access_key_id, self.secret_access_key = f"key{secrets.token_hex(8)}", secrets.token_hex(20)
        self._directory = directory
        self._configuration = directory / "ceph.conf"
        self._port = free_port()
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def endpoint(self) -> str:
        return f"http://{HOST}:{self._port}"

    def start(self) -> None:
        """Create the cluster and its user, and wait until the gateway responds."""
        for name in ("mon", "osd", "rgw"):
            (self._directory / name).mkdir(parents=True)
        fsid, monitor_v2, monitor_v1 = str(uuid.uuid4()), free_port(), free_port()
        self._configuration.write_text(
            _CONFIGURATION.format(
                fsid=fsid,
                host=HOST,
                directory=self._directory,
                monitor_v2=monitor_v2,
                monitor_v1=monitor_v1,
                gateway=self._port,
                capacity=CAPACITY,
            )
        )
        self._start_monitor(fsid, f"[v2:{HOST}:{monitor_v2},v1:{HOST}:{monitor_v1}]")
        self._start_osd()
        self.start_gateway()
        self.admin(
            "user",
            "create",
            f"--uid={self.access_key_id}",
            "--display-name=test",
            "--max-buckets=0",
            f"--access-key={self.access_key_id}",
            f"--secret-key={self.secret_access_key}",
        )

    def start_gateway(self) -> None:
        """Start the gateway, also again after `stop_gateway`, and wait until it responds."""
        if "radosgw" in self._daemons:
            return
        self._run_daemon("radosgw", "-n", "client.rgw")
        self._wait("radosgw", self._gateway_responds)

    def stop_gateway(self) -> None:
        """Stop the gateway. The cluster keeps its objects."""
        self._stop("radosgw")

    def stop(self) -> None:
        """Stop all daemons, in the opposite order of their start."""
        for name in reversed(list(self._daemons)):
            self._stop(name)

    def admin(self, *arguments: str) -> str:
        """Run `radosgw-admin`, for example to set a quota or to suspend the user, and return its output."""
        return self._run("radosgw-admin", *arguments)

    def _start_monitor(self, fsid: str, addresses: str) -> None:
        map_ = str(self._directory / "monmap")
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", addresses, map_)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", map_)
        self._run_daemon("ceph-mon", "-i", "a")
        self._wait("ceph-mon", lambda: bool(self._run("ceph", "--connect-timeout", "5", "mon", "stat", check=False)))

    def _start_osd(self) -> None:
        identity = str(uuid.uuid4())
        self._run("ceph", "osd", "new", identity, "0")
        self._run("ceph", "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=one")
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", identity)
        self._run_daemon("ceph-osd", "-i", "0")
        self._wait(
            "ceph-osd", lambda: json.loads(self._run("ceph", "osd", "stat", "--format=json"))["num_up_osds"] == 1
        )

    def _run_daemon(self, program: str, *arguments: str) -> None:
        with (self._directory / f"{program}.out").open("ab") as output:
            self._daemons[program] = subprocess.Popen(
                self._command(program, "-f", *arguments),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _stop(self, program: str) -> None:
        daemon = self._daemons.pop(program, None)
        if daemon is None:
            return
        daemon.terminate()
        try:
            daemon.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def _run(self, program: str, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            self._command(program, *arguments), capture_output=True, text=True, check=False, timeout=TIMEOUT_S
        )
        if check and done.returncode:
            raise ServerError(f"{program} {' '.join(arguments)} exited {done.returncode}: {done.stderr[-1000:]}")
        return done.stdout

    def _command(self, program: str, *arguments: str) -> list[str]:
        return [program, *([] if program == "monmaptool" else ["--conf", str(self._configuration)]), *arguments]

    def _wait(self, program: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            code = self._daemons[program].poll()
            if code is not None or time.monotonic() > deadline:
                state = "did not become ready" if code is None else f"exited {code}"
                raise ServerError(f"{program} {state}; its log is {self._directory / program}.out")
            time.sleep(0.1)

    def _gateway_responds(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self._port, timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status < http.HTTPStatus.INTERNAL_SERVER_ERROR
        except OSError:
            return False
        finally:
            connection.close()


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Ceph]:
    """Run a new cluster for the duration of the block."""
    cluster = Ceph(directory)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
