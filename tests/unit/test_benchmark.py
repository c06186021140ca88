"""The work, the figures and the mistakes that `scripts/bench` computes. These tests measure no time."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from tests.support.patience import PATIENCE_S

from benchmark import fake_store, lambda_bench, measure, objects, results, stores
from benchmark.cases import CASES, Work
from benchmark.clients import CLIENTS
from benchmark.measure import Failed, Usage
from benchmark.objects import MIB, Object
from benchmark.results import Run
from localcloud import relay, servers


def test_every_case_has_clients_that_exist() -> None:
    for case in CASES.values():
        assert case.clients
        assert set(case.clients) <= set(CLIENTS)


@pytest.mark.parametrize("name", list(CASES))
def test_case_makes_the_stated_number_of_different_objects(name: str) -> None:
    case = CASES[name]
    number = case.number(0.01)
    assert number == max(1, round(case.count * 0.01))
    keys = [o.key for o in case.objects(number)] if case.work is Work.COPY else list(objects.flat_keys(number))
    assert len(set(keys)) == len(keys) == number


def test_packed_pieces_are_those_that_were_given() -> None:
    packed = fake_store.Packed([b"a", b"", b"bcd"])
    assert (list(packed), packed[1:], packed[:2], packed[3:2]) == (["a", "", "bcd"], b"bcd", b"a", b"")


def test_body_of_an_object_depends_only_on_its_key() -> None:
    first, second = Object("a", 100), Object("b", 100)
    assert first.body() == Object("a", 100).body()
    assert len(first.body()) == 100
    assert first.md5() != second.md5()


def test_list_of_objects_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = objects.mixed(10)
    objects.write(made, tmp_path / "list")
    assert objects.read(tmp_path / "list") == made


def test_sizes_are_spread_evenly_over_their_magnitudes() -> None:
    assert objects.log_uniform(0.0, 16 * MIB) == 0
    assert objects.log_uniform(1.0, 16 * MIB) == 16 * MIB
    magnitudes = Counter(o.size.bit_length() for o in objects.mixed(24_000))
    assert max(magnitudes) == 24
    # 24 doublings share them: a thousand each, within four standard deviations. The smallest sizes are rounded.
    assert all(870 < magnitudes[bits] < 1130 for bits in range(6, 25))
    assert magnitudes[0] > 0


def run(client: str, number: int, wall_s: float, cpu_s: float = 1.0, wrong: str = "") -> Run:
    return Run(client, number, Usage(wall_s, cpu_s, 2**20), wrong)


def test_ratios_are_taken_within_a_round_before_the_median() -> None:
    ours = [run("s3-syncer", 0, 1.0), run("s3-syncer", 1, 10.0), run("s3-syncer", 2, 2.0)]
    theirs = [run("rclone", 0, 2.0, 4.0), run("rclone", 1, 20.0, 2.0), run("rclone", 2, 8.0, 0.5)]
    own, peer = results.rows([*ours, *theirs])
    assert (own.usage.wall_s, own.speed) == (2.0, 1.0)
    assert (peer.usage.wall_s, peer.speed, peer.cpu) == (8.0, 2.0, 0.5)


def test_without_a_run_of_s3_syncer_there_is_no_ratio() -> None:
    (row,) = results.rows([run("rclone", 0, 2.0)])
    assert (row.speed, row.cpu) == (None, None)
    assert results.cells(row, 10, 10)[-2:] == ("", "")


def test_client_with_one_wrong_run_has_no_figures() -> None:
    (row,) = results.rows([run("rclone", 0, 2.0), run("rclone", 1, 0.1, wrong="1 missing")])
    assert row.wrong == "1 missing"
    assert results.cells(row, 10, 10) == ("rclone", "WRONG", *[""] * (len(results.COLUMNS) - 2))


def test_wrong_run_of_s3_syncer_gives_no_ratio() -> None:
    _, peer = results.rows([run("s3-syncer", 0, 1.0, wrong="1 missing"), run("rclone", 0, 2.0)])
    assert peer.speed is None


def test_cells_of_a_row() -> None:
    row = results.Row("rclone", Usage(2.0, 1.5, 100 * MIB, {"source": 2.0, "target": 0.25}), speed=1.5, cpu=0.5)
    assert results.cells(row, 1000, 5_000_000) == (
        *("rclone", "2.00", "500", "2.5", "1.50", "1.500", "2.25", "100", "1.50x", "0.50x"),
    )
    assert results.cells(row, 1000, None)[3] == ""


def test_shares_of_the_processors_time() -> None:
    row = results.Row("rclone", Usage(2.0, 1.0, 0, {"source": 2.0, "target": 0.5}), speed=None, cpu=None)
    assert results.shares(row, 2) == ("rclone", "25%", "50%", "12%", "0%", "12%")


def test_markdown_table() -> None:
    text = results.markdown([("a", "1")], ("client", "s"))
    assert text == "| client | s |\n| --- | ---: |\n| a | 1 |\n"


def test_usages_of_several_commands_add_up() -> None:
    first, second = Usage(1.0, 2.0, 30, {"source": 5.0}), Usage(3.0, 4.0, 20, {"source": 6.0, "relays": 1.0})
    assert first + second == Usage(4.0, 6.0, 30, {"source": 11.0, "relays": 1.0})


WANTED = {"a": (1, "00"), "b": (2, "01")}


@pytest.mark.parametrize(
    ("found", "mistakes"),
    [
        (WANTED, ""),
        ({"a": (1, "00")}, "1 missing, such as 'b'"),
        ({"a": (1, "00"), "b": (2, "ff")}, "1 different, such as 'b'"),
        ({"a": (1, "00"), "b": (3, "01")}, "1 different, such as 'b'"),
        ({**WANTED, "c": (0, "")}, "1 extra, such as 'c'"),
        ({}, "2 missing, such as 'a'"),
    ],
)
def test_mistakes_name_the_kind_and_one_key(found: stores.Content, mistakes: str) -> None:
    assert stores.mistakes(WANTED, found) == mistakes


# -- measuring -----------------------------------------------------------------------------------------------------

STAT = "7 (a (strange) name) S 1 5 5 0 -1 4194304 1 0 0 0 3 4 0 0 20 0 1 0 99 1000000 321 18446744073709551615 1 1"


@pytest.mark.parametrize(("session", "pages"), [(5, 321), (7, 0)])
def test_only_processes_of_the_session_count(session: int, pages: int) -> None:
    assert measure.session_pages(STAT, session) == pages


def test_both_times_of_a_process_count() -> None:
    assert measure.cpu_ticks(STAT) == 3 + 4


def test_servers_count_apart_and_only_during_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {7: iter([1.0, 1.5]), 8: iter([10.0, 12.0])}
    monkeypatch.setattr(measure, "process_cpu_s", lambda pid: next(seconds[pid]))
    usage = measure.run([sys.executable, "-c", ""], os.environ, tmp_path / "log", servers={7: "source", 8: "relays"})
    assert (usage.servers, usage.servers_cpu_s) == ({"source": 0.5, "relays": 2.0}, 2.5)


def python(text: str, tmp_path: Path) -> Usage:
    return measure.run([sys.executable, "-c", text], os.environ, tmp_path / "log")


def test_grandchildren_count(tmp_path: Path) -> None:
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    usage = python(f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}])", tmp_path)
    assert usage.cpu_s >= 0.3
    assert usage.wall_s >= 0.3
    assert usage.peak_bytes > MIB


def test_failed_command_raises_with_the_end_of_its_output(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="exited 3: no such luck"):
        python("import sys; print('no such luck'); sys.exit(3)", tmp_path)


def test_command_must_print_that_it_compared_everything(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('7 keys')"]
    measure.run(command, os.environ, tmp_path / "log", says="7 keys")
    with pytest.raises(Failed, match="did not print '8 keys': 7 keys"):
        measure.run(command, os.environ, tmp_path / "log", says="8 keys")


def test_helper_that_ends_with_its_command_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "LEAVE_S", PATIENCE_S)
    helper = "import sys, time\nsys.stdin.read()\nwhile time.process_time() < 0.3: pass"
    usage = python(f"import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {helper!r}], stdin=-1)", tmp_path)
    assert usage.cpu_s >= 0.3


def test_command_must_not_leave_processes_behind(tmp_path: Path) -> None:
    left = "import subprocess; subprocess.Popen(['sleep', '60'])"
    with pytest.raises(Failed, match="left processes behind"):
        python(left, tmp_path)


# -- the read-only store ---------------------------------------------------------------------------------------------

KEYS = [f"k{number:04}" for number in range(2500)]
STORE = fake_store.FakeStore(KEYS, 10)


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


def test_listing_respects_prefix_and_page_size() -> None:
    assert listed(prefix="k12") == [key for key in KEYS if key.startswith("k12")]
    assert listed(prefix="k12", start_after="k1250") == KEYS[1251:1300]
    assert listed(max_keys="3", marker="k0001") == KEYS[2:5]
    assert listed(prefix="x") == []


def test_head_answers_and_writes_are_rejected() -> None:
    found = STORE.respond("HEAD", "/bucket/k0007")
    assert found.status == "200 OK"
    assert found.headers is not None
    assert found.headers["Content-Length"] == "10"
    assert STORE.respond("HEAD", "/bucket/none").status == "404 Not Found"
    assert STORE.respond("PUT", "/bucket/k0007").status == "501 Not Implemented"
    assert STORE.respond("GET", "/bucket?location=").status == "501 Not Implemented"


# -- distance --------------------------------------------------------------------------------------------------------


class SimulatedLoop:
    """Simulates the clock of a loop. `run` calls everything that is due, in order."""

    def __init__(self) -> None:
        self.now = 0.0
        self._calls: list[tuple[float, int, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        self._calls.append((when, len(self._calls), callback))

    def run(self, end: float) -> None:
        while self._calls and min(self._calls)[0] <= end:
            call = min(self._calls)
            self._calls.remove(call)
            self.now = max(self.now, call[0])
            call[2]()
        self.now = end


class Writer:
    """Notes when which bytes are written."""

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop, self.written, self.closed_at = loop, list[tuple[float, bytes]](), -1.0

    def write(self, data: bytes) -> None:
        self.written.append((round(self._loop.now, 6), data))

    def write_eof(self) -> None:
        self.closed_at = round(self._loop.now, 6)


def direction(loop: SimulatedLoop, *, opens_at: float = 0.0) -> tuple[relay.Direction, Writer]:
    made, writer = relay.Direction(cast(Any, loop), 0.025, opens_at), Writer(loop)
    return made, writer


def test_the_relay_delays_each_byte_by_half_a_round_trip_and_keeps_the_order() -> None:
    loop = SimulatedLoop()
    made, writer = direction(loop)
    made.open(cast(Any, writer))
    made.take(b"a")
    loop.run(0.010)
    made.take(b"b")
    made.take(None)
    loop.run(1.0)
    assert writer.written == [(0.025, b"a"), (0.035, b"b")]
    assert writer.closed_at == 0.035


def test_the_first_bytes_of_a_connection_wait_until_it_would_be_open() -> None:
    loop = SimulatedLoop()
    made, writer = direction(loop, opens_at=0.050)
    made.open(cast(Any, writer))
    made.take(b"a")
    loop.run(1.0)
    assert writer.written == [(0.075, b"a")]


def test_bytes_wait_for_a_server_that_has_not_accepted_the_connection() -> None:
    loop = SimulatedLoop()
    made, writer = direction(loop)
    made.take(b"a")
    loop.run(0.100)
    made.open(cast(Any, writer))
    loop.run(0.200)
    assert writer.written == [(0.100, b"a")]


def test_bytes_wait_while_the_other_end_takes_no_more() -> None:
    loop = SimulatedLoop()
    made, writer = direction(loop)
    made.open(cast(Any, writer))
    made.take(b"a")
    made.hold()
    loop.run(0.050)
    made.take(b"b")
    loop.run(0.100)
    assert not writer.written
    made.resume()
    loop.run(1.0)
    assert writer.written == [(0.100, b"ab")]


def test_a_relay_in_front_of_a_store_answers_in_its_place(tmp_path: Path) -> None:
    with (
        servers.running(stores.fake_store(10), tmp_path / "store") as store,
        stores.far(store, 1.0, tmp_path / "relay") as far,
    ):
        assert far.port != store.port
        listed = stores.client(far).list_objects_v2(Bucket=fake_store.BUCKET)
        assert listed["KeyCount"] == 10


def test_a_store_without_distance_has_no_relay(tmp_path: Path) -> None:
    store = servers.Server("store", 1, 1, "", "")
    with stores.far(store, 0.0, tmp_path) as near:
        assert near is store


def test_the_fastest_setting_of_a_client_is_marked() -> None:
    rows = list(results.rows([run("s3-syncer", 0, 1.0), run("rclone-4", 0, 4.0), run("rclone-64", 0, 2.0)]))
    marked = results.mark_best(rows, results.PEER)
    assert [row.client for row in marked] == ["s3-syncer", "rclone-4", "rclone-64 (best)"]


# -- stores with HTTPS -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "program",
    [
        lambda identity: stores.fake_store(10, identity),
        lambda identity: servers.rclone("access-key-id", "secret-access-key", identity),
    ],
    ids=["fake-store", "rclone"],
)
def test_store_with_an_identity_uses_https_with_its_own_authority(
    tmp_path: Path, program: Callable[[servers.Identity], servers.Program]
) -> None:
    identity = stores.identity(tmp_path)
    # `running` returns after a request that trusts the authority has succeeded.
    with servers.running(program(identity), tmp_path) as server:
        assert server.endpoint == f"https://{servers.HOST}:{server.port}"
        with pytest.raises(URLError, match="CERTIFICATE_VERIFY_FAILED"):
            urlopen(server.endpoint)


# -- events ----------------------------------------------------------------------------------------------------------


def test_figures_of_events_are_medians_per_event() -> None:
    def figures(seconds: float) -> dict[str, dict[str, float]]:
        return {name: {"cpu_s": seconds, "wall_s": 2 * seconds} for name in ("import", "first", *lambda_bench.CHANGES)}

    table = lambda_bench.table([figures(1.0), figures(9.0), figures(2.0)], events=100)
    assert table[0] == ("new object", "20.00", "40.00", "25")
    assert [line[0] for line in table[: len(lambda_bench.CHANGES)]] == list(lambda_bench.CHANGES.values())
    assert table[-2:] == [("cold import", "2000", "4000", ""), ("first event of a process", "2000", "4000", "")]
    assert all(len(line) == len(lambda_bench.COLUMNS) for line in table)
