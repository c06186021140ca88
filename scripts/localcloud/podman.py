"""Run containers with Podman on this machine: a real engine for the tests of the image.

The images, containers and settings are below one directory, so that those of the user stay as they are. Containers
share the network of this machine, where the stores listen on the loopback.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from devtools.bootstrap import ROOT
from localcloud import debian
from localcloud.servers import ServerError

#: The packages of Debian and Ubuntu: about 190 MB on the disk.
PACKAGES = ("podman", "runc", "debootstrap", "ca-certificates")

PROGRAMS = ("podman", "runc", "debootstrap")

#: The default base image of lambda/Dockerfile.
BASE = "docker.io/library/python:3.13-slim"

#: The release of Debian with the Python of the base image.
RELEASE = "trixie"

#: A stand-in for the base image, which is made once where no registry can be reached.
STAND_IN = ROOT / ".local" / "image" / f"{RELEASE}.tar"

#: The CA certificates of this machine. A network with its own CA inspects the downloads of pip too.
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")

#: Most seconds that the service may take to start or to stop.
TIMEOUT_S = 60

_CONTAINERS = """\
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[containers]
netns = "host"
http_proxy = false
# The defaults are above the limits of a machine that is a container itself.
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
"""

_STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{directory}/storage"
runroot = "{directory}/run"
"""


def is_installed() -> bool:
    return all(map(shutil.which, PROGRAMS))


def install() -> None:
    """Install Podman with apt. Raises ServerError where that is impossible."""
    debian.install("Podman", PROGRAMS, PACKAGES)


class Podman:
    """An engine that keeps its images, containers and settings below `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._socket = directory / "podman.sock"
        (directory / "containers.conf").write_text(_CONTAINERS)
        (directory / "storage.conf").write_text(_STORAGE.format(directory=directory))
        (directory / "auth.json").write_text("{}")

    @property
    def address(self) -> str:
        """The address of the service in the form of DOCKER_HOST."""
        return f"unix://{self._socket}"

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables with which `podman` uses this engine."""
        return {
            "BUILDAH_ISOLATION": "chroot",
            "CONTAINERS_CONF": str(self._directory / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self._directory / "storage.conf"),
            "REGISTRY_AUTH_FILE": str(self._directory / "auth.json"),
        }

    def run(self, *arguments: str, **variables: str) -> str:
        """Run `podman`, and return its standard output. Raises ServerError if it fails."""
        done = self.attempt(*arguments, **variables)
        if done.returncode:
            raise ServerError(f"podman {' '.join(arguments)} exited {done.returncode}: {done.stderr[-1000:]}")
        return done.stdout

    def attempt(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `podman`, and return what it printed and its exit code."""
        environment = {**os.environ, **self.environment, **variables}
        return subprocess.run(["podman", *arguments], env=environment, capture_output=True, text=True, check=False)

    def make_base(self) -> None:
        """Pull the base image, or import a stand-in for it."""
        if self.attempt("pull", "--quiet", BASE).returncode == 0:
            return
        if not STAND_IN.exists():
            make_stand_in(self._directory / "root")
        self.run("import", "--change", 'CMD ["python3"]', str(STAND_IN), BASE)

    @contextlib.contextmanager
    def serving(self, **variables: str) -> Iterator[None]:
        """Serve the API of Docker for the duration of the block. Containers outlive it until `remove`."""
        with (self._directory / "service.log").open("wb") as log:
            service = subprocess.Popen(
                ["podman", "system", "service", "--time=0", self.address],
                env={**os.environ, **self.environment, **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait(service)
            yield
        finally:
            # It finishes its requests. Podman loses a container that is removed while a request starts it.
            service.terminate()
            service.wait(TIMEOUT_S)

    def _wait(self, service: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not self._socket.is_socket():
            if service.poll() is not None or time.monotonic() > deadline:
                raise ServerError(f"the service of Podman did not start; its log is {self._directory / 'service.log'}")
            time.sleep(0.05)

    def remove(self) -> None:
        """Remove all containers and images. Raises ServerError if a container cannot be removed."""
        self.run("rm", "--all", "--force", "--time=0")
        self.attempt("rmi", "--all", "--force")
        # Podman mounts the folder onto itself, and no later session could delete it.
        subprocess.run(["umount", str(self._directory / "storage" / "overlay")], check=False, capture_output=True)


def make_stand_in(directory: Path) -> None:
    """Make a root file system of Debian with Python and CA certificates, as a tar file.

    It takes one to two minutes.
    """
    if os.geteuid() != 0:
        raise ServerError(f"{BASE} cannot be pulled, and only root can make a stand-in for it with debootstrap")
    packages = "python3,python3-venv,ca-certificates"
    unwanted = ("var/cache/apt", "var/lib/apt/lists", "proc/*", "sys/*", "dev/*")
    exclusions = [f"--exclude=./{path}" for path in unwanted]
    STAND_IN.parent.mkdir(parents=True, exist_ok=True)
    unfinished = STAND_IN.with_suffix(".unfinished")
    for command in (
        ["debootstrap", "--variant=minbase", f"--include={packages}", RELEASE, str(directory)],
        ["cp", str(AUTHORITIES), f"{directory}{AUTHORITIES}"],
        ["tar", "-C", str(directory), *exclusions, "-cf", str(unfinished), "."],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServerError(f"{command[0]} exited {done.returncode}: {(done.stdout + done.stderr)[-1000:]}")
    unfinished.rename(STAND_IN)
    shutil.rmtree(directory)


@contextlib.contextmanager
def prepared(directory: Path) -> Iterator[Podman]:
    """Yield an engine with the base image, for the duration of the block."""
    engine = Podman(directory)
    try:
        engine.make_base()
        yield engine
    finally:
        engine.remove()
