"""What we sign, read by the official library of Standard Webhooks."""

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from consumers.standard_webhooks import signed_headers

KEY, OLD = b"k" * 24, b"o" * 32


def reader(key: bytes) -> Webhook:
    return Webhook("whsec_" + base64.b64encode(key).decode())


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"])), st.binary(min_size=1, max_size=64))
def test_the_official_library_takes_what_we_sign(body: str, key: bytes) -> None:
    headers = signed_headers("default/call/0123", time.time(), body.encode(), [key])

    reader(key).verify(body.encode(), headers, json_parse=False)


def test_while_a_key_is_rotated_readers_of_either_take_it() -> None:
    headers = signed_headers("id", time.time(), b"{}", [KEY, OLD])

    assert headers["webhook-signature"].count("v1,") == 2
    for key in (KEY, OLD):
        assert reader(key).verify(b"{}", headers) == {}


def test_another_body_id_time_or_key_is_refused() -> None:
    headers = signed_headers("id", time.time(), b"{}", [KEY])

    for body, changed, key in (
        (b"[]", {}, KEY),
        (b"{}", {"webhook-id": "other"}, KEY),
        (b"{}", {"webhook-timestamp": str(int(time.time()) - 1)}, KEY),
        (b"{}", {}, OLD),
    ):
        with pytest.raises(WebhookVerificationError):
            reader(key).verify(body, headers | changed)


def test_the_signed_time_is_the_told_one_in_whole_seconds() -> None:
    assert signed_headers("id", 1_800_000_000.9, b"", [])["webhook-timestamp"] == "1800000000"


def test_without_a_key_there_is_no_signature() -> None:
    assert signed_headers("id", 7, b"", []) == {"webhook-id": "id", "webhook-timestamp": "7"}
