"""What HubSpot's answers say: its words for what it refuses, what it asks to wait, and whose trouble it is."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from consumers.enrich import ApiUnavailable
from consumers.quoting import quoted

TRANSIENT: Final = frozenset({403, 408, 423, 425, 429, 477, *range(500, 600)})
"""403, but for a missing scope: a firewall's, which may dislike one call's words. 423: the record is locked for some
seconds. 477: HubSpot moves the account elsewhere, and says for how long."""
WRONG_TOKEN: Final = 401
MISSING_SCOPES: Final = "MISSING_SCOPES"
NOT_FOUND: Final = 404
TOO_MANY: Final = 429
# What a 429 asks for without Retry-After, by the policy that was exceeded.
WAITS_S: Final[Mapping[str, float]] = {"SECONDLY": 1.0, "TEN_SECONDLY_ROLLING": 10.0}
DAILY: Final = "DAILY"
DAILY_WAIT_S: Final = 600.0
"""How often a spent day's limit is tried again: it returns at midnight where the HubSpot account is."""
EXISTING: Final = re.compile(r"Existing ID:\s*(\d+)")
NO_PROPERTY: Final = re.compile(r"PROPERTY_DOESNT_EXIST|does not exist")
MASKED_FROM: Final = 6


class Answer(msgspec.Struct, frozen=True):
    """One answer: its status, its JSON (None if it has none), and the seconds it asks to wait."""

    status: int
    document: Any = None
    asked_wait_s: float | None = None

    @property
    def is_good(self) -> bool:
        """Whether it did what was asked."""
        return 200 <= self.status < 300  # noqa: PLR2004

    @property
    def refuses_token(self) -> bool:
        """Whether it will have nothing of this token, or not this of any call."""
        return self.status == WRONG_TOKEN or _field(self.document, "category") == MISSING_SCOPES

    @property
    def policy(self) -> str:
        """The limit that was exceeded, as HubSpot calls it."""
        return str(_field(self.document, "policyName"))

    @property
    def wait_s(self) -> float | None:
        """How long to wait before trying again, if it says."""
        return self.asked_wait_s if self.asked_wait_s is not None else WAITS_S.get(self.policy)

    @property
    def existing_id(self) -> str:
        """The record that is in the way of a new one."""
        match = EXISTING.search(self.words)
        return match[1] if match else ""

    @property
    def words(self) -> str:
        """What HubSpot says, with what its support asks for; each field of an error may be missing."""
        words = "; ".join(dict.fromkeys(filter(None, _said(self.document))))
        return quoted(words) if words else "without a word"


def _said(document: Any) -> Iterator[str]:
    errors = _field(document, "errors")
    for told in (document, *(errors if isinstance(errors, list) else ())):
        yield str(_field(told, "message"))
        context = _field(told, "context")
        for values in context.values() if isinstance(context, dict) else ():
            yield ", ".join(map(str, values)) if isinstance(values, list) else ""
    if correlation_id := _field(document, "correlationId"):
        yield f"correlation id {correlation_id}"


def _field(document: Any, name: str) -> Any:
    return document.get(name) or "" if isinstance(document, dict) else ""


class Limited(ApiUnavailable):
    """A limit of HubSpot's: never a single call's affair."""


def unavailable(answer: Answer, account: str) -> ApiUnavailable:
    """The trouble that an answer tells of, as everyone's."""
    told = f"HubSpot answers {answer.status}"
    if answer.refuses_token:
        return ApiUnavailable(f"HubSpot refuses the token of account {account} ({answer.status}): {answer.words}")
    if answer.status == TOO_MANY:
        return Limited(f"{told}: {answer.words}", answer.wait_s)
    if answer.status in TRANSIENT:
        return ApiUnavailable(f"{told}: {answer.words}", answer.wait_s)
    return ApiUnavailable(f"{told}, which it never does here: check AFTERCALL_CRM_BASE_URL")


def masked(words: str, properties: Mapping[str, str]) -> str:
    """HubSpot's words without the values that were sent, which it quotes: they are about a person."""
    for name, value in properties.items():
        if len(value) >= MASKED_FROM:
            words = words.replace(value, f"<{name}>")
    return words
