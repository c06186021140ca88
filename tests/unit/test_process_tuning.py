"""Large buffers return to the operating system, so that the memory budget bounds the whole process."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

LAMBDA = Path(__file__).parent.parent.parent / "lambda"

#: Allocates a buffer of 16 MiB at a time, in eight threads in turn; prints the MiB by which the peak grew.
TURNS = """
import re, threading
from s3_syncer.process_tuning import return_large_buffers

def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]) // 1024

def take_turns():
    for _ in range(3):
        turn.acquire()
        buffer = bytearray(b"x") * (16 * 1024 * 1024)
        del buffer
        turn.release()
        together.wait()

{first}
turn, together = threading.Lock(), threading.Barrier(8)
before = peak()
threads = [threading.Thread(target=take_turns) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(peak() - before)
"""


def grown_mib(first: str) -> int:
    environment = {"PYTHONPATH": str(LAMBDA)}
    program = [sys.executable, "-c", TURNS.format(first=first)]
    return int(subprocess.run(program, env=environment, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps them")
def test_large_buffers_are_returned_at_once() -> None:
    assert grown_mib("") > 60, "the function must make a difference"
    assert grown_mib("return_large_buffers()") < 24
