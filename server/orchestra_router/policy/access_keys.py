"""Making access keys, and telling a right secret from a wrong one.

    ork_<public id>_<secret>

The secret is shown once and kept as a hash only. The hash is a fast one, salted: a secret is 256 random bits, which
nobody guesses however fast he can try, so what slow hashes (Argon2, bcrypt) do for passwords that people choose would
buy nothing here. It would cost every request some 50 ms, and hand whoever sends wrong keys a way to keep the machine busy.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from orchestra_router.store.key_records import KeySecret

PREFIX = "ork"
ID_BYTES, SECRET_BYTES, SALT_BYTES = 6, 32, 16

_FORM = re.compile(rf"{PREFIX}_([0-9a-f]{{{2 * ID_BYTES}}})_([0-9a-f]{{{2 * SECRET_BYTES}}})")
_NOBODY = "0" * 2 * ID_BYTES
"""The id that is looked up for what is no key at all; none is ever made with it."""
_NO_SALT, _NO_HASH = "0" * 2 * SALT_BYTES, "0" * 64


@dataclass(frozen=True, slots=True)
class Presented:
    """What somebody says his key is."""

    key_id: str
    secret: str


def new_id() -> str:
    return secrets.token_hex(ID_BYTES)


def new_secret(*, at_ms: int) -> tuple[str, KeySecret]:
    """The secret, and what is kept of it."""
    secret, salt = secrets.token_hex(SECRET_BYTES), secrets.token_hex(SALT_BYTES)
    return secret, KeySecret(salt=salt, hash=_hash(secret, salt), created_ms=at_ms)


def shown(key_id: str, secret: str) -> str:
    """The key as its holder gets it."""
    return f"{PREFIX}_{key_id}_{secret}"


def read(text: str) -> Presented:
    """The parts of a key; those of nobody's for anything else, so that it takes the same way to its refusal."""
    match = _FORM.fullmatch(text)
    return Presented(_NOBODY, "") if match is None else Presented(match[1], match[2])


def matching(presented: Presented, kept: Iterable[KeySecret]) -> KeySecret | None:
    """The secret that was presented. All of `kept` are looked at, as long for a wrong one as for a right one.

    Where there are none it is held against one that nothing matches, so that an unknown id takes no less time.
    """
    found: KeySecret | None = None
    for each in tuple(kept) or (KeySecret(salt=_NO_SALT, hash=_NO_HASH, created_ms=0),):
        if hmac.compare_digest(_hash(presented.secret, each.salt), each.hash):
            found = each
    return found


def _hash(secret: str, salt: str) -> str:
    return hashlib.blake2b(
        secret.encode(), salt=bytes.fromhex(salt), person=b"orchestra access", digest_size=32
    ).hexdigest()
