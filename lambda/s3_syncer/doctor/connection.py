"""Check that a service can be reached: name, connection, encryption, clock, credentials."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from ..stores.proxies import is_proxied
from .calls import Answer
from .report import Check, Status

#: Seconds by which a clock may be wrong. AWS refuses signatures that are older than 900 s.
CLOCK_PROBLEM_S = 600
CLOCK_NOTE_S = 60
CLOCK_EQUAL_S = 3


def _resolve(host: str, port: int) -> list[str]:
    return sorted({str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)})


def check_name(group: str, url: str, resolve: Callable[[str, int], list[str]] = _resolve) -> Check:
    """Check that the host of the URL has an address. Behind a proxy, the proxy looks the name up."""
    parts = urlsplit(url)
    host, scheme = parts.hostname or "", parts.scheme
    if is_proxied(url):
        return Check(group, "DNS", Status.SKIPPED, f"the proxy for {scheme} looks up {host}")
    try:
        addresses = resolve(host, parts.port or (443 if scheme == "https" else 80))
    except OSError as error:
        return Check(group, "DNS", Status.PROBLEM, f"{host} has no address: {error}")
    return Check(group, "DNS", Status.OK, f"{host} is {', '.join(addresses[:4])}")


def check_answer(group: str, url: str, answer: Answer, what: str) -> Iterator[Check]:
    """Check the first response of a service. `what` is the permission that the request needs."""
    if answer.status == 0:
        yield Check(group, "connection", Status.PROBLEM, answer.reason)
        return
    if url.startswith("https:"):
        yield Check(group, "TLS", Status.OK, "the certificate is valid")
    else:
        yield Check(group, "TLS", Status.NOTE, f"{url} is not encrypted")
    yield _check_clock(group, answer.clock_ahead_s())
    if answer.is_unusable:
        yield Check(group, "credentials", Status.PROBLEM, answer.reason)
        return
    yield Check(group, "credentials", Status.OK, "the access key is valid")
    yield permission(group, what, answer)


def permission(group: str, name: str, answer: Answer, *, may_be_refused: bool = False) -> Check:
    """Return the check of a permission. With `may_be_refused`, any other error proves the permission, too."""
    if answer.is_ok:
        return Check(group, name, Status.OK, "allowed")
    if answer.is_denied:
        return Check(group, name, Status.PROBLEM, f"denied: {answer.reason}")
    if may_be_refused and not answer.is_unusable:
        return Check(group, name, Status.OK, f"not denied: an invalid request got {answer.code}")
    return Check(group, name, Status.PROBLEM, answer.reason)


def _check_clock(group: str, ahead_s: float | None) -> Check:
    if ahead_s is None:
        return Check(group, "clock", Status.SKIPPED, "the response has no date")
    if abs(ahead_s) < CLOCK_EQUAL_S:  # the Date header has whole seconds
        return Check(group, "clock", Status.OK, "as on this machine")
    side = "ahead of" if ahead_s > 0 else "behind"
    finding = f"{abs(ahead_s):.0f} s {side} this machine"
    if abs(ahead_s) > CLOCK_PROBLEM_S:
        return Check(group, "clock", Status.PROBLEM, f"{finding}: a store refuses signatures after 900 s")
    return Check(group, "clock", Status.NOTE if abs(ahead_s) > CLOCK_NOTE_S else Status.OK, finding)
