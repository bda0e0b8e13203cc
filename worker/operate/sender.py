"""What the doctor makes of the sender: the assistants, numbers and organisation that post to us, by Vapi's own API.

Vapi sends an event to one URL: the assistant's, else the number's, else the organisation's
(https://docs.vapi.ai/server-url/setting-server-urls).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from shlex import quote
from typing import Any, Final, Literal
from urllib.parse import SplitResult, urlsplit

import msgspec
import orjson

from worker.operate.doctor import Finding, Status

Kind = Literal["assistant", "phone number", "organisation"]
REPORT: Final = "end-of-call-report"
BACKOFF: Final[Mapping[str, Any]] = {
    "type": "exponential",
    "maxRetries": 10,
    "baseDelaySeconds": 5,
    "excludedStatusCodes": [413],
}
MESSAGES: Final = [REPORT, "status-update"]
TIMEOUT_MIN_S: Final = 5
NAMED_MAX: Final = 5
RETRYABLE: Final = frozenset({401, 403, 404, 408, 429, *range(500, 600)})
"""Answers after which a report is still good: a secret being rotated, trouble of ours."""
PRINTABLE: Final = ("credentialId", "staticIpAddressesEnabled")
SECRETS: Final = ("secret", "headers", "encryptedPaths")
PATHS: Final[Mapping[Kind, str]] = {"assistant": "assistant", "phone number": "phone-number", "organisation": "org"}


class Sender(msgspec.Struct, frozen=True, kw_only=True):
    """Something at Vapi that may have a server URL; `server` is its configuration, which may hold secrets."""

    kind: Kind
    id: str
    name: str
    server: Mapping[str, Any]
    has_credential: bool
    messages: Sequence[Any] | None

    @property
    def url(self) -> str:
        """Its server URL, empty if it has none."""
        url = self.server.get("url")
        return url if isinstance(url, str) else ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name or self.id}"


class Here(msgspec.Struct, frozen=True, kw_only=True):
    """Where one account's reports are to go.

    `public_url` is empty if nobody said; `others` are the paths of the other accounts, `key` the setting's name. Where
    not any address may post, Vapi has to from its static ones.
    """

    account: str
    paths: tuple[str, ...]
    others: tuple[str, ...] = ()
    public_url: str = ""
    base_url: str = "https://api.vapi.ai"
    key: str = "AFTERCALL_VAPI_API_KEY"
    is_insecure: bool = False
    takes_any_address: bool = True

    @property
    def wanted_url(self) -> str:
        """The URL to set, with a placeholder for what nobody said."""
        return self.public_url or f"https://<your host>{self.paths[0]}"

    def is_ours(self, url: str) -> bool:
        """Whether a server URL leads to this account's endpoint; behind a proxy something may stand before our path."""
        if self.public_url:
            return _plain(url) == _plain(self.public_url)
        return _split(url).path.rstrip("/").endswith(self.paths)

    def is_anothers(self, url: str) -> bool:
        """Whether it leads to another account's endpoint."""
        return _split(url).path.rstrip("/").endswith(self.others) and not self.is_ours(url)


def read_senders(kind: Kind, answer: Any) -> list[Sender]:
    """The senders in an answer of Vapi's, which is a list or one object; what is neither is none."""
    return [
        _sender(kind, each) for each in (answer if isinstance(answer, list) else [answer]) if isinstance(each, dict)
    ]


def _sender(kind: Kind, told: Mapping[str, Any]) -> Sender:
    server = told.get("server")
    # Older configurations have the URL and its secret beside one another.
    legacy = {"url": told["serverUrl"]} if isinstance(told.get("serverUrl"), str) else {}
    found = {**legacy, **(server if isinstance(server, dict) else {})}
    headers = found.get("headers")
    names = {str(name).lower() for name in headers} if isinstance(headers, dict) else set()
    messages = told.get("serverMessages")
    return Sender(
        kind=kind,
        id=_text(told.get("id")),
        name=_text(told.get("name")) or _text(told.get("number")),
        server=found,
        has_credential=bool(
            found.get("credentialId")
            or found.get("secret")
            or told.get("serverUrlSecret")
            or names & {"authorization", "x-vapi-secret"}
        ),
        messages=messages if isinstance(messages, list) else None,
    )


def _text(value: Any) -> str:
    """A text of Vapi's as a terminal may show it."""
    return "".join(letter if letter.isprintable() else "?" for letter in value) if isinstance(value, str) else ""


def _split(url: str) -> SplitResult:
    """The parts of a URL, which at Vapi may be any text; all are empty for one that is none."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _plain(url: str) -> tuple[str, str]:
    parts = _split(url)
    return parts.netloc.rpartition("@")[2].lower(), parts.path.rstrip("/")


def of_senders(senders: Sequence[Sender], here: Here) -> Iterator[Finding]:
    """What is wrong with an account's senders, each kind of trouble once, naming those it is on."""
    troubled = False
    for trouble, concerned in _troubles(senders, here):
        if concerned:
            troubled = True
            yield _finding(trouble, concerned, here)
    ours = [sender for sender in senders if here.is_ours(sender.url)]
    if not ours:
        told = "nothing at Vapi that the key shows has our server URL"
        mend = f"set it to {here.wanted_url} for the organisation (dashboard), each assistant or each number"
        yield Finding(f"sender {here.account}", "warn", told, mend)
    elif not troubled:
        yield Finding(f"sender {here.account}", "ok", f"{_named(ours)}: as it should be")


class _Trouble(msgspec.Struct, frozen=True):
    status: Status
    told: str
    """Follows the names of those concerned."""
    mend: str = ""
    """What to do, if it is not to set `server`."""
    caution: str = ""


def _troubles(senders: Sequence[Sender], here: Here) -> Iterator[tuple[_Trouble, list[Sender]]]:
    ours = [sender for sender in senders if here.is_ours(sender.url)]
    crossed = [sender for sender in senders if here.is_anothers(sender.url)]
    elsewhere = [each for each in senders if each.url and each not in ours and each not in crossed]
    yield _CROSSED, crossed
    for sender in elsewhere:
        yield _bypassing(sender), [sender]
    deaf = [sender for sender in senders if sender.messages is not None and REPORT not in sender.messages]
    yield _DEAF, [sender for sender in deaf if not sender.url or sender in ours]
    yield _BARE, [sender for sender in ours if not sender.has_credential and not here.is_insecure]
    yield _ONCE, [sender for sender in ours if not _retries(sender)]
    yield _EXCLUDING, [sender for sender in ours if _excluded(sender)]
    yield _HASTY, [sender for sender in ours if _is_hasty(sender)]
    yield _ROAMING, [sender for sender in ours if not here.takes_any_address and not _is_static(sender)]


_CROSSED: Final = _Trouble("fail", "posts to another account's path here")
_DEAF: Final = _Trouble("fail", f"has serverMessages without {REPORT}, so no report is ever sent")
_BARE: Final = _Trouble(
    "warn",
    "shows no credential: without one the endpoint answers 401",
    mend="make a custom credential (bearer, with the secret of the settings), and set server.credentialId to its id",
)
_ONCE: Final = _Trouble("warn", "has no backoffPlan: a report that fails once is never sent again")
_EXCLUDING: Final = _Trouble("warn", "excludes answers from its retries after which a report is still good")
_HASTY: Final = _Trouble("warn", f"has a timeout under {TIMEOUT_MIN_S} s")
_ROAMING: Final = _Trouble("fail", "posts from changing addresses, which AFTERCALL_WEBHOOK_ALLOW keeps out")


def _bypassing(sender: Sender) -> _Trouble:
    host = _split(sender.url).hostname or "nowhere"
    told = f"posts to {host}: its reports bypass Aftercall, and only the sweep finds its calls"
    # Tools without a server of their own are called at the assistant's URL.
    return _Trouble(
        "warn", told, caution="; but if that host also answers tool-calls, let it post the reports on to us"
    )


def _retries(sender: Sender) -> bool:
    plan = sender.server.get("backoffPlan")
    return isinstance(plan, dict) and plan.get("maxRetries") != 0


def _excluded(sender: Sender) -> bool:
    plan = sender.server.get("backoffPlan")
    codes = plan.get("excludedStatusCodes") if isinstance(plan, dict) else None
    return isinstance(codes, list) and any(isinstance(code, int) and code in RETRYABLE for code in codes)


def _is_hasty(sender: Sender) -> bool:
    timeout_s = sender.server.get("timeoutSeconds")
    return isinstance(timeout_s, int | float) and timeout_s < TIMEOUT_MIN_S


def _is_static(sender: Sender) -> bool:
    return sender.server.get("staticIpAddressesEnabled") is True


def _finding(trouble: _Trouble, concerned: Sequence[Sender], here: Here) -> Finding:
    mend = trouble.mend or _patch(concerned[0], trouble, here) + trouble.caution
    return Finding(f"sender {here.account}", trouble.status, f"{_named(concerned)}: {trouble.told}", mend)


def _named(senders: Iterable[Sender]) -> str:
    names = list(map(str, senders))
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    return ", ".join(names[:NAMED_MAX]) + more


def _patch(sender: Sender, trouble: _Trouble, here: Here) -> str:
    """The request that mends it: of one sender always the same, so that no mend undoes another."""
    body: dict[str, Any] = {"serverMessages": MESSAGES} if trouble is _DEAF else {"server": _server(sender, here)}
    document = orjson.dumps(body).decode()
    secrets = [name for name in SECRETS if name in sender.server] if here.is_ours(sender.url) else []
    kept = f", with its {' and '.join(secrets)} put into `server` as before" if secrets and "server" in body else ""
    if sender.kind == "organisation":
        return f"in the dashboard, and what that cannot set, at each assistant or number: {document}{kept}"
    return (
        f"curl -X PATCH {quote(f'{here.base_url}/{PATHS[sender.kind]}/{sender.id}')}"
        f" -H \"Authorization: Bearer ${here.key}\" -H 'Content-Type: application/json' -d {quote(document)}{kept}"
    )


def _server(sender: Sender, here: Here) -> dict[str, Any]:
    """What `server` is to be. It is replaced as a whole, so what may be printed of a good one goes along."""
    static = {} if here.takes_any_address else {"staticIpAddressesEnabled": True}
    recommended = {"url": here.wanted_url, "timeoutSeconds": 20, "backoffPlan": BACKOFF}
    if not here.is_ours(sender.url):
        return recommended | {"credentialId": "<id of the credential with our secret>"} | static
    kept = {key: sender.server[key] for key in PRINTABLE if key in sender.server}
    if not _split(sender.url).query and not _split(sender.url).username:  # a token may be in it
        kept["url"] = sender.url
    if not _is_hasty(sender) and "timeoutSeconds" in sender.server:
        kept["timeoutSeconds"] = sender.server["timeoutSeconds"]
    if _retries(sender) and not _excluded(sender):
        kept["backoffPlan"] = sender.server["backoffPlan"]
    return recommended | kept | static
