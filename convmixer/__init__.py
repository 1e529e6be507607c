"""ConvMixer lab: train, sweep, watch and ship ConvMixers on small images."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convmixer.configs import Configs

__version__ = "0.1.0"


def main(configs_class: "type[Configs] | None" = None) -> None:
    """The command line, with parts of your own: `convmixer.main(MyConfigs)` at the end of your script."""
    from convmixer.cli import main as run_commands

    run_commands(configs_class)
