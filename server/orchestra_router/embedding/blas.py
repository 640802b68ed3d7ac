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
from collections.abc import Iterable, Iterator
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
_LARGEST = "_multiarray_umath."
"""The library that needs the BLAS, and so all that takes long to link."""
READ_BYTES = 2**20
_CORES = ("scipy_openblas_get_corename64_", "scipy_openblas_get_corename")
_FAST_CORES = frozenset({b"SkylakeX", b"Cooperlake", b"SapphireRapids"})
"""OpenBLAS multiplies small matrices without copying them on processors with AVX-512, by kernels of these names."""


def use_one_thread() -> bool:
    """Whether the BLAS could be told. Apple's Accelerate cannot, and has no need."""
    if "numpy" not in sys.modules:
        _import_beside_others()
    for library in _libraries():
        for name in _SETTERS:
            if (setter := getattr(library, name, None)) is not None:
                setter(1)
                return True
    return False


def _import_beside_others() -> None:
    """Import NumPy, if it is there, so that other threads go on meanwhile: an import keeps them all waiting while the
    system fetches a library from the disk, 40 ms and more, and while it links one, some 4 ms.
    """
    found = importlib.util.find_spec("numpy")
    if found is None or found.origin is None:
        return
    libraries = list(_libraries_of(Path(found.origin).parent))
    for library in libraries:
        _read(library)
    is_ours_to_say = _MOST_THREADS not in os.environ
    if is_ours_to_say:
        os.environ[_MOST_THREADS] = "1"
    try:
        _link([library for library in libraries if library.name.startswith(_LARGEST)])
        importlib.import_module("numpy")
    finally:
        if is_ours_to_say:
            del os.environ[_MOST_THREADS]  # no process that this one starts is told


def _libraries_of(package: Path) -> Iterator[Path]:
    for folder in (package, package.with_name("numpy.libs")):
        for file in folder.rglob("*"):
            if not _LIBRARIES.isdisjoint(file.suffixes) and file.is_file():
                yield file


def _read(library: Path) -> None:
    with library.open("rb") as file:
        while file.read(READ_BYTES):
            pass


def _link(libraries: Iterable[Path]) -> None:
    """As their import will. Called as any library's function is, the system's own leaves other threads alone."""
    if os.name != "posix":
        return
    system = ctypes.CDLL(None)
    system.dlopen.argtypes = (ctypes.c_char_p, ctypes.c_int)
    system.dlopen.restype = ctypes.c_void_p
    for library in libraries:
        system.dlopen(os.fsencode(library), os.RTLD_NOW)  # what goes wrong, the import says


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
