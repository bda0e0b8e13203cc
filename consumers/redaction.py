"""Take out of a call what gives power over it or tells a secret, and say what was taken.

Who has a listen, control or presigned URL has the call; server blocks carry the secrets of webhooks and tools.
"""

import re
from collections.abc import Callable, Iterable
from fnmatch import translate
from functools import lru_cache
from typing import Any, Final

DEFAULTS: Final = (
    *("monitor.listenUrl", "monitor.controlUrl", "presigned*", "server{}", "serverUrlSecret"),
    *("credentials", "credential{}", "tools.*.headers", "twilioAuthToken", "twilioApiKey", "twilioApiSecret"),
)
PROMPTS: Final = ("model.messages", "model.systemPrompt", "model.prompt", "systemPrompt", "firstMessage")
NAMED: Final = {"defaults": DEFAULTS, "prompts": PROMPTS}
CONVERSATIONS: Final = ("messages", "messagesOpenAIFormatted")

Rule = tuple[tuple[re.Pattern[str], ...], bool]
"""What the keys directly above must match, and whether only an object is meant."""
Redact = Callable[[dict[str, Any]], list[str]]


def redactor(paths: Iterable[str]) -> Redact:
    """A function that removes what `paths` name from a call, in place, and returns the paths removed.

    A path matches at any depth: `server{}` is every object of that key, `monitor.listenUrl` that key below that one,
    `*` stands for any part of a key or for a place in a list, as in `messages.*.message`. The words `defaults` and
    `prompts` stand for lists; `prompts` also empties the system's turns of a conversation.
    """
    wanted = tuple(paths)
    rules = _compile(path for name in wanted for path in NAMED.get(name, (name,)))
    empties_prompts = "prompts" in wanted

    def redact(call: dict[str, Any]) -> list[str]:
        removed: list[str] = []
        _walk(call, (), rules, removed)
        if empties_prompts:
            _empty_prompts(call, (), removed)
        return sorted(removed)

    return redact


def _compile(paths: Iterable[str]) -> Callable[[str], tuple[Rule, ...]]:
    compiled = [(keys[-1], (keys[:-1], is_object)) for keys, is_object in map(_split, paths)]

    @lru_cache(maxsize=4096)
    def rules_for(key: str) -> tuple[Rule, ...]:
        return tuple(rule for pattern, rule in compiled if pattern.match(key))

    return rules_for


def _split(path: str) -> tuple[tuple[re.Pattern[str], ...], bool]:
    keys = path.removesuffix("{}").split(".")
    return tuple(re.compile(translate(key)) for key in keys), path.endswith("{}")


def _walk(value: Any, path: tuple[str, ...], rules_for: Callable[[str], tuple[Rule, ...]], removed: list[str]) -> None:
    if isinstance(value, dict):
        for key in [key for key, item in value.items() if _is_named(rules_for(key), path, item)]:
            del value[key]
            removed.append(".".join((*path, key)))
        for key, item in value.items():
            if isinstance(item, dict | list) and item:
                _walk(item, (*path, key), rules_for, removed)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, dict | list) and item:
                _walk(item, (*path, str(index)), rules_for, removed)


def _is_named(rules: tuple[Rule, ...], path: tuple[str, ...], item: Any) -> bool:
    return any(_ends_with(path, above) and (not is_object or isinstance(item, dict)) for above, is_object in rules)


def _ends_with(path: tuple[str, ...], above: tuple[re.Pattern[str], ...]) -> bool:
    return len(path) >= len(above) and all(
        pattern.match(key) for pattern, key in zip(above, path[len(path) - len(above) :], strict=True)
    )


def _empty_prompts(value: Any, path: tuple[str, ...], removed: list[str]) -> None:
    """Remove what the system said from every conversation: the prompt is its first turn."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key in CONVERSATIONS and isinstance(item, list):
                _empty_turns(item, (*path, key), removed)
            _empty_prompts(item, (*path, key), removed)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _empty_prompts(item, (*path, str(index)), removed)


def _empty_turns(turns: list[Any], path: tuple[str, ...], removed: list[str]) -> None:
    for index, turn in enumerate(turns):
        if isinstance(turn, dict) and turn.get("role") == "system":
            for key in [key for key in ("message", "content") if key in turn]:
                del turn[key]
                removed.append(".".join((*path, str(index), key)))
