"""Keys and passwords: by the forms that vendors give theirs, and by what stands before them."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from orchestra_router.policy.rules.base import Action, Needs, PatternRule, Rule, Span

VENDOR_KEYS = (
    r"sk-(?:ant|or|proj|svcacct|admin|lf|None)-[\w-]{16,400}",  # Anthropic, OpenRouter, OpenAI, Langfuse
    r"sk-[A-Za-z0-9]{20,200}",  # OpenAI, DeepSeek
    r"(?:xai|pplx|gsk|hf|tgp_v1|r8|nvapi|fw|csk)[-_][\w-]{20,200}",  # xAI, Perplexity, Groq, Hugging Face, Together ...
    r"AIza[\w-]{35}",  # Google
    r"ya29\.[\w-]{20,400}",
    r"GOCSPX-[\w-]{20,60}",
    r"(?:AKIA|ASIA|AROA|AIDA)[A-Z0-9]{16}",  # AWS
    r"gh[pousr]_[A-Za-z0-9]{30,255}",  # GitHub
    r"github_pat_\w{22,255}",
    r"glpat-[\w-]{20,60}",  # GitLab
    r"xox[abeprs]-[\w-]{10,250}",  # Slack
    r"xapp-\d-[\w-]{20,200}",
    r"[sr]k_(?:live|test)_[A-Za-z0-9]{16,200}",  # Stripe
    r"whsec_[A-Za-z0-9+/=]{20,100}",
    r"SG\.[\w-]{16,64}\.[\w-]{16,64}",  # SendGrid
    r"npm_[A-Za-z0-9]{36}",
    r"pypi-[\w-]{40,400}",
    r"dop_v1_[0-9a-f]{64}",  # DigitalOcean
    r"dapi[0-9a-f]{32}",  # Databricks
    r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}",  # Shopify
    r"AC[0-9a-f]{32}",  # Twilio
    r"\d{8,10}:AA[\w-]{33}",  # Telegram
    r"eyJ[\w-]{10,2000}\.eyJ[\w-]{10,8000}\.[\w-]{10,2000}",  # JSON Web Token
    r"dckr_[po]at_[\w-]{20,60}",  # Docker
    r"HRKU-[\w-]{30,80}",  # Heroku
    r"ork_[\w-]{20,200}",  # this router's own access keys
)
SHORTEST_VENDOR_KEY = 15
"""Characters of the shortest of them, Slack's."""
VENDOR_MARKS = (
    *(
        "sk-",
        "xai-",
        "pplx-",
        "gsk_",
        "hf_",
        "tgp_v1",
        "r8_",
        "nvapi-",
        "fw_",
        "csk-",
        "aiza",
        "ya29.",
        "gocspx-",
        "akia",
    ),
    *(
        "asia",
        "aroa",
        "aida",
        "ghp_",
        "gho_",
        "ghu_",
        "ghs_",
        "ghr_",
        "github_pat_",
        "glpat-",
        "xox",
        "xapp-",
        "k_live_",
    ),
    *(
        "k_test_",
        "whsec_",
        "sg.",
        "npm_",
        "pypi-",
        "dop_v1_",
        "dapi",
        "shp",
        "ac",
        ":aa",
        "eyj",
        "ork_",
        "dckr_",
        "hrku-",
    ),
)
NAMES = (
    *("pass", "pw", "secret", "key", "token", "bearer", "kennwort", "mot de passe", "contraseñ", "senha"),
    *("hasło", "wachtwoord", "парол", "şifre", "密码", "密碼", "パスワード", "비밀번호"),
)
BEGIN_KEY = re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----")
END_KEY = re.compile(r"-----END [A-Z ]{0,30}KEY(?: BLOCK)?-----")
SHORTEST_VALUE = 8
LONGEST_KEY = 20_000
"""Characters between the two."""
IN_ADDRESS = r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{0,64}:(?P<value>[^\s/@]{3,128})@"
WORDS = (
    r"password|passwd|\bpass|\bpwd?|_pwd?|passphrase|passwort|kennwort|mot de passe|contraseña|senha|hasło|wachtwoord"
    r"|пароль|şifre|密[码碼]|パスワード|비밀번호"
)
"""For a password, in several languages."""
NAMED = (
    rf"(?i:(?:{WORDS}|secret|api[_-]?key|access[_-]?key|(?<![a-z])token|auth[_-]?token|access[_-]?token|bearer"
    r"|client[_-]?secret|private[_-]?token|(?:account|encryption|master|session|signing|storage)_key))"
    r"[\"']?(?: is| ist| est| es)?\s{0,3}"
    r"(?:[:=\uff1a]{1,2}>?|value\s{0,3}=|(?<=bearer)|(?<=Bearer)|(?<= is)|(?<= ist)|(?<= est)|(?<= es))\s{0,3}"
    r"[\"'`]?(?P<value>[^\s\"'`,;(){}\[\]<>]{8,256})"
)
SPOKEN = rf"(?i:{WORDS})[ \t]{{1,3}}[\"'`]?(?P<value>[^\s\"'`,;(){{}}\[\]<>]{{8,256}})"
AUTHORIZATION = (
    r"(?i:authorization[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?:basic|bearer|token)\s{1,3})(?P<value>[\w+/=.~-]{12,2000})"
)
LEAST_ENTROPY_BITS = 2.8
"""Per character. Words and placeholders stay below it, random text of any alphabet above."""
_PLACEHOLDER = re.compile(r"(?i)(?:your|my|xxx|example|changeme|placeholder|dummy|test|todo|insert|\*{3}|\.{3}|\$)")


IN_ARMOUR = Needs(texts=("private key",))


@dataclass(frozen=True, slots=True)
class PrivateKeyRule:
    """A private key in its armour; one whose end is missing goes to the end of the text.

    One pattern for all of it would look for the end anew from each beginning.
    """

    action: Action
    kind: str = "secret"
    setting: str = "guard_secret"
    needs: Needs = IN_ARMOUR

    def spans(self, text: str) -> Iterator[Span]:
        ends = END_KEY.finditer(text)
        end = next(ends, None)
        place = 0
        for begin in BEGIN_KEY.finditer(text):
            if begin.start() < place:
                continue
            while end is not None and end.start() < begin.end():
                end = next(ends, None)
            if end is not None and end.start() - begin.end() <= LONGEST_KEY:
                place = end.end()
            elif len(text) - begin.end() <= LONGEST_KEY:
                place = len(text)
            else:
                continue
            yield begin.start(), place


def secret(action: Action) -> tuple[Rule, ...]:
    """Keys of known vendors, private keys, passwords in addresses, and values that are named a secret."""
    anywhere = re.compile(rf"(?<![\w-])(?:{'|'.join(VENDOR_KEYS)})(?![\w-])")
    of_vendor = Needs(characters=SHORTEST_VENDOR_KEY, texts=VENDOR_MARKS)
    named = Needs(characters=SHORTEST_VALUE, texts=NAMES)
    return (
        PrivateKeyRule(action),
        PatternRule("secret", anywhere, action, needs=of_vendor),
        PatternRule("secret", re.compile(IN_ADDRESS), action, _password, Needs(texts=("://",))),
        PatternRule("secret", re.compile(AUTHORIZATION), action, _random, Needs(texts=("authorization",))),
        PatternRule("secret", re.compile(NAMED), action, _random, named),
        PatternRule("secret", re.compile(SPOKEN), action, _unmistakable, named),
    )


def own_keys(keys: Iterable[str], action: Action) -> PatternRule | None:
    """The very keys that this process holds, whatever their form."""
    known = sorted({key for key in keys if len(key) >= 8}, key=len, reverse=True)
    # Beyond ASCII the small form of a letter may depend on what is around it.
    needs = Needs(texts=tuple(key.lower() for key in known) if all(map(str.isascii, known)) else ())
    return PatternRule("secret", re.compile("|".join(map(re.escape, known))), action, needs=needs) if known else None


def _password(found: str) -> Span | None:
    stands_for_one = _PLACEHOLDER.search(found) or re.fullmatch(
        r"[{<\[(%].*|(?i:pass|password|passwd|pwd|secret)", found
    )
    return None if stands_for_one or (found.isalpha() and found.islower() and len(found) < 8) else (0, len(found))


def _unmistakable(found: str) -> Span | None:
    """A value that no word of a sentence looks like: letters, figures, and a mark that is neither."""
    found = found.rstrip(".")
    mixed = any(map(str.isdigit, found)) and any(map(str.isalpha, found)) and re.search(r"[^\w./:-]", found)
    return (0, len(found)) if mixed and _random(found) else None


def _random(found: str) -> Span | None:
    """A value that looks like a secret, and not like a name, a call or a path in code."""
    found = found.rstrip(".")
    mixed = any(c.isdigit() for c in found) and any(c.isalpha() for c in found)
    odd = any(not c.isalnum() and c not in "._-/:" for c in found)
    if _PLACEHOLDER.match(found) or not (mixed or odd) or re.fullmatch(r"[a-z_]+(?:\.[a-z_]+)+", found):
        return None
    return (0, len(found)) if _entropy_bits(found) >= LEAST_ENTROPY_BITS or odd else None


def _entropy_bits(text: str) -> float:
    counts = Counter(text).values()
    return -sum(n / len(text) * math.log2(n / len(text)) for n in counts)
