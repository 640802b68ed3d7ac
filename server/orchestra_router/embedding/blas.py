"""NumPy's BLAS on one thread.

With more, a single short prompt is hardly faster, and on a busy machine its threads wait for one another: the slowest
embeddings then take ten times as long. The number of threads is set at run time, so that it holds whoever imported
NumPy first.
"""

import ctypes
from pathlib import Path

_SETTERS = (
    "scipy_openblas_set_num_threads64_",  # NumPy's own wheels
    "scipy_openblas_set_num_threads",
    "openblas_set_num_threads64_",
    "openblas_set_num_threads",
    "MKL_Set_Num_Threads",
)


def use_one_thread() -> bool:
    """Whether the BLAS could be told. Apple's Accelerate cannot, and has no need."""
    import numpy as np  # noqa: PLC0415 - 60 ms; imported when the first text is embedded
    import numpy.linalg._umath_linalg as linked  # noqa: PLC0415 - as above

    # Symbols of a library are found through one that is linked with it; on Windows only in the library itself.
    for path in (Path(linked.__file__), *Path(np.__file__).parents[1].glob("numpy.libs/*openblas*")):
        library = ctypes.CDLL(str(path))
        for name in _SETTERS:
            if (setter := getattr(library, name, None)) is not None:
                setter(1)
                return True
    return False
