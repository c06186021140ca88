"""The bucket that a restore writes to: the simulated source, with a check of each write."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from s3_syncer.core.model import SOURCE_ETAG_MARKER

from .store import Response, Store


class WatchedBucket:
    """The store of one restore. `breaches` has one line for each write that the restore must not make.

    A restore replaces an object only with `overwrite`. Then it replaces only what it has read before its first write of
    the key, so that what another program writes meanwhile stays. It writes no ETag marker, and deletes nothing.
    """

    def __init__(self, store: Store, *, overwrite: bool) -> None:
        self._store, self._overwrite = store, overwrite
        self.breaches: list[str] = []
        #: By key: the ETags that the restore read before its first write, and those that it wrote.
        self._read: dict[str, set[str]] = defaultdict(set)
        self._own: dict[str, set[str]] = defaultdict(set)
        self._written: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def head_object(self, Key: str, **parameters: Any) -> Response:
        return self._note_read(Key, self._store.head_object(Key, **parameters))

    def get_object(self, Key: str, **parameters: Any) -> Response:
        return self._note_read(Key, self._store.get_object(Key, **parameters))

    def put_object(self, Key: str, **parameters: Any) -> Response:
        self._note_write(Key, parameters)
        return self._replace(Key, lambda: self._store.put_object(Key, **parameters))

    def create_multipart_upload(self, Key: str, **parameters: Any) -> Response:
        self._note_write(Key, parameters)
        return self._store.create_multipart_upload(Key, **parameters)

    def complete_multipart_upload(self, Key: str, **parameters: Any) -> Response:
        return self._replace(Key, lambda: self._store.complete_multipart_upload(Key, **parameters))

    def put_object_tagging(self, Key: str, Tagging: Mapping[str, Any]) -> Response:
        self._expect_own(Key)
        return self._store.put_object_tagging(Key, Tagging)

    def delete_object_tagging(self, Key: str) -> Response:
        self._expect_own(Key)
        return self._store.delete_object_tagging(Key)

    def delete_object(self, Key: str) -> Response:
        self.breaches.append(f"{Key}: deleted")
        return self._store.delete_object(Key)

    def _note_read(self, key: str, response: Response) -> Response:
        if key not in self._written:
            self._read[key].add(response["ResponseMetadata"]["HTTPHeaders"]["etag"].strip('"'))
        return response

    def _note_write(self, key: str, parameters: Mapping[str, Any]) -> None:
        self._written.add(key)
        if SOURCE_ETAG_MARKER in parameters.get("Metadata", {}):
            self.breaches.append(f"{key}: written with the ETag marker")

    def _replace(self, key: str, write: Callable[[], Response]) -> Response:
        before = self._store.current(key)
        response = write()
        after = self._store.current(key)
        if after is before or after is None:
            return response
        if before is not None and not (self._overwrite and before.etag in self._read[key]):
            self.breaches.append(f"{key}: replaced an object that the restore had to leave: {before.body[:20]!r}")
        self._own[key].add(after.etag)
        return response

    def _expect_own(self, key: str) -> None:
        """Note a write of tags alone, unless the object is one that the restore wrote."""
        version = self._store.current(key)
        if version is not None and version.etag not in self._own[key]:
            self.breaches.append(f"{key}: changed the tags of an object that the restore had to leave")
