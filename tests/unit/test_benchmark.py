"""What `scripts/bench` computes: the work, the figures made of it, and what counts as wrong. Nothing is timed here."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from benchmark import catalogue, function, measure, objects, results, stores
from benchmark.cases import CASES
from benchmark.clients import CLIENTS
from benchmark.measure import Failed, Usage
from benchmark.objects import MIB, Object
from benchmark.results import Run
from localcloud import servers


def test_every_case_has_clients_that_exist() -> None:
    for case in CASES.values():
        assert case.clients
        assert set(case.clients) <= set(CLIENTS)


@pytest.mark.parametrize("name", list(CASES))
def test_a_case_makes_as_many_different_objects_as_it_says(name: str) -> None:
    made = CASES[name].objects(0.01)
    assert len(made) == max(1, round(CASES[name].count * 0.01))
    assert len({o.key for o in made}) == len(made)


def test_an_object_is_the_same_every_time_and_unlike_any_other() -> None:
    one, other = Object("a", 100), Object("b", 100)
    assert one.body() == Object("a", 100).body()
    assert len(one.body()) == 100
    assert one.md5() != other.md5()


def test_a_list_of_objects_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = objects.mixed(10)
    objects.write(made, tmp_path / "list")
    assert objects.read(tmp_path / "list") == made


def test_sizes_are_spread_evenly_over_their_magnitudes() -> None:
    assert objects.log_uniform(0.0, 16 * MIB) == 0
    assert objects.log_uniform(1.0, 16 * MIB) == 16 * MIB
    magnitudes = Counter(o.size.bit_length() for o in objects.mixed(24_000))
    assert max(magnitudes) == 24
    # 24 doublings share them: a thousand each, give or take four standard deviations. The few smallest are rounded.
    assert all(870 < magnitudes[bits] < 1130 for bits in range(6, 25))
    assert magnitudes[0] > 0


def run(client: str, number: int, wall_s: float, cpu_s: float = 1.0, wrong: str = "") -> Run:
    return Run(client, number, Usage(wall_s, cpu_s, 2**20), wrong)


def test_ratios_are_taken_within_a_round_before_the_median() -> None:
    ours = [run("s3-syncer", 0, 1.0), run("s3-syncer", 1, 10.0), run("s3-syncer", 2, 2.0)]
    theirs = [run("rclone", 0, 2.0, 4.0), run("rclone", 1, 20.0, 2.0), run("rclone", 2, 8.0, 0.5)]
    own, other = results.rows([*ours, *theirs])
    assert (own.usage.wall_s, own.speed) == (2.0, 1.0)
    assert (other.usage.wall_s, other.speed, other.cpu) == (8.0, 2.0, 0.5)


def test_without_ours_there_is_no_ratio() -> None:
    (row,) = results.rows([run("rclone", 0, 2.0)])
    assert (row.speed, row.cpu) == (None, None)
    assert results.cells(row, 10, 10)[-2:] == ("", "")


def test_a_client_that_was_wrong_once_has_no_figures() -> None:
    (row,) = results.rows([run("rclone", 0, 2.0), run("rclone", 1, 0.1, wrong="1 missing")])
    assert row.wrong == "1 missing"
    assert results.cells(row, 10, 10) == ("rclone", "WRONG", *[""] * (len(results.COLUMNS) - 2))


def test_a_wrong_round_of_ours_is_compared_with_nothing() -> None:
    _, other = results.rows([run("s3-syncer", 0, 1.0, wrong="1 missing"), run("rclone", 0, 2.0)])
    assert other.speed is None


def test_a_row_in_words() -> None:
    row = results.Row("rclone", Usage(2.0, 1.5, 100 * MIB), speed=1.5, cpu=0.5)
    assert results.cells(row, 1000, 5_000_000) == (
        *("rclone", "2.00", "500", "2.5", "1.50", "1.500", "100", "1.50x", "0.50x"),
    )
    assert results.cells(row, 1000, None)[3] == ""


def test_a_table_in_markdown() -> None:
    text = results.markdown([("a", "1")], ("client", "s"))
    assert text == "| client | s |\n| --- | ---: |\n| a | 1 |\n"


def test_usages_of_several_commands_add_up() -> None:
    assert Usage(1.0, 2.0, 30) + Usage(3.0, 4.0, 20) == Usage(4.0, 6.0, 30)


WANTED = {"a": (1, "00"), "b": (2, "01")}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (WANTED, ""),
        ({"a": (1, "00")}, "1 missing, such as 'b'"),
        ({"a": (1, "00"), "b": (2, "ff")}, "1 different, such as 'b'"),
        ({"a": (1, "00"), "b": (3, "01")}, "1 different, such as 'b'"),
        ({**WANTED, "c": (0, "")}, "1 too many, such as 'c'"),
        ({}, "2 missing, such as 'a'"),
    ],
)
def test_a_copy_that_is_not_equal_is_told(found: stores.Content, said: str) -> None:
    assert stores.mistakes(WANTED, found) == said


# -- measuring -----------------------------------------------------------------------------------------------------

STAT = "7 (a (strange) name) S 1 5 5 0 -1 4194304 1 0 0 0 3 4 0 0 20 0 1 0 99 1000000 321 18446744073709551615 1 1"


@pytest.mark.parametrize(("session", "pages"), [(5, 321), (7, 0)])
def test_only_the_processes_of_the_session_count(session: int, pages: int) -> None:
    assert measure.session_pages(STAT, session) == pages


def python(text: str, tmp_path: Path) -> Usage:
    return measure.run([sys.executable, "-c", text], os.environ, tmp_path / "log")


def test_grandchildren_count_as_well(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    usage = python(f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}])", tmp_path)
    assert usage.cpu_s >= 0.3
    assert usage.wall_s >= 0.3
    assert usage.peak_bytes > MIB


def test_a_command_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="exited 3: no such luck"):
        python("import sys; print('no such luck'); sys.exit(3)", tmp_path)


def test_a_command_has_to_say_that_it_looked_at_everything(tmp_path: Path) -> None:
    look = [sys.executable, "-c", "print('7 keys')"]
    measure.run(look, os.environ, tmp_path / "log", says="7 keys")
    with pytest.raises(Failed, match="does not say '8 keys': 7 keys"):
        measure.run(look, os.environ, tmp_path / "log", says="8 keys")


def test_a_helper_that_ends_with_its_command_counts_as_well(tmp_path: Path) -> None:
    helper = "import sys, time\nsys.stdin.read()\nwhile time.process_time() < 0.3: pass"
    usage = python(f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {helper!r}], stdin=-1)", tmp_path)
    assert usage.cpu_s >= 0.3


def test_a_command_must_not_leave_processes_behind(tmp_path: Path) -> None:
    left = "import subprocess; subprocess.Popen(['sleep', '60'])"
    with pytest.raises(Failed, match="left processes behind"):
        python(left, tmp_path)


# -- the store that can only be looked at ----------------------------------------------------------------------------

KEYS = [f"k{number:04}" for number in range(2500)]
STORE = catalogue.Catalogue(KEYS, 10)


def listed(**query: str) -> list[str]:
    page = STORE.list({name.replace("_", "-"): value for name, value in query.items()}).decode()
    return [piece.partition("</Key>")[0] for piece in page.split("<Key>")[1:]]


def test_pages_follow_each_other_to_the_end() -> None:
    found, after = [], ""
    while page := listed(list_type="2", start_after=after):
        found += page
        after = page[-1]
    assert found == KEYS
    assert "<IsTruncated>true<" in STORE.list({"list-type": "2"}).decode()
    assert "<NextContinuationToken>k0999<" in STORE.list({"list-type": "2"}).decode()
    assert "<IsTruncated>false<" in STORE.list({"list-type": "2", "continuation-token": "k1999"}).decode()


def test_a_listing_keeps_to_its_prefix_and_its_size() -> None:
    assert listed(prefix="k12") == [key for key in KEYS if key.startswith("k12")]
    assert listed(prefix="k12", start_after="k1250") == KEYS[1251:1300]
    assert listed(max_keys="3", marker="k0001") == KEYS[2:5]
    assert listed(prefix="x") == []


def test_an_object_is_told_of_and_nothing_can_be_written() -> None:
    found = STORE.answer("HEAD", "/bucket/k0007")
    assert found.status == "200 OK"
    assert found.headers is not None
    assert found.headers["Content-Length"] == "10"
    assert STORE.answer("HEAD", "/bucket/none").status == "404 Not Found"
    assert STORE.answer("PUT", "/bucket/k0007").status == "501 Not Implemented"
    assert STORE.answer("GET", "/bucket?location=").status == "501 Not Implemented"


# -- stores that speak HTTPS -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "program",
    [
        lambda identity: stores.catalogue(10, 0.0, identity),
        lambda identity: servers.rclone("access-key-id", "secret-access-key", identity),
    ],
    ids=["catalogue", "rclone"],
)
def test_a_store_with_an_identity_speaks_https_to_who_trusts_its_authority(
    tmp_path: Path, program: Callable[[servers.Identity], servers.Program]
) -> None:
    identity = stores.identity(tmp_path)
    # It counts as running once it has answered somebody who trusts the authority.
    with servers.running(program(identity), tmp_path) as server:
        assert server.endpoint == f"https://{servers.HOST}:{server.port}"
        with pytest.raises(URLError, match="CERTIFICATE_VERIFY_FAILED"):
            urlopen(server.endpoint)


# -- the function ----------------------------------------------------------------------------------------------------


def test_the_functions_figures_are_per_event_and_medians_over_the_rounds() -> None:
    def said(seconds: float) -> dict[str, dict[str, float]]:
        return {name: {"cpu_s": seconds, "wall_s": 2 * seconds} for name in ("import", "first", *function.CHANGES)}

    table = function.table([said(1.0), said(9.0), said(2.0)], events=100)
    assert table[0] == ("new object", "20.00", "40.00", "25")
    assert [line[0] for line in table[: len(function.CHANGES)]] == list(function.CHANGES.values())
    assert table[-2:] == [("the cold import", "2000", "4000", ""), ("the first event of a process", "2000", "4000", "")]
    assert all(len(line) == len(function.COLUMNS) for line in table)
