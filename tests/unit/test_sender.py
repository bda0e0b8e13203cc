import json
import shlex
from typing import Any

import pytest
from hypothesis import given
from msgspec import structs

from tests.unit.builders import JSON
from worker.operate.doctor import Finding
from worker.operate.sender import BACKOFF, Here, of_senders, read_senders

OURS = "https://aftercall.example.com/webhooks/vapi"
HERE = Here(account="default", paths=("/webhooks/vapi", "/webhooks/vapi/default"), others=("/webhooks/vapi/acme",))
GOOD = {"url": OURS, "credentialId": "c-1", "timeoutSeconds": 20, "backoffPlan": dict(BACKOFF)}


def assistant(name: str = "Ann", **changes: Any) -> dict[str, Any]:
    return {"id": f"id-{name}", "name": name, **changes}


def findings(*assistants: Any, here: Here = HERE) -> list[Finding]:
    return list(of_senders(read_senders("assistant", list(assistants)), here))


def judged(*assistants: Any, here: Here = HERE) -> list[tuple[str, str]]:
    return [(finding.status, finding.detail) for finding in findings(*assistants, here=here)]


def patched(finding: Finding) -> dict[str, Any]:
    """The body of the request in a mend, as a shell would hand it to curl."""
    words = shlex.split(finding.mend)
    return json.loads(words[words.index("-d") + 1].rstrip(","))


def test_a_well_set_assistant_is_fine() -> None:
    assert judged(assistant(server=GOOD)) == [("ok", "assistant Ann: as it should be")]


def test_without_a_backoff_plan_a_report_is_sent_once_and_the_mend_is_the_request_that_adds_it() -> None:
    bare = {key: value for key, value in GOOD.items() if key != "backoffPlan"}

    (finding,) = findings(assistant(server=bare))

    assert finding.status == "warn"
    assert "never sent again" in finding.detail
    assert finding.mend.startswith("curl -X PATCH https://api.vapi.ai/assistant/id-Ann ")
    assert patched(finding) == {"server": GOOD}


def test_an_assistant_that_posts_elsewhere_is_named_and_so_is_the_host_but_not_what_its_url_holds() -> None:
    (_, finding) = reversed(findings(assistant(server={"url": "https://u:pw@crm.example.com/hook?token=s3cret"})))

    assert finding.status == "warn"
    assert "assistant Ann: posts to crm.example.com" in finding.detail
    assert "tool-calls" in finding.mend
    assert "s3cret" not in str(finding)
    assert "pw" not in finding.detail + finding.mend


def test_where_only_named_addresses_may_post_whoever_posts_from_others_is_a_failure_and_the_mend_is_of_one_piece() -> (
    None
):
    here = structs.replace(HERE, takes_any_address=False)
    static = {"staticIpAddressesEnabled": True}

    (finding,) = findings(assistant(server=GOOD | {"staticIpAddressesEnabled": False}), here=here)

    assert (finding.status, "AFTERCALL_WEBHOOK_ALLOW" in finding.detail) == ("fail", True)
    assert patched(finding) == {"server": GOOD | static}
    assert judged(assistant(server=GOOD | static), here=here) == [("ok", "assistant Ann: as it should be")]


def test_another_accounts_path_is_a_failure() -> None:
    crossed = findings(assistant(server=GOOD | {"url": "https://a.example.com/webhooks/vapi/acme"}))

    assert ("fail", "assistant Ann: posts to another account's path here") in [(f.status, f.detail) for f in crossed]
    assert patched(crossed[0])["server"]["url"] == "https://<your host>/webhooks/vapi"


@pytest.mark.parametrize("server", [GOOD, {}])
def test_server_messages_without_the_report_are_a_failure_wherever_it_would_go(server: dict[str, Any]) -> None:
    deaf = findings(assistant(server=server, serverMessages=["hang"]))

    assert (deaf[0].status, patched(deaf[0])) == ("fail", {"serverMessages": ["end-of-call-report", "status-update"]})


def test_server_messages_that_are_not_set_have_the_report_among_them() -> None:
    assert judged(assistant(server=GOOD, serverMessages=None))[0][0] == "ok"


@pytest.mark.parametrize(
    "with_credential",
    [
        {"server": GOOD | {"secret": "s"}},
        {"server": {key: value for key, value in GOOD.items() if key != "credentialId"} | {"secret": "s"}},
        {"server": {"headers": {"authorization": "Bearer s"}, "url": OURS, "backoffPlan": BACKOFF}},
        {"serverUrl": OURS, "serverUrlSecret": "s", "server": {"backoffPlan": BACKOFF}},
    ],
)
def test_a_credential_may_be_set_in_several_ways(with_credential: dict[str, Any]) -> None:
    assert judged(assistant(**with_credential))[0][0] == "ok"


def test_without_a_credential_the_endpoint_would_refuse_unless_it_checks_nothing() -> None:
    bare = assistant(server={"url": OURS, "backoffPlan": BACKOFF})

    assert "401" in judged(bare)[0][1]
    insecure = Here(account="default", paths=HERE.paths, is_insecure=True)
    assert judged(bare, here=insecure)[0][0] == "ok"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"timeoutSeconds": 2}, "timeout under 5 s"),
        ({"backoffPlan": dict(BACKOFF) | {"excludedStatusCodes": [413, 503]}}, "excludes answers"),
        ({"backoffPlan": dict(BACKOFF) | {"maxRetries": 0}}, "no backoffPlan"),
        ({"backoffPlan": None}, "no backoffPlan"),
    ],
)
def test_each_weak_setting_is_told_and_its_mend_undoes_nothing_else(changes: dict[str, Any], told: str) -> None:
    (finding,) = findings(assistant(server=GOOD | changes))

    assert finding.status == "warn"
    assert told in finding.detail
    assert patched(finding) == {"server": GOOD}


def test_secrets_are_never_shown_but_the_mend_says_that_they_stay() -> None:
    (finding,) = findings(assistant(server=GOOD | {"timeoutSeconds": 1, "secret": "hush", "headers": {"x": "hush"}}))

    assert "hush" not in finding.mend
    assert "with its secret and headers put into `server` as before" in finding.mend


def test_a_trouble_of_many_is_one_finding() -> None:
    many = [assistant(str(number), server=GOOD | {"backoffPlan": None}) for number in range(40)]

    (finding,) = findings(*many)

    assert "assistant 4 and 35 more: has no backoffPlan" in finding.detail


def test_where_nobody_posts_here_the_url_to_set_is_told() -> None:
    (finding,) = findings(assistant())

    assert "nothing at Vapi" in finding.detail
    assert "https://<your host>/webhooks/vapi" in finding.mend


@pytest.mark.parametrize(
    ("url", "is_ours"),
    [
        (OURS, True),
        (OURS + "/", True),
        (OURS.replace("https", "http"), True),
        ("https://AFTERCALL.example.com/webhooks/vapi", True),
        ("https://old.example.com/webhooks/vapi", False),
        (OURS + "/acme", False),
        ("https://[", False),
        ("", False),
    ],
)
def test_with_a_public_url_the_host_counts_too(url: str, is_ours: bool) -> None:
    assert Here(account="default", paths=HERE.paths, public_url=OURS).is_ours(url) is is_ours


def test_behind_a_proxy_something_may_stand_before_the_path() -> None:
    assert HERE.is_ours("https://example.com/calls/webhooks/vapi/default")
    assert not HERE.is_ours("https://example.com/webhooks/vapi-old")


def test_numbers_and_the_organisation_are_senders_too() -> None:
    numbers = read_senders("phone number", [{"id": "n", "number": "+1503", "server": GOOD | {"backoffPlan": None}}])
    org = read_senders("organisation", {"id": "o", "name": "Acme", "server": GOOD | {"timeoutSeconds": 1}})

    told = list(of_senders([*numbers, *org], HERE))

    assert "phone number +1503: has no backoffPlan" in told[0].detail
    assert "/phone-number/n " in told[0].mend
    assert "organisation Acme: has a timeout under" in told[1].detail
    assert told[1].mend.startswith("in the dashboard")


@given(JSON)
def test_whatever_vapi_answers_is_judged(answer: Any) -> None:
    for shape in (answer, [answer], [{"server": answer}], [{"server": {"url": answer, "backoffPlan": answer}}]):
        assert list(of_senders(read_senders("assistant", shape), HERE))
