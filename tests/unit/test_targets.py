"""The tables of `forward`: what is wrong with them, and which call is posted where."""

import base64
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import msgspec
import orjson
import pytest

from consumers.targets import Target, bodies_of
from tests.unit.builders import CALL_ID, enriched_call, fetched
from worker.settings import SettingsError, load
from worker.settings.credentials import credentials_of

URL = "https://hooks.example.com/calls"
KEY = base64.b64encode(b"k" * 24).decode()
Complain = Callable[..., tuple[str, ...]]


@pytest.fixture
def complain(tmp_path: Path) -> Complain:
    def complain(toml: str, **environ: str) -> tuple[str, ...]:
        (tmp_path / "aftercall.toml").write_text(toml)
        with pytest.raises(SettingsError) as problems:
            load(environ, tmp_path)
        return problems.value.problems

    return complain


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('url = "ftp://example.com"', "line 2: forward.zapier.url: no URL: one is https://hooks.example.com/calls"),
        ('url = "hooks.example.com"', "line 2: forward.zapier.url: no URL"),
        ('url = "https://[::1"', "line 2: forward.zapier.url: no URL: Invalid IPv6 URL"),
        ('url = "https://example.com:0x1f/"', "line 2: forward.zapier.url: no URL: Port"),
        ('url = "https://hooks..example.com/"', "line 2: forward.zapier.url: no URL: "),
        (f'url = "https://{"a" * 64}.com/"', "line 2: forward.zapier.url: no URL: "),
        ('url = "https://exämple.com/"', "line 2: forward.zapier.url: no URL"),
        ('url = "http://example.com/"', "line 2: forward.zapier.url: http:// would show the call"),
        ('url = "https://u:p@example.com/"', "line 2: forward.zapier.url: credentials in a URL"),
        ('url = "https://10.0.0.1/"', "line 2: forward.zapier.url: 10.0.0.1 is no address of the public Internet"),
        ('url = "https://[::ffff:127.0.0.1]/"', "::ffff:127.0.0.1 is no address of the public Internet"),
        ('url = "https://169.254.169.254/latest"', "169.254.169.254 is no address of the public Internet"),
        ('url = "https://2130706433/"', "2130706433 is no address of the public Internet"),
        ('url = "https://LOCALHOST/"', "localhost is no address of the public Internet"),
        (f'url = "{URL}"\nsecret = "x"', "line 3: forward.zapier.secret: this is no key of that table"),
        (f'url = "{URL}"\ntimeout_s = 60', "line 3: forward.zapier.timeout_s: Expected `float` <= 30.0"),
        (f'url = "{URL}"\nevents = ["call.ended"]', "line 3: forward.zapier.events[0]: Invalid enum value"),
        (f'url = "{URL}"\nevents = []', "line 3: forward.zapier.events: without an event nothing is posted"),
        (f'url = "{URL}"\nbody = {{x = "call.analysys.summary"}}', "line 3: forward.zapier.body.x: "),
        (f'url = "{URL}"\nwhen = [{{path = "factz.cost", above = 1}}]', "line 3: forward.zapier.when[0].path: "),
        (f'url = "{URL}"\nwhen = [{{path = "facts.cost"}}]', "line 3: forward.zapier.when[0]: compares with nothing"),
        (f'url = "{URL}"\nheaders = {{Webhook-Id = "1"}}', "line 3: forward.zapier.headers.Webhook-Id: this header is"),
        (f'url = "{URL}"\nheaders = {{Authorization = "x"}}', "put it into AFTERCALL_FORWARD_SECRETS"),
        (f'url = "{URL}"\nheaders = {{"X Y" = "x"}}', "line 3: forward.zapier.headers.X Y: no header"),
        (f'url = "{URL}"\nheaders = {{X-Y = "a\\nb"}}', "line 3: forward.zapier.headers.X-Y: no header"),
        (f'url = "{URL}"\naccounts = ["acme"]', "[forward.zapier]: accounts: acme: there are default"),
    ],
)
def test_a_table_that_cannot_be_used_is_told_with_its_line(complain: Complain, line: str, told: str) -> None:
    (problem,) = complain(f"[forward.zapier]\n{line}\n")

    assert told in problem


def test_every_problem_of_every_table_is_told_at_once(complain: Complain) -> None:
    problems = complain('[forward.a]\nurl = 1\n[forward.b]\nurl = "x"\n[forward.C]\nurl = "https://example.com"\n')

    assert [problem.partition(": ")[0] for problem in problems] == [
        "aftercall.toml, line 2",
        "aftercall.toml, line 4",
        "[forward.C]",
    ]


@pytest.mark.parametrize(
    ("secrets", "told"),
    [
        ("whsec_abc", "pairs with commas between them"),
        ("zapier=", "pairs with commas between them"),
        (f"make=whsec_{KEY}", "there is no table [forward.make]"),
        ("zapier=whsec_!hidden", "the secret of zapier is whsec_ with what is no base64 behind it"),
        ("zapier=hidden", "what zapier has is neither whsec_… nor a header"),
        ("zapier=X Y: hidden", "what zapier has is neither whsec_… nor a header"),
    ],
)
def test_secrets_that_cannot_be_used_are_told_without_a_word_of_them(
    complain: Complain, secrets: str, told: str
) -> None:
    (problem,) = complain(f'[forward.zapier]\nurl = "{URL}"\n', AFTERCALL_FORWARD_SECRETS=secrets)

    assert told in problem
    assert "hidden" not in problem


def test_each_target_has_its_own_keys_two_while_rotating_and_its_own_secret_headers(tmp_path: Path) -> None:
    (tmp_path / "secrets").write_text(f"a=whsec_{KEY}, a=whsec_b2xk, b=Authorization: Bearer x=y\n")
    (tmp_path / "aftercall.toml").write_text(f'[forward.a]\nurl = "{URL}"\n[forward.b]\nurl = "{URL}"\n')

    secrets = load({"AFTERCALL_FORWARD_SECRETS_FILE": str(tmp_path / "secrets")}, tmp_path).forward_secrets

    assert credentials_of(secrets, "a").keys == (b"k" * 24, b"old")
    assert credentials_of(secrets, "a").headers == {}
    assert credentials_of(secrets, "b").headers == {"Authorization": "Bearer x=y"}


def test_the_example_of_the_readme_is_one(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    example = readme[readme.index("    [forward.zapier]") : readme.index("Posts are signed as")]
    (tmp_path / "aftercall.toml").write_text(dedent(example))

    settings = load({"AFTERCALL_ACCOUNTS__ACME_DENTAL__VAPI_API_KEY": "k"}, tmp_path)

    assert list(settings.forward) == ["zapier", "n8n"]


def test_an_inner_address_and_http_can_be_allowed() -> None:
    for url, allowed in (
        ("http://10.0.0.1/", {"allow_private": True}),
        ("http://example.com/", {"allow_http": True}),
        ("https://localhost/", {"allow_private": True}),
    ):
        assert not list(Target(url=url, **allowed).problems())
        assert list(Target(url=url).problems())


def wanted(call: Any, **targets: Target) -> dict[str, bytes]:
    return bodies_of(call, b"whole", targets)


def target(**changes: Any) -> Target:
    return Target(**{"url": URL} | changes)


def test_a_target_is_posted_the_whole_call_as_it_came() -> None:
    assert wanted(enriched_call(), a=target()) == {"a": b"whole"}


def test_a_target_that_names_a_part_is_posted_that_part() -> None:
    call = enriched_call(call=fetched())
    body = {"id": "callId", "phone": "facts.customer_number", "why": "outcome.reason", "none": "call.metadata.none"}

    posted = wanted(call, a=target(body=body), b=target())

    assert orjson.loads(posted["a"]) == {
        "id": CALL_ID,
        "phone": "+15035550167",
        "why": "customer-ended",
        "none": None,
    }
    assert posted["b"] == b"whole"


def test_a_target_gets_only_its_accounts_events_and_what_its_conditions_hold_for() -> None:
    failed = [{"path": "outcome.result", "equals": "failed"}]
    targets = {
        "acme": target(accounts=("acme",)),
        "amended": target(events=("call.amended",)),
        "failed": msgspec.convert({"url": URL, "when": failed}, Target),
        "all": target(),
    }

    assert list(bodies_of(enriched_call(), b"", targets)) == ["all"]
    assert list(bodies_of(enriched_call(account="acme"), b"", targets)) == ["acme", "all"]
    assert list(bodies_of(enriched_call(version=2), b"", targets)) == ["amended", "all"]
    outcome = {"result": "failed", "reason": "provider-error", "endedReason": "x"}
    assert list(bodies_of(enriched_call(outcome=outcome), b"", targets)) == ["failed", "all"]


@pytest.mark.parametrize(
    ("answer", "says_ok"),
    [
        (b'{"status": {"ok": true}}', True),
        (b'{"status": {"ok": "true"}}', True),
        (b'{"status": {"ok": false}}', False),
        (b'{"error": "no"}', False),
        (b"<html>sign in</html>", False),
        (b"", False),
    ],
)
def test_an_answer_of_200_may_have_to_say_that_it_went_well(answer: bytes, says_ok: bool) -> None:
    assert target(success_path="status.ok").says_ok(answer) is says_ok
    assert target().says_ok(answer)
