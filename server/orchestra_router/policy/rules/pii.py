"""Personal data: what can be told by its form, and by the check digits and numbering plans behind the form.

Numbers that mean nothing by themselves (an identity card's) count only beside a word that says what they are.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from orchestra_router.policy.rules.base import BEGIN, DIGITS, END, LETTER, Action, PatternRule, Span

SSN = rf"{BEGIN}\d{{3}}-\d{{2}}-\d{{4}}{END}"
CREDIT_CARD = rf"{BEGIN}\d{{16}}{END}"

SPOKEN_SSN = (
    r"(?i:\bssn\b|_ssn\b|\bsocial[ -]security)"
    r"(?:[^\n]{0,40}?(?<![\d-])(?=\d{3} \d{2} \d{4})|[^\d\n]{0,30})(?P<value>\d{3} ?\d{2} ?\d{4})\b"
)
GROUPED_CARD = rf"{BEGIN}(?<![.-])[2-6]\d{{3}}(?:[ -]?\d){{9,15}}{END}(?!-)"
IBAN = rf"{BEGIN}[A-Z]{{2}}\d{{2}}(?:[ -]?[A-Z0-9]){{11,30}}{END}"
EMAIL = (
    rf"{BEGIN}(?<![.%+/-]){LETTER}(?:{LETTER}|[.%+'-]){{0,63}}@"
    rf"(?:(?:{LETTER}|-){{1,63}}\.){{1,8}}(?:(?![\d_]){LETTER}){{2,24}}{END}(?!-)"
)
PHONE = rf"(?:{BEGIN}(?<![.+/:=-])|(?<=[:=]))(?:\+|00)?\(?\d(?:[ ()./-]{{0,3}}\d){{6,14}}{END}(?![/:-]|\.\d)"
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

RESERVED_DOMAINS = ("example", "test", "invalid", "localhost")
"""Nobody's (RFC 2606), as are example.com, .net and .org."""
FILE_ENDINGS = frozenset({"png", "jpg", "jpeg", "gif", "svg", "webp", "avif", "ico", "pdf", "css", "js", "json"})
"""What stands behind an @ and a dot in the name of a file, as in "icon@2x.png"; no country or registry has these."""
NOBODYS_MAILBOXES = frozenset({"git", "noreply", "no-reply", "donotreply", "postmaster", "mailer-daemon"})

_PHONE_WORDS = re.compile(
    r"(?i)(?:(?:phone|fax|whatsapp|\bmobile?|\btel[eé]fono?|\btéléphone|\bhandy|\bm[oó]vil|\bportable|\bcelular|\bnumer)\w*"
    r"|\b(?:call|text|cell|tel|dial|ring|sms|callback)\b)[^\n]{0,24}\Z"
)
_ADDRESS = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}(?!\.?\d)")
_ABROAD = re.compile(r"\+|00(?=[1-9])")


def given_rules(*, ssn: Action, credit_card: Action) -> tuple[PatternRule, ...]:
    r"""What every installation looks for: all that `\b\d{3}-\d{2}-\d{4}\b` and `\b\d{16}\b` match, in linear time."""
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
        PatternRule("ip", re.compile(NAMED_IPV4), action, partial(_whole, _is_public_yet_small), hints=DIGITS),
        PatternRule("ip", re.compile(IPV4), action, partial(_whole, _is_public_and_no_version), hints=DIGITS),
        PatternRule("ip", re.compile(IPV6), action, partial(_whole, _is_public), hints=(":",)),
    )


def identity_number(action: Action) -> PatternRule:
    """The number of a passport, licence or identity card, beside a word for it in one of several languages."""
    return PatternRule(
        "identity_number", re.compile(IDENTITY_NUMBER), action, partial(_whole, _is_an_id), hints=IDENTITY_WORDS
    )


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
        if not any(map(text.__contains__, DIGITS)):
            return
        for match in self._candidates.finditer(text):
            start, end = _closed(match[0])
            place = match.start() + start
            if self._is_number(match[0][start:end], text[max(0, place - 40) : place]):
                yield place, match.start() + end

    def _is_number(self, candidate: str, before: str) -> bool:
        if abroad := _ABROAD.match(candidate):
            return _valid_phone("+" + candidate[abroad.end() :], None)
        if _ADDRESS.match(candidate):
            return False
        named = _PHONE_WORDS.search(before) is not None
        # A row of figures is a date, an order or a sum more often than somebody's number.
        if not named and (before.endswith((":", "=")) or _looks_like_a_date(candidate)):
            return False
        return any(
            _valid_phone(candidate, region) and (named or _as_written_in(region, candidate)) for region in self._regions
        )


def _closed(candidate: str) -> Span:
    """Where in `candidate` the number stands: a bracket that stays open is not part of it."""
    opened = candidate.rfind("(")
    if opened < 0 or ")" in candidate[opened:]:
        return 0, len(candidate)
    return (1, len(candidate)) if opened == 0 else (0, len(candidate[:opened].rstrip(" ./-")))


def _as_written_in(region: str, candidate: str) -> bool:
    """Whether people there would write their national numbers like `candidate`: in groups, with what one dials first."""
    import phonenumbers  # noqa: PLC0415 - see `_valid_phone`

    groups = re.findall(r"\d+", candidate)
    metadata = phonenumbers.PhoneMetadata.metadata_for_region(region)
    first = (metadata and metadata.national_prefix) or ""
    if first == "1":  # North America, where it may be left out
        return [len(group) for group in (groups[1:] if groups[0] == "1" else groups)] == [3, 3, 4]
    return len(groups) >= (2 if first else 3) and groups[0].startswith(first)


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
        if found[end - 1].isalnum() and account.is_valid(found[:end], check_country=False):
            return 0, end
    return None


def _mailbox(found: str) -> Span | None:
    name, _, domain = found.rpartition("@")
    labels = domain.lower().split(".")
    nobodys = (
        labels[-1] in FILE_ENDINGS or labels[-1] in RESERVED_DOMAINS or (len(labels) > 1 and labels[-2] == "example")
    )
    return None if nobodys or name.lower() in NOBODYS_MAILBOXES else (0, len(found))


def _is_an_id(found: str) -> bool:
    figures = sum(character.isdigit() for character in found)
    return figures >= 3 and sum(map(str.isalnum, found)) >= 6 and not _looks_like_a_date(found)


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
