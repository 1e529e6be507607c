"""What each training option changes: a plain training, and the same with one option at a time, over the same seeds.

    python -m benchmarks.ablations KEY=VALUE ... [--seeds 3] [--only ema stochastic_depth] [--csv results/ablations.csv]

`data.dataset=images data.path=FOLDER epochs=3`, say: what the runs have in common beside `TRAINING`, which names its
values one by one, so that a recipe may change without it. Seeds are the outer loop, so what drifts on the machine
meets all options. Each run is an ordinary one, of the command in its row, in `logs/`. A row is written when its run has
ended, and a run whose row is there is not made again: the same command continues. The table at the end compares on the
validation split; `test` is in the rows, measured once by each run.
"""

import argparse
import sys
from pathlib import Path
from statistics import mean, stdev

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

# One option each, with the values of the sources in docs/training-options.md where those name some.
OPTIONS: dict[str, list[str]] = {
    PLAIN: [],
    "muon": ["optimizer.optimizer=Muon"],
    "sgd": ["optimizer.optimizer=SGD", "optimizer.learning_rate=0.5", "optimizer.weight_decay=5e-4"],
    "ema": ["ema=0.99"],
    "norm_bias_factor": ["optimizer.norm_bias_factor=8"],
    "whitening": ["starts=[whitening]"],
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
    "batch_64": ["train_batch_size=64"],
    "batch_256": ["train_batch_size=256"],
    "kernel_7": ["kernel_size=7"],
}


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


def summary(rows: list[Row]) -> list[str]:
    """A line for each option: validation accuracy over seeds, and the mean difference to plain with the same seed."""
    plain = {str(found["seed"]): float(found["valid"]) for found in rows if found["option"] == PLAIN}
    lines = [f"{'option':22} seeds   valid (deviation)   minus plain   images/s"]
    for option in OPTIONS:
        of_option = [found for found in rows if found["option"] == option]
        if not of_option:
            continue
        valid = [float(found["valid"]) for found in of_option]
        gains = [float(r["valid"]) - plain[str(r["seed"])] for r in of_option if str(r["seed"]) in plain]
        deviation = f"({stdev(valid):.2%})" if len(valid) > 1 else ""
        gain = f"{mean(gains):+.2%}" if gains else ""
        rate = mean(float(found["images_per_second"]) for found in of_option)
        lines.append(f"{option:22} {len(valid):5}   {mean(valid):.2%} {deviation:10}   {gain:>11}   {rate:8.0f}")
    return lines


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
