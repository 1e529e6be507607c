"""ConvMixer lab: train, sweep, watch and ship ConvMixers on small images.

As a library:

    from convmixer import conv_mixer_256_8, load

    model = conv_mixer_256_8(n_classes=10)
    trained = load("weights/small-cifar10.safetensors")
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convmixer.configs import Configs
    from convmixer.errors import UserError
    from convmixer.model.folding import fold
    from convmixer.model.layers import ConvMixer
    from convmixer.model.variants import (
        conv_mixer,
        conv_mixer_256_8,
        conv_mixer_256_16,
        conv_mixer_768_32,
        conv_mixer_1024_20,
        conv_mixer_1536_20,
    )
    from convmixer.trained import Trained, load

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

_HOMES = {
    "ConvMixer": "convmixer.model.layers",
    "Trained": "convmixer.trained",
    "UserError": "convmixer.errors",
    "fold": "convmixer.model.folding",
    "load": "convmixer.trained",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the command line starts faster without torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "convmixer.model.variants")), name)


def __dir__() -> list[str]:
    """Return the public names, also of what is not imported yet, and the modules that are."""
    return sorted({*__all__, *(name for name, value in globals().items() if _is_shown(name, value))})


def _is_shown(name: str, value: Any) -> bool:
    is_dunder = name.startswith("__")
    return is_dunder or (isinstance(value, ModuleType) and value.__name__ == f"{__name__}.{name}")


def main(configs_class: "type[Configs] | None" = None) -> None:
    """Run the command line with your own parts: call `convmixer.main(MyConfigs)` at the end of your script."""
    try:
        from convmixer.cli import main as run_commands
    except KeyboardInterrupt:  # before there is anything to save
        raise SystemExit(130) from None
    run_commands(configs_class)
