"""`aftercall explain` as a real process, on calls that went through real processes."""

import json
import shlex
from typing import Any

from tests.acceptance.conftest import Installation, Vapi, fresh_report, report, sample
from tests.processes import RunningProcess, eventually

WEB = sample("call-web.json")
NOWHERE = "amqp://guest:guest@127.0.0.1:1/"


async def ended(process: RunningProcess) -> tuple[int, str]:
    return await process.wait(), process.text()


async def told(installation: Installation, call_id: str, **environment: str) -> dict[str, Any]:
    """What it tells as JSON, of a call that is known."""
    process = installation.start("explain", call_id, "--output", "json", **environment)
    code, text = await ended(process)
    assert code == 0, text
    return json.loads(text)


async def told_once(installation: Installation, call_id: str, *, state: str, steps: int) -> dict[str, Any]:
    """The story in one account, once the call is in that state after so many steps."""

    async def there() -> dict[str, Any]:
        process = installation.start("explain", call_id, "--output", "json")
        code, text = await ended(process)
        found = json.loads(text) if code == 0 else {"accounts": []}
        for story in found["accounts"]:
            if story["next"][0]["state"] == state and len(story["steps"]) >= steps:
                return story
        return {}

    return await eventually(there)


async def test_a_call_enriched_at_once_is_told_on_one_screen_whichever_account_it_belongs_to(
    installation: Installation, vapi: Vapi
) -> None:
    call = sample("call-outbound-ended.json")
    vapi.calls[call["id"]] = call
    installation.environment |= {
        "AFTERCALL_ACCOUNTS__ACME__VAPI_API_KEY": "a refused key",
        "AFTERCALL_ACCOUNTS__ACME__WEBHOOK_SECRETS": "secret-of-acme",
    }
    await installation.started("webhook")
    await installation.started("consume", "enrich", "ledger")
    await installation.post(report("outbound-ended"))

    story = await told_once(installation, call["id"], state="done", steps=2)
    code, text = await ended(installation.start("explain", call["id"]))

    assert [step["what"] for step in story["steps"]] == ["received", "enriched"]
    assert {"calls.ledger", "calls.postcall", "calls.crm"} == set(story["steps"][1]["queues"])
    assert code == 0
    for line in (
        f"call {call['id']}  account default",
        "the webhook came in",
        "version 1 went out, complete, from API and webhook, attempt 1",
        "to calls.crm (1 ready), calls.ledger, calls.postcall (1 ready)",
        f"ce-id default/{call['id']}/",
        "next in calls.enrich.default: nothing, the complete call has gone out",
        "Vapi, account default: ended at 2026-08-31T",
        "Vapi, account acme: could not be asked: Vapi refuses the key (401)",
    ):
        assert line in text, text
    assert len(text.splitlines()) < 24, "one screen"


async def test_a_call_that_was_retried_went_out_incomplete_and_is_amended(
    installation: Installation, vapi: Vapi
) -> None:
    installation.environment |= {"AFTERCALL_EMIT_AFTER_S": "4"}
    await installation.started("webhook")
    await installation.started("consume", "enrich", "ledger")
    await installation.post(fresh_report("web"))

    first = await told_once(installation, WEB["id"], state="waiting", steps=2)
    assert first["steps"][0]["told"] == "the webhook came in"
    assert first["steps"][1]["told"].startswith("attempt 1 in calls.enrich.default: Vapi has no call of this id")
    assert "the last attempt is at about" in first["next"][0]["then"][-1]
    incomplete = await told_once(installation, WEB["id"], state="waiting", steps=5)
    assert "an amendment follows with Vapi's record, if that comes" in incomplete["next"][0]["then"]
    assert incomplete["next"][0]["liesIn"].startswith("calls.retry.")
    vapi.calls[WEB["id"]] = WEB
    amended = await told_once(installation, WEB["id"], state="done", steps=6)

    (told_of_it,) = (step["told"] for step in amended["steps"] if step["what"] == "amended")
    assert told_of_it.startswith("version 2 went out, complete")
    assert amended["next"][0]["told"] == "nothing, the complete call has gone out"


async def test_a_dead_call_names_the_command_that_replays_it_and_afterwards_both_are_part_of_its_story(
    installation: Installation, vapi: Vapi
) -> None:
    installation.environment |= {"AFTERCALL_GIVE_UP_AFTER_S": "1"}
    await installation.started("webhook")
    await installation.started("consume", "enrich", "ledger")
    await installation.post(fresh_report("web"))

    dead = await told_once(installation, WEB["id"], state="dead", steps=2)
    assert dead["next"][0]["liesIn"] == "calls.enrich.default.dead"
    vapi.calls[WEB["id"]] = WEB
    program, *command = shlex.split(dead["next"][0]["mend"])
    assert program == "aftercall"
    assert (await ended(installation.start(*command)))[0] == 0

    story = await told_once(installation, WEB["id"], state="done", steps=5)
    assert {step["what"] for step in story["steps"]} == {"received", "retried", "dead", "replayed", "enriched"}


async def test_an_unknown_call_is_one_sentence_and_what_vapi_says(installation: Installation, vapi: Vapi) -> None:
    await installation.started("consume", "enrich", "ledger")

    code, text = await ended(installation.start("explain", WEB["id"]))
    assert code == 1
    assert text.splitlines() == [
        f"Nothing is known here of call {WEB['id']}.",
        "  Vapi, account default: no call of this id",
    ]

    vapi.calls[WEB["id"]] = WEB | {"transcript": "word " * 500_000}  # comes in many pieces
    code, text = await ended(installation.start("explain", WEB["id"]))
    assert code == 1
    assert "`aftercall sweep --once`" in text
    assert "Vapi, account default: ended at" in text


async def test_what_is_away_is_named_and_the_rest_is_shown(installation: Installation, vapi: Vapi) -> None:
    vapi.calls[WEB["id"]] = WEB
    await installation.started("webhook")
    await installation.started("consume", "enrich", "ledger")
    await installation.post(fresh_report("web"))
    await told_once(installation, WEB["id"], state="done", steps=2)

    rest = await told(installation, WEB["id"], AFTERCALL_AMQP_URL=NOWHERE, AFTERCALL_VAPI_BASE_URL="http://127.0.0.1:1")
    assert "the broker" in rest["notAsked"][0]
    assert "cannot be reached" in rest["atVapi"][0]["trouble"]
    assert rest["accounts"][0]["next"][0]["state"] == "done"

    code, text = await ended(
        installation.start(
            *("explain", WEB["id"]),
            AFTERCALL_AMQP_URL=NOWHERE,
            AFTERCALL_VAPI_BASE_URL="http://127.0.0.1:1",
            AFTERCALL_LEDGER_URL="sqlite:///none/ledger.db",
        )
    )
    assert code == 69
    assert "the ledger: there is none yet" in text
    assert "the broker" in text


async def test_what_is_no_id_of_a_call_is_a_usage_error(installation: Installation) -> None:
    code, text = await ended(installation.start("explain", "two words"))

    assert code == 64
    assert "CALL_ID 'two words'" in text
