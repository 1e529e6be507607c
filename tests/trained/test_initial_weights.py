"""Training that begins from weights that are there already."""

import signal
from pathlib import Path

import pytest
import torch
from conftest import PROJECT, metrics_saved, wait_for
from peers import as_if_trained, timm_conv_mixer
from safetensors.torch import save_file

from convmixer.configs import Configs
from convmixer.tracking.runs import all_runs, run
from convmixer.trained.initial_weights import load_initial_weights
from convmixer.trained.opening import from_file

WEIGHTS = PROJECT / "weights" / "small-cifar10.safetensors"


def configs(**overrides) -> Configs:
    """Of a run about to begin from `WEIGHTS`."""
    conf = Configs()
    conf.override({"pretrained": str(WEIGHTS), "data.dataset": "shapes", "recipe": "small"} | overrides)
    return conf


def load_weights(conf: Configs) -> str:
    values = conf.values() | {"n_classes": conf.n_classes, "in_channels": conf.in_channels}
    return load_initial_weights(conf.pretrained, conf.model, values, conf.data.dataset.classes)


def test_all_but_the_head_is_taken_over_for_other_classes():
    conf = configs()
    begun, theirs = conf.model.state_dict(), from_file(WEIGHTS).model.state_dict()
    head = conf.model.classification.linear.weight.clone()
    report = load_weights(conf)
    for name in begun.keys() - {"classification.linear.weight", "classification.linear.bias"}:
        assert torch.equal(begun[name], theirs[name]), name
    assert torch.equal(conf.model.classification.linear.weight, head)
    assert report.endswith(
        "119 of 121 tensors loaded; new head for 10 classes, as the weights are for 10 other classes"
    )


def test_a_network_with_parts_of_its_own_takes_what_fits():
    conf = configs()
    conf.model.conv_mixer_layers[0].register_parameter("share", torch.nn.Parameter(torch.ones(3)))
    assert load_weights(conf).endswith("; not in the weights, so random: conv_mixer_layers.0.share")
    assert conf.model.conv_mixer_layers[0].share.eq(1).all()


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ("d_model=64 kernel_size=7", "the weights are for a network of other sizes: give d_model=128 kernel_size=5"),
        ("activation=ReLU", "give activation=GELU"),
        ("starts=[covariance]", "exclude each other"),
        ("pretrained=none.safetensors", "none.safetensors: can't be read"),
        ("pretrained=README.md", "expected FILE.safetensors (`import` makes one), timm/NAME or a run; there"),
        ("pretrained=timm/convmixer_7", "it has convmixer_768_32, convmixer_1024_20_ks9_p14"),
        ("pretrained=timm/resnet18", "timm has no such ConvMixer"),
        ("pretrained=timm/convmixer_768_32", "give d_model=768 n_layers=32 kernel_size=7 patch_size=7 activation=ReLU"),
    ],
)
def test_what_does_not_fit_is_said_before_training(here, refusal, overrides, expected):
    given = {"pretrained": str(WEIGHTS), "data.dataset": "shapes"} | dict(o.split("=", 1) for o in overrides.split())
    assert expected in refusal([f"{name}={value}" for name, value in given.items()])
    assert not list(here.glob("logs/*/*"))


@pytest.mark.slow
def test_the_same_classes_keep_their_head_and_a_resumed_run_needs_the_file_no_more(
    command, call, start, here, tiny_run_overrides, tmp_path
):
    command(*tiny_run_overrides)
    call("export", "last", "--output", "first.safetensors")
    accuracy = run("last", tmp_path / "logs").summary["accuracy.test"]
    overrides = [o for o in tiny_run_overrides if not o.startswith("epochs")]
    second = [
        *overrides,
        "pretrained=first.safetensors",
        "optimizer.optimizer=AdamW",
        "optimizer.learning_rate=1e-9",
        "steps=1000",
    ]
    before = metrics_saved(tmp_path / "logs")
    process = start(*second)
    wait_for(lambda: metrics_saved(tmp_path / "logs") > before + 5, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143
    interrupted = all_runs(tmp_path / "logs")[-1]
    assert "begins  first.safetensors: 37 of 37 tensors" in (interrupted.folder / "console.log").read_text()
    assert interrupted.metrics["accuracy.train"].dropna().iloc[0] > accuracy - 0.2  # from the first update on
    (tmp_path / "first.safetensors").unlink()
    assert "begins" not in command("resume", "last").stdout
    assert all_runs(tmp_path / "logs")[-1].summary["accuracy.test"] == pytest.approx(accuracy, abs=0.05)


@pytest.mark.slow
def test_offline_the_hub_is_one_line(command, tiny_run_overrides):
    given = [o for o in tiny_run_overrides if not o.startswith(("d_model", "n_layers", "patch_size"))]
    sizes = ("model_size=768/32", "data.image_size=14", "pretrained=timm/convmixer_768_32")
    ended = command(*given, *sizes, status=2, HF_HUB_OFFLINE="1", HF_HOME="empty")
    assert "pretrained=timm/convmixer_768_32: could not be downloaded" in ended.stderr and ended.stderr.count("\n") == 1


@pytest.mark.slow
def test_timms_weights_come_through_its_own_download(command, tiny_run_overrides, tmp_path):
    """Weights of the true shapes, in the hub's cache as if downloaded; all the rest is timm's real code."""
    torch.manual_seed(0)
    sizes = {"kernel_size": 7, "patch_size": 7, "n_classes": 1000, "in_channels": 3, "activation": "ReLU"}
    theirs = as_if_trained(timm_conv_mixer(768, 32, **sizes)).state_dict()
    cache = tmp_path / "hub" / "hub" / "models--timm--convmixer_768_32.in1k"
    in_cache(cache, theirs)
    given = [o for o in tiny_run_overrides if not o.startswith(("d_model", "n_layers", "patch_size", "epochs"))]
    sizes = ("model_size=768/32", "data.image_size=14", "pretrained=timm/convmixer_768_32", "steps=1")
    said = command(*given, *sizes, "optimizer.learning_rate=1e-12", HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path / "hub"))
    n = len(theirs)
    loaded = f"{n - 2} of {n} tensors loaded; new head for 3 classes, as the weights are for 1000 other classes"
    assert loaded in said.stdout
    state = torch.load(run("last", tmp_path / "logs").checkpoint("last"), weights_only=True)["model"]
    last = state["conv_mixer_layers.31.depth_wise_conv.weight"]
    torch.testing.assert_close(last, theirs["blocks.31.0.fn.0.weight"], rtol=0, atol=1e-6)


def in_cache(cache: Path, weights: dict) -> None:
    """Lay weights where the hub keeps what it has downloaded."""
    snapshot = cache / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0" * 40)
    save_file(weights, snapshot / "model.safetensors", {"format": "pt"})
