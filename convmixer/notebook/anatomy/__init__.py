"""Figures that show what a trained network has learned."""
