import base64
import hashlib
import re
from pathlib import Path

import pytest
import yaml

from worker.broker.export import access, password_hash
from worker.broker.topology import Topology, topology_of
from worker.broker.users import User, users_of
from worker.cli.exit_codes import WrongArguments
from worker.cli.topology.commands import export
from worker.cli.topology.users import chosen_users, passwords_in
from worker.settings import SettingsError, load

SECURITY = Path(__file__).parents[2] / "docs/security.md"


@pytest.fixture
def topology(tmp_path: Path) -> Topology:
    (tmp_path / "aftercall.toml").write_text("[subscribers.billing]\n")
    keys = {"AFTERCALL_VAPI_API_KEY": "k", "AFTERCALL_SUBSCRIBERS": "ledger,postcall,crm,forward,alerts"}
    return topology_of(load(keys, tmp_path))


def test_every_pattern_is_anchored_and_names_what_there_is(topology: Topology) -> None:
    names = [each.name for each in (*topology.exchanges, *topology.queues)]
    for user in users_of(topology).values():
        for pattern in (user.configure, user.write, user.read):
            assert pattern.startswith("^")
            assert pattern.endswith("$")
            assert not re.search(pattern, "xcalls")
        if user.role not in ("tail", "monitor"):
            assert any(map(user.sees, names)), user.role


def test_the_documented_users_are_those_there_are(topology: Topology) -> None:
    rows = re.findall(r"^\| `(aftercall-[a-z-]+)` \| (.+?) \|", SECURITY.read_text(), re.MULTILINE)
    assert rows == [(user.name, user.purpose) for user in users_of(topology).values()]


def test_without_a_ledger_nobody_publishes_notes(tmp_path: Path) -> None:
    users = users_of(topology_of(load({"AFTERCALL_SUBSCRIBERS": "crm"}, tmp_path)))
    assert "ledger" not in users
    assert not users["crm"].may("write", "calls")


def test_a_password_is_hashed_as_rabbitmq_does() -> None:
    salt = bytes.fromhex("908dc60a")  # the example of https://www.rabbitmq.com/docs/passwords
    assert password_hash("test12", salt) == "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"
    assert base64.b64decode(password_hash("ü", salt))[4:] == hashlib.sha256(salt + "ü".encode()).digest()


def test_a_user_without_a_password_is_left_out_and_its_rights_are_not(topology: Topology) -> None:
    users = [users_of(topology)[role] for role in ("webhook", "enrich")]
    document = access(users, "v", {"aftercall-enrich": "secret"})
    assert [user["name"] for user in document["users"]] == ["aftercall-enrich"]
    assert [each["user"] for each in document["permissions"]] == ["aftercall-webhook", "aftercall-enrich"]
    assert "secret" not in str(document)


@pytest.mark.parametrize(
    ("said", "passwords", "roles"),
    [
        (None, {}, []),
        (None, {"aftercall-crm": "x"}, ["crm"]),
        ("webhook, sweep", {"aftercall-crm": "x"}, ["webhook", "sweep"]),
    ],
)
def test_the_users_are_those_named_or_those_with_a_password(
    topology: Topology, said: str | None, passwords: dict[str, str], roles: list[str]
) -> None:
    assert [user.role for user in chosen_users(topology, said, passwords)] == roles
    assert len(chosen_users(topology, "every", passwords)) == len(users_of(topology))


def test_a_user_that_there_is_none_of_is_named_with_those_there_are(topology: Topology) -> None:
    with pytest.raises(WrongArguments, match=r"--users: webhok: there are webhook, enrich, .*, every"):
        chosen_users(topology, "webhok", {})
    with pytest.raises(WrongArguments, match="--passwords: crm: there are aftercall-webhook, aftercall-enrich, "):
        chosen_users(topology, None, {"crm": "x"})


@pytest.mark.parametrize(
    ("users", "kinds"),
    [
        ("webhook,monitor", ["User", "Permission", "TopicPermission", "User", "Permission"]),
        (None, ["Exchange", "Queue", "Binding"]),
    ],
)
async def test_the_operator_gets_the_users_that_are_named_or_else_the_topology(
    users: str | None,
    kinds: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    await export(format_="operator", users=users)

    written = [each["kind"] for each in yaml.safe_load_all(capsys.readouterr().out)]
    assert (written if users else list(dict.fromkeys(written))) == kinds


def test_a_password_that_is_missing_or_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "aftercall-crm").write_text("\n")
    with pytest.raises(WrongArguments, match="aftercall-crm: a password is missing"):
        passwords_in(tmp_path)
    with pytest.raises(WrongArguments, match="none: cannot be read: No such file or directory"):
        passwords_in(tmp_path / "none")
    (tmp_path / "aftercall-crm").unlink()
    with pytest.raises(WrongArguments, match="there is no password in it"):
        passwords_in(tmp_path)


@pytest.mark.parametrize(
    "url",
    [
        "amqp://guest:guest@rabbitmq:5672/",
        "amqp://rabbitmq",
        "amqp://guest:changed@10.0.0.5/",
        "amqp://guest:g@127.0.0.1/,amqp://guest:g@r2/",
    ],
)
def test_guest_is_refused_where_the_broker_is_elsewhere_unless_allowed(url: str, tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"^AFTERCALL_AMQP_URL: the user guest is for a broker on this machine, not"
    ):
        load({"AFTERCALL_AMQP_URL": url}, tmp_path)
    load({"AFTERCALL_AMQP_URL": url, "AFTERCALL_AMQP_ALLOW_GUEST": "true"}, tmp_path)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:5673", "127.0.0.1", "127.1.2.3:1", "[::1]"])
def test_guest_is_let_in_on_this_machine(host: str, tmp_path: Path) -> None:
    load({"AFTERCALL_AMQP_URL": f"amqp://guest:guest@{host}/"}, tmp_path)
    load({"AFTERCALL_AMQP_URL": "amqp://aftercall:p@rabbitmq/"}, tmp_path)


def test_the_users_of_a_role_are_all_different(topology: Topology) -> None:
    users: list[User] = list(users_of(topology).values())
    assert len({user.name for user in users}) == len(users)
