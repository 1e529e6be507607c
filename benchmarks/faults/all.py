"""Every fault that can be tried, by its name."""

from benchmarks.faults.damage import DAMAGES
from benchmarks.faults.disk import DISKS
from benchmarks.faults.kills import kills
from benchmarks.faults.mishaps import MISHAPS

OTHERS = DAMAGES | DISKS | MISHAPS
ALL = {"kills": kills} | OTHERS
