"""Kill and freeze workers, and stop stores, until the time is over."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from localcloud.chaos.background import Background
from localcloud.chaos.chance import seeded
from localcloud.chaos.proxy import Proxy
from localcloud.chaos.tally import Tally
from localcloud.chaos.workers import Worker

#: Mean number of seconds between two disturbances of each kind.
KILL_INTERVAL_S = 8.0
FREEZE_INTERVAL_S = 15.0
OUTAGE_INTERVAL_S = 25.0

#: The shares of requests with a fault, and the seconds for which a share lasts.
FAULT_RATES = (0.0, 0.02, 0.05, 0.05, 0.15)
RATE_INTERVAL_S = 20.0

#: The shortest and the longest freeze and outage, in seconds. Short ones are more frequent.
FREEZE_S = (1.0, 90.0)
OUTAGE_S = (1.0, 60.0)


class Disturbances:
    """Disturbs workers and stores in several threads, until `stop`."""

    def __init__(self, workers: Sequence[Worker], proxies: Sequence[Proxy], chance: Random, tally: Tally) -> None:
        self._workers, self._proxies, self._tally = workers, proxies, tally
        self._ending = threading.Event()
        # Each thread has its own source of chance, so that their order does not change the choices.
        self._backgrounds = [
            Background(partial(self._repeat, disturb, interval_s, seeded(chance.random())))
            for disturb, interval_s in (
                (self._kill, KILL_INTERVAL_S),
                (self._freeze, FREEZE_INTERVAL_S),
                (self._freeze, FREEZE_INTERVAL_S),
                (self._stop_store, OUTAGE_INTERVAL_S),
                (self._change_fault_rate, RATE_INTERVAL_S),
            )
        ]

    def start(self) -> None:
        for background in self._backgrounds:
            background.start()

    def check(self) -> None:
        for background in self._backgrounds:
            background.check()

    def stop(self) -> None:
        """End every disturbance, and return when the last one is over."""
        self._ending.set()
        for background in self._backgrounds:
            background.stop()
        for proxy in self._proxies:
            proxy.turbulence.rate = 0.0
            proxy.recover()

    def _repeat(self, disturb: Callable[[Random], None], interval_s: float, chance: Random) -> None:
        while not self._ending.wait(chance.expovariate(1 / interval_s)):
            disturb(chance)

    def _kill(self, chance: Random) -> None:
        worker = chance.choice(self._workers)
        number = chance.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM))
        if worker.kill(number):
            self._tally.count(f"kills/{number.name} of a {worker.kind}")

    def _freeze(self, chance: Random) -> None:
        worker, seconds = chance.choice(self._workers), _seconds(chance, FREEZE_S)
        began = time.monotonic()
        if worker.freeze(seconds, self._ending):
            self._tally.add_duration(f"freezes of a {worker.kind}", time.monotonic() - began)

    def _stop_store(self, chance: Random) -> None:
        proxy, seconds = chance.choice(self._proxies), _seconds(chance, OUTAGE_S)
        name, outage = chance.choice(
            (
                ("connections refused", proxy.refuse_connections),
                ("503 to every request", proxy.respond_unavailable),
                ("no response", proxy.fall_silent),
            )
        )
        began = time.monotonic()
        outage()
        self._ending.wait(seconds)
        proxy.recover()
        self._tally.add_duration(f"outages of the {proxy.name}: {name}", time.monotonic() - began)

    def _change_fault_rate(self, chance: Random) -> None:
        chance.choice(self._proxies).turbulence.rate = chance.choice(FAULT_RATES)


def _seconds(chance: Random, limits: tuple[float, float]) -> float:
    shortest, longest = limits
    return math.exp(chance.uniform(math.log(shortest), math.log(longest)))
