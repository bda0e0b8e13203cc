"""Telephone numbers, read by libphonenumber's port to Python: the plans of all countries, kept up to date by others."""

from types import ModuleType
from typing import Any, Final

from worker.settings import SettingsError

WITHHELD: Final = "+86282452253"
"""UNAVAILABLE in a keypad's digits: what Twilio gives for a withheld number. Its other such words fit no plan."""


class PhoneNumbers:
    """Reads numbers; those without a country are of `region` (`US`). Raises `SettingsError` without the library."""

    def __init__(self, region: str = "") -> None:
        self._library = _library()
        self._region = region
        if region and region not in self._library.SUPPORTED_REGIONS:
            raise SettingsError([f"[crm] region: {region} is no country that has telephone numbers"])

    def e164(self, text: str, near: str = "") -> str:
        """A number in E.164, however written; one without a country is of the region set, else of `near`'s.

        Empty for what is no number, or one that only its own town can dial.
        """
        number = self._parsed(text, self._region or self._region_of(near))
        if number is None or not self._is_whole(number):
            return ""
        told = str(self._library.format_number(number, self._library.PhoneNumberFormat.E164))
        return "" if told == WITHHELD else told

    def national(self, number: str) -> str:
        """The digits of an E.164 number without those of its country."""
        parsed = self._parsed(number, "")
        return "" if parsed is None else str(self._library.national_significant_number(parsed))

    def _is_whole(self, number: Any) -> bool:
        found = self._library.is_possible_number_with_reason(number)
        return bool(found == self._library.ValidationResult.IS_POSSIBLE)

    def _region_of(self, number: str) -> str:
        parsed = self._parsed(number, "") if number else None
        return "" if parsed is None else str(self._library.region_code_for_number(parsed) or "")

    def _parsed(self, text: str, region: str) -> Any:
        try:
            return self._library.parse(text, region or None)
        except self._library.NumberParseException:
            return None


def _library() -> ModuleType:
    try:
        import phonenumbers  # noqa: PLC0415  # only who logs calls in a CRM has it
    except ImportError as error:
        raise SettingsError(["telephone numbers need a library: pip install 'aftercall[crm]'"]) from error
    return phonenumbers
