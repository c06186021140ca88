"""The configuration file with the stores that have a name: read, checked and written."""

from __future__ import annotations

import os
import re
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...settings import ADDRESSING_STYLES, Credentials

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

#: A name of a store. It comes before the colon of NAME:BUCKET, so it has none.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

#: The environment variable with the path of another file. No option sets it, so that every command reads one file.
VARIABLE = "S3_SYNCER_CONFIG"

#: The table of the file that has a table for each store.
_STORES = "stores"


class ConfigError(Exception):
    """The configuration file cannot be used. The message says what to do."""


@dataclass(frozen=True, slots=True)
class NamedStore:
    """A store as the configuration file describes it. An empty field is not set."""

    #: The URL; "" for AWS S3.
    endpoint: str = ""
    region: str = ""
    #: The bucket for a location without one.
    bucket: str = ""
    #: A profile of the AWS configuration files, instead of the access key.
    profile: str = ""
    access_key_id: str = ""
    secret_access_key: str = field(default="", repr=False)
    addressing_style: str = ""
    #: The path of a file with CA certificates.
    ca_certificate: str = ""
    payload_signing: bool = False

    @property
    def keys(self) -> Credentials | None:
        """Return the access key, or None without one."""
        return Credentials(self.access_key_id, self.secret_access_key) if self.access_key_id else None

    @property
    def mistake(self) -> str:
        """Return the first contradiction between the fields, or "" without one."""
        if bool(self.access_key_id) != bool(self.secret_access_key):
            return "access_key_id and secret_access_key belong together: write both, or none"
        if self.keys is not None and not self.keys.can_sign:
            return "access_key_id and secret_access_key must not have control or other unusable characters"
        if self.access_key_id and self.profile:
            return "profile and access_key_id both give the credentials: write only one of them"
        if self.endpoint and not self.access_key_id and not self.profile:
            # Otherwise this store would get signatures with the AWS credentials of the environment.
            return "a store with an endpoint needs credentials: write profile, or access_key_id and secret_access_key"
        if self.addressing_style and self.addressing_style not in ADDRESSING_STYLES:
            return f"addressing_style must be one of {', '.join(ADDRESSING_STYLES)}, not {self.addressing_style!r}"
        return ""


class UnknownStore(ConfigError):
    """No store has the name. The message has the names that exist."""


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """The configuration file. Only its owner may read a file with a secret access key."""

    path: Path

    @classmethod
    def of_user(cls, environment: Mapping[str, str] = os.environ) -> ConfigFile:
        """Return the file of S3_SYNCER_CONFIG, or that in the configuration folder of the user."""
        if named := environment.get(VARIABLE):
            return cls(Path(named))
        folder = environment.get("XDG_CONFIG_HOME", "")
        # https://specifications.freedesktop.org/basedir-spec/latest/ ignores a relative path.
        base = Path(folder) if Path(folder).is_absolute() else Path.home() / ".config"
        return cls(base / "s3-syncer" / "config.toml")

    def stores(self) -> dict[str, NamedStore]:
        """Return the stores by name. Raises ConfigError. A file that does not exist has none."""
        content = self._content()
        try:
            tables = tomllib.loads(content).get(_STORES, {})
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{self.path} is not valid TOML: {error}") from error
        if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
            raise ConfigError(f"{self.path} must have a table for each store, such as [{_STORES}.lyve]")
        found = {name: self._store(name, table) for name, table in tables.items()}
        self._require_private(found)
        return found

    def add(self, name: str, store: NamedStore) -> None:
        """Write the store, in the place of one with the same name. Raises ConfigError."""
        import tomlkit

        if not _NAME.fullmatch(name) or name.lower() == "s3":
            raise ConfigError(
                f"{name!r} cannot be the name of a store: write letters, digits and . _ - only, and not s3"
            )
        if store.mistake:
            raise ConfigError(store.mistake)
        with self._changed() as document:
            table = tomlkit.table()
            for key, value in asdict(store).items():
                if value:
                    table.add(key, value)
            document.setdefault(_STORES, tomlkit.table(is_super_table=True))[name] = table

    def remove(self, name: str) -> None:
        """Remove the store. Raises ConfigError, also if there is no such store."""
        self.stores_with(name)
        with self._changed() as document:
            del document[_STORES][name]

    def stores_with(self, name: str) -> dict[str, NamedStore]:
        """Return the stores, of which one has this name. Raises UnknownStore, and ConfigError."""
        stores = self.stores()
        if name not in stores:
            known = f", and its stores are {', '.join(stores)}" if stores else ""
            raise UnknownStore(f"no store has the name {name!r} in {self.path}{known}")
        return stores

    def _content(self) -> str:
        try:
            return self.path.read_text(encoding="utf-8-sig")
        except FileNotFoundError:
            return ""
        except (OSError, UnicodeError) as error:
            raise ConfigError(f"{self.path} cannot be read: {error}") from error

    def _store(self, name: str, table: Mapping[str, Any]) -> NamedStore:
        types: dict[str, type] = {each.name: type(each.default) for each in fields(NamedStore)}
        for key, value in table.items():
            if key not in types:
                raise ConfigError(f"{self.path}: store {name!r} has the unknown key {key!r}: write {', '.join(types)}")
            if type(value) is not types[key]:
                kind = "true or false" if types[key] is bool else "text in quotation marks"
                raise ConfigError(f"{self.path}: {key} of store {name!r} must be {kind}")
        store = NamedStore(**table)
        if store.mistake:
            raise ConfigError(f"{self.path}: store {name!r}: {store.mistake}")
        return store

    def _require_private(self, stores: Mapping[str, NamedStore]) -> None:
        has_secret = any(store.secret_access_key for store in stores.values())
        if has_secret and os.name == "posix" and self.path.stat().st_mode & 0o077:
            raise ConfigError(
                f"{self.path} has a secret access key, and other users of this machine can read or change it: "
                f"run `chmod 600 {self.path}`"
            )

    @contextmanager
    def _changed(self) -> Iterator[TOMLDocument]:
        """Yield the document to change, with its comments, and write it. Raises ConfigError."""
        import tomlkit

        self.stores()  # a broken file is not written again
        document = tomlkit.parse(self._content())
        yield document
        try:
            _write_atomically(self.path.resolve(), document.as_string())
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be written: {error}") from error


def _write_atomically(path: Path, text: str) -> None:
    """Write the file with mode 0600, so that a reader sees the old content or the new one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=path.name, dir=path.parent)  # with mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
