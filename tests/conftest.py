"""Prepare the session: the real store, Terraform, the service models, the end of interrupted tests."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore import hooks, loaders
from hypothesis import HealthCheck, settings

from devtools import signals, terraform
from devtools.bootstrap import ROOT
from localcloud import ceph

REAL_STORE = "real_store"

# The profiles of the property-based tests. The default profile generates the same examples in each run, so that a test
# does not fail only sometimes. `--hypothesis-profile=search` looks for new faults: it generates different examples each
# time, and many more if the test sets no number. There is no deadline, because it would fail on a busy machine without
# a fault.
settings.register_profile(
    "fixed", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True, database=None
)
settings.register_profile("search", settings.get_profile("fixed"), derandomize=False, max_examples=2000)
settings.load_profile("fixed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--real-store",
        action="store_true",
        help="run only the tests that are marked `real_store`, with Ceph RGW as the target: see tests/real_store",
    )
    parser.addoption("--image", action="store_true", help="run the tests of the image with Podman: see tests/image")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--real-store"):
        items[:] = [item for item in items if item.get_closest_marker(REAL_STORE)]


class SharingLoader(loaders.Loader):
    """A loader of botocore's service models that shares what any other one has read.

    Each session of boto3 has a separate loader. To read the same megabytes again takes most of the time in which a
    session builds a client.
    """

    _read: dict[Any, Any] = {}  # noqa: RUF012 - shared on purpose

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._cache = self._read


class SharingAliaser(hooks.EventAliaser):
    """The events of a session or a client, which share what any other one has found out about their names."""

    _found: dict[str, str] = {}  # noqa: RUF012 - shared on purpose

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._alias_name_cache = self._found


def accepts_kwargs(function: Callable[..., Any], original: Any = hooks.accepts_kwargs) -> Any:
    """Return a true value if the function has `**kwargs`. To read its whole signature takes longer."""
    code = getattr(function, "__code__", None)
    return original(function) if code is None else code.co_flags & inspect.CO_VARKEYWORDS


@pytest.fixture(autouse=True, scope="session")
def _clients_are_built_fast() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loaders, "Loader", SharingLoader)
        patch.setattr(hooks, "accepts_kwargs", accepts_kwargs)
        patch.setattr("botocore.session.EventAliaser", SharingAliaser)
        yield


@pytest.fixture(scope="session")
def ceph_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ceph.Ceph]:
    """Yield a Ceph cluster with an S3 gateway, which all tests of the session share."""
    if not ceph.is_installed():
        pytest.skip("Ceph is not installed: `scripts/test --real-store` installs it")
    with ceph.running(tmp_path_factory.mktemp("ceph")) as cluster:
        yield cluster


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{REAL_STORE}: a test that also runs with a real store as the target")
    signals.interrupt_on_termination()
    # Without a terraform on the PATH the plugin would end the whole run, even if no test needs Terraform.
    if config.pluginmanager.hasplugin("terraform") and not config.option.dest_tf_binary:
        config.option.dest_tf_binary = str(terraform.executable())
        config.option.dest_tf_mod_dir = str(ROOT / "examples")
