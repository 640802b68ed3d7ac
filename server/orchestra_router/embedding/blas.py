"""NumPy's BLAS: on one thread, and what it is good at.

With more, a single short prompt is hardly faster, and on a busy machine its threads wait for one another: the slowest
embeddings then take ten times as long. The number of threads is set at run time, too, so that it holds whoever imported
NumPy first; threads that were begun before that keep a processor busy for 40 ms each.
"""

import ctypes
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

_SETTERS = (
    "scipy_openblas_set_num_threads64_",  # NumPy's own wheels
    "scipy_openblas_set_num_threads",
    "openblas_set_num_threads64_",
    "openblas_set_num_threads",
    "MKL_Set_Num_Threads",
)
_MOST_THREADS = "OPENBLAS_NUM_THREADS"
_LIBRARIES = frozenset({".so", ".dylib", ".dll", ".pyd"})
READ_BYTES = 2**20
_CORES = ("scipy_openblas_get_corename64_", "scipy_openblas_get_corename")
_FAST_CORES = frozenset({b"SkylakeX", b"Cooperlake", b"SapphireRapids"})
"""OpenBLAS multiplies small matrices without copying them on processors with AVX-512, by kernels of these names."""


def use_one_thread() -> bool:
    """Whether the BLAS could be told. Apple's Accelerate cannot, and has no need."""
    _read_ahead()
    _import_on_one_thread()
    for library in _libraries():
        for name in _SETTERS:
            if (setter := getattr(library, name, None)) is not None:
                setter(1)
                return True
    return False


def _read_ahead() -> None:
    """Have the system read NumPy's libraries: loading one that is not in memory yet keeps every thread waiting for the
    disk, 40 ms and more, and reading a file keeps none.
    """
    found = None if "numpy" in sys.modules else importlib.util.find_spec("numpy")
    if found is None or found.origin is None:
        return
    package = Path(found.origin).parent
    for folder in (package, package.with_name("numpy.libs")):
        for library in folder.rglob("*"):
            if not _LIBRARIES.isdisjoint(library.suffixes) and library.is_file():
                with library.open("rb") as file:
                    while file.read(READ_BYTES):
                        pass


def _import_on_one_thread() -> None:
    if "numpy" in sys.modules or _MOST_THREADS in os.environ:
        return
    os.environ[_MOST_THREADS] = "1"
    try:
        importlib.import_module("numpy")
    finally:
        del os.environ[_MOST_THREADS]  # no process that this one starts is told


def is_fast_at_small_products() -> bool:
    """Many small products are then faster than the large one that they make up; elsewhere they are slower."""
    for library in _libraries():
        for name in _CORES:
            if (core := getattr(library, name, None)) is not None:
                core.restype = ctypes.c_char_p
                return core() in _FAST_CORES
    return False


def _libraries() -> Iterator[ctypes.CDLL]:
    """Where its symbols are: found through a library linked with it, on Windows only in the library itself."""
    import numpy as np  # noqa: PLC0415 - 60 ms; imported when the first text is embedded
    import numpy.linalg._umath_linalg as linked  # noqa: PLC0415 - as above

    for path in (Path(linked.__file__), *Path(np.__file__).parents[1].glob("numpy.libs/*openblas*")):
        yield ctypes.CDLL(str(path))
