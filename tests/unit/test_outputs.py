"""Unit tests of the outputs of a module, in every form in which a configuration passes them on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.module_outputs import MIGRATION, SERVICE, module_outputs, terraform_output

from s3_syncer.operations.outputs import Outputs, OutputsError, run_terraform


def test_outputs_passed_on_as_one_object_are_read() -> None:
    found = Outputs.parse(terraform_output(s3_syncer=module_outputs()))
    assert (found.name, found.region, found.source_bucket) == ("mirror", "eu-west-1", "my-bucket")
    assert found.source == "s3://my-bucket/photos/"
    assert found.target == "https://s3.example.com/my-mirror/"
    assert found.log_groups == ("/aws/lambda/mirror",)
    assert found.alarms == ("mirror-lag",)
    assert (found.migration, found.service, found.deletions_queue_url, found.paused) == (None, None, None, False)


def test_outputs_passed_on_one_by_one_are_read() -> None:
    assert Outputs.parse(terraform_output(**module_outputs())) == Outputs.parse(
        terraform_output(anything=module_outputs())
    )


def test_module_that_is_passed_on_twice_is_one_module() -> None:
    both = terraform_output(**module_outputs(), s3_syncer=module_outputs())
    assert Outputs.parse(both).name == "mirror"


def test_parts_have_what_the_commands_need_and_ignore_the_rest() -> None:
    found = Outputs.parse(terraform_output(a=module_outputs(migration=MIGRATION, service=SERVICE)))
    assert found.migration is not None
    assert found.migration.image == MIGRATION["image"]
    assert found.service is not None
    assert found.service.name == "mirror-service"
    assert found.log_groups == ("/aws/lambda/mirror", "/aws/ecs/mirror-service")


@pytest.mark.parametrize("name", ["videos", "mirrors.videos"])
def test_one_of_several_modules_is_named_by_its_input_or_its_output(name: str) -> None:
    text = terraform_output(mirrors={"photos": module_outputs("photos"), "videos": module_outputs("videos")})
    assert Outputs.parse(text, name).name == "videos"


@pytest.mark.parametrize(
    ("name", "message"),
    [(None, "have 2 modules: give one of"), ("music", "have no modules 'music': give one of"), ("same", "have 2 mod")],
)
def test_module_that_is_not_named_or_unknown_is_an_error_with_the_names(name: str | None, message: str) -> None:
    other = {**module_outputs("same"), "queue_arn": "arn:aws:sqs:us-east-1:1:other"}
    text = terraform_output(mirrors={"photos": module_outputs("same"), "videos": other})
    with pytest.raises(OutputsError, match=rf"{message}.*mirrors\.photos, mirrors\.videos"):
        Outputs.parse(text, name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "there are no outputs: apply the configuration, with output"),
        (terraform_output(vpc="vpc-1"), 'no output has the outputs of the module: write output "s3_syncer"'),
        ("no JSON", "not the output of `terraform output -json`: Expecting value: line 1"),
        ("[]", "not the output of `terraform output -json`: each output is an object with a value"),
        ('{"queue_url": "https://"}', "not the output of `terraform output -json`: each output is an object with"),
        ('{"queue_url": {}}', "not the output of `terraform output -json`: each output is an object with a value"),
        (b"\xff\xfe\x00", "not the output of `terraform output -json`: "),
    ],
)
def test_unusable_outputs_say_what_to_do(text: str | bytes, message: str) -> None:
    with pytest.raises(OutputsError, match=message):
        Outputs.parse(text)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_outputs_have_an_encoding_of_json(encoding: str) -> None:
    """PowerShell writes redirected output as UTF-16 with a byte order mark."""
    assert Outputs.parse(terraform_output(a=module_outputs()).encode(encoding)).name == module_outputs()["name"]


def test_missing_outputs_are_named() -> None:
    partly = {name: value for name, value in module_outputs().items() if name not in ("environment", "log_group_name")}
    with pytest.raises(OutputsError, match="the outputs lack environment, log_group_name: write output"):
        Outputs.parse(terraform_output(mirror=partly))


def test_missing_attribute_of_a_part_is_named() -> None:
    partly = {name: value for name, value in MIGRATION.items() if name != "image"}
    with pytest.raises(OutputsError, match=r"lack migration\.image: pass the outputs of the module on unchanged"):
        Outputs.parse(terraform_output(mirror=module_outputs(migration=partly)))


def terraform(directory: Path, code: str) -> str:
    """Write a program that stands for Terraform, and return its path."""
    file = directory / "terraform"
    file.write_text(f"#!{sys.executable}\nimport json, sys\n{code}\n")
    file.chmod(0o755)
    return str(file)


def test_terraform_is_asked_in_the_directory(tmp_path: Path) -> None:
    program = terraform(tmp_path, "print(json.dumps(sys.argv[1:]))")
    assert json.loads(run_terraform(Path("infra"), program)) == ["-chdir=infra", "output", "-json"]


def test_error_of_terraform_is_passed_on(tmp_path: Path) -> None:
    program = terraform(tmp_path, "sys.exit('no state')")
    with pytest.raises(OutputsError, match="output -json` failed: no state"):
        run_terraform(tmp_path, program)


def test_missing_terraform_says_how_to_name_another(tmp_path: Path) -> None:
    with pytest.raises(OutputsError, match="does not exist: install Terraform, or name another one with --terraform"):
        run_terraform(tmp_path, str(tmp_path / "tofu"))


def test_program_that_cannot_be_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "tofu").write_text("")
    with pytest.raises(OutputsError, match="cannot be run"):
        run_terraform(tmp_path, str(tmp_path / "tofu"))


def test_outputs_of_the_module_have_every_required_name() -> None:
    """The names are those of outputs.tf, with an addition of `tests/infra` for the values."""
    declared = (Path(__file__).parents[2] / "outputs.tf").read_text()
    names: dict[str, Any] = module_outputs(migration=MIGRATION, service=SERVICE)
    assert [name for name in names if f'output "{name}"' not in declared] == []
