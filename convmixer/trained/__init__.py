"""Uses trained networks: evaluation, prediction, export, import, and training from their weights."""

from convmixer.trained.network import Trained
from convmixer.trained.opening import load

__all__ = ["Trained", "load"]
