"""Settings of the C library's memory allocator for the processes of the command line."""

import ctypes
import os

# Parameters of mallopt(3), from glibc's malloc.h, and their values: never return the end of the
# heap, grow it by 64 MiB, never map single blocks, and use one heap for all threads.
SETTINGS = {-1: 2**31 - 1, -2: 64 << 20, -4: 0, -8: 1}
# Whoever sets one of these has chosen an allocator or its settings.
CHOSEN_BY = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")


def keep_freed_memory() -> bool:
    """Makes glibc keep the memory that was freed, for the next training step.

    By default glibc gives each large block back to the system when it is freed, and the system
    fills the next one with zeros, page by page. A training step on a CPU frees hundreds of them:
    see `benchmarks/allocator.py`.

    Returns:
        Whether the settings were made. They are not with another C library, or where the
        environment chooses an allocator or its settings.
    """
    if any(name.startswith(CHOSEN_BY) for name in os.environ):
        return False
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018 - only glibc has it
        mallopt = library.mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return all([mallopt(name, value) for name, value in SETTINGS.items()])
