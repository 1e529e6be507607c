"""Augmentation from the command line: what is refused, what `configs` shows, and a run that is stopped and resumed."""

import signal
from pathlib import Path

import pytest
import torch
from conftest import wait_for
from PIL import Image

from convmixer.cli import main
from convmixer.tracking.runs import all_runs

PAPER = "augment.ops=[resized_crop,flip,randaugment,jitter,erasing,mixup,cutmix]"

WRONG = [
    ("augment.randaugment_magnitude=40 augment.ops=[randaugment]", "from 0 up to 30"),
    (
        "augment.randaugment_magnitude=12 augment.ops=[randaugment]",
        "augment.randaugment_set=increasing it goes up to 10",
    ),
    ("augment.randaugment_set=timm", "one of increasing, torchvision"),
    ("augment.randaugment_ops=0", "from 1"),
    ("augment.randaugment_magnitude=5", "augment.ops does not name randaugment"),
    ("augment.ops=[flip] augment.translate=2", "augment.ops does not name translate"),
    ("augment.mixup=0.2", "augment.ops does not name mixup"),
    ("augment.ops=[cutmix] augment.cutmix_share=0.3", "names only cutmix"),
    ("augment.ops=[mixup,flip]", "augment.ops: mixup must be last"),
    ("augment.ops=[mixup] augment.mixup=0", "above 0"),
    ("augment.ops=[mixup,mixup]", "names mixup twice"),
    ("augment.ops=[resized_crop] augment.resized_crop_scale=[1,0.5]", "expected the smallest and the largest"),
    ("augment.ops=[resized_crop] augment.resized_crop_scale=[0.5]", "expected the smallest and the largest"),
    ("augment.ops=[resized_crop] augment.resized_crop_scale=[0,1]", "a list of numbers"),
    ("augment.ops=[cutout] augment.cutout=16", "does not fit images of 16 pixels"),
    ("augment.ops=[small_crop] augment.small_crop=24", "above 0 up to 1"),
    ("augment.ops=[small_crop,flip,mixup]", "names flip after small_crop"),
    ("augment.ops=[erasing] augment.erasing=1.5", "up to 1"),
    ("augment.ops=[erasing] augment.erasing_fill=black", "one of noise, mean"),
    ("augment.ops=[jitter] augment.jitter=-1", "from 0"),
    ("augment.ops=[randaugmnt]", "a list of translate, flip"),
]


@pytest.mark.parametrize(("line", "expected"), WRONG, ids=[line[8:50] for line, _ in WRONG])
def test_is_refused_in_one_line(line: str, expected: str, tiny: Path, here: Path, refusal) -> None:
    data = ["data.dataset=images", f"data.path={tiny}", "data.validation=30"]
    assert expected in refusal([*data, *line.split(" ")])
    assert not (here / "logs").exists()


def test_there_must_be_labels_to_mix(tmp_path: Path, here: Path, refusal) -> None:
    for split in ("train", "test"):
        (tmp_path / "one" / split / "cat").mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / "one" / split / "cat" / f"{i}.png")
    data = ["data.dataset=images", f"data.path={tmp_path / 'one'}", "data.validation=0", "n_classes=2"]
    assert "expected at least 2" in refusal([*data, "augment.ops=[cutmix]"])


def test_configs_lists_the_keys_of_every_operation(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments=["configs", "recipe=paper", "augment.erasing_fill=mean"])
    rows = capsys.readouterr().out
    shown = {line.split()[0]: line for line in rows.splitlines()[1:]}
    assert "resized_crop,flip,randaugment,erasing,mixup,cutmix" in shown["augment.ops"]
    assert "mean *" in shown["augment.erasing_fill"]
    assert "up to 30" in shown["augment.randaugment_magnitude"]


@pytest.mark.slow
def test_a_run_with_everything_ends_with_the_same_bits_when_it_is_killed_and_resumed(
    command, start, tmp_path: Path, tiny_run_overrides: list[str]
) -> None:
    usual = [o for o in tiny_run_overrides if not o.startswith(("epochs", "train_batch_size"))]
    overrides = [*usual, PAPER, "epochs=40", "train_batch_size=15"]  # odd: some partners are in other batches
    command("--quiet", *overrides, "name=whole")
    process = start("--quiet", *overrides, "name=stopped")
    wait_for(lambda: len(list((tmp_path / "logs" / "stopped").glob("*/checkpoints/last*"))) > 0, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    command("resume", "last")
    runs = {run.info["name"]: run for run in all_runs(tmp_path / "logs")}
    ours, theirs = (torch.load(runs[name].checkpoint("last"), weights_only=True)["model"] for name in runs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert runs["whole"].summary["loss.test"] == runs["stopped"].summary["loss.test"]
