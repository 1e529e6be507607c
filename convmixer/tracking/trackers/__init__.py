"""Sends runs to the trackers that people already use: TensorBoard, Weights & Biases, MLflow and trackio.

Each has one module here. All are fed from the run's folder, by a process beside the training.
"""

from collections.abc import Collection
from importlib.util import find_spec

from convmixer.errors import UserError

TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")  # each is a package, an extra of ours, and a module here


def check_installed(names: Collection[str]) -> None:
    """Check that these trackers' packages are installed.

    Raises:
        UserError: one is not; the message says how to install it.
    """
    for name in names:
        spec = find_spec(name)
        if spec is None or spec.origin is None:  # a folder of that name, as W&B writes one, is no package
            raise UserError(f"{name} is not installed: install it with: pip install '.[{name}]'")
