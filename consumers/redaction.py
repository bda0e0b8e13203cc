"""Take out of a call what gives power over it or tells a secret, and say what was taken.

Who has a listen, control or presigned URL has the call; server blocks carry the secrets of webhooks and tools.
"""

import gc
import re
from collections.abc import Callable, Iterable
from fnmatch import translate
from itertools import chain
from typing import Any, Final

DEFAULTS: Final = (
    *("monitor.listenUrl", "monitor.controlUrl", "presigned*", "server{}", "serverUrlSecret"),
    *("credentials", "credential{}", "tools.*.headers", "twilioAuthToken", "twilioApiKey", "twilioApiSecret"),
)
PROMPTS: Final = ("model.messages", "model.systemPrompt", "model.prompt", "systemPrompt", "firstMessage")
NAMED: Final = {"defaults": DEFAULTS, "prompts": PROMPTS}
KEYS_MAX: Final = 4096
OBJECTS: Final = frozenset((dict,))
NESTED: Final = frozenset((dict, list))
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
    rules = _Rules(path for name in wanted for path in NAMED.get(name, (name,)))
    empties_prompts = "prompts" in wanted

    def redact(call: dict[str, Any]) -> list[str]:
        removed: list[str] = []
        _walk(call, [], rules, removed)
        if empties_prompts:
            _empty_prompts(call, (), removed)
        return sorted(removed)

    return redact


def trouble_of(path: str) -> str | None:
    """Why a path is hardly what was meant, and what to write; None if it may be.

    A leading `call` is how the rules of subscribers write it; here it would be a key of that name within the call.
    """
    keys = path.removesuffix("{}").split(".")
    if not all(keys):
        return "a key between the dots is missing"
    if keys[0] == "call" and len(keys) > 1:
        return f"paths begin within the call: {path.removeprefix('call.')} (a key `call` in it is *.{path})"
    return None


class _Rules:
    """The rules of paths, by the key that each ends with.

    Nearly every key of a call is `plain`: no rule ends with it. They are remembered as they are met, so that an object
    of such keys alone is passed at the cost of one comparison of sets.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._compiled = [(keys[-1], (keys[:-1], is_object)) for keys, is_object in map(_split, paths)]
        self.plain: set[str] = set()

    def of(self, key: str) -> tuple[Rule, ...]:
        """The rules that end with a key."""
        found = tuple(rule for pattern, rule in self._compiled if pattern.match(key))
        if not found:
            self._remember(key)
        return found

    def _remember(self, key: str) -> None:
        if len(self.plain) >= KEYS_MAX:  # whoever writes the calls chooses the keys
            self.plain.clear()
        self.plain.add(key)


def _split(path: str) -> tuple[tuple[re.Pattern[str], ...], bool]:
    keys = path.removesuffix("{}").split(".")
    return tuple(re.compile(translate(key)) for key in keys), path.endswith("{}")


def _walk(value: dict[str, Any] | list[Any], path: list[str], rules: _Rules, removed: list[str]) -> None:
    if isinstance(value, dict):
        _take_out(value, path, rules, removed)
    children: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in children:
        kind = type(item)
        if kind in NESTED and not _are_plain([item] if kind is dict else item, rules.plain):
            path.append(str(key))
            _walk(item, path, rules, removed)
            path.pop()


def _are_plain(items: list[Any], plain: set[str]) -> bool:
    """Whether all are objects of plain keys with nothing nested, as the turns of a conversation are.

    Told without a step into each, which was a quarter of what a call cost. An object that the garbage collector does
    not track has nothing nested (https://docs.python.org/3.11/library/gc.html#gc.is_tracked); one it tracks may.
    """
    return (
        OBJECTS.issuperset(map(type, items))
        and plain.issuperset(chain.from_iterable(items))
        and NESTED.isdisjoint(map(type, chain.from_iterable(map(dict.values, filter(gc.is_tracked, items)))))
    )


def _take_out(value: dict[str, Any], path: list[str], rules: _Rules, removed: list[str]) -> None:
    if rules.plain.issuperset(value):
        return
    for key in [key for key, item in value.items() if _is_named(rules.of(key), path, item)]:
        del value[key]
        removed.append(".".join((*path, key)))


def _is_named(rules: tuple[Rule, ...], path: list[str], item: Any) -> bool:
    return any(_ends_with(path, above) and (not is_object or isinstance(item, dict)) for above, is_object in rules)


def _ends_with(path: list[str], above: tuple[re.Pattern[str], ...]) -> bool:
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
