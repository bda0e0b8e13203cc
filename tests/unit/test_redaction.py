import copy
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.redaction import CONVERSATIONS, redactor
from tests.unit.builders import SCALARS, fetched, report

SERVER = {"url": "https://hooks.example.com", "secret": "s3cret", "headers": {"Authorization": "Bearer s3cret"}}
SENSITIVE = st.sampled_from(
    [
        *(
            "server",
            "serverUrlSecret",
            "monitor",
            "listenUrl",
            "controlUrl",
            "presignedMonoUrl",
            "presigned",
            "credentials",
        ),
        *(
            "credential",
            "twilioAuthToken",
            "tools",
            "a",
            "name",
            "model",
            "messages",
            "firstMessage",
            "content",
            "role",
        ),
    ]
)
CALLS = st.dictionaries(
    SENSITIVE,
    st.recursive(
        SCALARS | st.just("system"),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SENSITIVE, inner, max_size=4),
        max_leaves=15,
    ),
    max_size=5,
)
# Of each default the key, what must stand above it, and whether only an object is meant.
DEFAULTS = (
    *(("listenUrl", "monitor", False), ("controlUrl", "monitor", False), ("presigned*", None, False)),
    *(("server", None, True), ("serverUrlSecret", None, False), ("credentials", None, False)),
    *(("credential", None, True), ("twilioAuthToken", None, False)),
    *(("twilioApiKey", None, False), ("twilioApiSecret", None, False)),
)


def paths(value: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every path in a document, through lists too, with what stands there."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*above, str(key)), item
        yield from paths(item, (*above, str(key)))


def is_sensitive(path: tuple[str, ...], value: Any) -> bool:
    above = path[-2] if len(path) > 1 else None
    return any(
        fnmatchcase(path[-1], key) and parent in (None, above) and (not is_object or isinstance(value, dict))
        for key, parent, is_object in DEFAULTS
    )


def without(value: Any, gone: set[str], above: tuple[str, ...] = ()) -> Any:
    if isinstance(value, dict):
        kept = {key: item for key, item in value.items() if ".".join((*above, key)) not in gone}
        return {key: without(item, gone, (*above, key)) for key, item in kept.items()}
    if isinstance(value, list):
        return [without(item, gone, (*above, str(index))) for index, item in enumerate(value)]
    return value


@given(CALLS)
def test_after_redacting_nothing_sensitive_is_left_at_any_depth(call: dict[str, Any]) -> None:
    redactor(["defaults"])(call)
    assert [path for path, value in paths(call) if is_sensitive(path, value)] == []


@given(
    CALLS, st.sampled_from([("defaults",), ("prompts",), ("defaults", "prompts"), ("a", "name{}", "tools.*.name"), ()])
)
def test_what_is_reported_was_there_and_is_gone_and_nothing_else_is_changed(
    call: dict[str, Any], wanted: tuple[str, ...]
) -> None:
    before = copy.deepcopy(call)
    removed = redactor(wanted)(call)
    assert removed == sorted(set(removed))
    assert set(removed) <= {".".join(path) for path, _ in paths(before)}
    assert call == without(before, set(removed))


@given(CALLS)
def test_redacting_again_finds_nothing(call: dict[str, Any]) -> None:
    redact = redactor(["defaults", "prompts"])
    redact(call)
    assert redact(call) == []


@given(CALLS)
def test_no_system_turn_of_a_conversation_keeps_its_words(call: dict[str, Any]) -> None:
    redactor(["prompts"])(call)
    turns = (
        turn for path, value in paths(call) if path[-1] in CONVERSATIONS and isinstance(value, list) for turn in value
    )
    said = [turn for turn in turns if isinstance(turn, dict) and turn.get("role") == "system"]
    assert [turn for turn in said if "content" in turn or "message" in turn] == []


@pytest.mark.parametrize(
    ("call", "removed"),
    [
        ({"server": SERVER}, ["server"]),
        ({"assistant": {"server": SERVER}}, ["assistant.server"]),
        ({"assistant": {"model": {"tools": [{"x": 1}, {"server": SERVER}]}}}, ["assistant.model.tools.1.server"]),
        ({"squad": {"members": [{"assistant": {"server": SERVER}}]}}, ["squad.members.0.assistant.server"]),
        ({"assistantOverrides": {"tools:append": [{"server": SERVER}]}}, ["assistantOverrides.tools:append.0.server"]),
        ({"phoneNumber": {"server": SERVER, "number": "+1"}}, ["phoneNumber.server"]),
        ({"phoneNumber": {"twilioAuthToken": "t"}}, ["phoneNumber.twilioAuthToken"]),
        ({"assistant": {"serverUrlSecret": "s"}}, ["assistant.serverUrlSecret"]),
        ({"assistant": {"credentials": [{"apiKey": "k"}]}}, ["assistant.credentials"]),
        (
            {"monitor": {"listenUrl": "l", "controlUrl": "c", "monitors": []}},
            ["monitor.controlUrl", "monitor.listenUrl"],
        ),
        (
            {"artifact": {"presignedMonoUrl": "u", "presignedLogUrl": "u"}},
            ["artifact.presignedLogUrl", "artifact.presignedMonoUrl"],
        ),
        ({"list": [[{"server": SERVER}]]}, ["list.0.0.server"]),
    ],
)
def test_a_secret_is_found_wherever_vapi_puts_it(call: dict[str, Any], removed: list[str]) -> None:
    assert redactor(["defaults"])(call) == removed
    assert "s3cret" not in str(call)


@pytest.mark.parametrize(
    "call",
    [
        {"analysis": {"structuredData": {"server": "Anna"}}},
        {"analysis": {"structuredData": {"controlUrl": "https://example.com", "credential": "gold"}}},
        {"assistant": {"serverMessages": ["end-of-call-report"]}},
        {"artifact": {"recordingUrl": "u", "notPresignedUrl": "u"}},
        {"monitor": "text", "server": None, "tools": [None, 1, []]},
    ],
)
def test_what_only_looks_like_a_secret_survives(call: dict[str, Any]) -> None:
    before = copy.deepcopy(call)
    assert redactor(["defaults"])(call) == []
    assert call == before


@pytest.mark.parametrize("name", ["outbound-ended", "inbound-voicemail", "web", "pipeline-error"])
def test_the_samples_hold_no_capability_afterwards(name: str) -> None:
    for call in (fetched(name), report(name)):
        redactor(["defaults"])(call)
        assert not re.search(r"listenUrl|controlUrl|presigned\w*Url|'server':|/listen'|/control'", str(call))


def test_nothing_is_taken_without_paths() -> None:
    call = {"server": SERVER, "monitor": {"listenUrl": "l"}}
    assert redactor([])(call) == []
    assert call == {"server": SERVER, "monitor": {"listenUrl": "l"}}


@pytest.mark.parametrize(
    ("path", "removed"),
    [
        ("customer", ["customer", "phone.customer"]),
        ("customer.number", ["customer.number", "phone.customer.number"]),
        ("phone.customer.number", ["phone.customer.number"]),
        ("customer{}", ["customer", "phone.customer"]),
        ("number{}", []),
        ("num*", ["customer.number", "phone.customer.number"]),
        ("*.customer", ["phone.customer"]),
        ("ph*.*.number", ["phone.customer.number"]),
        ("turns.*.said", ["turns.0.said", "turns.1.said"]),
        ("turns.1.said", ["turns.1.said"]),
        ("turns.said", []),
        ("umber", []),
        ("customer.", []),
        ("", []),
    ],
)
def test_a_path_of_the_settings_matches_whole_keys_at_any_depth(path: str, removed: list[str]) -> None:
    call = {
        "customer": {"number": "+1"},
        "phone": {"customer": {"number": "+2"}},
        "turns": [{"said": "a"}, {"said": "b", "by": "c"}],
    }
    assert redactor([path])(call) == removed


def test_prompts_are_taken_where_an_assistant_holds_them() -> None:
    call = {
        "assistant": {
            "firstMessage": "Hi",
            "model": {
                "model": "gpt",
                "messages": [{"role": "system", "content": "secret prompt"}],
                "systemPrompt": "p",
            },
        }
    }
    assert redactor(["prompts"])(call) == [
        "assistant.firstMessage",
        "assistant.model.messages",
        "assistant.model.systemPrompt",
    ]
    assert call == {"assistant": {"model": {"model": "gpt"}}}


def test_prompts_are_taken_out_of_the_conversation_and_what_people_said_is_not() -> None:
    user = {"role": "user", "message": "Hello"}
    call = {
        "artifact": {
            "messages": [{"role": "system", "message": "secret prompt", "time": 1}, user],
            "messagesOpenAIFormatted": [{"role": "system", "content": None}, {"role": "assistant", "content": "Hi"}],
        }
    }
    assert redactor(["prompts"])(call) == ["artifact.messages.0.message", "artifact.messagesOpenAIFormatted.0.content"]
    assert call["artifact"]["messages"] == [{"role": "system", "time": 1}, user]
    assert call["artifact"]["messagesOpenAIFormatted"] == [{"role": "system"}, {"role": "assistant", "content": "Hi"}]


def test_prompts_stay_unless_they_are_asked_for() -> None:
    call = fetched()
    redactor(["defaults"])(call)
    assert call["artifact"]["messages"][0] == fetched()["artifact"]["messages"][0]


def test_no_prompt_of_a_sample_is_left_when_prompts_are_taken() -> None:
    call = report()
    redactor(["defaults", "prompts"])(call)
    assert "Goal: confirm or move the cleaning appointment" not in str(call)
