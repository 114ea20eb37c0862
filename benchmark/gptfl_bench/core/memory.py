"""What the C library does with freed memory: keep it, for the next step needs as much again.

By default glibc gives large blocks back to the kernel as soon as they are free, so every training
step takes thousands of page faults for the same activations; a fifth of a network's time on a CPU
goes there. Where a tensor lies changes no number.
"""

import ctypes
from functools import cache

from gptfl_bench.core.switches import switched_on

KEEP = "GPTFL_BENCH_KEEP_MEMORY"
"""Environment variable: 0 leaves the C library as it is, 1 and unset change it."""

# From malloc.h: no block is mapped by itself, and the top of the heap is never given back.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_POLICY = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1))


def keep_freed_memory() -> str:
    """Have this process keep the memory it frees, where its C library is glibc.

    Returns:
        The policy that is in force, in words.

    Raises:
        UsageError: If the environment variable is neither 0 nor 1.
    """
    meaning = "0 to leave the C library's memory as it is, or 1 to keep what is freed"
    if switched_on(KEEP, True, meaning):
        return _keep()
    return f"freed memory as the system has it ({KEEP}=0)"


@cache
def _keep() -> str:
    """Set the policy, once a process."""
    try:
        # The functions of this very process, whatever else is installed.
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version.restype = ctypes.c_char_p
        version = libc.gnu_get_libc_version().decode()
        kept = all([libc.mallopt(option, value) == 1 for option, value in _POLICY])
    except (OSError, AttributeError, TypeError):
        return "freed memory as the system has it (no glibc)"
    if not kept:
        return f"freed memory as the system has it (glibc {version} refused)"
    return f"freed memory kept (glibc {version})"
