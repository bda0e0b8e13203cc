import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from worker.cli import run


@pytest.fixture(autouse=True)
def command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty folder without settings; what a command changes in this process is undone."""
    monkeypatch.chdir(tmp_path)
    for key in [key for key in os.environ if key.startswith("AFTERCALL_")]:
        monkeypatch.delenv(key)
    levels = {name: logging.getLogger(name).level for name in ("aiormq", "aio_pika")}
    yield
    structlog.reset_defaults()
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("enrihc", 'Unknown command "enrihc"'),
        ("config extra words", "extra words: more than the command takes"),
        ("consume", "no name: the consumers are"),
        ("consume ledger crn", "crn: the consumers are"),
        ("explain", "CALL_ID requires an argument"),
        ("explain two~words", "CALL_ID 'two words': the id of a call is 1 to 128 printable characters without spaces"),
        ("sweep --once --since soon", "--since soon: a duration is a number and one of s, m, h, d, such as 24h"),
        ("dead list --since soon", "--since soon: a duration such as 24h, or a time such as 2026-08-31T17:00:00Z"),
        ("dead list --limit 0", 'Invalid value "0" for --limit. Must be > 0.'),
        ("dead replay", "say which letters to replay: --queue, "),
        ("dead replay --all --to nowhere", "--to calls.nowhere: no such queue; there are calls.enrich.default, "),
        ("dead discard --all", "--yes says that you are sure"),
        ("calls list --since yesterday", "--since yesterday: a duration such as 24h, or a time"),
        ("calls list --since 1h --until 2h", "--since 1h is not before --until 2h, so no call can fit"),
        ("calls list --min-duration long", "--min-duration long: a duration is a number and one of s, m, h, d"),
        ("calls list --result good", "--result"),
        ("calls search ***", "'***' names no word to look for"),
        ("export --since yesterday", "--since yesterday"),
        ("export --format parquet", "--format parquet: name a file with --to"),
        ("replay --to crm", "say which calls to replay: --call-id, --since, "),
        ("replay --to nowhere --all", "--to calls.nowhere: no subscriber's queue; there are calls.ledger, "),
        ("replay --to enrich.default --all", "--to calls.enrich.default: no subscriber's queue"),
        ("replay --to crm --all --run a/b", "--run a/b: the id that a run told"),
        ("doctor --public-url our.host", "--public-url our.host: it reads https://"),
        ("send", "no FILE is given"),
        ("send nowhere.json", "cannot read nowhere.json: No such file or directory"),
        ("send --account acme /dev/null", "--account acme: the accounts are default"),
        ("send --concurrency 0 /dev/null", "--concurrency"),
        ("simulate --faults thirst=1", "'thirst' is no fault; the faults are late, "),
        ("simulate --port 99999", "--port"),
        ("tail --limit -1", "--limit"),
        ("topology export --users ,", "--users: no role is named: there are webhook, enrich, "),
        ("topology export --users=", "--users: no role is named: there are webhook, enrich, "),
        ("topology export --output-file /nowhere/at/all", "cannot write /nowhere/at/all: No such file or directory"),
    ],
)
def test_wrong_arguments_are_told_as_such_with_the_command_that_explains_them(
    line: str, told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code = run([word.replace("~", " ") for word in line.split()])

    out, error = capfd.readouterr()
    assert (code, out) == (64, "")
    assert error.startswith("The arguments cannot be used:\n  ")
    assert told in error
    assert error.endswith("--help` shows what it takes.\n")


def test_the_help_that_is_named_is_that_of_the_command(capfd: pytest.CaptureFixture[str]) -> None:
    run(["dead", "list", "--limit", "0"])

    assert "\n  `aftercall dead list --help` shows" in capfd.readouterr().err


@pytest.mark.parametrize("line", ["config --no-reference", "sweep --no-once", "demo --no-keep"])
def test_what_is_off_anyway_has_no_option_that_turns_it_off(line: str) -> None:
    assert run(line.split()) == 64


def test_broken_settings_are_told_as_such(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("AFTERCALL_PREFETCH", "many")

    assert run(["config"]) == 64
    assert capfd.readouterr().err == (
        "The settings cannot be used:\n  AFTERCALL_PREFETCH: 'many' is not a whole number from 1 to 2000\n"
    )
