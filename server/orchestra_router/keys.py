"""The providers' keys: where they come from, and which of several is which, without ever showing one."""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from orchestra_router.key_sources import SOURCES

PLACEHOLDER = "your-key-here"
"""What stands for a key in the README's configuration; as good as none."""
FURTHER = re.compile(rf"_([2-9]|[1-9][0-9])(?:{'|'.join(SOURCES)})?")
"""What follows a variable's name where it holds one more key of the same provider: `_2` to `_99`."""


@dataclass(frozen=True, slots=True)
class Key:
    secret: str = field(repr=False)
    variable: str
    """Where it came from."""
    fingerprint: str
    """Eight hex digits that change with the key and do not give it away."""


class Keys:
    """Provider -> its keys, from the environment, in the order in which they are used. Never shows a value."""

    __slots__ = ("_keys", "_placeholders")

    def __init__(
        self,
        keys: Mapping[str, Sequence[tuple[str, str]]],
        *,
        placeholders: Mapping[str, str] | None = None,
    ) -> None:
        """`keys` are pairs of a variable and its secret; `placeholders` says which variable still lacks its key."""
        self._keys = {name: _different(name, pairs) for name, pairs in keys.items() if pairs}
        self._placeholders = dict(placeholders or {})

    def of(self, provider: str) -> tuple[Key, ...]:
        """Every key of it; () where there is none."""
        return self._keys.get(provider, ())

    def get(self, provider: str) -> str:
        """The first key; "" where there is none."""
        return next((key.secret for key in self.of(provider)), "")

    def secret(self, provider: str, fingerprint: str) -> str:
        """The key of this fingerprint; "" where there is none."""
        return next((key.secret for key in self.of(provider) if key.fingerprint == fingerprint), "")

    def secrets(self) -> tuple[str, ...]:
        """Every key there is, for whoever has to keep them out of what is written."""
        return tuple(key.secret for keys in self._keys.values() for key in keys)

    def variables(self, provider: str) -> tuple[str, ...]:
        """The variables that its keys came from, in their order."""
        return tuple(key.variable for key in self.of(provider))

    def variable(self, provider: str, fingerprint: str) -> str:
        """The variable that the key of this fingerprint came from; "" where there is none."""
        return next((key.variable for key in self.of(provider) if key.fingerprint == fingerprint), "")

    def placeholder(self, provider: str) -> str:
        """The variable that holds the README's placeholder in place of the key; "" where none does."""
        return "" if provider in self else self._placeholders.get(provider, "")

    def fingerprints(self, provider: str) -> tuple[str, ...]:
        """Those of its keys, in their order; "" alone where there is none, as for a local server."""
        return tuple(key.fingerprint for key in self.of(provider)) or ("",)

    def __contains__(self, provider: object) -> bool:
        return provider in self._keys

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"Keys({', '.join(self._keys)})"


def _different(provider: str, pairs: Sequence[tuple[str, str]]) -> tuple[Key, ...]:
    """The same key under two names is one key."""
    first = {secret: variable for variable, secret in reversed(pairs)}
    secrets = dict.fromkeys(secret for _, secret in pairs)
    return tuple(Key(secret, first[secret], _fingerprint(provider, secret)) for secret in secrets)


def _fingerprint(provider: str, secret: str) -> str:
    return hashlib.blake2b(secret.encode(), key=f"orchestra {provider}".encode()[:64], digest_size=4).hexdigest()


# --- the environment -----------------------------------------------------------------------------------------


def value_of(environ: Mapping[str, str], variable: str) -> str:
    """What is set; "" for a variable that is absent, blank, or a placeholder that a client did not fill in."""
    value = environ.get(variable, "").strip()
    return "" if re.fullmatch(r"\$\{[^}]*\}", value) else value


def further(environ: Mapping[str, str], variable: str) -> list[str]:
    """The variables that may hold further keys beside `variable`, by their numbers: `<variable>_2`, `<variable>_3`."""
    numbers = {
        int(match[1])
        for name in environ
        if name.startswith(variable) and (match := FURTHER.fullmatch(name, len(variable))) is not None
    }
    return [f"{variable}_{number}" for number in sorted(numbers)]


def key_from(environ: Mapping[str, str], variable: str) -> tuple[str, str]:
    """Where the key came from (`variable`, or one that says where it is, see `key_sources`), and the key; "" if unset.

    Raises:
        ValueError: it cannot be a key; the message does not show it.
    """
    source, raw = variable, value_of(environ, variable)
    for suffix, read in SOURCES.items():
        if not raw and (named := value_of(environ, f"{variable}{suffix}")):
            source, raw = f"{variable}{suffix}", read(named, f"{variable}{suffix}", variable)
    secret = raw.strip().strip("\"'").strip()
    if not re.fullmatch(r"[\x21-\x7e]*", secret):
        raise ValueError(f"`{source}` holds a space, a control character or a letter no key has; copy the key again")
    return source, secret
