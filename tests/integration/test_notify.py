"""Messages to targets by Apprise, to a real HTTP server on this machine."""

import json
import logging
import socket
from pathlib import Path

import pytest

from consumers.alerts.texts import Announcement
from worker.clients.notify import Notifier, NotTold
from worker.settings import Secret, SettingsError
from worker.simulate.target import Answer, Target

# A plugin of Apprise's imports it while Python has it: nothing of ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

STORM = Announcement("raised", "failed calls: 5,000 calls", "call-1: <b>why</b>\nand 4,999 more")


@pytest.mark.parametrize(("what", "kind"), [("raised", "failure"), ("reminded", "warning"), ("over", "success")])
async def test_a_message_arrives_as_it_was_worded(target: Target, apprise_url: str, what: str, kind: str) -> None:
    notifier = Notifier(Secret(f"ops={apprise_url}/hook"))
    await notifier.tell("ops", Announcement(what, STORM.title, STORM.body))  # type: ignore[arg-type]

    (came,) = target.received
    told = json.loads(came["body"])
    assert (came["method"], came["path"]) == ("POST", "/hook")
    assert (told["title"], told["message"], told["type"]) == (STORM.title, STORM.body, kind)


async def test_of_several_targets_the_one_that_is_meant_is_told(target: Target, apprise_url: str) -> None:
    await Notifier(Secret(f"{apprise_url}/a ops={apprise_url}/b ops={apprise_url}/c")).tell("ops/2", STORM)

    assert [each["path"] for each in target.received] == ["/c"]


@pytest.mark.parametrize("status", [301, 400, 410, 429, 500])
async def test_a_target_that_refuses_is_not_told_and_says_why(target: Target, apprise_url: str, status: int) -> None:
    target.answer = Answer(status=status)

    with pytest.raises(NotTold, match=f"error={status}"):
        await Notifier(Secret(apprise_url)).tell("default", STORM)


async def test_a_target_that_is_down_is_not_told(free_port: int) -> None:
    with pytest.raises(NotTold, match="Connection error"):
        await Notifier(Secret(f"json://127.0.0.1:{free_port}/token-secret")).tell("default", STORM)


@pytest.mark.parametrize(
    "url",
    [
        "pagerduty://integration5ecret@api5ecret12345/",
        "opsgenie://5ecret00-1111-2222-3333-444444444444/",
        "json://user5ecret:pass5ecret@127.0.0.1:1/path5ecret?-key=5ecret12345",
        "ntfys://user5ecret:pass5ecret@127.0.0.1/topic5ecret",
    ],
)
async def test_what_is_secret_of_a_url_is_in_no_word_about_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")  # nothing leaves this machine

    with pytest.raises(NotTold) as caught:
        await Notifier(Secret(url)).tell("default", STORM)

    assert "5ecret" not in str(caught.value)


async def test_a_target_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        notifier = Notifier(Secret(f"json://127.0.0.1:{silent.getsockname()[1]}"), send_s=0.3)
        with pytest.raises(NotTold, match=r"did not answer within 0\.3 s"):
            await notifier.tell("default", STORM)
        notifier.close()


async def test_a_rotated_url_is_used_from_the_next_message_on(target: Target, apprise_url: str, tmp_path: Path) -> None:
    file = tmp_path / "urls"
    file.write_text(f"{apprise_url}/old")
    notifier = Notifier(Secret(path=str(file)))
    await notifier.tell("default", STORM)
    file.write_text(f"{apprise_url}/new")
    await notifier.tell("default", STORM)
    file.write_text(f"ops={apprise_url}/new")
    with pytest.raises(NotTold, match="AFTERCALL_ALERTS_URLS has no default any more"):
        await notifier.tell("default", STORM)

    assert [each["path"] for each in target.received] == ["/old", "/new"]


async def test_a_url_that_apprise_does_not_know_is_refused_without_quoting_it(
    capfd: pytest.CaptureFixture[str],
) -> None:
    notifier = Notifier(Secret("json://127.0.0.1 ops=slak://xoxb-secret/a"))
    with pytest.raises(SettingsError) as error:
        await notifier.check()
    with pytest.raises(NotTold, match="Apprise knows no such URL"):
        await notifier.tell("ops", STORM)

    assert error.value.problems == ("AFTERCALL_ALERTS_URLS: ops: Apprise knows no such URL (appriseit.com/services)",)
    assert "xoxb" not in "".join(capfd.readouterr())
    assert logging.getLogger("apprise").propagate is False  # or our log would have the line
