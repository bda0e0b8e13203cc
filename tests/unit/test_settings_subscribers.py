"""Subscribers of one's own in aftercall.toml."""

from pathlib import Path

import pytest

from tests.unit.loading import from_toml, toml_problems
from worker.settings import load


def test_a_subscriber_has_its_bindings(tmp_path: Path) -> None:
    text = """
        [subscribers.billing]
        bindings = ["call.enriched.#", "call.amended.acme-dental.completed.*"]
        [subscribers.x-1]
        bindings = ["*.enriched.*.failed.#"]
    """
    assert from_toml(tmp_path, text).bindings == {
        "billing": ("call.enriched.#", "call.amended.acme-dental.completed.*"),
        "x-1": ("*.enriched.*.failed.#",),
    }


@pytest.mark.parametrize(
    "pattern", ["#", "call.#", "call.ended.default", "call.*.acme", "*.*.acme", "*.#", "#.ended.#"]
)
def test_no_subscriber_takes_what_is_the_enrichers_alone(tmp_path: Path, pattern: str) -> None:
    (told,) = toml_problems(tmp_path, f'[subscribers.billing]\nbindings = ["call.enriched.#", "{pattern}"]')
    assert told == f"[subscribers.billing]: {pattern} takes call.ended too, which is the enricher's alone"


@pytest.mark.parametrize(
    "text",
    [
        '[subscribers.crm]\nbindings = ["call.enriched.#"]',
        '[subscribers.enrich]\nbindings = ["call.enriched.#"]',
        '[subscribers.retry]\nbindings = ["call.enriched.#"]',
        '[subscribers.dead]\nbindings = ["call.enriched.#"]',
        '[subscribers.Billing]\nbindings = ["call.enriched.#"]',
        '[subscribers."a.b"]\nbindings = ["call.enriched.#"]',
        f'[subscribers.{"x" * 41}]\nbindings = ["call.enriched.#"]',
        "[subscribers.billing]\nbindings = []",
        '[subscribers.billing]\nbindings = "call.#"',
        "[subscribers.billing]\nbindings = [3]",
        '[subscribers.billing]\nbindings = [""]',
        '[subscribers.billing]\nbindings = ["call..x"]',
        '[subscribers.billing]\nbindings = ["order.#"]',
        '[subscribers.billing]\nbinding = ["#"]',
        '[subscribers]\nbilling = ["#"]',
        'subscribers = ["billing"]',
    ],
)
def test_a_subscriber_that_makes_no_sense_is_one_problem(tmp_path: Path, text: str) -> None:
    (told,) = toml_problems(tmp_path, text)
    assert "subscribers" in told


def test_a_subscriber_without_bindings_gets_every_call(tmp_path: Path) -> None:
    (tmp_path / "aftercall.toml").write_text("[subscribers.billing]\n")
    assert load({}, tmp_path).bindings == {"billing": ("call.enriched.#", "call.amended.#")}


def test_of_several_patterns_the_wrong_one_is_named(tmp_path: Path) -> None:
    (told,) = toml_problems(tmp_path, '[subscribers.billing]\nbindings = ["call.enriched.#", "call.en riched.#"]')
    assert told == "[subscribers.billing]: 'call.en riched.#' is no pattern of routing keys such as 'call.enriched.#'"
