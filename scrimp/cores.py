"""How many of the machine's cores are this process's to use."""

from __future__ import annotations

from functools import cache


@cache
def cores() -> int:
    """Fewer than the machine has where a container's limit, `taskset` or a scheduler says so; at least 1.

    LOKY_MAX_CPU_COUNT lowers it further.
    """
    from joblib.externals.loky import cpu_count

    count: int = cpu_count()
    return count
