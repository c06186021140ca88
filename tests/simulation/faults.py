"""The faults of a history: which of them happen, and how often.

To add a fault of requests: add its rate to `Faults`, draw the rate in `draw_faults`, and raise or delay in
`Connection.attempt`. To add a behaviour of a store: add it to `Traits`, and use it in `Store`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, Protocol, TypeVar

T = TypeVar("T")

#: Longest time in seconds between the first byte of a request and its effect in the store. S3 refuses a request with a
#: signature that is 15 minutes old: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
SIGNATURE_MAX_AGE_S = 900.0


class Choices(Protocol):
    """The seeded decisions of a history: see `scheduler.Scheduler`."""

    def choose(self, options: Sequence[T]) -> T: ...

    def chance(self, p: float) -> bool: ...


#: Seconds that a slow write takes: less than the read timeout of the clients, and enough for other workers to end.
SLOW_S = 30.0

#: The response to every request during an outage. Connections are refused; a proxy answers 404 or 503 with a page of
#: HTML. `denied` is a 403 with a code of which the product knows nothing.
OutageKind = Literal["refused", "not found", "unavailable", "denied"]


@dataclass(frozen=True, slots=True)
class Outage:
    """A time in which no request reaches a server: `start_s` and `end_s` in simulated seconds."""

    start_s: float
    end_s: float
    kind: OutageKind = "refused"


@dataclass(frozen=True, slots=True)
class Faults:
    """The faults on the way to one server. A rate is a share of the requests; 0.0 switches its fault off."""

    #: The connection breaks before the server has the request.
    request_lost: float = 0.0
    #: The connection breaks after the server has applied the request.
    response_lost: float = 0.0
    #: The connection breaks, and the server applies the request up to SIGNATURE_MAX_AGE_S later. Writes only.
    late: float = 0.0
    #: The server answers 503 SlowDown or 500, and applies nothing.
    busy: float = 0.0
    #: The request takes SLOW_S seconds more to the server. Writes only.
    slow: float = 0.0
    #: The connection breaks within the body of a response.
    body_cut: float = 0.0
    #: One bit of the body of a response is flipped.
    damage: float = 0.0
    outages: tuple[Outage, ...] = ()

    def outage(self, now: float) -> Outage | None:
        """Return the outage at that time, or None."""
        return next((each for each in self.outages if each.start_s <= now < each.end_s), None)


NO_FAULTS = Faults()


@dataclass(frozen=True, slots=True)
class QueueFaults:
    """Rates of what SQS and S3's notifications may do at any time, and seldom do."""

    #: A message that was deleted comes again after its visibility timeout.
    duplicate: float = 0.0
    #: S3 sends an event twice.
    repeated_event: float = 0.0
    #: One entry of a batch fails.
    failed_entry: float = 0.0


NO_QUEUE_FAULTS = QueueFaults()


@dataclass(frozen=True, slots=True)
class Traits:
    """The behaviour in which stores differ. The defaults are those of AWS, with small pages."""

    #: Seconds by which the clock of the store is ahead of the simulated time.
    skew_s: float = 0.0
    #: `md5` as AWS. `opaque` has another form. `lookalike` has the form of an MD5 and is none. `kms` is a lookalike
    #: with the header of SSE-KMS.
    etags: Literal["md5", "opaque", "lookalike", "kms"] = "md5"
    #: Keys, uploads and parts in one page of a listing.
    page_size: int = 3
    #: True keeps old versions, so that `Store.roll_back` brings them back.
    versioned: bool = False
    #: True lists multipart uploads and their parts; False answers NotImplemented.
    lists_uploads: bool = True
    #: True answers a repeated completion of an upload with success, as AWS does for some minutes.
    repeats_completion: bool = True
    #: Names of headers, in lower case, that the store accepts and drops.
    drops: frozenset[str] = frozenset()
    #: The requests with responses that have the number of tags: HEAD, GET, both or none. Some stores keep tags and
    #: never return their number.
    counts_tags: frozenset[str] = frozenset({"HEAD", "GET"})
    #: False ignores the tags that come with an object, and keeps those of PutObjectTagging.
    keeps_tags_with_object: bool = True
    #: What the store does with the condition of a write: it refuses the write if the condition is not met, ignores
    #: the condition, or refuses every write with one.
    conditions: Literal["honoured", "ignored", "refused"] = "honoured"
    #: True answers 200 to every write and keeps nothing.
    keeps_nothing: bool = False
    #: True answers 204 to a deletion and keeps the object.
    keeps_deleted: bool = False
    #: True takes keys that differ in case for one, and lists them in lower case.
    folds_case: bool = False
    #: The keys for which the store denies every write.
    denied: frozenset[str] = frozenset()


AWS = Traits()

#: Rates of a fault in a history that has the fault.
_RATES = (0.01, 0.03, 0.1)


def draw_faults(choices: Choices, *, until_s: float, likelihood: float = 0.4, late: bool = True) -> Faults:
    """Return faults at random: each of them is on with `likelihood`, so that few faults also meet alone.

    Outages begin before `until_s`. Without `late`, no request is applied late. Damage is not among them, because not
    every ETag proves it: a history switches it on where the ETags of the source do. Slow writes are not among them
    either, because a function with a short timeout never ends a copy with many of them.
    """

    outages: tuple[Outage, ...] = ()
    if choices.chance(likelihood / 2):
        start_s = until_s * choices.choose((0.0, 0.1, 0.3, 0.6))
        length_s = choices.choose((1.0, 10.0, 60.0, 240.0))
        outages = (Outage(start_s, start_s + length_s, choices.choose(("refused", "not found", "unavailable"))),)
    return Faults(
        request_lost=_rate(choices, likelihood),
        response_lost=_rate(choices, likelihood),
        late=_rate(choices, likelihood) if late else 0.0,
        busy=_rate(choices, likelihood),
        body_cut=_rate(choices, likelihood),
        outages=outages,
    )


def draw_queue_faults(choices: Choices, *, likelihood: float = 0.2) -> QueueFaults:
    """Return faults of SQS at random."""
    return QueueFaults(*(_rate(choices, likelihood) for _ in fields(QueueFaults)))


def _rate(choices: Choices, likelihood: float) -> float:
    return choices.choose(_RATES) if choices.chance(likelihood) else 0.0


def draw_target(choices: Choices) -> Traits:
    """Return the traits of a target that keeps what it gets, at random."""
    return Traits(
        skew_s=choices.choose((0.0, 0.0, -40.0, 40.0)),
        etags=choices.choose(("md5", "md5", "opaque", "lookalike", "kms")),
        page_size=choices.choose((2, 3, 1000)),
        lists_uploads=not choices.chance(0.1),
        repeats_completion=choices.chance(0.5),
        counts_tags=frozenset(choices.choose((("HEAD", "GET"), ("HEAD",), ("GET",), ()))),
        keeps_tags_with_object=not choices.chance(0.3),
        conditions=choices.choose(("honoured", "honoured", "ignored", "refused")),
    )


def draw_source(choices: Choices) -> Traits:
    """Return the traits of a source, which is AWS, at random."""
    return Traits(
        etags=choices.choose(("md5", "md5", "md5", "kms")),
        page_size=choices.choose((2, 3, 1000)),
        versioned=choices.chance(0.5),
        counts_tags=frozenset(choices.choose((("HEAD", "GET"), ("HEAD", "GET"), ("HEAD",), ("GET",), ()))),
    )
