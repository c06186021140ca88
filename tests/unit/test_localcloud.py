"""The decisions of the local cloud: differences, servers to stop, the Terraform to run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.support.patience import PATIENCE_S

from devtools import bootstrap, signals, terraform
from localcloud import demo, live_during_migration, main, servers, stack, verify

OBJECT = verify.Object(size=1, sha256="00", headers={"ContentType": "a/b"}, metadata={}, tags={})


def test_equal_sides_have_no_differences() -> None:
    assert list(verify.differences({"k": OBJECT}, {"k": replace(OBJECT)})) == []


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        (replace(OBJECT, size=2), "size"),
        (replace(OBJECT, sha256="01"), "sha256"),
        (replace(OBJECT, headers={}), "headers"),
        (replace(OBJECT, metadata={"a": ""}), "metadata"),
        (replace(OBJECT, tags={"a": ""}), "tags"),
    ],
)
def test_every_property_can_differ(changed: verify.Object, what: str) -> None:
    (difference,) = verify.differences({"k": OBJECT}, {"k": changed})
    assert (difference.key, difference.what) == ("k", what)


def test_object_on_one_side_only_is_a_difference() -> None:
    found = verify.differences({"a": OBJECT}, {"b": OBJECT})
    assert [(d.key, d.source, d.target) for d in found] == [("a", "present", "absent"), ("b", "absent", "present")]


def test_strange_keys_are_legal_keys() -> None:
    assert len(set(demo.STRANGE_KEYS)) == len(demo.STRANGE_KEYS)
    assert all(1 <= len(key.encode()) <= 1024 for key in demo.STRANGE_KEYS)
    assert max(len(key.encode()) for key in demo.STRANGE_KEYS) == 1024


@pytest.mark.parametrize("objects", [0, 1, 15, 40])
def test_no_step_of_the_demo_changes_a_key_twice(objects: int) -> None:
    """Two concurrent changes of a key could arrive as one, and the demo would wait for the other one."""
    actor = demo.Actor(A_STACK, random.Random(1))
    for step in demo.steps(actor, objects):
        keys = [change.key for change in step.changes]
        assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("latencies", "expected"),
    [([], (None, None)), ([3.0], (3.0, 3.0)), ([float(n) for n in range(1, 102)], (51.0, 96.0))],
)
def test_median_and_p95(latencies: list[float], expected: tuple[float | None, float | None]) -> None:
    assert demo.median_and_p95(latencies) == expected


A_STACK = stack.Stack(
    aws_endpoint="http://127.0.0.1:1",
    region="us-east-1",
    access_key_id="test",
    secret_access_key="test",
    source_bucket="source",
    queue_url="http://127.0.0.1:1/0/queue",
    queue_arn="arn:aws:sqs:us-east-1:0:queue",
    bulk_queue_url="http://127.0.0.1:1/0/queue-bulk",
    deletions_queue_url="http://127.0.0.1:1/0/queue-deletions",
    held_deletions_queue_url="http://127.0.0.1:1/0/queue-held-deletions",
    dead_letter_queue_url="http://127.0.0.1:1/0/dead",
    dead_letter_queue_arn="arn:aws:sqs:us-east-1:0:dead",
    function_name="function",
    log_group="/aws/lambda/function",
    target=stack.Target("http://127.0.0.1:2", "us-east-1", "target", "key", "secret"),
    migration=stack.Migration("arn:task", "arn:cluster", {"awsvpcConfiguration": {}}, "image", None, "/aws/ecs/m"),
    terraform_config=None,
    engine=None,
)


def test_stack_is_read_as_it_was_written(tmp_path: Path) -> None:
    A_STACK.write(tmp_path / "stack.json")
    assert stack.Stack.read(tmp_path / "stack.json") == A_STACK


def test_command_reads_the_environment_of_the_local_cloud() -> None:
    environment = main.environment(A_STACK)
    assert environment["AWS_ENDPOINT_URL"] == A_STACK.aws_endpoint
    process = subprocess.run(
        [sys.executable, "-m", "s3_syncer", "check"],
        env={**environment, "PATH": os.environ["PATH"], "PYTHONPATH": str(bootstrap.ROOT / "lambda")},
        capture_output=True,
        text=True,
        check=False,
    )
    # No variable is missing: the command reaches the source, and no server listens there.
    assert (process.returncode, process.stderr.count("127.0.0.1:1")) == (3, 1), process.stderr


def test_down_names_the_variables_to_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "current", lambda directory: A_STACK)
    monkeypatch.setattr(stack, "down", lambda directory: ["moto"])
    output = CliRunner().invoke(main.main, ["down"]).output
    assert output.splitlines()[-1] == f"unset {' '.join(main.environment(A_STACK))}"


@pytest.fixture
def old_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[servers.Server]:
    """Run a local cloud of a version that did not know every address, and yield its server."""
    for module in (main, demo):
        monkeypatch.setattr(module, "DIRECTORY", tmp_path)
    with servers.running(WEB, tmp_path) as server:
        fields = asdict(A_STACK)
        del fields["held_deletions_queue_url"]
        (tmp_path / stack.STACK_FILE).write_text(json.dumps(fields))
        yield server


def test_down_stops_the_local_cloud_of_another_version(old_stack: servers.Server, tmp_path: Path) -> None:
    result = CliRunner().invoke(main.main, ["down"])
    assert (result.exit_code, result.output) == (0, "Stopped web.\n"), result.exception
    assert not old_stack.is_running()
    assert not (tmp_path / stack.STACK_FILE).exists()


@pytest.mark.parametrize(
    "command", [[main.main, "status"], [main.main, "env"], [demo.main]], ids=["status", "env", "demo"]
)
def test_a_command_says_that_another_version_runs(command: list[Any], old_stack: servers.Server) -> None:
    result = CliRunner().invoke(command[0], command[1:])
    assert result.exit_code == 1
    assert result.output.endswith("run `scripts/local down`, then `scripts/local up`\n"), result.output
    assert old_stack.is_running()


WEB = servers.Program("web", lambda port: [sys.executable, "-m", "http.server", "-b", servers.HOST, str(port)], "/")


def test_server_ends_with_the_process_that_runs_it(tmp_path: Path) -> None:
    program = """
import sys, time
from pathlib import Path
from localcloud import servers
web = servers.Program("web", lambda port: [sys.executable, "-m", "http.server", "-b", servers.HOST, str(port)], "/")
with servers.running(web, Path(sys.argv[1])):
    print("running", flush=True)
    time.sleep(3600)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"running\n"
        process.kill()
    (server,) = servers.recorded(tmp_path)
    end = time.monotonic() + PATIENCE_S
    while server.is_running():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_server_is_started_recorded_and_stopped(tmp_path: Path) -> None:
    with servers.running(WEB, tmp_path) as server:
        assert servers.recorded(tmp_path) == [server]
        assert server.is_running()
    assert not server.is_running()
    assert servers.recorded(tmp_path) == []


def test_another_process_with_the_same_pid_is_not_stopped(tmp_path: Path) -> None:
    with servers.running(WEB, tmp_path) as server:
        replace(server, started="another time").stop()
        assert server.is_running()


def test_error_of_a_server_that_dies_has_its_output(tmp_path: Path) -> None:
    broken = servers.Program("broken", lambda _port: [sys.executable, "-c", "raise SystemExit('no such luck')"], "/")
    with pytest.raises(servers.ServerError, match="no such luck"):
        servers.start(broken, tmp_path)
    assert servers.recorded(tmp_path) == []


def test_servers_inherit_no_credentials_and_no_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example.com")
    command = 'env; exec "$0" -m http.server -b 127.0.0.1 "$1"'
    program = servers.Program("env", lambda port: ["sh", "-c", command, sys.executable, str(port)], "/")
    with servers.running(program, tmp_path) as server:
        output = Path(server.log).read_text()
    assert "PATH" in output
    assert "AWS_" not in output
    assert "PROXY" not in output


def test_interrupted_wait_interrupts_the_child() -> None:
    class Child(subprocess.Popen[str]):
        waits = 0

        def communicate(self, *arguments: Any, **options: Any) -> tuple[str, str]:
            self.waits += 1
            if self.waits == 1:
                assert self.stdout is not None
                assert self.stdout.readline() == "begun\n"
                signal.raise_signal(signal.SIGINT)
            return super().communicate(*arguments, **options)

    program = "import time; print('begun', flush=True); time.sleep(60)"
    child = Child([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, start_new_session=True)
    with pytest.raises(KeyboardInterrupt):
        signals.communicate(child, patience_s=50)
    assert (child.waits, child.returncode) == (2, -signal.SIGINT)


def fake_terraform(directory: Path, version: str) -> Path:
    file = directory / "terraform"
    file.write_text(f'#!/bin/sh\necho \'{{"terraform_version": "{version}"}}\'\n')
    file.chmod(0o755)
    return file


def test_terraform_on_the_path_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = fake_terraform(tmp_path, "1.12.0-beta1")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert terraform.executable() == expected


@pytest.mark.parametrize("version", [None, "1.10.5", "nonsense"])
def test_library_is_used_without_a_recent_terraform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str | None
) -> None:
    if version:
        fake_terraform(tmp_path, version)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    if version is None and Path("/bin/terraform").exists():
        pytest.skip("terraform is in /bin")
    output = subprocess.run([terraform.executable(), "version"], capture_output=True, text=True, check=True).stdout
    assert output.startswith("Terraform v1.")


def test_running_terraform_is_replaced_and_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terraform, "ROOT", tmp_path)
    wrapper = terraform.library()
    wrapper.write_text("the previous one")
    with wrapper.open() as running:
        assert terraform.library() == wrapper
        assert running.read() == "the previous one"
    assert os.access(wrapper, os.X_OK)
    assert list(wrapper.parent.iterdir()) == [wrapper]


def test_terraform_gets_the_variables_but_no_settings_of_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_PROFILE", "TF_VAR_name", "TF_WORKSPACE", "TF_CLI_ARGS"):
        monkeypatch.setenv(name, "mine")
    tool = terraform.prepare(tmp_path, {"name": "plain", "sync": {"tags": True}})
    assert not tool.environment.keys() & {"AWS_PROFILE", "TF_WORKSPACE", "TF_CLI_ARGS"}
    assert tool.environment["TF_VAR_name"] == "plain"
    assert tool.environment["TF_VAR_sync"] == '{"tags": true}'
    assert str(tmp_path) in tool.environment["TF_DATA_DIR"]


def test_offline_configuration_names_only_the_mirror() -> None:
    text = terraform.offline_config(Path("/a mirror/registry.terraform.io/hashicorp/aws"))
    assert 'path    = "/a mirror"' in text
    assert text.count('["registry.terraform.io/hashicorp/aws"]') == 2


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a provider name that no other test searches for on the disk."""
    name = "registry.example.com/hashicorp/aws"
    monkeypatch.setattr(terraform, "PROVIDER", name)
    return name


@pytest.mark.parametrize(
    "package",
    ["5.100.0/linux_amd64/terraform-provider-aws_v5.100.0_x5", "terraform-provider-aws_5.100.0_linux_amd64.zip"],
)
def test_mirror_is_a_directory_with_a_package_of_the_provider(tmp_path: Path, provider: str, package: str) -> None:
    mirror = tmp_path / provider
    assert terraform.mirror_of(mirror) is None
    (mirror / package).parent.mkdir(parents=True)
    assert terraform.mirror_of(mirror) is None
    (mirror / package).touch()
    assert terraform.mirror_of(mirror) == mirror


def test_links_of_terraform_init_lead_to_an_existing_mirror(tmp_path: Path, provider: str) -> None:
    mirror, left = tmp_path / "mirror" / provider, tmp_path / "work" / "providers" / provider
    package = mirror / "5.100.0" / "linux_amd64" / "terraform-provider-aws_v5.100.0_x5"
    package.parent.mkdir(parents=True)
    package.touch()
    (left / "5.100.0").mkdir(parents=True)
    (left / "5.100.0" / "linux_amd64").symlink_to(package.parent)
    assert terraform.mirror_of(left) == mirror
    package.unlink()
    assert terraform.mirror_of(left) is None


def test_environment_is_created_again_after_a_change_or_a_failure(tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("")
    environment = bootstrap.Environment(tmp_path / "venv", ("--requirement", str(requirements)), (requirements,))
    assert not environment.is_current()
    environment.create()
    assert environment.is_current()

    requirements.write_text("--no-such-option")
    assert not environment.is_current()
    with pytest.raises(subprocess.CalledProcessError):
        environment.create()
    requirements.write_text("")
    assert not environment.is_current()


def test_the_table_of_live_changes_has_the_ratios_to_the_quiet_phase() -> None:
    def phase(name: str, latency_s: float, beside: int) -> live_during_migration.Phase:
        return live_during_migration.Phase(name, [latency_s] * 3, beside, 3, [0.5], [0.25], 0.5)

    lines = live_during_migration.table([phase("quiet", 1.0, 3), phase("queue", 1.5, 2)])
    assert lines[2:] == [
        "| quiet | 3 of 3 | 1.00 | 1.00 | 1.00 and 1.00 | 0.50 | 0.25 | 50% |",
        "| queue | 2 of 3 | 1.50 | 1.50 | 1.50 and 1.50 | 0.50 | 0.25 | 50% |",
    ]
