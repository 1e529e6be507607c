"""Every fault that can be tried, by its name."""

from benchmarks.robustness.faults.damage import DAMAGES
from benchmarks.robustness.faults.disk import DISKS
from benchmarks.robustness.faults.kills import kills, power_cuts
from benchmarks.robustness.faults.mishaps import MISHAPS

OTHERS = DAMAGES | DISKS | MISHAPS
ALL = {"kills": kills, "power-cuts": power_cuts} | OTHERS
