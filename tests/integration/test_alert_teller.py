"""Telling: a real database, a real target, and a clock that the test moves."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs
from yarl import URL

from consumers.alerts.rounds import Watch
from consumers.alerts.rules import Rule
from consumers.alerts.sightings import sightings_of
from consumers.outcomes import DatabaseAway
from tests.processes import eventually
from tests.unit.alerts import AT, alerts, failed, rule
from worker.cli.roles.subscribers.alerts.teller import LOG, Teller
from worker.clients.ledger.alert_book import AlertBook, open_alert_book
from worker.clients.notify import Notifier, labels_of
from worker.operate.telemetry import ALERT_MESSAGES, ALERTS, ALERTS_OPEN
from worker.settings import Secret, load
from worker.simulate.target import Answer, Target, served
from worker.simulate.tcp_proxy import TcpProxy

# A plugin of Apprise's imports it while Python has it: nothing of ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

SILENCE = rule(name="silence", result=(), measure="calls", below=1)


class Office:
    """A teller with its clock, its targets, and whether it hears all there is to hear."""

    def __init__(self, url: str, book: AlertBook, names: str) -> None:
        self.book, self.now, self.is_caught_up = book, AT, True
        self._notifier = Notifier(Secret(names.format(url=url)), send_s=5)
        self._calls = 0
        self.asked = asyncio.Event()

    def teller(self, *rules: Rule) -> Teller:
        def targets(of: Rule) -> list[str]:
            return [LOG, *labels_of(of.to, self._notifier.labels())]

        async def is_caught_up() -> bool:
            self.asked.set()
            return self.is_caught_up

        self.rules = rules or (rule(),)
        watch = Watch(alerts(*self.rules, over_after_s=300), targets, ["default"])
        return Teller(self.book, self._notifier, watch, is_caught_up=is_caught_up, clock=lambda: self.now)

    async def fail(self, count: int) -> None:
        for _ in range(count):
            self._calls += 1
            call = failed(f"call-{self._calls}")
            await self.book.record(sightings_of(self.rules, call, self.now, self.now), self.now)

    async def pass_(self, teller: Teller, seconds: float, step_s: float = 10.0) -> None:
        until = self.now + seconds
        while self.now < until:
            self.now += step_s
            await teller.tick()


@pytest.fixture
def names() -> str:
    return "{url}/ops"


@pytest.fixture
async def office(target: Target, names: str, ledger_url: str) -> AsyncIterator[Office]:
    settings = load({"AFTERCALL_LEDGER_URL": ledger_url})
    async with served(target) as url, open_alert_book(settings) as book:
        yield Office(url.replace("http://", "json://"), book, names)


def titles(target: Target, path: str = "/ops") -> list[str]:
    return [json.loads(each["body"])["title"] for each in target.received if each["path"] == path]


def metric(of: Any, *labels: str) -> float:
    return float(next(iter(of.labels(*labels).collect())).samples[0].value)


async def test_a_storm_is_one_message_with_a_count_and_examples_and_one_when_it_is_over(
    office: Office, target: Target
) -> None:
    teller = office.teller()
    raised_before = metric(ALERTS, "failed calls", "raised")
    for _ in range(5):
        await office.fail(100)
        await office.pass_(teller, 10)
    assert titles(target) == ["failed calls: 400 calls (account default)"]
    assert metric(ALERTS_OPEN, "failed calls") == 1
    await office.pass_(teller, 600)

    assert titles(target)[1:] == ["failed calls: over: 500 calls (account default)"]
    body = json.loads(target.received[0]["body"])["message"]
    assert body.count("pipeline-error-openai-llm-failed") == 3
    assert "and 397 more" in body
    assert "aftercall explain call-" in body
    assert metric(ALERTS, "failed calls", "raised") - raised_before == 1
    assert metric(ALERTS_OPEN, "failed calls") == 0


async def test_a_process_that_takes_over_says_nothing_twice(office: Office, target: Target) -> None:
    first = office.teller()
    await office.fail(10)
    await office.pass_(first, 60)
    second = office.teller()  # the first was killed: its lease runs out
    await office.fail(5)
    await office.pass_(second, 600)

    assert titles(target) == [
        "failed calls: 10 calls (account default)",
        "failed calls: over: 15 calls (account default)",
    ]


async def test_of_two_processes_one_tells(office: Office, target: Target) -> None:
    tellers = [office.teller(), office.teller()]
    await office.fail(3)
    for _ in range(10):
        office.now += 10
        await asyncio.gather(*(each.tick() for each in tellers))

    assert titles(target) == ["failed calls: 3 calls (account default)"]


async def test_a_process_that_ends_in_order_lets_another_tell_at_once(office: Office, target: Target) -> None:
    telling, another = asyncio.create_task(office.teller().run()), office.teller()
    await office.fail(3)
    await office.asked.wait()  # which only the one that tells does
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)
    await office.pass_(another, 40)

    assert titles(target) == ["failed calls: 3 calls (account default)"]


async def test_what_was_told_while_the_database_went_away_is_not_told_again(
    target: Target, postgresql_url: str
) -> None:
    address = URL(postgresql_url)
    async with TcpProxy(address.host or "", address.port or 0) as proxy, served(target) as url:
        settings = load({"AFTERCALL_LEDGER_URL": proxy.through(postgresql_url)})
        async with open_alert_book(settings) as book:
            office = Office(url.replace("http://", "json://"), book, "{url}/delay/1")
            teller = office.teller()
            await office.fail(3)
            await office.pass_(teller, 30)
            office.now += 10
            telling = asyncio.create_task(teller.tick())
            await eventually(lambda: target.received)
            await proxy.refuse()
            proxy.cut()
            with pytest.raises(DatabaseAway):
                await telling
            await proxy.accept()
            await office.pass_(teller, 100)

    assert titles(target, "/delay/1") == ["failed calls: 3 calls (account default)"]


async def test_a_target_that_is_down_is_told_once_it_is_up_and_the_log_at_once(office: Office, target: Target) -> None:
    teller = office.teller()
    target.answer = Answer(status=503)
    failed_before = metric(ALERT_MESSAGES, "default", "failed")
    with capture_logs() as lines:
        await office.fail(10)
        await office.pass_(teller, 200)
        await office.fail(5)
        await office.pass_(teller, 400)
        tries = len(target.received)
        target.answer = Answer()
        await office.pass_(teller, 400)

    assert [line["event"] for line in lines if line["event"] != "alert.untold"] == ["alert.raised", "alert.over"]
    assert 4 <= tries <= 9  # with growing pauses
    assert titles(target)[tries:] == [
        "failed calls: 15 calls (account default)",
        "failed calls: over: 15 calls (account default)",
    ]
    assert metric(ALERT_MESSAGES, "default", "failed") - failed_before == tries


@pytest.mark.parametrize("names", ["{url}/ops {url}/down/status/500 pager={url}/pager"])
async def test_a_target_that_takes_nothing_holds_up_no_other_and_repeats_nothing_there(
    office: Office, target: Target
) -> None:
    teller = office.teller(rule(), rule(name="pager", to=("pager",)))
    await office.fail(2)
    await office.pass_(teller, 1000)

    assert titles(target) == [
        "failed calls: 2 calls (account default)",
        "failed calls: over: 2 calls (account default)",
    ]
    assert titles(target, "/pager") == ["pager: 2 calls (account default)", "pager: over: 2 calls (account default)"]
    assert set(titles(target, "/down/status/500")) == {"failed calls: 2 calls (account default)"}


async def test_without_targets_the_log_tells(ledger_url: str) -> None:
    async with open_alert_book(load({"AFTERCALL_LEDGER_URL": ledger_url})) as book:
        office = Office("", book, "")
        teller = office.teller()
        with capture_logs() as lines:
            await office.fail(4)
            await office.pass_(teller, 600)

    assert [(line["event"], line["title"], len(line["calls"])) for line in lines] == [
        ("alert.raised", "failed calls: 4 calls (account default)", 3),
        ("alert.over", "failed calls: over: 4 calls (account default)", 0),
    ]


async def test_silence_is_told_after_a_window_in_which_all_would_have_been_heard(
    office: Office, target: Target
) -> None:
    teller = office.teller(SILENCE)
    await office.pass_(teller, 800)
    office.is_caught_up = False
    await office.pass_(teller, 600)
    assert titles(target) == []

    office.is_caught_up = True
    await office.pass_(teller, 100)
    assert titles(target) == ["silence: no calls (account default)"]

    await office.fail(1)
    await office.pass_(teller, 600)
    assert titles(target)[1:] == ["silence: over: at worst no calls (account default)"]


async def test_a_backlog_ends_nothing(office: Office, target: Target) -> None:
    teller = office.teller()
    await office.fail(1)
    await office.pass_(teller, 60)
    office.is_caught_up = False
    await office.pass_(teller, 3000)

    assert titles(target) == ["failed calls: 1 call (account default)"]


async def test_a_clock_that_is_set_back_leaves_no_target_alone_and_no_ear_deaf(office: Office, target: Target) -> None:
    teller = office.teller()
    await office.fail(3)
    await office.pass_(teller, 10)
    target.answer = Answer(status=503)
    await office.pass_(teller, 40)
    office.now -= 86400
    target.answer = Answer()
    await office.pass_(teller, 400)

    assert titles(target)[-2:] == [
        "failed calls: 3 calls (account default)",
        "failed calls: over: 3 calls (account default)",
    ]


async def test_a_rule_that_tells_all_the_time_reminds_at_its_pace(office: Office, target: Target) -> None:
    share = replace(rule(name="share", measure="share", above=0.5), window_s=86400)
    teller = office.teller(share)
    await office.fail(4)
    await office.pass_(teller, 8000, step_s=100)

    assert titles(target) == [
        "share: 100.0% of 4 calls (account default)",
        *["share: still: at worst 100.0% of 4 calls (account default)"] * 2,
    ]
