"""What the operating system says of this process, and what it is told."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from pathlib import Path

__all__ = [
    "allowed_memory_bytes", "limit_blas", "limit_malloc", "resident_bytes", "return_memory",
    "total_memory_bytes",
]  # fmt: skip

BLAS_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
BLAS_SETTERS = (
    "scipy_openblas_set_num_threads64_",
    "openblas_set_num_threads64_",
    "openblas_set_num_threads",
)
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8


def resident_bytes() -> int:
    """Memory of this process; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def total_memory_bytes() -> int:
    """Memory of the machine; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def allowed_memory_bytes(root: Path = Path("/")) -> int:
    """Memory that this process may use: the machine's, or less where a cgroup says so.

    0 where the system does not say. A container sees the limit of its own group as
    that of the root; elsewhere every group above the process's own can limit it.
    """
    limits = [total_memory_bytes()]
    base = root / "sys/fs/cgroup"
    own = _cgroup(root)
    for group in (own, *own.parents):
        limits.append(_number(base / group / "memory.max"))
        limits.append(_number(base / "memory" / group / "memory.limit_in_bytes"))
    return min((limit for limit in limits if limit > 0), default=0)


def _cgroup(root: Path) -> Path:
    """The process's group, relative to the root of the groups."""
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers or "memory" in controllers.split(","):
                return Path(path.lstrip("/"))
    return Path()


def _number(path: Path) -> int:
    """The number in a file; 0 where there is no file, or it says `max`."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def limit_malloc() -> None:
    """Make freed memory leave the process: glibc keeps an arena for every thread."""
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_ARENA_MAX, 2)
        libc.mallopt(M_MMAP_THRESHOLD, 128 * 1024)
        libc.mallopt(M_TRIM_THRESHOLD, 256 * 1024)


def return_memory() -> None:
    """Hand what was freed back to the system at once, where glibc is."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def limit_blas() -> None:
    """Let matrix products use one thread: faster for small ones, and always the same bits."""
    for name in BLAS_VARIABLES:
        os.environ.setdefault(name, "1")
    # The variables are read when NumPy is loaded; after that the library has to be told.
    if "numpy" in sys.modules:
        for path in _loaded_libraries("blas"):
            with contextlib.suppress(OSError):
                library = ctypes.CDLL(path)
                for setter in BLAS_SETTERS:
                    if hasattr(library, setter):
                        getattr(library, setter)(int(os.environ["OPENBLAS_NUM_THREADS"]))


def _loaded_libraries(part: str) -> set[str]:
    with contextlib.suppress(OSError), open("/proc/self/maps", encoding="utf-8") as maps:
        paths = (line.split()[-1] for line in maps if ".so" in line)
        return {path for path in paths if part in os.path.basename(path)}
    return set()
