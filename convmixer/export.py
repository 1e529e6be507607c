"""Takes a run's weights away: a .safetensors file and a model card beside it."""

from pathlib import Path
from typing import Any

from convmixer.configs import Configs
from convmixer.errors import UserError
from convmixer.model.interchange import save_weights
from convmixer.overrides import as_argument
from convmixer.tracking.runs import Run
from convmixer.training import checkpoints

CARD = """# {title}

ConvMixer {d_model}/{n_layers}, kernel {kernel_size}, patch {patch_size}, {activation}; {parameters:,} parameters.

| | |
|---|---|
| data | {data}, {train_images:,} training images of {size}, classes: {classes} |
| test accuracy | {test:.2%} of {test_images:,} test images of {data} |
| recipe | `{recipe}`: `{command}` |
| training | {epochs:.4g} epochs, {minutes:.1f} minutes on {device}, {precision} |
| weights | those of the `{weights}` checkpoint |
| versions | {versions} |
| licence | MIT |

Input: RGB images of {size}, scaled to 0..1, minus the mean {mean}, divided by the deviation {std}.

Measure the accuracy again: `python experiment.py evaluate {file} {data_arguments}`
"""


def export_weights(configs_class: type[Configs], run: Run, output: Path) -> None:
    """Write the weights that a finished run was tested with.

    Raises:
        UserError: the run has not ended, or the file can't be written.
    """
    summary = run.summary
    if not summary:
        raise UserError(f"run {run.uuid[:8]} has not ended, there is no tested result to export")
    if output.suffix != ".safetensors":
        raise UserError(f"--output {output}: expected a name that ends in .safetensors")
    state = checkpoints.load(run.checkpoint(summary["weights"]))
    metadata = {"summary": summary, "data": state["data"]}
    save_weights(output, state["model"], metadata)
    card = output.with_suffix(".md")
    card.write_text(_card(run, output, summary, state["data"]), encoding="utf-8")
    print(f"{output}: {output.stat().st_size / 2**20:.1f} MiB; model card: {card}")


def _card(run: Run, output: Path, summary: dict[str, Any], data: dict[str, Any]) -> str:
    configs = summary["configs"]
    given = " ".join(as_argument(name, _shown(name, value)) for name, value in run.given.items())
    height, width, _ = data["image_shape"]
    dataset = configs["data.dataset"]
    is_images = dataset == "images"
    return CARD.format(
        title=f"{summary['name']} ({summary['accuracy.test']:.2%})",
        **{name: configs[name] for name in ("d_model", "n_layers", "kernel_size", "patch_size")},
        activation=configs["activation"],
        parameters=summary["parameters"],
        data=data["name"],
        train_images=data["train_images"],
        size=f"{height}x{width}",
        classes=", ".join(data["classes"]),
        test=summary["accuracy.test"],
        test_images=summary["test_images"],
        recipe=summary["recipe"],
        command=f"python experiment.py {given}".strip(),
        epochs=summary["epochs"],
        minutes=summary["seconds"] / 60,
        device=summary["device"],
        precision=summary["precision"],
        weights=summary["weights"],
        versions=", ".join(f"{name} {text}" for name, text in summary["versions"].items()),
        mean=", ".join(f"{value:.4f}" for value in data["mean"]),
        std=", ".join(f"{value:.4f}" for value in data["std"]),
        file=output.name,
        data_arguments=f"data.dataset={dataset}" + (" data.path=FOLDER" if is_images else ""),
    )


def _shown(name: str, value: Any) -> Any:
    """No paths of the machine it was trained on."""
    return "FOLDER" if name == "data.path" else value
