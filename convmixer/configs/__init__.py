"""Every key of an experiment, the values it takes, and how the parts of an experiment are built from them.

`from convmixer.configs import Configs` and subclass it to try parts of your own.
"""

from convmixer.configs import options  # noqa: F401  (registers what parts can be)
from convmixer.configs.schema import Configs

__all__ = ["Configs"]
