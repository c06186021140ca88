"""The limit of every wait in a test for what happens in another thread or process."""

#: Seconds. No step of a test takes as long, however busy the machine is, so a wait that reaches the limit has failed.
#: Below the `timeout` of pytest in pyproject.toml, so that the failure names the wait.
PATIENCE_S = 240
