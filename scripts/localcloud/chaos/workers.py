"""The services and the execution environments of the Lambda function, as real processes."""

from __future__ import annotations

import contextlib
import json
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from random import Random
from typing import IO, TYPE_CHECKING, Any, Protocol

from localcloud import stack
from localcloud.chaos.background import Background
from localcloud.chaos.tally import Tally

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

SHORTENED = Path(__file__).with_name("shortened.py")

#: Seconds of an invocation: the shortest timeout that the module allows. Lambda ends an environment that takes longer.
FUNCTION_TIMEOUT_S = 30

#: The visibility timeout of the queue in seconds. The module sets it to this multiple of the function's timeout.
QUEUE_VISIBILITY_S = 6 * FUNCTION_TIMEOUT_S

#: The visibility timeout of a service in seconds: the default.
SERVICE_VISIBILITY_S = 60

#: A freeze of a service that is longer, in seconds, may end after its messages went to another worker.
LEASE_S = SERVICE_VISIBILITY_S / 2

#: Seconds that a service has to exit after SIGTERM: its grace period, and 20 s to return its messages.
STOP_TIMEOUT_S = 90

#: Seconds for which a worker is not killed after a freeze longer than `LEASE_S`. A write that was frozen in it lands
#: after another worker has acknowledged the message, and only this worker can correct it: docs/reliability.md.
SECOND_LOOK_S = 60


class Worker(Protocol):
    """A worker that can be killed and frozen."""

    @property
    def kind(self) -> str: ...

    def start(self) -> None: ...

    def kill(self, number: signal.Signals) -> bool:
        """Send the signal, start a new process, and return True, or return False if it must not end now."""

    def freeze(self, seconds: float, ended: threading.Event) -> bool:
        """Stop the process for some seconds, and return True, or return False if it is not working."""

    def keep_running(self) -> None:
        """Do what the platform does for a worker that has ended by itself."""

    def close(self) -> None: ...


class Service:
    """`s3-syncer serve` as a process."""

    kind = "service"

    def __init__(self, environment: Mapping[str, str], log: Path, tally: Tally, late_write_s: int) -> None:
        self._environment = environment
        self._log = log.open("ab")
        self._tally, self._late_write_s = tally, late_write_s
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen = False
        self._keep_until = 0.0

    def start(self) -> None:
        with self._lock:
            self._process = subprocess.Popen(
                [
                    *_command(self._late_write_s, "s3_syncer"),
                    *("serve", "--concurrency", "8", "--distributed-copy-threshold", "64"),
                    *("--visibility-timeout", str(SERVICE_VISIBILITY_S)),
                ],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._frozen = False

    def kill(self, number: signal.Signals) -> bool:
        with self._lock:
            if self._process is None or time.monotonic() < self._keep_until:
                return False
            if number != signal.SIGKILL and self._frozen:
                return False
            self._stop(number)
            self.start()
        return True

    def freeze(self, seconds: float, ended: threading.Event) -> bool:
        with self._lock:
            process = self._process
            if process is None or self._frozen or process.poll() is not None:
                return False
            process.send_signal(signal.SIGSTOP)
            self._frozen = True
        ended.wait(seconds)
        with self._lock:
            if self._process is process:  # otherwise it was killed meanwhile
                process.send_signal(signal.SIGCONT)
                self._frozen = False
                self._keep_until = time.monotonic() + (SECOND_LOOK_S if seconds > LEASE_S else 0)
        return True

    def keep_running(self) -> None:
        """Start the process again if it ended by itself, as ECS does.

        It ends if the queue does not respond at its start.
        """
        with self._lock:
            if self._process is not None and (code := self._process.poll()) is not None:
                self._tally.count(f"services that ended by themselves/exit code {code}")
                self.start()

    def close(self) -> None:
        with self._lock:
            if self._process is not None:
                self._process.send_signal(signal.SIGCONT)
                self._stop(signal.SIGTERM)
                self._process = None
        self._log.close()

    def _stop(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._tally.count("services killed because they did not stop")
            self._process.kill()
            self._process.wait()


class LambdaEnvironment:
    """An execution environment, and the part of Lambda that invokes it with messages of the queue.

    As on Lambda, the process runs only during an invocation: between two of them it is frozen.
    """

    kind = "Lambda environment"

    def __init__(
        self,
        environment: Mapping[str, str],
        log: Path,
        *,
        connect: Callable[[], SQSClient],
        queue_urls: Sequence[str],
        chance: Random,
        tally: Tally,
        late_write_s: int,
    ) -> None:
        self._environment, self._late_write_s = environment, late_write_s
        self._log = log.open("ab")
        self._connect, self._queue_urls = connect, queue_urls
        self._chance, self._tally = chance, tally
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen_at: float | None = None
        self._invoked = False
        self._background = Background(self._poll)
        #: True while it may stay frozen for long between two invocations.
        self.is_patient = True

    def start(self) -> None:
        self._background.start()

    def kill(self, number: signal.Signals) -> bool:
        """Kill the process, in an invocation or between two. Lambda sends no other signal."""
        with self._lock:
            if self._process is None or number != signal.SIGKILL:
                return False
            self._process.kill()
        return True

    def freeze(self, seconds: float, ended: threading.Event) -> bool:
        """Stop the process in the middle of an invocation, for some seconds."""
        with self._lock:
            process = self._process
            if process is None or not self._invoked:
                return False
            process.send_signal(signal.SIGSTOP)
        ended.wait(seconds)
        with self._lock:
            if self._process is process and self._invoked:
                process.send_signal(signal.SIGCONT)
        return True

    def keep_running(self) -> None:
        """Raise the exception that ended the polling, if one did. The polling itself starts processes."""
        self._background.check()

    def close(self) -> None:
        self._background.stop()
        self._end_process()
        self._log.close()

    def _poll(self) -> None:
        sqs = self._connect()
        for url in cycle(self._queue_urls):
            if self._background.closing.wait(self._pause_s()):
                return
            messages = sqs.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=10,
                WaitTimeSeconds=1,
                MessageSystemAttributeNames=["All"],
            ).get("Messages", [])
            failed = self._invoke(url, messages) if messages else None
            for message in messages:
                if failed is not None and message["MessageId"] not in failed:
                    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    def _pause_s(self) -> float:
        """Return the seconds until the next invocation, during which the process is frozen."""
        longest = 60.0 if self.is_patient and self._chance.random() < 0.05 else 1.0
        return self._chance.uniform(0.01, longest)

    def _invoke(self, url: str, messages: list[MessageTypeDef]) -> set[str] | None:
        """Return the IDs of the messages that the function returned, or None if it did not respond in time."""
        event = {"Records": [_record(url, message) for message in messages]}
        line = json.dumps({"event": event, "seconds": FUNCTION_TIMEOUT_S}) + "\n"
        with self._lock:
            process = self._thaw() if self._process and self._process.poll() is None else self._begin_process()
            self._invoked = True
        self._tally.count("invocations")
        try:
            assert process.stdin is not None
            process.stdin.write(line.encode())
            process.stdin.flush()
            response = _read_line(process, FUNCTION_TIMEOUT_S)
        except OSError:  # the process was killed
            response = None
        with self._lock:
            self._invoked = False
            if not response:
                if process.poll() is None:
                    self._tally.count("invocations ended by the timeout")
                self._end_process()
                return None
            process.send_signal(signal.SIGSTOP)
            self._frozen_at = time.monotonic()
        return {failure["itemIdentifier"] for failure in json.loads(response)["batchItemFailures"]}

    def _thaw(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        if self._frozen_at is not None:
            self._tally.add_duration("freezes between invocations", time.monotonic() - self._frozen_at)
            self._frozen_at = None
        self._process.send_signal(signal.SIGCONT)
        return self._process

    def _begin_process(self) -> subprocess.Popen[bytes]:
        self._end_process()
        self._process = subprocess.Popen(
            _command(self._late_write_s, "localcloud.chaos.lambda_environment"),
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
        )
        self._tally.count("execution environments started")
        return self._process

    def _end_process(self) -> None:
        with self._lock:
            if self._process is not None:
                self._process.kill()
                self._process.wait()
                for pipe in (self._process.stdin, self._process.stdout):
                    if pipe is not None:
                        with contextlib.suppress(OSError):  # input that the process did not read
                            pipe.close()
            self._process, self._frozen_at = None, None


def _command(late_write_s: int, module: str) -> list[str]:
    return [sys.executable, "-P", str(SHORTENED), str(late_write_s), module]


def _record(url: str, message: MessageTypeDef) -> dict[str, Any]:
    """Return a message in the form of https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html."""
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message["Attributes"],
        "messageAttributes": {},
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{stack.REGION}:000000000000:{url.rpartition('/')[2]}",
    }


def _read_line(process: subprocess.Popen[bytes], timeout_s: float) -> bytes | None:
    """Return the next line of the output, or None if the process ends or the time passes first."""
    output: IO[bytes] | None = process.stdout
    assert output is not None
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        return output.readline() if selector.select(timeout_s) else None
