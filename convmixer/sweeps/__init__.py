"""Searches for good values: a space of keys, a study, and runs that are trained for it."""
