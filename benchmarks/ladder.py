"""From timm's ConvMixer, trained as its authors do, to `base`: one change at a time, on the same images.

    python -m benchmarks.ladder data.dataset=cifar10 KEY=VALUE ... [--seeds 3] [--csv results/ladder.csv]

The first rung is timm's network in a loop of its own (`benchmarks/peers.py`), with the values of the authors' command
for 25 epochs of CIFAR-10. The second is ours with the same values: what differs is the code alone. Each rung after it
keeps the changes before it. Images, splits, batch, epochs, flips and RandAugment are the same on all, and the last
weights are measured. `epochs=3 train_batch_size=128`, say, is what all have in common beside that. A run whose row is
there is not made again: the same command continues. The table at the end has the test accuracy over seeds.
"""

import argparse
import sys
from pathlib import Path
from statistics import mean, stdev

from benchmarks import peers, tables
from benchmarks.recipes import row, train
from benchmarks.tables import RESULTS, Row
from convmixer.configs.overrides import split_assignments
from convmixer.console import as_argument
from convmixer.errors import UserError
from convmixer.tracking.labml_fixes import use_project_folder

TIMM = "timm's network, the authors' values"
RUNGS: dict[str, list[str]] = {
    "our network, the same values": [],
    "our schedule and label smoothing": ["schedule=cosine", "label_smoothing=0.1"],
    "our initial weights": ["starts=[whitening,covariance]"],
    "our optimizer": [
        "optimizer.optimizer=Muon",
        "optimizer.learning_rate=0.01",
        "optimizer.muon_learning_rate=0.02",
        "optimizer.weight_decay=0.05",
        "gradient_clip=1",
    ],
}


def overrides_of(rung: str, common: list[str]) -> list[str]:
    """Return the assignments of a rung: the authors' values, and the changes up to it."""
    values = split_assignments([*peers.AUTHORS, "final_weights=last"])
    for name, changes in RUNGS.items():
        values |= split_assignments(changes)
        if name == rung:
            break
    return [as_argument(name, value) for name, value in (values | split_assignments(common)).items()]


def measure(rung: str, seed: int, common: list[str]) -> Row:
    """Train and measure one rung with one seed."""
    if rung == TIMM:
        return peers.measure([*common, f"seed={seed}"])
    return row(train([*overrides_of(rung, common), f"seed={seed}", "--quiet"]))


def summary(rows: list[Row]) -> list[str]:
    """Return a line for each rung: the test accuracy over seeds, and the step from the rung before it."""
    lines, before = [], None
    for rung in (TIMM, *RUNGS):
        test = [float(found["test"]) for found in rows if found["rung"] == rung]
        if not test:
            continue
        deviation = f" ± {stdev(test):.2%}" if len(test) > 1 else ""
        step = f"{mean(test) - before:+.2%}" if before is not None else ""
        lines.append(f"{rung:38}{mean(test):.2%}{deviation:9} of {len(test)}  {step}")
        before = mean(test)
    return lines


def main() -> None:
    """Train what is not in the table yet, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="+", metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--csv", type=Path, default=RESULTS / "ladder.csv")
    args = parser.parse_args()
    use_project_folder()
    common = tables.shown(args.overrides)
    try:
        for seed in range(args.seeds):
            for rung in (TIMM, *RUNGS):
                there = {(r["rung"], r["common"], r["seed"]) for r in tables.read(args.csv)}
                if (rung, common, str(seed)) not in there:
                    new = {"rung": rung, "common": common, **measure(rung, seed, args.overrides)}
                    tables.put(args.csv, [new], key=("rung", "common", "seed"))
    except UserError as error:
        sys.exit(f"error: {error}")
    print("\n".join(summary([found for found in tables.read(args.csv) if found["common"] == common])))


if __name__ == "__main__":
    main()
