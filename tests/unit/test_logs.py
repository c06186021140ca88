"""Every log record becomes one line of JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3_syncer.logs import JsonFormatter, log_json

logger = logging.getLogger("s3_syncer.somewhere")


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    """Restore the loggers after each test."""
    ours = logging.getLogger("s3_syncer")
    handlers, level, propagate = ours.handlers[:], ours.level, ours.propagate
    root = logging.getLogger().level
    yield
    logging.getLogger().setLevel(root)
    ours.handlers[:], ours.propagate = handlers, propagate
    ours.setLevel(level)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_extra_fields_become_fields_of_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    log_json("INFO")
    logger.info("%s", "copy", extra={"action": "copy", "key": "a b\n+ü", "bytes": 3, "lag_ms": None})
    (line,) = lines(capsys)
    assert datetime.fromisoformat(line.pop("timestamp")).tzinfo is not None
    assert line == {
        "level": "INFO",
        "message": "copy",
        "action": "copy",
        "key": "a b\n+ü",
        "bytes": 3,
        "lag_ms": None,
    }


def test_an_exception_is_one_line_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    log_json("INFO")
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        logger.exception("unexpected failure", extra={"key": "a"})
    (line,) = lines(capsys)
    assert line["level"] == "ERROR"
    assert line["exception"].startswith("Traceback")
    assert "ZeroDivisionError" in line["exception"]


def test_records_below_the_level_are_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    log_json("WARNING")
    logger.info("not this")
    logger.warning("this")
    assert [line["message"] for line in lines(capsys)] == ["this"]


def test_a_second_call_does_not_log_records_twice(capsys: pytest.CaptureFixture[str]) -> None:
    log_json("INFO")
    log_json("INFO")
    logger.info("once")
    assert len(lines(capsys)) == 1


def test_records_of_libraries_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    log_json("DEBUG")
    logging.getLogger("botocore").debug("a signature, perhaps")
    assert lines(capsys) == []


@given(st.text(), st.text() | st.integers() | st.binary() | st.dictionaries(st.text(), st.text()))
def test_any_record_is_one_line_of_json(message: str, value: object) -> None:
    record = logging.makeLogRecord({"msg": message, "key": value})
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line)["message"] == message


@pytest.mark.parametrize("library", ["boto3.resources", "botocore.parsers", "botocore.auth", "urllib3.connectionpool"])
def test_libraries_log_nothing_below_info(library: str) -> None:
    logging.getLogger().setLevel(logging.DEBUG)
    log_json("DEBUG")
    assert not logging.getLogger(library).isEnabledFor(logging.DEBUG)
    assert logging.getLogger(library).isEnabledFor(logging.WARNING)
