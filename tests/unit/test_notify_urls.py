"""Whom alerts tell: the URLs, and the names that rules use for them."""

from pathlib import Path

import pytest

from tests.unit.alerts import alerts, rule
from worker.cli.roles.subscribers.alerts.needs import lack_of_alerts
from worker.clients.notify import KEY, Notifier, labels_of, urls_of
from worker.settings import Secret, Settings

URLS = """
    slack://token-a/token-b/token-c/#calls
    ops=json://127.0.0.1/a?x=1,2   ops=mailto://user:pass@example.com
    json://127.0.0.1/b
"""


def test_urls_have_names_and_numbers_where_names_are_the_same() -> None:
    assert urls_of(Secret(URLS)) == {
        "default": "slack://token-a/token-b/token-c/#calls",
        "ops": "json://127.0.0.1/a?x=1,2",
        "ops/2": "mailto://user:pass@example.com",
        "default/2": "json://127.0.0.1/b",
    }


def test_a_comma_before_the_next_url_separates_too_as_a_list_in_the_file_comes() -> None:
    assert list(urls_of(Secret("json://h/a,ops=json://h/b , jsons://h/c,d"))) == ["default", "ops", "default/2"]


def test_without_urls_there_are_none() -> None:
    assert urls_of(Secret()) == {}
    assert Notifier(Secret()).labels() == []


def test_what_is_no_url_is_told_without_its_secret() -> None:
    with pytest.raises(ValueError, match="AFTERCALL_ALERTS_URLS: number 2 is no URL") as error:
        urls_of(Secret("json://h xoxb-secret"))

    assert "xoxb" not in str(error.value)


def test_a_rule_tells_those_that_it_names_and_without_a_name_those_without_one() -> None:
    urls = urls_of(Secret(URLS))

    assert labels_of((), urls) == ["default", "default/2"]
    assert labels_of(("ops",), urls) == ["ops", "ops/2"]
    assert labels_of(("ops", "default"), urls) == ["default", "ops", "ops/2", "default/2"]


def test_amid_a_rotation_the_targets_stay_those_that_were(tmp_path: Path) -> None:
    file = tmp_path / "urls"
    file.write_text("ops=json://h/a")
    notifier = Notifier(Secret(path=str(file)))
    assert notifier.labels() == ["ops"]

    file.write_text("half a URL")

    assert notifier.labels() == ["ops"]


@pytest.mark.parametrize(
    ("urls", "to", "lack"),
    [
        ("", (), None),
        ("json://h", (), None),
        ("ops=json://h", ("ops",), None),
        ("", ("ops",), f"rule 'failed calls' tells ops: add ops=<Apprise URL> to {KEY}"),
        ("json://h", ("ops",), f"rule 'failed calls' tells ops: add ops=<Apprise URL> to {KEY}"),
        (
            "ops=json://h",
            (),
            f"rule 'failed calls' has no `to`, and {KEY} only URLs with names: give it one, or add a URL without",
        ),
        (
            "nonsense",
            (),
            f"{KEY}: number 1 is no URL: they read slack://…, or with a name ops=slack://…",
        ),
    ],
)
def test_alerts_that_could_tell_nobody_are_refused_with_the_mend(urls: str, to: tuple[str, ...], lack: str) -> None:
    settings = Settings(alerts_urls=Secret(urls), alerts=alerts(rule(to=to)))

    assert lack_of_alerts(settings) == lack
