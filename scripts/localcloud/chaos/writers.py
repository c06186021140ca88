"""Change the source in every way, all the time, from several threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

from localcloud.chaos.background import Background
from localcloud.chaos.tally import Tally
from localcloud.demo import STRANGE_KEYS

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MIB = 1024 * 1024

#: Keys that no sweep covers, so that no sweep hides a fault of live sync.
LIVE_PREFIX = "live/"

#: Keys that ranges on the queue sweep too.
RANGE_PREFIX = "range/"

#: Keys that migrations sweep too. See `sweeps.py`.
SWEPT_PREFIX = "swept/"

#: The prefix of a key is the one at the number of the key, modulo four.
PREFIXES = (SWEPT_PREFIX, LIVE_PREFIX, RANGE_PREFIX, LIVE_PREFIX)

#: Keys of ordinary objects.
KEYS = 800
HOT_KEYS = 5

#: Mean number of changes of a key of a burst.
BURST_CHANGES = 6

MULTIPART_KEYS = 10

#: A multipart upload above the services' and the functions' threshold of 64 MiB, which several workers copy.
LARGE_KEYS = 2
LARGE_PARTS, LARGE_PART_SIZE = 9, 8 * MIB
LARGE_INTERVAL_S = 60.0

#: Combinations of content headers, user metadata and tags of new objects.
PROPERTIES: tuple[dict[str, Any], ...] = (
    {},
    {"ContentType": "text/plain; charset=utf-8", "Metadata": {"origin": "chaos", "empty": ""}},
    {"ContentType": "application/json", "ContentEncoding": "gzip", "Tagging": "stage=new&note=a+b%2Fc"},
    {"CacheControl": "max-age=60, public", "ContentDisposition": 'attachment; filename="a b.txt"'},
    {"ContentLanguage": "de, fr", "Tagging": "k=v"},
)


class Writer:
    """Changes the source until its thread is stopped."""

    def __init__(self, client: S3Client, bucket: str, chance: Random, tally: Tally, interval_s: float) -> None:
        """Make a change every `interval_s` seconds on average."""
        self._client, self._bucket = client, bucket
        self._chance, self._tally, self._interval_s = chance, tally, interval_s
        self.background = Background(self._run)

    def changes(self) -> Sequence[tuple[int, str, Callable[[], None]]]:
        """Return the kinds of changes, each with its weight and name."""
        return (
            (35, "object written", lambda: self._put(self._key())),
            (15, "object deleted", lambda: self._delete(self._key())),
            (5, "object deleted and written again at once", self._delete_and_put),
            (10, "metadata changed, same bytes", self._change_metadata),
            (8, "tags changed", self._change_tags),
            (3, "tags removed", self._remove_tags),
            (8, "object with an odd key written", lambda: self._put(self._chance.choice(STRANGE_KEYS))),
            (3, "object with an odd key deleted", lambda: self._delete(self._chance.choice(STRANGE_KEYS))),
            (8, "hot key overwritten 10 times", self._overwrite_hot_key),
            (3, "multipart object written", self._put_multipart),
        )

    def _run(self) -> None:
        changes = self.changes()
        while not self.background.closing.wait(self._chance.expovariate(1 / self._interval_s)):
            _, name, change = self._chance.choices(changes, [weight for weight, _, _ in changes])[0]
            try:
                change()
            except self._client.exceptions.NoSuchKey:  # a writer has deleted the object meanwhile
                continue
            self._tally.count(f"changes/{name}")

    def _key(self) -> str:
        """Return a key of an object that may exist. Low numbers are chosen more often."""
        number = int(KEYS * self._chance.random() ** 3)
        return _key(f"{number % 7}/{number:05}", number)

    def _put(self, key: str) -> None:
        size = 0 if self._chance.random() < 0.05 else int(2 ** self._chance.uniform(0, 18))
        properties = self._chance.choice(PROPERTIES)
        self._client.put_object(Bucket=self._bucket, Key=key, Body=self._chance.randbytes(size), **properties)
        self._wrote(size)

    def _delete(self, key: str) -> None:
        self._client.delete_object(Bucket=self._bucket, Key=key)

    def _delete_and_put(self) -> None:
        key = self._key()
        self._delete(key)
        self._put(key)

    def _change_metadata(self) -> None:
        """Copy the object onto itself with new metadata, which keeps the bytes and the ETag."""
        key = self._key()
        self._client.copy_object(
            Bucket=self._bucket,
            Key=key,
            CopySource={"Bucket": self._bucket, "Key": key},
            MetadataDirective="REPLACE",
            Metadata={"change": f"{self._chance.getrandbits(32):08x}"},
        )

    def _change_tags(self) -> None:
        tags: Any = [{"Key": "change", "Value": f"{self._chance.getrandbits(32):08x}"}]
        self._client.put_object_tagging(Bucket=self._bucket, Key=self._key(), Tagging={"TagSet": tags})

    def _remove_tags(self) -> None:
        self._client.delete_object_tagging(Bucket=self._bucket, Key=self._key())

    def _overwrite_hot_key(self) -> None:
        number = self._chance.randrange(HOT_KEYS)
        key = _key(f"hot/{number}", number)
        for _ in range(10):
            self._put(key)

    def _put_multipart(self) -> None:
        number = self._chance.randrange(MULTIPART_KEYS)
        self._upload(_key(f"parts/{number}", number), [5 * MIB, self._chance.randrange(1, MIB)])

    def _upload(self, key: str, sizes: Sequence[int]) -> None:
        metadata = {"change": f"{self._chance.getrandbits(32):08x}"}
        upload = self._client.create_multipart_upload(Bucket=self._bucket, Key=key, Metadata=metadata)["UploadId"]
        parts: Any = []
        for number, size in enumerate(sizes, start=1):
            part = self._client.upload_part(
                Bucket=self._bucket,
                Key=key,
                UploadId=upload,
                PartNumber=number,
                Body=self._chance.randbytes(size),
            )
            parts.append({"PartNumber": number, "ETag": part["ETag"]})
        self._client.complete_multipart_upload(
            Bucket=self._bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
        )
        self._wrote(sum(sizes))

    def _wrote(self, size: int) -> None:
        self._tally.count("objects written")
        self._tally.count("bytes written", size)


class BurstWriter(Writer):
    """Changes a key several times in a row, and never again.

    No later event of such a key hides a late write to it.
    """

    def __init__(self, client: S3Client, bucket: str, chance: Random, tally: Tally, interval_s: float) -> None:
        super().__init__(client, bucket, chance, tally, interval_s)
        self._burst = chance.getrandbits(32)

    def changes(self) -> Sequence[tuple[int, str, Callable[[], None]]]:
        return (
            (6, "burst: object written", lambda: self._put(self._key())),
            (2, "burst: object deleted", lambda: self._delete(self._key())),
            (1, "burst: object deleted and written again at once", self._delete_and_put),
            (2, "burst: metadata changed, same bytes", self._change_metadata),
            (1, "burst: tags changed", self._change_tags),
        )

    def _key(self) -> str:
        if self._chance.random() < 1 / BURST_CHANGES:
            self._burst = self._chance.getrandbits(32)
        return f"{LIVE_PREFIX}burst/{self._burst:08x}"


class LargeWriter(Writer):
    """A writer of objects that several workers copy together."""

    def changes(self) -> Sequence[tuple[int, str, Callable[[], None]]]:
        name = f"object of {LARGE_PARTS * LARGE_PART_SIZE // MIB} MiB written in parts"
        return (
            (5, name, self._put_large),
            (1, "large object deleted", lambda: self._delete(self._large_key())),
        )

    def _large_key(self) -> str:
        number = self._chance.randrange(LARGE_KEYS)
        return _key(f"large/{number}", number + 1)  # one of live sync, one of ranges

    def _put_large(self) -> None:
        self._upload(self._large_key(), [LARGE_PART_SIZE] * LARGE_PARTS)


def _key(name: str, number: int) -> str:
    return f"{PREFIXES[number % len(PREFIXES)]}{name}"
