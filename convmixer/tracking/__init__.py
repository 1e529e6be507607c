"""Run folders, written and read back; labml, whose format they have; labml servers elsewhere."""
