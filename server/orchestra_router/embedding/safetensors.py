"""Reads a `.safetensors` file: a JSON header with each tensor's type, shape and place, then the bytes.

The file is mapped, not read, so that only what is used takes memory, and processes share it.
"""

import json
import mmap
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_HEADER_BYTES = 1_000_000


@contextmanager
def tensors(path: Path) -> "Generator[Mapping[str, NDArray[np.float32]]]":
    """The tensors in `path` that hold floats, as float32; not to be written to.

    They can be used after leaving, too: what was read until then is let go of, and comes back from the file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or no such file at all.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= MOST_HEADER_BYTES:
            raise ValueError("it has no header")
        raw = file.read(length)
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        header: dict[str, dict[str, Any]] = json.loads(raw)
        header.pop("__metadata__", None)
        found = _found(header, mapped, 8 + length)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        raise ValueError("it is damaged or cut off") from None
    yield found
    if hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def _found(
    header: Mapping[str, Mapping[str, Any]], mapped: mmap.mmap, begin: int
) -> "Mapping[str, NDArray[np.float32]]":
    import numpy as np  # noqa: PLC0415 - 60 ms; imported when the first text is embedded

    types = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}
    found: dict[str, NDArray[np.float32]] = {}
    for name, about in header.items():
        if about["dtype"] in types:  # the rest is positions and the like
            dtype = types[about["dtype"]]
            first, last = about["data_offsets"]
            flat = np.frombuffer(mapped, dtype, count=(last - first) // dtype.itemsize, offset=begin + first)
            found[name] = flat.reshape(about["shape"]).astype(np.float32, copy=False)
    return found
