"""Every setting: its key, default and meaning. The README's table is written from here."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from consumers.alerts.table import Alerts
from consumers.crm.rules import Crm
from consumers.targets import Target
from worker.settings.secret import Secret
from worker.settings.tls import root_of

Port = Annotated[int, Meta(ge=0, le=65535)]
Positive = Annotated[int, Meta(gt=0)]
Seconds = Annotated[int, Meta(gt=0)]
Words = tuple[str, ...]
Algorithm = Literal["sha256", "sha512", "sha1"]
Encoding = Literal["hex", "base64"]
Auth = Literal["bearer", "hmac"]

SUBSCRIBERS = ("ledger", "postcall", "crm", "forward", "alerts")
DEFAULT_ACCOUNT = "default"
NAME = re.compile(r"[a-z0-9-]{1,40}")
"""What an account or a subscriber may be called."""
EVERY_CALL = ("call.enriched.#", "call.amended.#")
"""What a subscriber is bound to unless it asks for something else."""


SECTIONS: Mapping[str, Any] = {"alerts": Alerts, "crm": Crm, "forward": dict[str, Target]}
"""The tables of `aftercall.toml` that a subscriber reads, each a field of the settings: its name and its type.

A type with a method `problems` tells there what its fields alone cannot: places within the table, and what is wrong.
"""

PREFIX = "AFTERCALL_"
ACCOUNTS = "AFTERCALL_ACCOUNTS__"


def key_of(account: str, field: str) -> str:
    """The environment key of an account's field: `acme-dental` is written `ACME_DENTAL`."""
    if account == DEFAULT_ACCOUNT:
        return PREFIX + field
    return f"{ACCOUNTS}{account.upper().replace('-', '_')}__{field}"


class HmacPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How a webhook is signed: the `hmac` authentication plan of a Vapi credential, with Vapi's defaults.

    Source: Vapi's `HMACAuthenticationPlan`; `tolerance_s` (seconds) is ours.
    """

    algorithm: Algorithm = "sha256"
    signature_header: str = "x-signature"
    timestamp_header: str = "x-timestamp"
    signature_prefix: str = ""
    include_timestamp: bool = True
    payload_format: str = "{timestamp}.{body}"
    message_id_header: str = ""
    signature_encoding: Encoding = "hex"
    secret_is_base64: bool = False
    tolerance_s: Seconds = 86400


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One Vapi organisation: its key, address, secrets and rate (requests a second); 0 s is kept for ever."""

    name: str
    vapi_api_key: Secret
    vapi_base_url: str
    vapi_rate: float
    webhook_secrets: Secret
    webhook_auth: Auth
    hmac: HmacPlan
    crm_token: Secret = Secret()
    archive_keep_s: int = 0

    @property
    def vapi_root(self) -> str:
        """The base URL of its API, to put a path behind."""
        return root_of(self.vapi_base_url)

    @property
    def is_insecure(self) -> bool:
        """Whether the check of webhooks is switched off by the one word `insecure`."""
        return self.webhook_secrets.each() == ("insecure",)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The effective settings of one process. A field `x` is the key `AFTERCALL_X`."""

    amqp_url: Annotated[
        Secret,
        Meta(description="the broker; several, comma-separated, for a cluster; TLS: `amqps://…?cafile=/ca.pem`"),
    ] = Secret("amqp://guest:guest@127.0.0.1:5672/")
    amqp_allow_guest: Annotated[
        bool, Meta(description="let the user `guest` use a broker that is not on this machine")
    ] = False
    amqp_management_url: Annotated[
        Secret,
        Meta(description="RabbitMQ's management API; if empty, port 15672 (15671 with TLS) of the broker"),
    ] = Secret()
    vapi_api_key: Annotated[Secret, Meta(description="private key")] = Secret()
    vapi_base_url: Annotated[
        str, Meta(description="EU: `https://api.eu.vapi.ai`; `?cafile=` as above", pattern="^https?://")
    ] = "https://api.vapi.ai"
    vapi_rate: Annotated[float, Meta(description="requests a second, per process and account", gt=0)] = 5.0
    crm_token: Annotated[Secret, Meta(description="HubSpot: the token of a private app, or a service key")] = Secret()
    crm_base_url: Annotated[str, Meta(description="HubSpot's API; `?cafile=` as above", pattern="^https?://")] = (
        "https://api.hubapi.com"
    )
    crm_rate: Annotated[float, Meta(description="requests a second to HubSpot, per process and account", gt=0)] = 5.0
    webhook_secrets: Annotated[
        Secret, Meta(description="one, or two while rotating; `insecure` alone switches the check off")
    ] = Secret()
    webhook_auth: Annotated[Auth, Meta(description="`bearer` (and `X-Vapi-Secret`) or `hmac`")] = "bearer"
    webhook_hmac_algorithm: Annotated[Algorithm, Meta(description="`sha256`, `sha512` or `sha1`")] = "sha256"
    webhook_hmac_signature_header: Annotated[str, Meta(description="the header with the signature")] = "x-signature"
    webhook_hmac_timestamp_header: Annotated[str, Meta(description="the header with the time")] = "x-timestamp"
    webhook_hmac_signature_prefix: Annotated[str, Meta(description="what stands before it, e.g. `sha256=`")] = ""
    webhook_hmac_include_timestamp: Annotated[bool, Meta(description="whether the time is signed")] = True
    webhook_hmac_payload_format: Annotated[
        str, Meta(description="what is signed: `{timestamp}` `{body}` `{method}` `{url}` `{svix-id}`")
    ] = "{timestamp}.{body}"
    webhook_hmac_message_id_header: Annotated[str, Meta(description="the header that `{svix-id}` stands for")] = ""
    webhook_hmac_signature_encoding: Annotated[Encoding, Meta(description="`hex` or `base64`")] = "hex"
    webhook_hmac_secret_is_base64: Annotated[bool, Meta(description="whether the secret is base64")] = False
    webhook_hmac_tolerance_s: Annotated[Seconds, Meta(description="how old a signed time may be")] = 86400
    webhook_host: Annotated[str, Meta(description="the endpoint's address")] = "0.0.0.0"  # noqa: S104  # it is public
    webhook_port: Annotated[Port, Meta(description="the endpoint's port")] = 8080
    webhook_max_body_bytes: Annotated[Positive, Meta(description="larger is a 413")] = 33554432
    webhook_max_connections: Annotated[
        Positive, Meta(description="open at a time; beyond, the one longest without a request from Vapi is closed")
    ] = 500
    webhook_refusals_per_minute: Annotated[
        int, Meta(description="4xx to one address or account before it is a 429, and no log line; 0: no limit", ge=0)
    ] = 0
    webhook_allow: Annotated[
        Words, Meta(description="the addresses that may post, e.g. `167.150.224.0/23`, Vapi's static ones; none: any")
    ] = ()
    webhook_trusted_proxies: Annotated[Words, Meta(description="addresses whose `X-Forwarded-For` is believed")] = ()
    admin_host: Annotated[str, Meta(description="probes and metrics; never the public address")] = "127.0.0.1"
    admin_port: Annotated[Port, Meta(description="probes and metrics; 0 takes a free port")] = 9090
    spool_dir: Annotated[str, Meta(description="where webhooks wait while the broker is away")] = ".aftercall/spool"
    spool_max_bytes: Annotated[Positive, Meta(description="how much may wait there")] = 1073741824
    ledger_url: Annotated[Secret, Meta(description="or `postgresql://…`")] = Secret("sqlite:///.aftercall/ledger.db")
    ledger_keep_s: Annotated[
        Seconds, Meta(description="how long it keeps an event (90 days); longer than the sweep looks back (14 days)")
    ] = 7776000
    archive_url: Annotated[Secret, Meta(description="where `postcall` keeps calls; or `postgresql://…`")] = Secret(
        "sqlite:///.aftercall/archive.db"
    )
    archive_keep_s: Annotated[int, Meta(description="how long it keeps a call after its end; 0: for ever", ge=0)] = 0
    subscribers: Annotated[Words, Meta(description="the built-in subscribers that have a queue")] = (
        "ledger",
        "postcall",
        "crm",
        "alerts",
    )
    emit_after_s: Annotated[Seconds, Meta(description="an incomplete call goes out this long after its end")] = 900
    sweep_every_s: Annotated[Seconds, Meta(description="between two sweeps")] = 300
    sweep_grace_s: Annotated[Seconds, Meta(description="how long a webhook may take before the sweep looks")] = 120
    prefetch: Annotated[
        int,
        Meta(
            description="deliveries in hand per queue and process; unless set, the enricher's follow latency and rate",
            ge=1,
            le=2000,
        ),
    ] = 32
    retry_tiers_s: Annotated[tuple[Seconds, ...], Meta(description="the waits between attempts", min_length=1)] = (
        *(5, 30, 120, 600, 3600, 21600),
    )
    give_up_after_s: Annotated[Seconds, Meta(description="the last attempt is this long after the first")] = 90000
    grace_s: Annotated[Seconds, Meta(description="to finish in, at SIGTERM")] = 25
    memory_max_bytes: Annotated[
        int,
        Meta(description="a process that is larger ends in order, to be started anew; 0: never", ge=0),
    ] = 0
    topology: Annotated[
        Literal["apply", "check"], Meta(description="at start, declare what is missing, or wait for it to be there")
    ] = "apply"
    redact: Annotated[
        Words,
        Meta(
            description="paths removed from calls, as `artifact.transcript`; `defaults` and `prompts` stand for lists"
        ),
    ] = ("defaults",)
    forward_secrets: Annotated[
        Secret, Meta(description="`zapier=whsec_…` signs, `ghl=Authorization: Bearer …` is a header of `[forward.ghl]`")
    ] = Secret()
    alerts_urls: Annotated[
        Secret,
        Meta(description="whom alerts tell: Apprise URLs with spaces between; `ops=slack://…` has a name for rules"),
    ] = Secret()
    alerts: Alerts = Alerts()
    """The table `[alerts]`."""
    crm: Crm = Crm()
    """The table `[crm]`."""
    forward: dict[str, Target] = {}
    """The targets of `[forward.<name>]`."""
    accounts: tuple[Account, ...] = ()
    bindings: dict[str, tuple[str, ...]] = {}
    """The subscribers of `[subscribers.<name>]`, each with its binding patterns."""
    given: frozenset[str] = frozenset()
    """The keys that were set, as fields are called: what follows from something else otherwise does not then."""

    @property
    def keeps_ledger(self) -> bool:
        """Whether the ledger has a queue: a note that nobody keeps would lie in `calls.unrouted`."""
        return "ledger" in self.subscribers

    def account(self, name: str) -> Account | None:
        """The account of that name, if it is served here."""
        return next((account for account in self.accounts if account.name == name), None)
