"""The targets of `forward`: the tables `[forward.<name>]`, and which of them is posted what.

    [forward.zapier]
    url = "https://hooks.zapier.com/hooks/catch/123/abc"
    when = [{path = "outcome.result", equals = "completed"}]
    body = {phone = "facts.customer_number", summary = "call.analysis.summary"}

Conditions and paths are those of all rules (`consumers.conditions`, `consumers.paths`).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from consumers.addresses import is_public
from consumers.conditions import COMPARISONS, Condition, Value, understood
from consumers.enriched import EnrichedCall
from consumers.paths import Path, WrongPath, document_of
from consumers.tolerant_json import NotJson, dump, parse

TIMEOUT_MAX_S: Final = 30.0  # a delivery is in hand no longer than 45 s
HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
VALUE: Final = re.compile(r"[\x20-\x7e\t]*")
OURS_TO_SET: Final = ("host", "content-type", "content-length", "transfer-encoding", "connection")
SECRET: Final = ("authorization", "proxy-authorization", "cookie", "x-api-key", "api-key")

Problem = tuple[tuple[str | int, ...], str]


class Target(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where calls are posted to, which of them, and what of them.

    `accounts` empty is every account; all conditions of `when` must hold; `body` empty is the whole enriched call, else
    each name is given what its path leads to. With `success_path` a 2xx counts only if that path of the answer's JSON
    leads to `success_equals`. `http://` and addresses that are not public have to be allowed.
    """

    url: str
    accounts: tuple[str, ...] = ()
    events: tuple[Literal["call.enriched", "call.amended"], ...] = ("call.enriched", "call.amended")
    when: tuple[Condition, ...] = ()
    body: dict[str, str] = {}
    headers: dict[str, str] = {}
    timeout_s: Annotated[float, Meta(gt=0, le=TIMEOUT_MAX_S)] = 15.0
    success_path: str = ""
    success_equals: Value = True
    allow_http: bool = False
    allow_private: bool = False

    def problems(self) -> Iterator[Problem]:
        """What the types cannot tell: where in the table, and what is wrong."""
        yield from ((("url",), problem) for problem in self._problems_of_url())
        for index, condition in enumerate(self.when):
            yield from ((("when", index, *place), problem) for place, problem in condition.problems())
        for name, leads_to in self.body.items():
            try:
                understood(leads_to)
            except WrongPath as error:
                yield ("body", name), str(error)
        for name, value in self.headers.items():
            yield from ((("headers", name), problem) for problem in _problems_of_header(name, value))
        if not self.events:
            yield ("events",), "without an event nothing is posted: leave it out for both"

    def _problems_of_url(self) -> Iterator[str]:
        try:
            url = urlsplit(self.url)
            host, _ = url.hostname or "", url.port
            host.encode("idna")  # an empty label, or one that is too long
        except ValueError as error:
            yield f"no URL: {error}"
            return
        if url.scheme not in ("http", "https") or not host or not re.fullmatch(r"[\x21-\x7e]+", self.url):
            yield "no URL: one is https://hooks.example.com/calls, in ASCII without blanks"
        elif url.scheme == "http" and not (self.allow_http or self.allow_private):
            yield "http:// would show the call to all on its way: use https://, or set allow_http = true"
        if "@" in url.netloc:
            yield "credentials in a URL are not kept secret: put them into AFTERCALL_FORWARD_SECRETS, as a header"
        if _leads_inside(host) and not self.allow_private:
            yield f"{host} is no address of the public Internet: set allow_private = true if it is meant"

    def says_ok(self, answer: bytes) -> bool:
        """Whether the body of a 2xx says that it went well, as far as this target's answers are to say so."""
        if not self.success_path:
            return True
        try:
            found = Path(self.success_path, tuple(self.success_path.split("."))).of(parse(answer))
        except NotJson:
            return False
        return COMPARISONS["equals"](found, self.success_equals)


def bodies_of(call: EnrichedCall, whole: bytes, targets: Mapping[str, Target]) -> dict[str, bytes]:
    """What is posted about a call to which of the targets; `whole` is its JSON, as the subscribers get it."""
    does_read = any(target.when or target.body for target in targets.values())
    document = document_of(call) if does_read else {}
    return {
        name: _part(document, target.body) if target.body else whole
        for name, target in targets.items()
        if _is_wanted(target, call, document)
    }


def _is_wanted(target: Target, call: EnrichedCall, document: Mapping[str, Any]) -> bool:
    is_of_it = call.account in (target.accounts or (call.account,)) and call.type in target.events
    return is_of_it and all(condition.holds(document) for condition in target.when)


def _part(document: Mapping[str, Any], body: Mapping[str, str]) -> bytes:
    return dump({name: understood(leads_to).of(document) for name, leads_to in body.items()})


def _leads_inside(host: str) -> bool:
    """Whether the name itself tells that it is no public one; others are looked at when they are resolved."""
    is_address = ":" in host or host.replace(".", "").isdigit()
    return (is_address and not is_public(host)) or host == "localhost" or host.endswith(".localhost")


def _problems_of_header(name: str, value: str) -> Iterator[str]:
    lower = name.lower()
    if lower in OURS_TO_SET or lower.startswith("webhook-"):
        yield "this header is ours to set"
    elif lower in SECRET:
        yield f'a secret: put it into AFTERCALL_FORWARD_SECRETS, as "<target>={name}: …"'
    elif not HEADER.fullmatch(name) or not VALUE.fullmatch(value):
        yield "no header: a name is letters, digits and -, a value is one line of ASCII"
