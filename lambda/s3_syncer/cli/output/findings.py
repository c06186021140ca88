"""Keep the findings of a sweep until the report is written.

They are compressed, so that a million of them fit in memory.
"""

from __future__ import annotations

import json
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

#: Reasons that are counted apart. A reason may name its key, and the counts must not grow with the keys.
MAX_REASONS = 100

OTHER_REASONS = "other reasons"


@dataclass(frozen=True, slots=True)
class Finding:
    """A key, the kind of finding, and its reason. `size` is the bytes that a copy would send.

    `request_id` is that of the response of the store, or empty. Equal findings have the same reason.
    """

    what: str
    key: str
    reason: str
    size: int = 0
    request_id: str = ""

    @property
    def text(self) -> str:
        """Return the reason with the request ID, as `errors.SyncError` shows it to people."""
        return f"{self.reason}, request ID {self.request_id}" if self.request_id else self.reason


class Findings:
    """Findings in the order in which they were added. Safe to share between threads.

    An iteration reads the findings that were added before it started. If keys and reasons are alike, a finding takes
    about 10 bytes. As an object of its class it would take about 400.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        #: The bytes that copies would send, by kind.
        self.sizes: Counter[str] = Counter()
        #: The numbers of findings by reason: the first MAX_REASONS reasons, and OTHER_REASONS for the rest.
        self.reasons: Counter[str] = Counter()
        self._chunks: list[bytes] = []
        self._compressor = zlib.compressobj(1)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return self.counts.total()

    def add(self, finding: Finding) -> None:
        line = json.dumps([finding.what, finding.key, finding.reason, finding.size, finding.request_id]) + "\n"
        with self._lock:
            self.counts[finding.what] += 1
            self.sizes[finding.what] += finding.size
            is_known = finding.reason in self.reasons or len(self.reasons) < MAX_REASONS
            self.reasons[finding.reason if is_known else OTHER_REASONS] += 1
            if chunk := self._compressor.compress(line.encode()):
                self._chunks.append(chunk)

    def __iter__(self) -> Iterator[Finding]:
        with self._lock:
            chunks = [*self._chunks, self._compressor.copy().flush()]
        decompressor, rest = zlib.decompressobj(), b""
        for chunk in chunks:
            *lines, rest = (rest + decompressor.decompress(chunk)).split(b"\n")
            yield from (Finding(*json.loads(line)) for line in lines)
