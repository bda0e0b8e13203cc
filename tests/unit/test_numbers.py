import pytest

from worker.clients.numbers import PhoneNumbers


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("+1 (415) 555-0123", "+14155550123"),
        ("tel:+14155550123;ext=5", "+14155550123"),
        ("+39 06 6982 1234", "+390669821234"),
        ("(415) 555-0123", "+14155550123"),
    ],
)
def test_a_number_is_read_however_it_is_written(written: str, number: str) -> None:
    assert PhoneNumbers("US").e164(written) == number
    assert PhoneNumbers().e164(written, near="+14155550100") == number


@pytest.mark.parametrize("written", ["", "anonymous", "1001", "555-0123", "sip:1001@pbx.example.com"])
def test_what_names_nobody_outside_is_no_number(written: str) -> None:
    assert PhoneNumbers("US").e164(written) == ""


@pytest.mark.parametrize("placeholder", ["+266696687", "+7378742833", "+2562533", "+8656696", "+86282452253"])
def test_what_stands_for_a_withheld_number_is_none(placeholder: str) -> None:
    assert PhoneNumbers().e164(placeholder) == ""
