"""Who is let in over real HTTP, by which secret or signature, and into whose queue."""

import pytest
from structlog.testing import capture_logs

from tests.integration.webhooks import Served, report, serving, settings
from worker.ingress.signature import signer


@pytest.mark.parametrize("path", ["/webhooks/vapi", "/webhooks/vapi/default"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer s3cret"},
        {"Authorization": "bearer  another"},
        {"X-Vapi-Secret": "s3cret"},
        {"Authorization": "Basic eDp5", "X-Vapi-Secret": "another"},
    ],
)
async def test_either_secret_is_good_in_either_header(served: Served, path: str, headers: dict[str, str]) -> None:
    assert (await served.post(report(), path, headers))[0] == 200
    assert await served.count("calls.enrich.default") == 1


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": "s3cret"},
        {"X-Vapi-Secret": "s3cret,another"},
        {"X-Vapi-Secret": "acme-secret"},
        {"X-Vapi-Secret": "s3cr\u00e9t"},
    ],
)
async def test_wrong_or_no_credentials_are_a_401(served: Served, headers: dict[str, str]) -> None:
    with capture_logs() as logs:
        assert (await served.post(report(), headers=headers))[0] == 401
    assert await served.count("calls.enrich.default") == 0
    assert logs[-1]["event"] == "webhook.refused"
    assert not any(value and value in repr(logs) for value in headers.values())


async def test_header_bytes_that_are_no_utf_8_are_a_401(served: Served) -> None:
    answer = await served.send(
        b"POST /webhooks/vapi HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b"X-Vapi-Secret: \xff\xfe\r\nContent-Length: 2\r\n\r\n{}"
    )
    assert answer.startswith(b"HTTP/1.1 401 ")


async def test_another_account_has_a_path_secrets_and_a_queue_of_its_own(served: Served) -> None:
    assert (await served.post(report(), "/webhooks/vapi/acme-dental"))[0] == 401
    acme = {"X-Vapi-Secret": "acme-secret"}
    assert (await served.post(report(), "/webhooks/vapi/acme-dental", acme))[0] == 200
    kept = await served.take("calls.enrich.acme-dental")

    assert kept.headers["ce-source"] == "/accounts/acme-dental"
    assert kept.headers["x-aftercall-account"] == "acme-dental"
    assert await served.count("calls.enrich.default") == 0


HMACS = [
    {},
    {"WEBHOOK_HMAC_ALGORITHM": "sha512", "WEBHOOK_HMAC_SIGNATURE_ENCODING": "base64"},
    {"WEBHOOK_HMAC_SIGNATURE_PREFIX": "sha256=", "WEBHOOK_HMAC_INCLUDE_TIMESTAMP": "false"},
    {"WEBHOOK_HMAC_PAYLOAD_FORMAT": "{method}:{url}:{timestamp}:{body}"},
    {"WEBHOOK_HMAC_PAYLOAD_FORMAT": "{svix-id}.{timestamp}.{body}", "WEBHOOK_HMAC_MESSAGE_ID_HEADER": "svix-id"},
]


@pytest.mark.parametrize("plan", HMACS)
async def test_a_signature_is_good_over_the_wire_for_these_bytes_alone(amqp_url: str, plan: dict[str, str]) -> None:
    changes = {"WEBHOOK_AUTH": "hmac", **plan}
    account = settings(amqp_url, **changes).account("default")
    assert account is not None
    async with serving(amqp_url, **changes) as served:
        body = report(x="\u00e9")
        headers = signer(account)("POST", f"http://127.0.0.1:{served.port}/webhooks/vapi", body)
        assert (await served.post(body, headers=headers))[0] == 200
        assert (await served.post(body + b" ", headers=headers))[0] == 401
        assert (await served.post(body))[0] == 401
        assert await served.count("calls.enrich.default") == 1
