"""A trained network in use: measured, asked about images, exported, imported, begun from."""

from convmixer.trained.network import Trained
from convmixer.trained.opening import load

__all__ = ["Trained", "load"]
