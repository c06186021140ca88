"""The arguments of `baseline.py`, in a file, because it runs in another virtual environment."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Plan:
    source: str  # host:port
    target: str
    authority: str  # file with the CA certificate of both endpoints; empty if they use HTTP
    bucket: str  # the same name on both sides
    access_key_id: str
    secret_access_key: str
    region: str
    concurrency: int
    objects: str  # file, see `objects.read`
    tags: bool  # some objects of the source get one

    @staticmethod
    def read(file: Path) -> Plan:
        return Plan(**json.loads(file.read_text()))
