"""Personal data: what can be told by its form, and by the check digits and numbering plans behind the form.

Numbers that mean nothing by themselves (an identity card's) count only beside a word that says what they are.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from orchestra_router.policy.rules.base import DIGITS, Action, PatternRule, Span

SSN = r"\b\d{3}-\d{2}-\d{4}\b"
CREDIT_CARD = r"\b\d{16}\b"

SPOKEN_SSN = r"(?i:\bssn\b|\bsocial[ -]security)[^\d\n]{0,30}(?P<value>\d{3} ?\d{2} ?\d{4})\b"
GROUPED_CARD = r"(?<![\w.-])[2-6]\d{3}(?:[ -]?\d){9,15}(?![\w-])"
IBAN = r"\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]){11,30}\b"
EMAIL = r"(?<![\w.%+'/-])[\w.%+'-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w-])"
PHONE = r"(?<![\w.+/:=-])(?:\+|00)?\(?\d(?:[ ()./-]{0,3}\d){6,14}(?![\w/:-]|\.\d)"
IPV4 = r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)"
IPV6 = r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){3,7}[0-9A-Fa-f]{0,4}(?![\w:])"
IDENTITY_NUMBER = (
    r"(?i:\b(?:passport|reisepass|passeport|pasaporte|passaporto|paspoort|driver'?s licen[cs]e|driving licen[cs]e"
    r"|national id(?:entity)?|identity card|id card|personalausweis|carte d'identité|dni|nhs number|tax id|steuer-?id)"
    r"\b[^\d\n]{0,24}?)(?<![A-Za-z0-9])(?P<value>(?:[A-Z]{0,3}[ -]?)?\d(?:[ -]?[0-9A-Z]){5,12})(?![\w-])"
)

IDENTITY_WORDS = (
    *("passport", "reisepass", "passeport", "pasaporte", "passaporto", "paspoort", "licence", "license", "national id"),
    *("identity card", "id card", "personalausweis", "carte d'identité", "dni", "nhs number", "tax id", "steuer"),
)

RESERVED_DOMAINS = ("example", "test", "invalid", "localhost")
"""Nobody's (RFC 2606), as are example.com, .net and .org."""
NOBODYS_MAILBOXES = frozenset({"git", "noreply", "no-reply", "donotreply", "postmaster", "mailer-daemon"})

_PHONE_WORDS = re.compile(
    r"(?i)\b(?:phone|tel|telephone|mobile|cell|fax|call|text|whatsapp|dial|ring|telefon|tel\.|handy|téléphone"
    r"|teléfono|telefono|móvil)\b[^\n]{0,24}\Z"
)


def given_rules(*, ssn: Action, credit_card: Action) -> tuple[PatternRule, ...]:
    """The two patterns every installation has. Both match in time linear in the text."""
    rules = (
        PatternRule("ssn", re.compile(SSN), ssn, hints=DIGITS),
        PatternRule("credit_card", re.compile(CREDIT_CARD), credit_card, hints=DIGITS),
    )
    return tuple(rule for rule in rules if rule.action != "off")


def spoken_ssn(action: Action) -> PatternRule:
    """A social-security number without its dashes, beside its name."""
    return PatternRule("ssn", re.compile(SPOKEN_SSN), action, hints=("ssn", "social"))


def grouped_card(action: Action) -> PatternRule:
    """A card number of any length and grouping, by its check digit."""
    return PatternRule("credit_card", re.compile(GROUPED_CARD), action, _card, hints=DIGITS)


def iban(action: Action) -> PatternRule:
    return PatternRule("iban", re.compile(IBAN), action, _iban, hints=DIGITS)


def email(action: Action) -> PatternRule:
    return PatternRule("email", re.compile(EMAIL), action, _mailbox, hints=("@",))


def ip_address(action: Action) -> tuple[PatternRule, ...]:
    """Addresses of the public internet; private and reserved ones say nothing about a person."""
    return (
        PatternRule("ip", re.compile(IPV4), action, _public_address, hints=DIGITS),
        PatternRule("ip", re.compile(IPV6), action, _public_address, hints=(":",)),
    )


def identity_number(action: Action) -> PatternRule:
    """The number of a passport, licence or identity card, beside a word for it in one of several languages."""
    return PatternRule("identity_number", re.compile(IDENTITY_NUMBER), action, hints=IDENTITY_WORDS)


class PhoneRule:
    """Numbers that a numbering plan knows: international ones anywhere, national ones where they look like one."""

    kind = "phone"
    setting = "guard_phone"

    def __init__(self, action: Action, regions: Sequence[str]) -> None:
        """`regions` are the countries (ISO 3166 codes such as "US") whose national numbers are looked for."""
        self.action: Action = action
        self._regions = tuple(regions)
        self._candidates = re.compile(PHONE)

    def spans(self, text: str) -> Iterator[Span]:
        if not any(digit in text for digit in DIGITS):
            return
        for match in self._candidates.finditer(text):
            start, end = match.span()
            if self._is_number(match[0], text[max(0, start - 40) : start]):
                yield start, end

    def _is_number(self, candidate: str, before: str) -> bool:
        if candidate.startswith(("+", "00")):
            return _valid_phone("+" + candidate.lstrip("+0") if candidate[0] == "0" else candidate, None)
        grouped = len(re.findall(r"\d+", candidate)) >= 3
        named = _PHONE_WORDS.search(before) is not None
        # A row of figures is a date, an order or a sum more often than somebody's number.
        return (named or (grouped and not _looks_like_a_date(candidate))) and any(
            _valid_phone(candidate, region) for region in self._regions
        )


def _looks_like_a_date(candidate: str) -> bool:
    return re.fullmatch(r"\d{1,4}[-/. ]\d{1,2}[-/. ]\d{1,4}(?:[ ]\d{1,2})?", candidate) is not None


def _valid_phone(number: str, region: str | None) -> bool:
    import phonenumbers  # noqa: PLC0415 - its tables take a while to load, and few prompts hold a candidate

    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(number, region))
    except phonenumbers.NumberParseException:
        return False


def _whole(check: Callable[[str], bool], found: str) -> Span | None:
    return (0, len(found)) if check(found) else None


def _card(found: str) -> Span | None:
    """The longest run of 13 to 19 digits in `found` whose check digit is right."""
    from stdnum import luhn  # noqa: PLC0415 - few prompts hold a candidate

    places = [place for place, character in enumerate(found) if character.isdigit()]
    for first in range(max(1, len(places) - 12)):
        for last in range(len(places), first + 12, -1):
            digits = "".join(found[place] for place in places[first:last])
            begins_a_group = first == 0 or not found[places[first] - 1].isdigit()
            if begins_a_group and len(digits) <= 19 and digits[0] in "23456" and luhn.is_valid(digits):
                return places[first], places[last - 1] + 1
    return None


def _iban(found: str) -> Span | None:
    """Where the account number in `found` ends: words in capitals may follow it."""
    from stdnum import iban as account  # noqa: PLC0415 - few prompts hold a candidate

    for end in range(len(found), 14, -1):
        if found[end - 1].isalnum() and account.is_valid(found[:end]):
            return 0, end
    return None


def _mailbox(found: str) -> Span | None:
    name, _, domain = found.rpartition("@")
    labels = domain.lower().split(".")
    nobodys = labels[-1] in RESERVED_DOMAINS or (len(labels) > 1 and labels[-2] == "example")
    return None if nobodys or name.lower() in NOBODYS_MAILBOXES else (0, len(found))


def _is_public(found: str) -> bool:
    try:
        address = ipaddress.ip_address(found)
    except ValueError:
        return False
    # Four small numbers are a version more often than an address.
    return address.is_global and not all(len(part) == 1 for part in found.split("."))


_public_address = partial(_whole, _is_public)
