"""Check the permissions on the target, and what the target does with objects."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..core import headers
from ..core.headers import META, PARAMETERS
from ..core.model import md5_of
from ..core.units import MIB
from ..stores.object_locks import NOT_MIRRORED
from .calls import Answer, call
from .connection import permission
from .report import Check, Status
from .scratch import Scratch

PERMISSIONS = "Target permissions"
ABILITIES = "Target"

BODY = b"s3-syncer doctor\n"

#: Size in bytes of the first parts: the smallest that AWS accepts.
PART = 5 * MIB

#: The number of the last part that AWS accepts.
LAST_PART = 10_000

#: Headers and metadata of an object, by the name of the check.
PROPERTIES: Mapping[str, tuple[str, str]] = {
    "Cache-Control": ("cache-control", "no-store, max-age=7"),
    "Content-Disposition": ("content-disposition", "attachment; filename*=UTF-8''%C3%BC.txt"),
    "Content-Encoding": ("content-encoding", "gzip"),
    "Content-Language": ("content-language", "de, en"),
    "Content-Type": ("content-type", "text/plain"),
    "Expires": ("expires", "Thu, 01 Jan 2026 00:00:00 GMT"),
    "Expires that is no date": ("expires", "0"),
    "metadata": (f"{META}name", "value"),
    "metadata with underscores": (f"{META}a_b", "value"),
    "metadata with upper case": (f"{META}case", "VaLuE"),
    "metadata that is empty": (f"{META}empty", ""),
    "metadata in RFC 2047": (f"{META}encoded", "=?UTF-8?B?w7zDtg==?="),
    "metadata of 1,900 bytes": (f"{META}large", "x" * 1900),
}


def check_permissions(scratch: Scratch, *, tags: bool) -> Iterator[Check]:
    """Make each request that the workers make, and return the permission for it."""
    put = scratch.put("permissions", BODY)
    yield permission(PERMISSIONS, "s3:PutObject", put)
    yield permission(PERMISSIONS, "s3:GetObject", scratch.ask("get_object", "permissions"))
    if tags:
        yield from _check_tag_permissions(scratch)
    begun = scratch.begin_upload("upload")
    if begun.is_ok:
        upload_id = begun.response["UploadId"]
        yield _lacking("s3:ListBucketMultipartUploads", scratch.uploads())
        yield _lacking("s3:ListMultipartUploadParts", scratch.ask("list_parts", "upload", UploadId=upload_id))
        aborted = scratch.ask("abort_multipart_upload", "upload", UploadId=upload_id)
        yield permission(PERMISSIONS, "s3:AbortMultipartUpload", aborted)
    yield permission(PERMISSIONS, "s3:DeleteObject", scratch.ask("delete_object", "permissions"))


def _check_tag_permissions(scratch: Scratch) -> Iterator[Check]:
    tag_set = {"TagSet": [{"Key": "name", "Value": "value"}]}
    for name, operation, parameters in (
        ("s3:PutObjectTagging", "put_object_tagging", {"Tagging": tag_set}),
        ("s3:GetObjectTagging", "get_object_tagging", {}),
        ("s3:DeleteObjectTagging", "delete_object_tagging", {}),
    ):
        answer = scratch.ask(operation, "permissions", **parameters)
        if answer.is_ok or answer.is_denied:  # any other error is about tags themselves: see `check_tags`
            yield permission(PERMISSIONS, name, answer)


def _lacking(name: str, answer: Answer) -> Check:
    """Return the check of a permission that the workers can do without."""
    if answer.is_ok:
        return Check(PERMISSIONS, name, Status.OK, "allowed")
    return Check(PERMISSIONS, name, Status.NOTE, f"{answer.reason}: one worker copies each large object alone")


# -- objects -------------------------------------------------------------------------------------------------------


def check_tags(scratch: Scratch, *, tags: bool) -> Iterator[Check]:
    """Check that tags are kept, in a header of a PUT and alone, and how an object without tags looks."""
    written = scratch.put("tags", BODY, Tagging="name=value")
    read = scratch.ask("get_object_tagging", "tags")
    kept = read.response.get("TagSet") == [{"Key": "name", "Value": "value"}]
    tag_set = {"TagSet": [{"Key": "a", "Value": "b"}]}
    scratch.put("plain", BODY)
    changed = scratch.ask("put_object_tagging", "plain", Tagging=tag_set)
    is_replaced = scratch.ask("get_object", "plain").body != BODY
    if is_replaced or not (written.is_ok and kept):
        reason = written.reason or read.reason or "they are dropped"
        if is_replaced:
            reason = "it ignores ?tagging, so that a change of the tags replaces the object"
        yield Check(
            ABILITIES,
            "tags",
            Status.PROBLEM if tags else Status.OK,
            f"the store does not keep tags: {reason}" + ("" if tags else ". They are not copied"),
            facts={"tags": False},
            settings={"sync.tags": False} if tags else {},
        )
        return
    removed = scratch.ask("delete_object_tagging", "tags")
    failed = next((answer.reason for answer in (changed, removed) if not answer.is_ok), "")
    if failed:
        yield Check(ABILITIES, "tags", Status.PROBLEM, f"tags can be written, not changed: {failed}", {"tags": True})
        return
    yield Check(ABILITIES, "tags", Status.OK, "kept", {"tags": True})
    empty = scratch.ask("get_object_tagging", "tags")
    if not empty.is_ok or "TagSet" not in empty.response:
        finding = f"an object without tags is {empty.code or 'a response without TagSet'}"
        yield Check(ABILITIES, "no tags", Status.NOTE, finding, {"empty_tag_set": False})


def check_etags(scratch: Scratch) -> Iterator[Check]:
    """Check the ETag of a PUT, and if Content-MD5 protects the bytes."""
    etag = _etag(scratch.put("etag", BODY))
    is_md5 = etag == md5_of(BODY).hex()
    if is_md5:
        yield Check(ABILITIES, "ETag", Status.OK, "the MD5 of the bytes", {"md5_etags": True})
    else:
        finding = f"{etag or 'none'}: not the MD5 of the bytes. Each copy gets the ETag of its source as metadata"
        yield Check(ABILITIES, "ETag", Status.NOTE, finding, {"md5_etags": False})
    wrong = scratch.put("damaged", BODY, ContentMD5=base64.b64encode(md5_of(b"other")).decode())
    if wrong.is_ok:
        finding = "not compared: bytes that are damaged in transit are not noticed"
        yield Check(ABILITIES, "Content-MD5", Status.NOTE, finding, {"content_md5": False})
    else:
        yield Check(ABILITIES, "Content-MD5", Status.OK, f"other bytes are {wrong.code}", {"content_md5": True})


def check_conditions(scratch: Scratch) -> Iterator[Check]:
    """Check conditions of reads and writes, and ranges."""
    scratch.put("conditions", BODY)
    requests: tuple[tuple[str, str, Callable[[], Answer]], ...] = (
        ("read_if_match", "If-Match of GET", lambda: scratch.ask("get_object", "conditions", IfMatch='"0"')),
        ("write_if_match", "If-Match of PUT", lambda: scratch.put("conditions", BODY, IfMatch='"0"')),
        ("write_if_none_match", "If-None-Match of PUT", lambda: scratch.put("conditions", BODY, IfNoneMatch="*")),
    )
    for fact, name, request in requests:
        answer = request()
        is_kept = answer.status == 412
        finding = "honoured" if is_kept else "ignored" if answer.is_ok else f"refused: {answer.reason}"
        yield Check(ABILITIES, name, Status.OK if is_kept else Status.NOTE, finding, {fact: is_kept})
    part = scratch.ask("get_object", "conditions", Range="bytes=2-3")
    is_range = part.body == BODY[2:4]
    finding = "honoured" if is_range else part.reason or "ignored: large objects are read whole for each part"
    yield Check(ABILITIES, "ranges", Status.OK if is_range else Status.NOTE, finding, {"ranges": is_range})


def check_properties(scratch: Scratch) -> Iterator[Check]:
    """Check that each header and each kind of metadata comes back as it was written."""
    changed: dict[str, str] = {}
    for number, (name, (header, value)) in enumerate(PROPERTIES.items()):
        key = f"property-{number}"
        written = scratch.put(key, BODY, **_parameters(header, value))
        if not written.is_ok:
            changed[name] = f"refused ({written.code}): the key of such an object fails"
            continue
        if what := _change(header, value, scratch.ask("head_object", key).headers):
            changed[name] = f"{what}: such an object arrives, and its key counts as failed"
    for name, what in changed.items():
        yield Check(ABILITIES, name, Status.NOTE, what)
    kept = len(PROPERTIES) - len(changed)
    yield Check(
        ABILITIES,
        "headers, metadata",
        Status.OK,
        f"{kept} of {len(PROPERTIES)} kinds come back as they were written",
        {"changed_properties": changed},
    )


# -- multipart uploads ---------------------------------------------------------------------------------------------


def check_uploads(scratch: Scratch) -> Iterator[Check]:
    """Upload an object in parts of different sizes. Check its ETag, its parts and the last part number."""
    parts = [b"a" * PART, b"b" * (PART + 1), b"c"]
    begun = scratch.begin_upload("parts")
    if not begun.is_ok:
        yield Check(ABILITIES, "multipart", Status.PROBLEM, begun.reason, {"multipart": False})
        return
    upload_id, etags = begun.response["UploadId"], []
    for number, data in enumerate(parts, start=1):
        part = scratch.upload_part("parts", upload_id, number, data)
        if not part.is_ok:
            yield Check(ABILITIES, "multipart", Status.PROBLEM, f"part {number}: {part.reason}", {"multipart": False})
            return
        etags.append(_etag(part))
    done: Any = {"Parts": [{"PartNumber": number, "ETag": f'"{etag}"'} for number, etag in enumerate(etags, start=1)]}
    completed = scratch.ask("complete_multipart_upload", "parts", UploadId=upload_id, MultipartUpload=done)
    if not completed.is_ok:
        finding = f"parts of different sizes: {completed.reason}"
        yield Check(ABILITIES, "multipart", Status.PROBLEM, finding, {"multipart": False})
        return
    yield Check(ABILITIES, "multipart", Status.OK, "parts of different sizes are accepted", {"multipart": True})
    yield from _check_parts(scratch, parts)
    yield _check_part_numbers(scratch)


def _check_part_numbers(scratch: Scratch) -> Check:
    """Upload the last part that AWS accepts, in a separate upload: a completion may need all parts."""
    upload_id = scratch.begin_upload("part-numbers").response.get("UploadId", "")
    answer = scratch.upload_part("part-numbers", upload_id, LAST_PART, b"x")
    if answer.is_ok:
        return Check(ABILITIES, "part numbers", Status.OK, f"{LAST_PART:,} is accepted", {"last_part": LAST_PART})
    finding = f"{LAST_PART:,} is refused: {answer.reason}. Objects of many parts fail"
    return Check(ABILITIES, "part numbers", Status.PROBLEM, finding, {"last_part": None})


def _check_parts(scratch: Scratch, parts: list[bytes]) -> Iterator[Check]:
    head = scratch.ask("head_object", "parts", PartNumber=1)
    whole = scratch.ask("head_object", "parts")
    expected = f"{md5_of(b''.join(map(md5_of, parts))).hex()}-{len(parts)}"
    is_md5 = _etag(whole) == expected
    finding = "the MD5 of the parts' MD5s" if is_md5 else f"{_etag(whole)}: copies get the ETag of their source"
    yield Check(
        ABILITIES, "multipart ETag", Status.OK if is_md5 else Status.NOTE, finding, {"md5_multipart_etags": is_md5}
    )
    count, length = head.headers.get("x-amz-mp-parts-count"), head.headers.get("content-length")
    is_shown = (count, length) == (str(len(parts)), str(len(parts[0])))
    finding = "shown by HEAD" if is_shown else "not shown by HEAD: only important for a source"
    yield Check(ABILITIES, "parts of an object", Status.OK, finding, {"part_sizes": is_shown})
    size, expected_size = whole.headers.get("content-length"), sum(map(len, parts))
    if size != str(expected_size):
        yield Check(ABILITIES, "multipart size", Status.PROBLEM, f"{size} bytes instead of {expected_size}")


# -- versions ------------------------------------------------------------------------------------------------------


def check_protection(scratch: Scratch, *, object_lock: bool) -> Iterator[Check]:
    """Check versioning and Object Lock by the headers of an object, which need no further permission.

    With `object_lock`, the locks of the source are mirrored. Then the target is asked if it has Object Lock at all.
    """
    written = scratch.put("versions", BODY)
    head = scratch.ask("head_object", "versions").headers
    version = written.headers.get("x-amz-version-id")
    is_versioned = version not in (None, "null")
    finding = "off" if not is_versioned else "on: overwritten and deleted objects stay as versions, and cost money"
    yield Check(
        ABILITIES, "versioning", Status.NOTE if is_versioned else Status.OK, finding, {"versioning": is_versioned}
    )
    mode = head.get("x-amz-object-lock-mode")
    if object_lock and mode is None:
        yield _check_object_lock(scratch)
    elif mode:
        until = head.get("x-amz-object-lock-retain-until-date")
        finding = f"{mode} until {until}: deleted versions stay, and so do the scratch keys of the doctor"
        yield Check(ABILITIES, "Object Lock", Status.NOTE, finding, {"object_lock": mode})
    else:
        yield Check(ABILITIES, "Object Lock", Status.OK, "no default retention", {"object_lock": None})


def _check_object_lock(scratch: Scratch) -> Check:
    """Check if the target can keep the locks of the source."""
    answer = call(scratch.client.get_object_lock_configuration, Bucket=scratch.bucket)
    if answer.is_ok:
        return Check(ABILITIES, "Object Lock", Status.OK, "no default retention", {"object_lock": None})
    if answer.is_denied:
        finding = "the access key may not ask if the bucket has it: allow s3:GetBucketObjectLockConfiguration"
        return Check(ABILITIES, "Object Lock", Status.NOTE, finding)
    return Check(ABILITIES, "Object Lock", Status.PROBLEM, f"{NOT_MIRRORED} ({answer.reason})")


def _change(header: str, value: str, read: Mapping[str, str]) -> str:
    """Return what the target has done to a header, or "" if it comes back as it was written."""
    found = read.get(header)
    if found == value:
        return ""
    if found:
        return f"comes back as {_shown(found)}"
    renamed = (
        name for name, text in read.items() if name.startswith(META) and header.startswith(META) and text == value
    )
    return next((f"renamed to {name.removeprefix(META)!r}" for name in renamed), "dropped")


def _parameters(header: str, value: str) -> dict[str, Any]:
    """Return the parameter of boto3 for a header."""
    if header.startswith(META):
        return {"Metadata": {header.removeprefix(META): value}}
    return {PARAMETERS[header]: value}


def _etag(answer: Answer) -> str:
    return headers.etag(answer.headers) or ""


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
