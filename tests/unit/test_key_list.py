"""Lists of keys in files."""

from __future__ import annotations

import json

import pytest

from s3_syncer.core.key_list import keys, lines


def read(text: bytes, size: int = 3) -> list[str]:
    return list(keys(lines(text[start : start + size] for start in range(0, len(text), size))))


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_each_line_is_a_key_as_it_is(size: int) -> None:
    text = b"a b\n# no comment\n  blanks  \n\n;x\nc\\d\r\n{e}\n"
    assert read(text, size) == ["a b", "# no comment", "  blanks  ", ";x", "c\\d", "{e}"]


def test_the_last_line_needs_no_end() -> None:
    assert read(b"a\nb") == ["a", "b"]


def test_a_mark_at_the_start_of_the_file_is_not_part_of_the_key() -> None:
    assert read(b"\xef\xbb\xbfa\nb\n") == ["a", "b"]


def test_a_key_that_is_not_utf_8_keeps_its_bytes() -> None:
    assert read(b"a\xff\n") == ["a\udcff"]


def test_no_line_is_no_key() -> None:
    assert read(b"") == read(b"\n\n") == []


def test_json_lines_name_their_keys() -> None:
    logged = [{"level": "INFO", "message": "versions"}, {"key": "a\nb"}, {"key": "\udcff"}, {"key": 3}]
    text = "\n".join(map(json.dumps, logged)).encode()
    assert read(text) == ["a\nb", "\udcff"]


def test_a_json_report_names_its_findings() -> None:
    text = '{\n  "result": "different",\n  "differences": [\n    {"what": "differs", "key": "a", "size": 1},\n'
    text += '    {"what": "extra", "key": "b,"}],\n  "failures": [\n    {"what": "failed", "key": "c"}]\n}\n'
    assert read(text.encode()) == ["a", "b,", "c"]


def test_a_key_that_looks_like_json_in_a_list_of_keys_is_a_key() -> None:
    assert read(b'a\n{"key": "b"}\n') == ["a", '{"key": "b"}']
