"""ConvMixer lab: train, sweep, watch and ship ConvMixers on small images.

As a library:

    from convmixer import conv_mixer_256_8, load

    model = conv_mixer_256_8(n_classes=10)
    trained = load("weights/small-cifar10-jpeg.safetensors")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convmixer.configs import Configs
    from convmixer.errors import UserError
    from convmixer.library import (
        conv_mixer_256_8,
        conv_mixer_256_16,
        conv_mixer_768_32,
        conv_mixer_1024_20,
        conv_mixer_1536_20,
        load,
    )
    from convmixer.model.folding import fold
    from convmixer.model.layers import ConvMixer, conv_mixer
    from convmixer.trained.network import Trained

__version__ = "0.1.0"

__all__ = [
    "ConvMixer",
    "Trained",
    "UserError",
    "conv_mixer",
    "conv_mixer_256_8",
    "conv_mixer_256_16",
    "conv_mixer_768_32",
    "conv_mixer_1024_20",
    "conv_mixer_1536_20",
    "fold",
    "load",
    "main",
]


def __getattr__(name: str) -> Any:
    """The library's parts when they are first used: the command line starts faster without torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from convmixer import library

    return getattr(library, name)


def main(configs_class: "type[Configs] | None" = None) -> None:
    """The command line, with parts of your own: `convmixer.main(MyConfigs)` at the end of your script."""
    from convmixer.cli import main as run_commands

    run_commands(configs_class)
