"""Personal data: what can be told by its form, and by the check digits and numbering plans behind the form.

Numbers that mean nothing by themselves (an identity card's) count only beside a word that says what they are.
"""

import ipaddress
import re
from collections.abc import Callable
from functools import partial

from orchestra_router.policy.rules.base import (
    BEGIN,
    END,
    LETTER,
    Action,
    Needs,
    PatternRule,
    Span,
    looks_like_a_date,
)

SSN = rf"{BEGIN}\d{{3}}-\d{{2}}-\d{{4}}{END}"
CREDIT_CARD = rf"{BEGIN}\d{{16}}{END}"

SPOKEN_SSN = (
    r"(?i:\bssn\b|_ssn\b|\bsocial[ -]security)"
    r"(?:[^\n]{0,40}?(?<![\d-])(?=\d{3} \d{2} \d{4})|[^\d\n]{0,30})(?P<value>\d{3} ?\d{2} ?\d{4})\b"
)
GROUPED_CARD = rf"{BEGIN}(?<![.-])[2-6]\d{{3}}(?:[ -]?\d){{9,15}}{END}(?!-)"
# What is before the first letter is looked at behind it: so a search need not stop at every character.
IBAN = rf"[A-Z](?<!{LETTER}[A-Z])[A-Z]\d{{2}}(?:[ -]?[A-Z0-9]){{11,30}}{END}"
EMAIL = (
    rf"{BEGIN}(?<![.%+/-]){LETTER}(?:{LETTER}|[.%+'-]){{0,63}}@"
    rf"(?:(?:{LETTER}|-){{1,63}}\.){{1,8}}(?:(?![\d_]){LETTER}){{2,24}}{END}(?!-)"
)
IPV4 = rf"{BEGIN}(?<![.-])(?:\d{{1,3}}\.){{3}}\d{{1,3}}{END}(?!-|\.\d)"
NAMED_IPV4 = (
    r"(?i:\b(?:ip|ipv4|dns|(?:name)?server|host|ping|resolver|proxy|peer|address|adresse|direcci[oó]n|gateway)\b[^\d\n]{0,24}?)"
    rf"(?P<value>{IPV4})"
)
IPV6 = rf"{BEGIN}(?<![:.])(?:[0-9A-Fa-f]{{0,4}}:){{3,7}}[0-9A-Fa-f]{{0,4}}{END}(?!:)"
IDENTITY_NUMBER = (
    r"(?i:(?:\bpassport|\breisep[aä]ss|\bpasseport|\bpasaporte|\bpassaporto|\bpaspoort|\bdriver'?s licen[cs]e"
    r"|\bdriving licen[cs]e|\bführerschein|\bpermis de conduire|\bpermiso de conducir|\bnational id(?:entity)?"
    r"|\bidentity card|\bpersonalausweis|\bausweis|\bcarte d'identité|\bcodice fiscale|\bsteuer-?id"
    r"|\b(?:id card|dni|(?-i:NIE|NIF)|cpf|bsn|pesel|aadhaar|dl number|nhs (?:number|no)|tax id)\b|\bsozialversicherungsn"
    r"|\bsécurité sociale|护照|護照|パスポート)[^\d\n]{0,24}?)"
    rf"{BEGIN}(?<!-)(?P<value>(?:[A-Z]{{1,3}}[ -])?[A-Z]{{0,6}}\d[A-Z0-9]{{0,15}}"
    rf"(?:[ .-][A-Z]{{0,4}}\d[A-Z0-9]{{0,12}}){{0,5}}(?:-[A-Z])?){END}(?!-)"
)

IDENTITY_WORDS = (
    *("passport", "reisep", "passeport", "pasaporte", "passaporto", "paspoort", "licence", "license", "national id"),
    *(
        "identity card",
        "id card",
        "ausweis",
        "carte d'identité",
        "dni",
        "nhs number",
        "tax id",
        "steuer",
        "führerschein",
    ),
    *("permis", "codice fiscale", "nie", "nif", "cpf", "bsn", "pesel", "aadhaar", "dl number", "nhs no"),
    *("sozialversicherung", "sécurité sociale", "护照", "護照", "パスポート"),
)

LEAST_ID_FIGURES = 3
RESERVED_DOMAINS = ("example", "test", "invalid", "localhost")
"""Nobody's (RFC 2606), as are example.com, .net and .org."""
FILE_ENDINGS = frozenset({"png", "jpg", "jpeg", "gif", "svg", "webp", "avif", "ico", "pdf", "css", "js", "json"})
"""What stands behind an @ and a dot in the name of a file, as in "icon@2x.png"; no country or registry has these."""
NOBODYS_MAILBOXES = frozenset({"git", "noreply", "no-reply", "donotreply", "postmaster", "mailer-daemon"})


def given_rules(*, ssn: Action, credit_card: Action) -> tuple[PatternRule, ...]:
    r"""What every installation looks for: all that `\b\d{3}-\d{2}-\d{4}\b` and `\b\d{16}\b` match, in linear time."""
    rules = (
        PatternRule("ssn", re.compile(SSN), ssn, needs=Needs(figures=9)),
        PatternRule("credit_card", re.compile(CREDIT_CARD), credit_card, needs=Needs(figures=16)),
    )
    return tuple(rule for rule in rules if rule.action != "off")


def spoken_ssn(action: Action) -> PatternRule:
    """A social-security number without its dashes, beside its name."""
    return PatternRule("ssn", re.compile(SPOKEN_SSN), action, needs=Needs(figures=9, texts=("ssn", "social")))


def grouped_card(action: Action) -> PatternRule:
    """A card number of any length and grouping, by its check digit."""
    return PatternRule("credit_card", re.compile(GROUPED_CARD), action, _card, needs=Needs(figures=13))


def iban(action: Action) -> PatternRule:
    return PatternRule("iban", re.compile(IBAN), action, _iban, needs=Needs(figures=2))


def email(action: Action) -> PatternRule:
    return PatternRule("email", re.compile(EMAIL), action, _mailbox, needs=Needs(marks="@"))


def ip_address(action: Action) -> tuple[PatternRule, ...]:
    """Addresses of the public internet; private and reserved ones say nothing about a person."""
    four = Needs(figures=4, marks="...")
    return (
        PatternRule("ip", re.compile(NAMED_IPV4), action, partial(_whole, _is_public_yet_small), four),
        PatternRule("ip", re.compile(IPV4), action, partial(_whole, _is_public_and_no_version), four),
        PatternRule("ip", re.compile(IPV6), action, partial(_whole, _is_public), Needs(marks=":::")),
    )


def identity_number(action: Action) -> PatternRule:
    """The number of a passport, licence or identity card, beside a word for it in one of several languages."""
    needs = Needs(figures=LEAST_ID_FIGURES, texts=IDENTITY_WORDS)
    return PatternRule("identity_number", re.compile(IDENTITY_NUMBER), action, partial(_whole, _is_an_id), needs)


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

    for end in reversed(_ends_with_right_check_digits(found)):
        if account.is_valid(found[:end], check_country=False):
            return 0, end
    return None


def _ends_with_right_check_digits(found: str) -> list[int]:
    """Where an account number that begins as `found` does may end, by its check digits (ISO 7064), in one pass."""
    first = "".join(str(int(c, 36)) for c in found[:4])
    rest, ends = 0, list[int]()
    for place, character in enumerate(found[4:], start=5):
        if character.isalnum():
            value = int(character, 36)
            rest = (rest * (10 if value < 10 else 100) + value) % 97
            if (rest * 10 ** len(first) + int(first)) % 97 == 1:
                ends.append(place)
    return ends


def _mailbox(found: str) -> Span | None:
    name, _, domain = found.rpartition("@")
    labels = domain.lower().split(".")
    nobodys = (
        labels[-1] in FILE_ENDINGS or labels[-1] in RESERVED_DOMAINS or (len(labels) > 1 and labels[-2] == "example")
    )
    return None if nobodys or name.lower() in NOBODYS_MAILBOXES else (0, len(found))


def _is_an_id(found: str) -> bool:
    figures = sum(character.isdigit() for character in found)
    return figures >= LEAST_ID_FIGURES and sum(map(str.isalnum, found)) >= 6 and not looks_like_a_date(found)


def _is_public(found: str) -> bool:
    try:
        return ipaddress.ip_address(found).is_global
    except ValueError:
        return False


def _is_small(found: str) -> bool:
    """Small numbers with dots between them are a version more often than an address."""
    return sum(len(part) > 1 for part in found.split(".")) < 2


def _is_public_yet_small(found: str) -> bool:
    return _is_public(found) and _is_small(found)


def _is_public_and_no_version(found: str) -> bool:
    return _is_public(found) and not _is_small(found)
