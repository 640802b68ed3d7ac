"""Where a key may stand instead of in its variable: a file, a command's output, the system's keyring.

What a source names is not shown either: it may be a key, set under the wrong name.
"""

import shlex
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

MAX_KEY_BYTES = 16_384
COMMAND_TIMEOUT_S = 30
"""Password managers may ask the person first."""


def variables(variable: str) -> tuple[str, ...]:
    """Every variable that the key of `variable` may come from, itself first."""
    return (variable, *(f"{variable}{suffix}" for suffix in SOURCES))


def _from_file(named: str, variable: str, _: str) -> str:
    path = Path(named).expanduser()
    try:
        if not path.is_file():
            raise ValueError(f"the file that `{variable}` names does not exist; correct the path")
        with path.open("rb") as file:
            raw = file.read(MAX_KEY_BYTES + 1)
        if len(raw) > MAX_KEY_BYTES:
            raise ValueError(f"the file that `{variable}` names is too large for a key; correct the path")
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(f"the file that `{variable}` names is not text; correct the path") from None
    except OSError:
        raise ValueError(f"the file that `{variable}` names cannot be read; check its permissions") from None


def _from_command(named: str, variable: str, _: str) -> str:
    """What the command prints, run without a shell. Only the environment names one, never a request."""
    try:
        done = subprocess.run(  # noqa: S603 - the person who starts this process chose it
            shlex.split(named), stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False
        )
    except (OSError, ValueError):
        raise ValueError(
            f"the command in `{variable}` cannot be run; correct it, and name it by its whole path"
        ) from None
    except subprocess.TimeoutExpired:
        raise ValueError(f"the command in `{variable}` did not end within {COMMAND_TIMEOUT_S} s") from None
    if done.returncode != 0:
        raise ValueError(f"the command in `{variable}` failed (exit code {done.returncode}); run it by hand to see why")
    if not done.stdout.strip() or len(done.stdout) > MAX_KEY_BYTES:
        raise ValueError(f"the command in `{variable}` does not print a key and nothing else")
    return done.stdout.decode("ascii", errors="replace")


def _from_keyring(named: str, variable: str, user: str) -> str:
    """The password of `user`, which is the key's own variable, at the service that is `named`."""
    try:
        import keyring  # noqa: PLC0415 - an extra that few have
        from keyring.errors import KeyringError  # noqa: PLC0415 - as above
    except ImportError:
        raise ValueError(f"`{variable}` needs the package keyring: install `orchestra-router[keyring]`") from None
    try:
        found = keyring.get_password(named, user)
    except KeyringError as error:
        raise ValueError(f"the keyring of `{variable}` cannot be read ({type(error).__name__}); unlock it") from None
    if not found:
        raise ValueError(
            f"the keyring has no `{user}` at the service that `{variable}` names; `keyring set SERVICE {user}` adds it"
        )
    return found


Source = Callable[[str, str, str], str]
"""From what is named, the variable that names it, and the key's own variable, to the text of the key.

Raises ValueError with what to do.
"""
SOURCES: Mapping[str, Source] = {"_FILE": _from_file, "_COMMAND": _from_command, "_KEYRING": _from_keyring}
"""Suffix of the variable -> what reads it; the first that is set counts."""
