"""Campaigns that try to break the product: kills, full disks, lost files; and nonsense as input."""
