"""The fixtures of tests/functional, with Ceph RGW as the target."""

from __future__ import annotations

import pytest
from tests.functional.conftest import (  # noqa: F401 - fixtures
    _no_waiting,
    _no_work_is_left,
    _own_log,
    aws,
    ceph_account,
    clock,
    each_way,
    rig,
)
from tests.functional.harness import Account

from localcloud.ceph import Ceph


@pytest.fixture(scope="session")
def other(ceph_cluster: Ceph) -> Account:
    return ceph_account(ceph_cluster)
