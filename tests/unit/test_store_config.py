"""The configuration file with named stores: its permissions, its content, and its writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from s3_syncer.cli.options import store_config
from s3_syncer.cli.options.store_config import ConfigError, ConfigFile, NamedStore

LYVE = NamedStore("https://s3.example.com", "us-east-1", access_key_id="an-id", secret_access_key="a-secret")
WORK = NamedStore(bucket="photos", profile="work")


@pytest.fixture
def file(tmp_path: Path) -> ConfigFile:
    return ConfigFile(tmp_path / "folder" / "config.toml")


def test_file_is_in_the_configuration_folder_of_the_user(tmp_path: Path) -> None:
    assert ConfigFile.of_user({}).path == Path.home() / ".config" / "s3-syncer" / "config.toml"
    folder = str(tmp_path)
    assert ConfigFile.of_user({"XDG_CONFIG_HOME": folder}).path == tmp_path / "s3-syncer" / "config.toml"
    assert ConfigFile.of_user({"XDG_CONFIG_HOME": "relative"}).path == ConfigFile.of_user({}).path
    named = {"XDG_CONFIG_HOME": folder, "S3_SYNCER_CONFIG": "my.toml"}
    assert ConfigFile.of_user(named).path == Path("my.toml")


def test_stores_are_read_as_they_were_added(file: ConfigFile) -> None:
    assert file.stores() == {}
    file.add("lyve", LYVE)
    file.add("work-2.b", WORK)
    assert file.stores() == {"lyve": LYVE, "work-2.b": WORK}
    file.add("lyve", WORK)
    file.remove("work-2.b")
    assert file.stores() == {"lyve": WORK}


def test_only_its_owner_can_read_the_file(file: ConfigFile) -> None:
    file.add("lyve", LYVE)
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert file.path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620])
def test_file_with_a_secret_that_others_can_use_is_refused(file: ConfigFile, mode: int) -> None:
    file.add("lyve", LYVE)
    file.path.chmod(mode)
    for use in (file.stores, lambda: file.add("work", WORK), lambda: file.remove("lyve")):
        with pytest.raises(ConfigError, match=f"run `chmod 600 {file.path}`"):
            use()


def test_file_without_a_secret_may_be_read_by_others(file: ConfigFile) -> None:
    file.add("work", WORK)
    file.path.chmod(0o644)
    assert file.stores() == {"work": WORK}


def test_comments_of_the_user_stay(file: ConfigFile) -> None:
    file.path.parent.mkdir()
    file.path.write_text('# mine\n[stores.work]\nprofile = "work" # of the office\n')
    file.add("lyve", LYVE)
    file.remove("lyve")
    text = file.path.read_text()
    assert "# mine\n" in text
    assert 'profile = "work" # of the office' in text


def test_file_behind_a_link_stays_behind_it(file: ConfigFile, tmp_path: Path) -> None:
    file.path.parent.mkdir()
    file.path.symlink_to(tmp_path / "dotfiles.toml")
    file.add("work", WORK)
    assert file.path.is_symlink()
    assert ConfigFile(tmp_path / "dotfiles.toml").stores() == {"work": WORK}


def test_failed_write_leaves_the_old_file_and_no_other(file: ConfigFile, monkeypatch: pytest.MonkeyPatch) -> None:
    file.add("work", WORK)

    def fail(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(ConfigError, match="cannot be written: no space"):
        file.add("lyve", LYVE)
    assert file.stores() == {"work": WORK}
    assert list(file.path.parent.iterdir()) == [file.path]


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a:b", "-a", "s3", "S3", "ü"])
def test_name_that_no_location_can_have_is_refused(file: ConfigFile, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a store"):
        file.add(name, WORK)
    assert not file.path.exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("stores = 1", r"must have a table for each store, such as \[stores.lyve\]"),
        ("[stores]\nlyve = 1", "must have a table for each store"),
        ("[stores.lyve", "is not valid TOML"),
        ("[stores.lyve]\nregoin = 'a'", "store 'lyve' has the unknown key 'regoin': write endpoint, region, bucket"),
        ("[stores.lyve]\nregion = 1", "region of store 'lyve' must be text in quotation marks"),
        ("[stores.lyve]\npayload_signing = 'yes'", "payload_signing of store 'lyve' must be true or false"),
        ("[stores.lyve]\nendpoint = 'https://h'", "store 'lyve': a store with an endpoint needs credentials"),
        ("[stores.lyve]\naccess_key_id = 'a'", "access_key_id and secret_access_key belong together"),
        ('[stores.lyve]\naccess_key_id = "a\\n"\nsecret_access_key = "b"', "must not have control or other unusable"),
        (
            "[stores.lyve]\naccess_key_id = 'a'\nsecret_access_key = 'b'\nprofile = 'c'",
            "profile and access_key_id both give the credentials",
        ),
        ("[stores.lyve]\naddressing_style = 'dns'", "addressing_style must be one of path, virtual, not 'dns'"),
    ],
)
def test_mistake_in_the_file_is_named(file: ConfigFile, text: str, says: str) -> None:
    file.path.parent.mkdir()
    file.path.write_text(text)
    file.path.chmod(0o600)
    with pytest.raises(ConfigError, match=says):
        file.stores()
    with pytest.raises(ConfigError, match=says):
        file.add("work", WORK)
    assert file.path.read_text() == text


def test_missing_store_is_named_with_those_that_exist(file: ConfigFile) -> None:
    file.add("work", WORK)
    with pytest.raises(ConfigError, match=r"no store has the name 'lyve' in .*, and its stores are work"):
        file.remove("lyve")


def test_secret_is_not_shown() -> None:
    assert "a-secret" not in repr(LYVE)
    assert "a-secret" not in repr(LYVE.keys)
    assert store_config._STORES == "stores"
