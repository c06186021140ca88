"""Set the path of Terraform, and let interrupted tests stop the servers that they started."""

from __future__ import annotations

import pytest

from devtools import signals, terraform
from devtools.bootstrap import ROOT


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    signals.interrupt_on_termination()
    # Without a terraform on the PATH the plugin would end the whole run, even if no test needs Terraform.
    if config.pluginmanager.hasplugin("terraform") and not config.option.dest_tf_binary:
        config.option.dest_tf_binary = str(terraform.executable())
        config.option.dest_tf_mod_dir = str(ROOT / "examples")
