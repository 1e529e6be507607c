"""Weights that leave for other code, and come in from it."""
