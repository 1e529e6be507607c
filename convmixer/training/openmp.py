"""Makes OpenMP's threads sleep while they wait: a busy machine then costs a training its share and no more.

Imports no torch: OpenMP reads its environment when torch is loaded.
"""

import os

PREFIXES = ("OMP_", "GOMP_", "KMP_", "MKL_")


def wait_asleep() -> bool:
    """Make waiting threads sleep. Return False if the user's own OpenMP settings decide that.

    By default they spin. With another process on one of two cores, each of a layer's barriers then takes until that
    process is paused: two threads train a small network many times slower than one (docs/kernels.md, Busy machines).
    """
    if any(name.startswith(PREFIXES) and name not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") for name in os.environ):
        return False
    os.environ["OMP_WAIT_POLICY"] = "passive"
    return True
