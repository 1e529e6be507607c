"""Names the objective of a sweep, and Optuna's samplers and pruners."""

import difflib
import warnings
from dataclasses import dataclass

import numpy as np
import optuna
from optuna import pruners, samplers

from convmixer.errors import UserError

# What runs record, and which way is better.
METRICS = {
    "accuracy.valid": "maximize",
    "loss.valid": "minimize",
    "accuracy.train": "maximize",
    "loss.train": "minimize",
    "time.images_per_second": "maximize",
    "images_per_second": "maximize",
    "seconds": "minimize",
    "parameters": "minimize",
}


@dataclass(frozen=True)
class Objective:
    """A metric of a run, and whether more or less of it is better: `maximize` or `minimize`."""

    metric: str
    direction: str


def objective(metric: str, direction: str | None) -> Objective:
    """The objective that a user names.

    Raises:
        UserError: it is of the test split, it is misspelt, or nobody knows which way is better.
    """
    if metric.split(".")[-1] == "test" or metric.startswith("test"):
        raise UserError(
            f"--objective {metric}: a sweep may not choose by the test split: it is touched once, at a run's end, "
            "so that its accuracy is not one that was selected for; accuracy.valid is for that"
        )
    if metric in METRICS:
        return Objective(metric, direction or METRICS[metric])
    near = difflib.get_close_matches(metric, METRICS, n=1, cutoff=0.75)
    if near:
        raise UserError(f"--objective {metric}: no run records it, did you mean {near[0]}?")
    if direction is None:
        raise UserError(f"--objective {metric}: give --direction maximize or minimize with a metric of your own")
    return Objective(metric, direction)


def sampler(name: str, seed: int, trial: int) -> samplers.BaseSampler:
    """The sampler for one trial. Its draws follow from seed and trial, so a sweep that was killed goes on as if not."""
    mixed = int(np.random.SeedSequence([seed, trial]).generate_state(1)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        match name:
            case "tpe":
                return samplers.TPESampler(seed=mixed, warn_independent_sampling=None)
            case "cmaes":
                return samplers.CmaEsSampler(seed=mixed, warn_independent_sampling=False)
            case "qmc":
                # One sequence for all trials; how far it has come is kept with the study.
                independent = samplers.RandomSampler(seed=mixed)
                return samplers.QMCSampler(
                    scramble=True, seed=seed, independent_sampler=independent, warn_independent_sampling=False
                )
        return samplers.RandomSampler(seed=mixed)  # a grid's points are given, nothing is drawn


def pruner(name: str) -> pruners.BasePruner:
    """The rule that ends a run early, told its objective after each epoch."""
    match name:
        case "median":
            return pruners.MedianPruner(n_startup_trials=4)
        case "halving":
            return pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
        case "hyperband":
            return pruners.HyperbandPruner(min_resource=1, reduction_factor=3)
    return pruners.NopPruner()
