"""What each training option changes: a plain training, and the same with one option at a time, over the same seeds.

    python -m benchmarks.ablations KEY=VALUE ... [--seeds 3] [--only ema stochastic_depth] [--csv results/ablations.csv]

`data.dataset=cifar10 epochs=3`, say: what the runs have in common beside `TRAINING`, which names its values one by
one, so that a recipe may change without it. Seeds are the outer loop, so what drifts on the machine meets all options.
Each run is an ordinary one, of the command in its row, in `logs/`. A row is written when its run has ended, and a run
whose row is there is not made again: the same command continues. The table at the end compares on the validation split;
`test` is in the rows, measured once by each run.

The verdict follows a rule that was written before the runs: an option is "better" or "worse" if its mean difference to
what it is compared with, with the same seeds, is larger than three standard errors; else it is "undecided". The
standard error is the deviation of the differences over seeds, pooled over all options, divided by the root of the
number of seeds. One seed has no verdict.
"""

import argparse
import sys
from pathlib import Path
from statistics import mean, stdev, variance

from benchmarks import tables
from benchmarks.recipes import row, train
from benchmarks.tables import PROJECT, Row
from convmixer.configs.overrides import split_assignments
from convmixer.console import as_argument
from convmixer.errors import UserError

PLAIN = "plain"

# What options are compared with: 128/8, k5, p4, AdamW, crop and flip.
TRAINING = [
    *["recipe=small", "d_model=128", "n_layers=8", "kernel_size=5", "patch_size=4", "train_batch_size=128"],
    *["optimizer.optimizer=AdamW", "optimizer.learning_rate=0.01", "optimizer.weight_decay=0.05", "schedule=cosine"],
    *["optimizer.muon_learning_rate=0.02", "optimizer.norm_bias_factor=1"],
    *["batch_norm_momentum=none", "ema=none", "starts=[]", "label_smoothing=0.1"],
    *["augment.ops=[translate,flip]", "augment.translate=4"],
]

SGD = ["optimizer.optimizer=SGD", "optimizer.learning_rate=0.5", "optimizer.weight_decay=5e-4"]
WITH_SMALL = ["starts=[whitening,covariance]", "augment.ops=[translate,alternating_flip]"]  # `small`'s, beside Muon

# One option each, with the values of the sources in docs/training-options.md where those name some.
OPTIONS: dict[str, list[str]] = {
    PLAIN: [],
    "muon": ["optimizer.optimizer=Muon"],
    "sgd": SGD,
    "ema": ["ema=0.99"],
    "norm_bias_factor": ["optimizer.norm_bias_factor=8"],
    "whitening": ["starts=[whitening]"],
    "whitening_not_decayed": ["starts=[whitening]", "optimizer.first_weights=not_decayed"],
    "whitening_frozen": ["starts=[whitening]", "optimizer.first_weights=frozen"],
    "covariance": ["starts=[covariance]"],
    "impulse": ["starts=[impulse]"],
    "identity": ["starts=[identity]"],
    "zero_gamma": ["starts=[zero_gamma]"],
    "schedule_paper": ["schedule=paper"],
    "schedule_trapezoid": ["schedule=trapezoid"],
    "stochastic_depth": ["stochastic_depth=0.1"],
    "batch_norm_momentum": ["batch_norm_momentum=0.4"],
    "label_smoothing_0": ["label_smoothing=0"],
    "label_smoothing_0.2": ["label_smoothing=0.2"],
    "alternating_flip": ["augment.ops=[translate,alternating_flip]"],
    "translate_2": ["augment.translate=2"],
    "cutout": ["augment.ops=[translate,flip,cutout]"],
    "weak_randaugment": [
        "augment.ops=[translate,flip,randaugment]",
        "augment.randaugment_ops=1",
        "augment.randaugment_magnitude=5",
    ],
    "trivial_augment": ["augment.ops=[translate,flip,trivial_augment]"],
    "mixup": ["augment.ops=[translate,flip,mixup]"],
    "mixup_off_late": ["augment.ops=[translate,flip,mixup]", "augment.off_for=0.3"],
    "batch_64": ["train_batch_size=64"],
    "batch_256": ["train_batch_size=256"],
    "kernel_7": ["kernel_size=7"],
    "recipe": ["optimizer.optimizer=Muon", *WITH_SMALL],
    "recipe_sgd": [*SGD, *WITH_SMALL],
}
# What an option is compared with, if not with the plain training.
BESIDE = {"whitening_not_decayed": "whitening", "whitening_frozen": "whitening", "recipe_sgd": "recipe"}


def train_option(option: str, seed: int, common: list[str]) -> Row:
    """Train one run and return its row.

    Raises:
        UserError: it did not end well; what it said stands above.
    """
    values = split_assignments(TRAINING) | split_assignments(common) | split_assignments(OPTIONS[option])
    overrides = [as_argument(name, value) for name, value in values.items()]
    return {"option": option, "common": tables.shown(common), **row(train([*overrides, f"seed={seed}", "--quiet"]))}


def rows_of(table: Path, common: list[str]) -> list[Row]:
    """Return the rows there are of runs with the same in common."""
    return [found for found in tables.read(table) if found["common"] == tables.shown(common)]


def gains(rows: list[Row]) -> dict[str, list[float]]:
    """Return each option's differences of validation accuracy to what it is compared with, one for each seed."""
    valid = {(row["option"], str(row["seed"])): float(row["valid"]) for row in rows}
    found: dict[str, list[float]] = {}
    for (option, seed), accuracy in valid.items():
        other = (BESIDE.get(option, PLAIN), seed)
        if option != PLAIN and other in valid:
            found.setdefault(option, []).append(accuracy - valid[other])
    return found


def verdict(differences: list[float], deviation: float) -> str:
    """Return the verdict on an option, by the rule above.

    Args:
        deviation: that of the differences over seeds, pooled over options.
    """
    if len(differences) < 2:
        return ""
    if abs(mean(differences)) <= 3 * deviation / len(differences) ** 0.5:
        return "undecided"
    return "better" if mean(differences) > 0 else "worse"


def summary(rows: list[Row]) -> list[str]:
    """Return a line for each option: validation accuracy over seeds, the mean difference, and the verdict."""
    differences = gains(rows)
    of_seeds = [variance(found) for found in differences.values() if len(found) > 1]
    deviation = mean(of_seeds) ** 0.5 if of_seeds else 0.0
    lines = [f"{'option':22} seeds  valid            difference to              verdict"]
    for option in OPTIONS:
        valid = [float(row["valid"]) for row in rows if row["option"] == option]
        if not valid:
            continue
        spread = f"± {stdev(valid):.2%}" if len(valid) > 1 else ""
        line = f"{option:22} {len(valid):5}  {mean(valid):.2%} {spread:8}"
        if found := differences.get(option):
            line += f" {mean(found):+.2%}     {BESIDE.get(option, PLAIN):14} {verdict(found, deviation)}"
        lines.append(line.rstrip())
    return [*lines, f"deviation of a difference over seeds, pooled: {deviation:.2%}"]


def main() -> None:
    """Train what is not in the table yet, then print what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=OPTIONS, default=list(OPTIONS), help="beside plain")
    parser.add_argument("--csv", type=Path, default=PROJECT / "results" / "ablations.csv")
    args = parser.parse_args()
    try:
        split_assignments(args.overrides)
        for seed in range(args.seeds):
            for option in dict.fromkeys([PLAIN, *args.only]):
                there = {(r["option"], r["seed"]) for r in rows_of(args.csv, args.overrides)}
                if (option, str(seed)) not in there:
                    new = train_option(option, seed, args.overrides)
                    tables.put(args.csv, [new], key=("option", "common", "seed"))
    except UserError as error:
        sys.exit(f"error: {error}")
    print("\n".join(summary(rows_of(args.csv, args.overrides))))


if __name__ == "__main__":
    main()
