"""The tables `[subscribers.<name>]`: which queues there are besides our own, and which events each gets."""

import re
from typing import Any, Final

from worker.settings.fields import EVERY_CALL, NAME, SUBSCRIBERS

RESERVED: Final = {*SUBSCRIBERS, "enrich", "retry", "dead", "requeue", "unrouted", "webhook"}
NAME_TAKEN: Final = "the name is taken, or not 1 to 40 of a-z, 0-9 and -"
BINDING: Final = re.compile(r"(call|#|\*)(\.([A-Za-z0-9_-]+|#|\*))*")


def is_free(name: str) -> bool:
    """Whether a subscriber's queue may have that name."""
    return NAME.fullmatch(name) is not None and name not in RESERVED


def bindings_in(tables: Any, problems: list[str]) -> dict[str, tuple[str, ...]]:
    """The `[subscribers.<name>]` tables: each a queue `calls.<name>` bound to its patterns."""
    result: dict[str, tuple[str, ...]] = {}
    if not isinstance(tables, dict):
        problems.append("aftercall.toml: subscribers are tables, [subscribers.<name>]")
        return result
    for name, table in tables.items():
        patterns = table.get("bindings", [*EVERY_CALL]) if isinstance(table, dict) else None
        if not is_free(name):
            problems.append(f"[subscribers.{name}]: {NAME_TAKEN}")
        elif isinstance(table, dict) and (unknown := sorted(table.keys() - {"bindings"})):
            problems.append(f"[subscribers.{name}]: {', '.join(unknown)}: the one key there is bindings")
        elif not isinstance(patterns, list) or not patterns:
            problems.append(f'[subscribers.{name}]: bindings is a list of patterns such as ["call.enriched.#"]')
        elif wrong := [pattern for pattern in patterns if not _is_binding(pattern)]:
            told = ", ".join(map(repr, wrong))
            problems.append(f"[subscribers.{name}]: {told} is no pattern of routing keys such as 'call.enriched.#'")
        elif ended := [pattern for pattern in patterns if _catches_notifications(pattern)]:
            # With a second binding a missing enricher's queue would go unnoticed: the notification would be routed.
            problems.append(
                f"[subscribers.{name}]: {', '.join(ended)} takes call.ended too, which is the enricher's alone"
            )
        else:
            result[name] = tuple(patterns)
    return result


def _catches_notifications(pattern: str) -> bool:
    first, *rest = pattern.split(".")
    return first == "#" or (bool(rest) and rest[0] in ("ended", "*", "#"))


def _is_binding(pattern: Any) -> bool:
    return isinstance(pattern, str) and BINDING.fullmatch(pattern) is not None
