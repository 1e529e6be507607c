"""Every key of an experiment, the values it takes, and how the parts of an experiment are built from them.

`from convmixer.configs import Configs` and subclass it to try parts of your own.
"""

from convmixer.configs import options  # noqa: F401  (registers what parts can be)
from convmixer.configs.keys import keys_of
from convmixer.configs.own_parts import note_ours
from convmixer.configs.schema import Configs

note_ours(keys_of(Configs))

__all__ = ["Configs"]
