"""Lets OpenMP's threads spin only briefly while they wait, so that a busy machine does not cost a training much more.

Imports no torch: OpenMP reads its environment when torch is loaded.
"""

import os

PREFIXES = ("OMP_", "GOMP_", "KMP_", "MKL_")
SPINS = 1_000  # then a thread sleeps; by default it spins many times longer (docs/kernels.md, Busy machines)


def spin_briefly() -> bool:
    """Let threads sleep soon where they wait; return False if the user's own OpenMP settings say how they wait.

    By default they spin. With another process on one of two cores, each of a layer's barriers then takes until that
    process is paused: two threads train a small network many times slower than one.
    """
    if any(name.startswith(PREFIXES) and name not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") for name in os.environ):
        return False
    os.environ["GOMP_SPINCOUNT"] = str(SPINS)
    return True
