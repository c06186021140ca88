"""The filters of the module in live sync, ranges and every command, over two stores in emulators."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.functional.command import Ended, run
from tests.functional.harness import REGION, SECRET, SOURCE, TARGET, Rig
from tests.support.module_outputs import module_outputs, terraform_output

FILTERS = {
    "S3_SYNCER_EXCLUDE": "*.tmp\ncache/",
    "S3_SYNCER_MIN_SIZE": "3B",
    "S3_SYNCER_MAX_SIZE": "1",
}

TOO_LARGE = bytes(1025)

#: The keys that the filters exclude, and those that are mirrored.
EXCLUDED = {"a.tmp": b"new", "x/cache/y": b"new", "small": b"-", "large": TOO_LARGE}
MIRRORED = {"a.txt": b"new", "cached": b"new", "at the limit": bytes(1024)}

#: What only the target has, with the sides that the filters exclude first.
KEPT = {"gone.tmp": b"old", "gone, too large": TOO_LARGE}
GONE = {"gone": b"old"}

Command = Callable[..., Ended]


@pytest.fixture(autouse=True)
def _filters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the environment of the function, as the module does."""
    for name, value in FILTERS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def command(rig: Rig, tmp_path: Path) -> Command:
    """Return a function that runs a command with nothing but the outputs of the module."""
    environment = {
        **{name: value for name, value in rig.environment().items() if not name.startswith("AWS_")},
        **FILTERS,
        "TARGET_SECRET_ARN": SECRET,
    }
    outputs = module_outputs(
        "s3-syncer",
        environment=environment,
        queue_arn=f"arn:aws:sqs:{REGION}:123456789012:s3-syncer",
        queue_url=rig.queue_url,
        bulk_queue_url=rig.queue_url,
        dead_letter_queue_url=rig.dead_letter_url,
        log_group_name="/aws/lambda/s3-syncer",
    )
    file = tmp_path / "outputs.json"
    file.write_text(terraform_output(s3_syncer=outputs))
    return lambda *arguments: run("--outputs", str(file), *arguments, **dict.fromkeys(environment))


def fill(rig: Rig) -> None:
    for key, body in {**EXCLUDED, **MIRRORED}.items():
        rig.put(key, body)
    for key, body in {**KEPT, **GONE}.items():
        rig.target.put_object(Bucket=TARGET, Key=key, Body=body)
    rig.clear()


def test_live_sync_mirrors_what_the_filters_let_pass(rig: Rig) -> None:
    fill(rig)
    delivery = rig.sync(*EXCLUDED, *MIRRORED, *KEPT, *GONE)
    assert delivery.returned == []
    counted = [line["keys"] for line in delivery.log if line["action"] == "excluded"]
    assert counted == [len(EXCLUDED) + len(KEPT)]
    actions = {line["key"]: line["action"] for line in delivery.log if line["action"] != "excluded"}
    assert actions == {**dict.fromkeys(MIRRORED, "copy"), "gone": "delete"}
    assert rig.target_keys() == sorted({**MIRRORED, **KEPT})
    requested = {each.key for proxy in (rig.source_proxy, rig.target_proxy) for each in proxy.requests}
    assert not requested & {"a.tmp", "x/cache/y", "gone.tmp"}, "their names exclude them"


@pytest.mark.parametrize("delete", [False, True])
def test_a_range_on_the_queue_mirrors_what_the_filters_let_pass(rig: Rig, delete: bool) -> None:
    fill(rig)
    rig.deliver(json.dumps({"s3-syncer": {"work": "range", "delete": delete}}))
    assert rig.target_keys() == sorted({**MIRRORED, **KEPT, **({} if delete else GONE)})
    assert rig.queue_is_empty()


def test_commands_have_the_filters_of_the_module(rig: Rig, command: Command) -> None:
    fill(rig)
    listed = command("check")
    assert (listed.code, listed.named.keys()) == (1, {*MIRRORED, *GONE})
    assert command("migrate", "--delete").code == 0
    assert rig.target_keys() == sorted({**MIRRORED, **KEPT})
    assert command("check", "--full").code == 0
    assert command("sync", "a.tmp", "large").named == {
        "a.tmp": "excluded: excluded by the pattern '*.tmp'",
        "large": "excluded: excluded by its size: 1,025 bytes are more than the maximum of 1KiB",
    }
    explained = command("explain", "x/cache/y")
    assert explained.code == 0
    assert "now        nothing would be done, because the filters exclude it" in explained.out
    assert "rule       excluded by the pattern 'cache/'" in explained.out
    assert command("cost").out.startswith(f"{len(MIRRORED)} objects, ")


def test_an_option_replaces_the_filter_of_the_module(rig: Rig, command: Command) -> None:
    fill(rig)
    assert command("migrate", "--exclude", "*.txt").code == 0
    assert rig.target_keys() == sorted({*MIRRORED, *KEPT, *GONE, "a.tmp", "x/cache/y"} - {"a.txt"})


def test_restore_brings_back_what_the_filters_let_pass(rig: Rig, command: Command) -> None:
    for key, body in {**EXCLUDED, **MIRRORED}.items():
        rig.target.put_object(Bucket=TARGET, Key=key, Body=body)
    assert command("restore").code == 0
    assert rig.source_keys() == sorted(MIRRORED)
    assert command("restore", "--prefix", "x/cache/", "--exclude", "/x/cache/y").code == 0
    assert rig.source_keys() == sorted(MIRRORED), "a pattern sees the key with the --prefix"


def test_a_copy_stays_when_its_original_becomes_too_large(rig: Rig, command: Command) -> None:
    rig.put("grows", b"small")
    rig.sync("grows")
    rig.put("grows", TOO_LARGE)
    rig.sync("grows")
    assert command("migrate", "--delete").code == 0
    assert rig.target_body("grows") == b"small"
    rig.source.delete_object(Bucket=SOURCE, Key="grows")
    rig.sync("grows")
    assert rig.target_keys() == []


def test_changed_filters_keep_what_is_mirrored_and_a_sweep_brings_the_rest(rig: Rig, command: Command) -> None:
    for key in ("one.jpg", "two.txt"):
        rig.put(key, b"body")
    rig.sync("one.jpg", "two.txt")
    for key in ("one.jpg", "two.txt"):
        rig.put(key, b"newer")
    only_text = ("--exclude", "*.jpg")
    assert command("migrate", "--delete", *only_text).code == 0
    assert {key: rig.target_body(key) for key in rig.target_keys()} == {"one.jpg": b"body", "two.txt": b"newer"}
    assert command("check", *only_text).code == 0
    assert command("migrate", "--delete").code == 0
    assert rig.target_body("one.jpg") == b"newer"
