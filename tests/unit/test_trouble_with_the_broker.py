import aiohttp
import pytest
from aiormq.exceptions import AMQPConnectionError

from worker.broker.session import explain
from worker.operate.words import in_words


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        ("[Errno 111] Connect call failed ('127.0.0.1', 5672)", "Connect call failed 127.0.0.1:5672"),
        ("[Errno 111] Connect call failed ('::1', 5672, 0, 0)", "Connect call failed ::1:5672"),
        ("[Errno -2] Name or service not known", "Name or service not known"),
        ("Expected one of ['Open'], got <Close object at 0x7fc9a337f9b0>", "Expected one of ['Open'], got <Close>"),
    ],
)
def test_an_error_is_told_without_what_only_python_needs(raised: str, told: str) -> None:
    assert explain(AMQPConnectionError(raised)) == f"AMQPConnectionError: {told}"


def test_an_error_without_words_is_told_by_its_class() -> None:
    assert in_words(TimeoutError()) == "TimeoutError"


async def test_what_aiohttp_says_of_an_address_is_told_once_more_readably() -> None:
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await http.get("http://127.0.0.1:1/")

    assert in_words(caught.value) == "Cannot connect to host 127.0.0.1:1 [Connect call failed 127.0.0.1:1]"
