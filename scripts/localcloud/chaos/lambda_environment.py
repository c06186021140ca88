"""An execution environment of the Lambda function, which runs the real handler.

Each line of standard input is `{"event": ..., "seconds": ...}`, and each response is one line on standard output. The
log of the function goes to standard error.
"""

from __future__ import annotations

import json
import sys
import time


class Context:
    """The part of Lambda's context object that the function uses."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return max(0, round((self._deadline - time.monotonic()) * 1000))


def main() -> None:
    responses, sys.stdout = sys.stdout, sys.stderr
    from s3_syncer.lambda_handler import handler

    for line in sys.stdin:
        invocation = json.loads(line)
        response = handler(invocation["event"], Context(invocation["seconds"]))
        responses.write(json.dumps(response) + "\n")
        responses.flush()


if __name__ == "__main__":
    main()
