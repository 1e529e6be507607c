"""`metrics=[norms,histograms]` in a run's folder, in TensorBoard and on the dashboard."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import reading
import torch
from conftest import EXPERIMENT, metrics_saved, wait_for
from dashboards import Dashboard
from reading import assert_same, recorded
from run_folders import assert_same_result, only_run

from convmixer.tracking.histograms import is_of_layer, read_histograms
from convmixer.tracking.run_folder import HISTOGRAMS, LOG
from convmixer.tracking.runs import Run, all_runs
from convmixer.tracking.trackers.feed import Feed
from convmixer.tracking.trackers.tracker import TrackedRun

METRICS = "metrics=[norms,histograms]"
EPOCHS = 12
STEPS = [210 * epoch for epoch in range(1, EPOCHS + 1)]  # training images
NAMES = [
    *(
        f"{kind}.{name}"
        for kind in ("param", "grad")
        for name in (
            "patch_emb.conv.weight",
            "conv_mixer_layers.0.depth_wise_conv.weight",
            "conv_mixer_layers.0.point_wise_conv.weight",
            "conv_mixer_layers.1.depth_wise_conv.weight",
            "conv_mixer_layers.1.point_wise_conv.weight",
            "classification.linear.weight",
        )
    ),
    *(f"activation.{name}" for name in ("patch_emb", "conv_mixer_layers.0", "conv_mixer_layers.1", "classification")),
]


@pytest.fixture(scope="module")
def overrides(tiny_run_overrides: list[str]) -> list[str]:
    rest = [override for override in tiny_run_overrides if not override.startswith("epochs")]
    return [*rest, f"epochs={EPOCHS}", METRICS, "checkpoint.minutes=1e-4"]


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory, overrides: list[str]) -> Path:
    """A folder with a run that was killed and resumed, and sent to TensorBoard while it trained."""
    folder = tmp_path_factory.mktemp("resumed")
    words = [sys.executable, str(EXPERIMENT), *overrides, "tracking.also=[tensorboard]"]
    process = subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL)
    wait_for(lambda: metrics_saved(folder / "logs") > 30, process)
    process.kill()
    process.wait()
    subprocess.run([sys.executable, str(EXPERIMENT), "resume", "last"], cwd=folder, check=True, capture_output=True)
    return folder


def assert_complete(held: reading.Held, run: Run) -> None:
    for name in NAMES:
        tag = name.replace(".", "/", 1)
        assert_same(held.curves[f"{tag}.l2"], recorded(run, f"{name}.l2"))
        assert [step for step, _ in held.histograms[tag]] == STEPS


def test_a_resumed_run_has_the_bits_of_one_that_was_not_killed(resumed, overrides, command, tmp_path) -> None:
    command(*overrides)
    whole, run = only_run(tmp_path), only_run(resumed)
    assert_same_result(run, whole)
    assert [name for name in run.metrics if is_of_layer(name)] == [f"{name}.l2" for name in NAMES]
    assert all(list(run.metrics[f"{name}.l2"].dropna().index) == STEPS for name in NAMES)
    assert read_histograms(run.folder) == read_histograms(whole.folder)
    assert {name: list(steps) for name, steps in read_histograms(run.folder).items()} == dict.fromkeys(NAMES, STEPS)
    lines = (run.folder / HISTOGRAMS).read_text().splitlines()
    assert len(lines) == EPOCHS


def test_tensorboard_has_them_as_scalars_and_histograms(resumed, call, monkeypatch, tmp_path) -> None:
    run = only_run(resumed)
    (held,) = reading.tensorboard(resumed / "logs")
    assert_complete(held, run)
    assert held.histograms["activation/conv_mixer_layers.1"][0][1] == 64 * 8 * 8 * 8  # images, channels, places

    copy = tmp_path / "logs"
    shutil.copytree(resumed / "logs", copy, ignore=shutil.ignore_patterns("tensorboard*", "trackers"))
    monkeypatch.chdir(tmp_path)
    assert "sent to" in call("runs", "send", "last", "--to", "tensorboard").out
    (sent,) = reading.tensorboard(copy)
    for name, curve in held.curves.items():
        assert (
            name.startswith("time/") or sent.curves[name] == curve
        )  # times before the kill differ from those after it
    assert sent.histograms == held.histograms
    assert "has everything" in call("runs", "send", "last", "--to", "tensorboard").out


def test_where_a_run_went_back_tensorboard_drops_what_was_there(resumed, tmp_path) -> None:
    folder = Path(shutil.copytree(only_run(resumed).folder, tmp_path / "logs" / "tiny-small" / "a"))
    shutil.rmtree(folder / "trackers")
    with Feed(TrackedRun(Run(folder)), "tensorboard") as feed:
        feed.send()
        changed = (folder / LOG).read_text().replace("[1050, [", "[1050, [1")  # of the fifth epoch
        (folder / "aside").write_text(changed)
        (folder / "aside").replace(folder / LOG)
        feed.send()
    (held,) = reading.tensorboard(tmp_path / "logs")
    assert [step for step, _ in held.histograms["param/patch_emb.conv.weight"]] == STEPS
    assert_same(held.curves["param/patch_emb.conv.weight.l2"], recorded(Run(folder), "param.patch_emb.conv.weight.l2"))


def test_a_stranger_s_histograms_harm_nothing(tmp_path) -> None:
    lines = [
        '{"track": {"a": [[1, [0, 1, 0.5, 1, 3, 4]]]}, "time": 1}',
        '{"track": {"b": [[1, [0, 1]]], "c": [[1, [2, 1, 0, 0, 5]]], "d": [[1, [0, 1, 0, 0, -5]]]}, "time": 1}',
        '{"track": {"e": [[1, [0, NaN, 0, 0, 5]]], "f": [[1, [0, 1e308, 0, 0, 5]]], "g": [[1, [0, 1, 0, 0, 1e999]]]}}',
        '{"track": {"h": [[1, [0, 1, 0, 0, 0.5]]], "i": [[1, [0, 1, 0, 0, 0]]]}}',
        "nonsense",
        '{"track": 5}',
    ]
    (tmp_path / HISTOGRAMS).write_text("\n".join(lines) + "\n")
    found = read_histograms(tmp_path)
    assert list(found) == ["a"] and found["a"][1].counts == (3, 4)


@pytest.mark.slow
def test_the_dashboard_has_a_chart_for_each_kind(resumed, start_dashboard) -> None:
    dashboard: Dashboard = start_dashboard(resumed)
    uuid = only_run(resumed).uuid
    charts = dashboard.api("GET", f"custom_metrics/{uuid}")["metrics"]
    names = sorted(dashboard.metrics(uuid))
    shown = {
        chart["name"]: [
            n for n, choice in zip(names, chart["preferences"]["series_preferences"], strict=True) if choice > 0
        ]
        for chart in charts
    }
    for title, kind in (("Weights", "param."), ("Gradients", "grad."), ("Activations", "activation.")):
        expected = sorted(f"{name}.l2" for name in NAMES if name.startswith(kind))
        assert shown[f"{title} by layer"] == expected
    assert len(dashboard.metrics(uuid)["param.patch_emb.conv.weight.l2"]["step"]) > 10
    (item,) = dashboard.list().values()
    assert {"accuracy.valid", "loss.train"} <= {value["name"] for value in item["metric_values"]}


@pytest.mark.slow
@pytest.mark.parametrize("options", [["compile=true"], ["ema=0.9", "on_nan=rewind", "micro_batch_size=16"]])
def test_with_other_options_training_stays_the_same(options, tiny_run_overrides, command, tmp_path) -> None:
    command(*tiny_run_overrides, *options)
    command(*tiny_run_overrides, *options, METRICS)
    plain, measured = all_runs(tmp_path / "logs")
    ours, theirs = (torch.load(r.checkpoint("last"), weights_only=True)["model"] for r in (plain, measured))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert f"{NAMES[-1]}.l2" in measured.metrics
