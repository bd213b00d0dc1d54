"""Log lines: one JSON object each, bound fields, no secrets."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from pertoken.telemetry.logging import LogControl, bound, configure, redact

LOGGER = logging.getLogger("pertoken.test")
TOKEN = "eyJhbGciOiJSUzI1NiIsImtpZCI6IiJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJl"


@pytest.fixture(autouse=True)
def keep_logging() -> Iterator[None]:
    """Put the test runner's own logging back."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    names = ("aiohttp.access", "asyncio", "kopf", "kubernetes", "urllib3", "pertoken.test")
    levels = {name: logging.getLogger(name).level for name in names}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    for name, was in levels.items():
        logging.getLogger(name).setLevel(was)


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def control(out: io.StringIO) -> LogControl:
    return configure("INFO", "json", out)


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def fail(error: Exception) -> None:
    raise error


@pytest.mark.usefixtures("control")
def test_a_line(out):
    with bound(cycle=7, service="prod/chat"):
        LOGGER.info("scaled to %d", 4, extra={"reason": "DemandRose"})
    LOGGER.info("later")
    first, second = lines(out)
    assert {**first, "ts": ""} == {
        "ts": "",
        "level": "info",
        "logger": "pertoken.test",
        "message": "scaled to 4",
        "cycle": 7,
        "service": "prod/chat",
        "reason": "DemandRose",
    }
    assert first["ts"].endswith("Z")
    assert list(first)[:4] == ["ts", "level", "logger", "message"]
    assert "cycle" not in second


@pytest.mark.usefixtures("control")
def test_an_exception_stays_on_one_line(out):
    try:
        fail(RuntimeError("line one\nline two"))
    except RuntimeError:
        LOGGER.exception("failed\nbadly")
    (line,) = lines(out)
    assert line["message"] == "failed\nbadly"
    assert "RuntimeError: line one" in line["traceback"]
    assert "test_logs.py" in line["traceback"]


@pytest.mark.usefixtures("control")
async def test_bound_fields_follow_into_threads_and_not_into_other_tasks(out):
    async def cycle(number: int) -> None:
        with bound(cycle=number):
            await asyncio.to_thread(LOGGER.info, "work")

    await asyncio.gather(cycle(1), cycle(2))
    LOGGER.info("outside")
    assert sorted(line.get("cycle", 0) for line in lines(out)) == [0, 1, 2]


@pytest.mark.usefixtures("control")
def test_fields_cannot_hide_the_message(out):
    with bound(level="x", ts="y"):
        LOGGER.info("said")
    (line,) = lines(out)
    assert line["level"] == "info"
    assert line["ts"] != "y"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"Authorization: Bearer {TOKEN}", TOKEN),
        ("authorization=Basic dXNlcjpwYXNzd29yZA==", "dXNlcjpwYXNzd29yZA"),
        ("GET https://user:hunter2@prometheus:9090/api", "hunter2"),
        (f"token {TOKEN} is bad", TOKEN),
    ],
)
@pytest.mark.usefixtures("control")
def test_secrets_never_reach_the_log(out, text, secret):
    LOGGER.info("%s", text, extra={"password": secret, "detail": text})
    try:
        fail(ValueError(text))
    except ValueError:
        LOGGER.exception("failed")
    assert secret not in out.getvalue()
    assert "[redacted]" in out.getvalue()


def test_ordinary_words_are_left_alone():
    for text in ("3 tokens per second", "basic idea of 812 tok/s", "http://prometheus:9090/api", "a bearer of news"):
        assert redact(text) == text


def test_levels_change_while_running(out, control):
    LOGGER.debug("hidden")
    logging.getLogger("kopf.objects").info("chatter")
    control.set_level("DEBUG", "pertoken.test")
    LOGGER.debug("shown")
    logging.getLogger("pertoken.other").debug("still hidden")
    assert control.levels()["pertoken.test"] == "DEBUG"
    control.set_level("debug")
    logging.getLogger("kopf.objects").debug("wanted now")
    assert [line["message"] for line in lines(out)] == ["shown", "wanted now"]
    with pytest.raises(ValueError, match="no log level"):
        control.set_level("LOUD")


def test_console_form(out):
    configure("INFO", "console", out)
    with bound(service="prod/chat"):
        LOGGER.warning("held")
    try:
        fail(KeyError("x"))
    except KeyError:
        LOGGER.exception("failed")
    text = out.getvalue()
    assert "WARNING test: held service=prod/chat" in text
    assert "KeyError: 'x'" in text


def test_auto_is_json_where_no_terminal_is(out):
    configure("INFO", "auto", out)
    LOGGER.info("x")
    assert lines(out)[0]["message"] == "x"
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    configure("INFO", "auto", terminal)
    LOGGER.info("x")
    assert not terminal.getvalue().startswith("{")
