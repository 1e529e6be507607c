"""The picture of a run's learning curves."""

import json
from pathlib import Path

from matplotlib.axes import Axes
from run_folders import make_run

from convmixer.tracking.curves import learning_curves
from convmixer.tracking.runs import Run


def make(logs: Path, uuid: str, epochs: float, images: int) -> Run:
    """A run of two epochs with Muon, which has ended if `epochs` is not 0."""
    folder = make_run(logs, uuid)
    values = {"loss.train": 1.0, "loss.valid": 0.9, "accuracy.valid": 0.6, "optim.lr": 0.01, "optim.muon_lr": 0.02}
    lines = [{"track": {n: [[i, [v]]] for n, v in values.items()}, "time": 1.0} for i in (images // 2, images)]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if epochs:
        ended = {"data": "shapes", "epochs": epochs, "images": images, "accuracy.valid": 0.6, "accuracy.test": 0.5}
        (folder / "summary.json").write_text(json.dumps(ended))
    return Run(folder)


def drawn(axis: Axes) -> dict[str, list[float]]:
    """The values of each metric in a panel."""
    return {line.get_label(): list(line.get_ydata()) for line in axis.lines if not line.get_label().startswith("_")}


def epochs_above(axis: Axes) -> list[float]:
    """The numbers above a panel at its left and right end."""
    (above,) = axis.child_axes
    axis.figure.draw_without_rendering()
    return [round(end, 6) for end in above.get_xlim()]


def test_the_test_accuracy_and_muons_rate_are_shown(tmp_path: Path) -> None:
    figure = learning_curves([make(tmp_path, "a", epochs=2, images=2000)])
    _, accuracy, rate, _ = figure.axes
    assert drawn(accuracy) == {"accuracy.valid": [0.6, 0.6], "accuracy.test": [0.5]}
    assert drawn(rate) == {"optim.lr": [0.01, 0.01], "optim.muon_lr": [0.02, 0.02]}
    assert figure.get_suptitle() == "try a: 50.00% test accuracy"


def test_epochs_stand_above_the_images(tmp_path: Path) -> None:
    ended = make(tmp_path, "a", epochs=2, images=2000)
    running = make(tmp_path, "b", epochs=0, images=2000)  # it was validated after 1000 images
    for runs in ([ended], [running], [ended, running]):
        panel = learning_curves(runs).axes[0]
        panel.set_xlim(0, 3000)
        assert epochs_above(panel) == [0, 3]
        assert panel.child_axes[0].get_xlabel() == "epochs"


def test_runs_whose_epochs_differ_share_no_scale_of_epochs(tmp_path: Path) -> None:
    runs = [make(tmp_path, "a", epochs=2, images=2000), make(tmp_path, "b", epochs=2, images=9000)]
    assert learning_curves(runs).axes[0].child_axes == []


def test_a_damaged_summary_takes_nothing_from_the_curves(tmp_path: Path) -> None:
    run = make(tmp_path, "a", epochs=0, images=2000)
    (run.folder / "summary.json").write_text('{"epochs": "many"')
    assert "accuracy.valid" in drawn(learning_curves([run]).axes[1])
