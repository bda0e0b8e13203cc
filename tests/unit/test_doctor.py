import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.operate.doctor import (
    Depth,
    Finding,
    Reached,
    of_clock,
    of_consumers,
    of_database,
    of_dead,
    of_guest,
    of_key,
    of_nodes,
    of_public_url,
    of_rights,
    of_secret,
    of_spool,
    of_topology,
)


@pytest.mark.parametrize(
    ("version", "status"),
    [
        ("3.9.29", "fail"),
        ("3.10.8", "warn"),
        ("3.13.7", "warn"),
        ("4.1.9", "warn"),
        ("4.2.6", "warn"),
        ("4.2.7", "ok"),
        ("4.3.0", "warn"),
        ("4.3.4", "ok"),
        ("4.3.5-rc.1", "ok"),
        ("5.0.0", "ok"),
        ("", "warn"),
        ("tanzu", "warn"),
    ],
)
def test_a_broker_is_judged_by_its_version(version: str, status: str) -> None:
    (finding,) = of_nodes([Reached("rabbit:5672/", version=version)])

    assert finding.status == status
    assert finding.mend or status == "ok"


@given(st.text(max_size=12))
def test_no_version_is_too_odd_to_be_judged(version: str) -> None:
    assert len(list(of_nodes([Reached("rabbit", version=version)]))) == 1


def test_a_node_away_is_a_warning_while_another_answers_and_a_failure_alone() -> None:
    away, there = Reached("a", trouble="nothing listens"), Reached("b", version="4.3.4")

    assert [finding.status for finding in of_nodes([away, there])] == ["warn", "ok"]
    assert [finding.status for finding in of_nodes([away])] == ["fail"]


def test_a_right_that_the_settings_can_do_without_is_no_failure() -> None:
    may_not = ["declare exchanges and queues"]

    assert of_rights(may_not, user="u", vhost="/", may_lack=may_not).status == "ok"
    refused = of_rights([*may_not, "publish to calls"], user="u", vhost="/v", may_lack=may_not)
    assert (refused.status, refused.detail) == ("fail", "user u may not publish to calls")
    assert refused.mend.startswith("rabbitmqctl set_permissions -p /v u ")


@pytest.mark.parametrize(
    ("difference", "status", "mend"),
    [
        ("queue calls.crm is missing: `aftercall topology apply` declares it", "fail", "aftercall topology apply"),
        ("binding of queue calls.crm to exchange calls by 'call.#' is not asked for: unbind it", "warn", "unbind it"),
        ("policy ha sets overflow drop-head, and …, on calls.crm", "fail", "rabbitmqctl list_policies"),
        ("queue calls.crm has x-delivery-limit 20, and 100 is asked for", "fail", "a queue of a new name"),
    ],
)
def test_each_difference_of_the_topology_has_its_mend(difference: str, status: str, mend: str) -> None:
    (finding,) = of_topology([difference], [], "")

    assert (finding.check, finding.status) == ("topology", status)
    assert mend in finding.mend


def test_of_many_differences_the_first_are_shown_and_the_rest_counted() -> None:
    findings = list(of_topology([f"queue calls.{n} is missing" for n in range(40)], [], ""))

    assert len(findings) == 11
    assert findings[-1] == Finding("topology", "fail", "and 30 more differences", "aftercall topology check")


def test_what_could_not_be_compared_is_no_all_clear() -> None:
    findings = list(of_topology([], ["bindings and policies, for lack of the management API"], "enable it"))

    assert [(finding.status, finding.mend) for finding in findings] == [("warn", "enable it"), ("ok", "")]
    assert findings[1].detail == "exchanges and queues are as the settings ask"


def consumers(*depths: Depth, **paused: str) -> list[Finding]:
    commands = {"calls.crm": "aftercall consume crm", "calls.enrich.acme": "aftercall consume enrich"}
    return list(of_consumers(depths, paused=paused, commands=commands))


def test_without_an_enricher_or_a_ledger_nothing_works() -> None:
    findings = consumers(Depth("calls.enrich.acme", 3, 0), Depth("calls.ledger", 0, 0))

    assert [finding.status for finding in findings] == ["fail", "fail"]
    assert "`aftercall consume enrich`" in findings[0].mend
    assert "breaker.opened" in findings[0].mend


def test_an_account_that_vapi_does_not_serve_may_pause() -> None:
    (finding,) = consumers(Depth("calls.enrich.acme", 3, 0), acme="Vapi refuses it (401)")

    assert finding.status == "warn"
    assert "Vapi refuses it (401)" in finding.detail


def test_a_subscriber_without_a_consumer_fills_the_disk_and_the_depth_is_named() -> None:
    (finding,) = consumers(Depth("calls.crm", 1234, 0))

    assert finding.status == "warn"
    assert "1,234 waiting: it fills the disk" in finding.detail
    assert finding.mend.startswith("start `aftercall consume crm`, or take crm out of AFTERCALL_SUBSCRIBERS ")


def test_where_all_queues_are_consumed_one_finding_says_so() -> None:
    (finding,) = consumers(Depth("calls.crm", 5, 1), Depth("calls.enrich.acme", 0, 2))

    assert finding.status == "ok"


def test_dead_letters_are_a_warning_with_the_command_that_shows_them() -> None:
    findings = list(
        of_dead([Depth("calls.crm.dead", 7, 0), Depth("calls.unrouted", 1, 0), Depth("calls.x.dead", 0, 0)])
    )

    assert [finding.mend for finding in findings] == [
        "aftercall dead groups --queue calls.crm",
        "aftercall dead groups --queue calls.unrouted",
    ]
    assert [finding.status for finding in of_dead([Depth("calls.crm.dead", 0, 0)])] == ["ok"]


def test_a_spool_is_judged_by_whether_it_can_be_written_and_what_is_in_it() -> None:
    def statuses(trouble: str = "", **found: int) -> list[str]:
        return [finding.status for finding in of_spool("spool", trouble, is_made=True, **found)]

    assert statuses() == ["ok"]
    assert statuses("Read-only file system") == ["fail"]
    assert statuses(waiting=3) == ["warn"]
    assert statuses("no room", waiting=3, aside=1) == ["fail", "warn", "warn"]


@pytest.mark.parametrize(("found", "status"), [(0, "warn"), (1, "warn"), (2, "ok"), (3, "fail")])
def test_a_database_is_judged_by_its_schema(found: int, status: str) -> None:
    finding = of_database("archive", found, 2, role="postcall")

    assert (finding.check, finding.status) == ("archive", status)
    assert of_database("archive", found, 2, role="postcall", is_wanted=False).status == (status if found else "ok")
    mends = {"warn": "`aftercall consume postcall`", "fail": "AFTERCALL_ARCHIVE_URL", "ok": ""}
    assert mends[status] in finding.mend


@pytest.mark.parametrize(
    ("skews_s", "status"), [([], "warn"), ([0.4], "ok"), ([31.0], "warn"), ([-90.0], "warn"), ([40.0, 1.0], "ok")]
)
def test_a_clock_is_judged_by_vapis(skews_s: list[float], status: str) -> None:
    assert of_clock(skews_s).status == status


def test_a_clock_by_which_signed_webhooks_are_too_old_is_a_failure() -> None:
    finding = of_clock([3600.0], tolerance_s=300)

    told = "it is 3600 s off, and signed webhooks are refused beyond 300 s"
    assert (finding.status, finding.detail) == ("fail", told)


def test_a_clock_says_which_way_it_is_off() -> None:
    assert "90 s behind Vapi's" in of_clock([-90.0]).detail


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (401, "Vapi refuses it (401)"),
        (403, "Vapi refuses it (403)"),
        (503, "Vapi answers 503"),
        (0, "no route"),
        (400, "400 came back"),
    ],
)
def test_a_key_that_is_not_taken_is_a_failure_that_names_the_setting_or_the_place(answer: int, detail: str) -> None:
    finding = of_key("acme", answer, "no route", key="AFTERCALL_ACCOUNTS__ACME__VAPI_API_KEY")

    assert (finding.status, finding.detail) == ("fail", detail)
    assert "AFTERCALL_ACCOUNTS__ACME__VAPI" in finding.mend or "status.vapi.ai" in finding.mend


def test_a_key_that_is_taken_is_fine() -> None:
    assert of_key("acme", 200, "", key="K").status == "ok"


def test_a_secret_must_be_set_and_should_be_one() -> None:
    assert of_secret("a", is_set=False, is_insecure=False, key="K").status == "fail"
    assert of_secret("a", is_set=True, is_insecure=True, key="K").status == "warn"
    assert of_secret("a", is_set=True, is_insecure=False, key="K").status == "ok"


def test_the_endpoint_is_known_by_its_answer_to_a_get() -> None:
    assert of_public_url("https://a/webhooks/vapi", 405, "").status == "ok"
    assert of_public_url("https://a/webhooks/vapi", 404, "").status == "fail"
    assert "no route" in of_public_url("https://a/webhooks/vapi", 0, "no route").detail


def test_the_user_of_a_role_is_to_have_the_rights_of_its_role() -> None:
    fine = of_rights([], user="aftercall-operator", vhost="/", may_lack=[], role="operator")
    assert (fine.status, "its role (operator)" in fine.detail) == ("ok", True)
    lacking = of_rights(["publish to calls"], user="aftercall-operator", vhost="/", may_lack=[], role="operator")
    assert (lacking.status, "aftercall topology export --users" in lacking.mend) == ("fail", True)


def test_guest_elsewhere_is_a_warning_where_it_is_allowed() -> None:
    (finding,) = of_guest(["rabbit"])
    assert (finding.status, "at rabbit" in finding.detail) == ("warn", True)
    assert not [*of_guest([])]
