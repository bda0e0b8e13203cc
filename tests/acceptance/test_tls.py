"""TLS on every way out, with a CA of the house and client certificates: real servers, real processes."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio
from aiohttp import web
from yarl import URL

from tests.acceptance.conftest import Installation, Vapi, report, sample
from tests.certificates import Authority, Certificate
from tests.postgresql import PrivatePostgresql, prepare
from tests.processes import RunningProcess, eventually
from tests.secured import SecuredNode, secured_node, served_securely

Start = Callable[..., RunningProcess]


@dataclass(frozen=True)
class House:
    """Who signs here and who does not, and what is signed."""

    ca: Authority
    stranger: Authority
    server: Certificate
    client: Certificate

    def trusting(self, url: str, ca: Path | None = None) -> str:
        """An address with what it takes to be let in."""
        return f"{url}?cafile={ca or self.ca.cert}&{self.client.query}"

    def of_postgresql(self, url: str, ca: Path | None = None) -> str:
        client = f"sslcert={self.client.cert}&sslkey={self.client.key}"
        return f"{url}?sslmode=verify-full&sslrootcert={ca or self.ca.cert}&{client}"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    folder = tmp_path_factory.mktemp("certificates")
    ca = Authority(folder)
    return House(ca, Authority(folder, "stranger"), ca.sign("server"), ca.sign("client"))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def one_secured(house: House, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SecuredNode]:
    async with secured_node(tmp_path_factory.mktemp("node"), house.ca, house.server) as node:
        yield node


@pytest.fixture
async def secured(one_secured: SecuredNode, house: House) -> AsyncIterator[SecuredNode]:
    yield one_secured
    await one_secured.show(house.server)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def database(house: House) -> AsyncIterator[PrivatePostgresql]:
    await prepare()
    async with PrivatePostgresql() as server:
        server.secure(house.ca, house.server)
        yield server


def application(vapi: Vapi) -> web.Application:
    app = web.Application()
    app.router.add_get("/call/{id}", vapi.answer)
    app.router.add_get("/call", vapi.answer)
    return app


@pytest.fixture
def installation(secured: SecuredNode, house: House, start_process: Start) -> Installation:
    return Installation(house.trusting(secured.url), "http://127.0.0.1:1", start_process)


async def test_a_call_travels_to_the_ledger_with_tls_on_every_way_and_the_doctor_finds_nothing_amiss(
    installation: Installation, secured: SecuredNode, database: PrivatePostgresql, house: House
) -> None:
    vapi = Vapi(calls={(call := sample("call-web.json"))["id"]: call})
    ledger = house.of_postgresql(database.url)
    async with served_securely(application(vapi), house.ca, house.server) as url:
        installation.environment |= {
            "AFTERCALL_VAPI_BASE_URL": house.trusting(url),
            "AFTERCALL_LEDGER_URL": ledger,
            "AFTERCALL_AMQP_MANAGEMENT_URL": house.trusting(secured.management_url),
        }
        await installation.started("webhook")
        await installation.started("consume", "enrich", "ledger")

        assert await installation.post(report("web")) == 200

        def entered() -> bool:
            with psycopg.connect(ledger) as connection:
                return connection.execute(
                    "SELECT 1 FROM aftercall_events WHERE call_id = %s", [call["id"]]
                ).fetchone() == (1,)

        await eventually(entered)
        doctor = installation.start("doctor", "--output", "json")
        await doctor.wait()
    found = {each["check"]: each["status"] for each in json.loads(doctor.text())}
    assert {found[each] for each in ("permissions", "ledger", "vapi key default")} == {"ok"}, doctor.text()
    assert "cannot be reached" not in doctor.text()


EXPIRED = "its certificate has expired: renew it there"
OTHER_NAME = "its certificate is for another host: use a name that it has"
NOT_TRUSTED = "its certificate is of a CA that is not trusted here: name the CA's file"
NO_CLIENT = "it asks for a client certificate: name one by certfile and keyfile"


def bad(house: House, trouble: str) -> Certificate:
    """What a server must not be believed with."""
    match trouble:
        case "expired":
            return house.ca.sign("expired", days=-1)
        case "other name":
            return house.ca.sign("elsewhere", names="DNS:elsewhere.example")
        case _:
            return house.stranger.sign("strange")


TROUBLES = {"expired": EXPIRED, "other name": OTHER_NAME, "other CA": NOT_TRUSTED}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_broker_whose_certificate_is_not_good_is_told_of_and_taken_again_once_it_has_another(
    trouble: str, installation: Installation, secured: SecuredNode, house: House
) -> None:
    await secured.show(bad(house, trouble))
    enricher = installation.start("consume", "enrich")

    await enricher.wait_for_line(f"TLS with the broker: {TROUBLES[trouble]}")
    await enricher.wait_for_url(installation.probe("consume", "readyz"), status=503)
    doctor = installation.start("doctor")
    assert await doctor.wait() == 1
    assert TROUBLES[trouble] in doctor.text()
    await secured.show(house.server)

    await enricher.wait_for_url(installation.probe("consume", "readyz"))
    assert "Traceback" not in enricher.text()


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ("?cafile={ca}", NO_CLIENT),
        ("?cafile={ca}&{stranger}", "it refuses our client certificate, of a CA that it does not trust"),
        ("?cafile={ca}&{expired}", "it refuses our client certificate, which has expired: renew it"),
        (
            "?cafile=/nowhere/ca.pem",
            "a file that AFTERCALL_AMQP_URL names is of no use .*/nowhere/ca.pem cannot be read",
        ),
        ("", NOT_TRUSTED),
    ],
)
async def test_a_role_without_the_right_files_says_so_and_connects_once_the_address_names_them(
    parameters: str, told: str, installation: Installation, secured: SecuredNode, house: House, tmp_path: Path
) -> None:
    wrong = {"stranger": house.stranger.sign("us").query, "expired": house.ca.sign("old", days=-1).query}
    address = tmp_path / "amqp_url"
    address.write_text(secured.url + parameters.format(ca=house.ca.cert, **wrong))
    del installation.environment["AFTERCALL_AMQP_URL"]
    enricher = installation.start("consume", "enrich", AFTERCALL_AMQP_URL_FILE=str(address))

    await enricher.wait_for_line(told)
    await enricher.wait_for_url(installation.probe("consume", "readyz"), status=503)
    address.write_text(house.trusting(secured.url))

    await enricher.wait_for_url(installation.probe("consume", "readyz"))


async def test_the_standard_variable_names_the_ca_too(
    installation: Installation, secured: SecuredNode, house: House
) -> None:
    url = f"{secured.url}?{house.client.query}"

    await installation.started("consume", "enrich", AFTERCALL_AMQP_URL=url, SSL_CERT_FILE=str(house.ca.cert))


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_vapi_whose_certificate_is_not_good_is_an_outage_that_ends_when_it_has_another(
    trouble: str, installation: Installation, house: House
) -> None:
    vapi = Vapi(calls={(call := sample("call-web.json"))["id"]: call})
    await installation.started("webhook")
    async with served_securely(application(vapi), house.ca, bad(house, trouble)) as url:
        installation.environment["AFTERCALL_VAPI_BASE_URL"] = house.trusting(url)
        enricher = await installation.started("consume", "enrich")
        await installation.post(report("web"))

        await enricher.wait_for_line(f"{TROUBLES[trouble]}.*breaker.opened")
        doctor = installation.start("doctor")
        assert await doctor.wait() == 1
        assert f"127.0.0.1 cannot be reached: {TROUBLES[trouble]}" in doctor.text()
    async with served_securely(application(vapi), house.ca, house.server, URL(url).port or 0):
        await enricher.wait_for_line("breaker.closed")


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_database_whose_certificate_is_not_good_is_told_of_and_used_once_it_has_another(
    trouble: str, installation: Installation, database: PrivatePostgresql, house: House
) -> None:
    database.secure(house.ca, bad(house, trouble))
    installation.environment["AFTERCALL_LEDGER_URL"] = house.of_postgresql(database.url)
    ledger = installation.start("consume", "ledger")

    await ledger.wait_for_line("certificate")
    doctor = installation.start("doctor")
    assert await doctor.wait() == 1
    (mend,) = [line for line in doctor.text().splitlines() if "AFTERCALL_LEDGER_URL" in line and "certificate" in line]
    assert ("does not match host name" if trouble == "other name" else "it has expired, or is of a CA") in mend
    database.secure(house.ca, house.server)

    await ledger.wait_for_url(installation.probe("consume", "readyz"))
