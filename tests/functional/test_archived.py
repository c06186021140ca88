"""Objects in an archive: what they cost, how they are restored, and how a command counts them."""

from __future__ import annotations

import json
from collections import Counter
from math import inf
from pathlib import Path

import pytest
from tests.functional.command import run
from tests.functional.harness import SOURCE, TARGET, Rig, notification
from tests.functional.proxy import answering

COLD = [f"cold {number}" for number in range(6)]


@pytest.fixture
def icy(rig: Rig) -> Rig:
    """Return a rig with six objects in archives and two ordinary objects in the source."""
    for number, key in enumerate(COLD):
        rig.put(key, b"x" * 1000, StorageClass=("GLACIER", "DEEP_ARCHIVE")[number % 2])
    rig.put("warm", b"body")
    rig.put("instant", b"body", StorageClass="GLACIER_IR")
    return rig


def requests(rig: Rig) -> Counter[str]:
    """Return the requests about each archived object to both stores."""
    made = [*rig.source_proxy.requests, *rig.target_proxy.requests]
    return Counter(request.key for request in made if request.key in COLD)


def restores(rig: Rig) -> list[str]:
    return sorted(request.key for request in rig.source_proxy.requests if "restore" in request.query)


def test_each_archived_object_takes_one_request_in_each_run(icy: Rig) -> None:
    for _ in range(2):
        icy.source_proxy.requests.clear()
        ended = run("migrate")
        assert ended.code == 1
        assert set(ended.named) == set(COLD)
        assert "6 archived (6.0 kB), 0 failed" in ended.err
        assert requests(icy) == dict.fromkeys(COLD, 1)
    assert icy.target_keys() == ["instant", "warm"]


def test_no_request_is_needed_where_the_listing_shows_restores(icy: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s3_syncer.wiring.is_aws", lambda endpoint: endpoint == icy.source_proxy.endpoint)
    assert run("migrate").code == 1
    assert requests(icy) == {}
    pages = [r for r in icy.source_proxy.requests if "list-type" in r.query and "max-keys" not in r.query]
    assert {page.headers.get("x-amz-optional-object-attributes") for page in pages} == {"RestoreStatus"}
    assert not any("x-amz-optional-object-attributes" in request.headers for request in icy.target_proxy.requests)


@pytest.mark.parametrize("command", ["migrate", "check"])
def test_skip_archived_counts_them_and_exits_with_0(icy: Rig, command: str, tmp_path: Path) -> None:
    run("migrate")
    report = tmp_path / "report.json"
    ended = run(command, "--skip-archived", "--report", str(report))
    assert (ended.code, ended.out) == (0, "")
    assert "equal: 8 keys compared, 6 archived (6.0 kB), 0 failed" in ended.err
    written = json.loads(report.read_text())
    assert written["archived"] == {"keys": 6, "bytes": 6000}
    assert written["differences"] == []
    assert run(command).code == 1


def test_skip_archived_hides_no_other_difference(icy: Rig) -> None:
    ended = run("check", "--skip-archived")
    assert ended.code == 1
    assert set(ended.named) == {"instant", "warm"}


def test_restores_are_requested_once_and_copied_when_they_are_ready(icy: Rig) -> None:
    arguments = (
        "migrate",
        "--restore",
        "bulk",
        "--restore-days",
        "3",
        "--max-restore-gb",
        "0.000004",
        "--skip-archived",
    )
    planned = run(*arguments, "--dry-run")
    assert planned.code == 0
    assert "2 archived (2.0 kB), 4 would be restored (4.0 kB)" in planned.err
    assert restores(icy) == []

    # moto ends a restore at once: this header says that it goes on
    icy.source_proxy.when(answering(X_Amz_Restore='ongoing-request="true"'), "HEAD", key=COLD[0], times=inf)
    first = run(*arguments)
    assert (first.code, len(restores(icy))) == (0, 4)
    assert COLD[0] not in restores(icy)
    assert "2 archived (2.0 kB), 4 restores requested (4.0 kB), 0 failed" in first.err
    asked = restores(icy)

    icy.source_proxy.clear()
    second = run(*arguments)
    assert second.code == 0
    assert "4 copied" in second.err
    assert set(asked) <= set(icy.target_keys())
    assert set(restores(icy)) == set(COLD) - set(asked)

    assert run(*arguments).code == 0
    assert icy.differences() == []
    icy.source_proxy.clear()
    assert run(*arguments).code == 0
    assert restores(icy) == []


def test_restore_options_without_a_restore_are_wrong_usage(rig: Rig) -> None:
    for option in ("--restore-days", "--max-restore-gb"):
        ended = run("migrate", option, "1")
        assert ended.code == 2
        assert f"{option} has no effect without --restore" in ended.err


def test_check_compares_archived_objects_that_were_mirrored_before(rig: Rig) -> None:
    """It needs --no-tags: unlike AWS, moto does not return the tags of an archived object."""
    rig.put("key", b"body", Metadata={"a": "b"})
    run("migrate")
    rig.put("key", b"body", StorageClass="DEEP_ARCHIVE", Metadata={"a": "b"})
    assert run("check", "--full", "--no-tags").code == 0
    rig.target.put_object(Bucket=TARGET, Key="key", Body=b"other bytes")
    assert run("check", "--full", "--no-tags").named == {
        "key": "archived: the object is in DEEP_ARCHIVE: restore it, then copy it again"
    }


@pytest.mark.usefixtures("each_way")
def test_an_event_of_an_archived_object_is_one_dead_letter_and_its_restore_copies_it(rig: Rig) -> None:
    rig.put("key", b"body", StorageClass="GLACIER")
    delivery = rig.sync("key")
    assert (delivery.actions, delivery.returned) == ({"key": "dead-letter"}, [])
    assert [letter.key for letter in rig.dead_letters()] == ["key"]

    rig.source.restore_object(Bucket=SOURCE, Key="key", RestoreRequest={"Days": 1})
    assert rig.deliver(notification("key", event="ObjectRestore:Completed")).actions == {"key": "copy"}
    assert rig.target_body("key") == b"body"
