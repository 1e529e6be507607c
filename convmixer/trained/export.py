"""Exports trained networks: as our file, in the layouts of timm, the authors and labml_nn, torch.export, ONNX."""

import importlib.util
import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from convmixer.console import file_size
from convmixer.errors import UserError
from convmixer.model.folding import fold, is_standard
from convmixer.model.interchange import LAYOUTS, to_layout
from convmixer.trained.model_card import card_path, without_places, write_card
from convmixer.trained.network import Trained
from convmixer.trained.opening import ModelConfigs, load
from convmixer.trained.weight_files import PICKLES, save_weights, write_file, write_tensors

# The endings that a file of each format may have.
SUFFIXES = {
    "safetensors": (".safetensors",),
    **dict.fromkeys(LAYOUTS, (".safetensors", *PICKLES)),
    "pt2": (".pt2",),
    "onnx": (".onnx",),
}
FORMATS = tuple(SUFFIXES)
GRAPHS = ("pt2", "onnx")  # the formats that hold the network, not only its weights


def export(
    reference: str,
    configs_class: type[ModelConfigs],
    output: Path,
    format_name: str = "safetensors",
    folded: bool = False,
) -> None:
    """Write the weights that a finished run was tested with, or those of a .safetensors file, and a model card.

    Args:
        reference: a run (uuid, its beginning, `last`, `best`) or a .safetensors file of `export` or `import`.
        configs_class: the `Configs` that builds the network.
        output: the file to write.
        format_name: one of `FORMATS`.
        folded: fold BatchNorm into its neighbours, for inference (`convmixer.model.folding`).

    Raises:
        UserError: the run has not ended, the network does not fit the format, or the file can't be written.
    """
    _check_request(output, format_name, folded)
    trained = load(reference, configs_class)
    if not trained.summary and not trained.imported:
        raise UserError(f"run {trained.name} has not ended, so its weights are not tested yet; resume it first")
    if format_name in LAYOUTS:
        _check_layout(trained, format_name)
    if format_name == "safetensors":
        save_weights(output, trained.model.state_dict(), metadata_of(trained))
    elif format_name in LAYOUTS:
        write_tensors(output, to_layout(trained.model.state_dict(), format_name))
    else:
        model = fold(trained.model) if folded else trained.model
        with warnings.catch_warnings(action="ignore"):  # the exporters warn about their own internals
            write_file(output, WRITERS[format_name](model, trained))
    card = write_card(trained, output, format_name, folded)
    print(f"{output}: {file_size(output.stat().st_size)}; model card: {card}")


def metadata_of(trained: Trained) -> dict[str, Any]:
    """Return the metadata of a .safetensors file: results, data, given keys, and the source of imported weights."""
    summary = {**trained.summary, "configs": without_places(trained.configs)}
    given = None if trained.given is None else without_places(trained.given)
    return {"summary": summary, "data": trained.data, "given": given, "imported": trained.imported}


def _check_request(output: Path, format_name: str, folded: bool) -> None:
    endings = SUFFIXES[format_name]
    if output.suffix not in endings:
        fitting = [name for name in FORMATS if output.suffix in SUFFIXES[name]]
        hint = f"; or give --format {fitting[0]}" if fitting else ""
        raise UserError(
            f"--output {output}: expected a name that ends in {' or '.join(endings)} for {format_name}{hint}"
        )
    if folded and format_name not in GRAPHS:
        raise UserError(
            f"--fold: the format {format_name} can't hold a folded network; give --format {' or '.join(GRAPHS)}"
        )
    if not output.absolute().parent.is_dir():
        raise UserError(f"--output {output}: there is no folder {output.parent}")
    if output.is_dir():
        raise UserError(f"--output {output}: is a folder")
    card_path(output)
    if format_name == "onnx" and not all(map(importlib.util.find_spec, ("onnx", "onnxscript"))):
        raise UserError("--format onnx needs the packages onnx and onnxscript: pip install '.[onnx]'")


def _check_layout(trained: Trained, layout: str) -> None:
    if not is_standard(trained.model):
        raise UserError(
            f"{trained.name}: the layout {layout} holds only ConvMixer's built-in layers, and this network has others; "
            f"{', '.join(name for name in FORMATS if name not in LAYOUTS)} hold any network"
        )
    activation, kernel_size = trained.configs["activation"], trained.configs["kernel_size"]
    if layout == "labml" and activation != "GELU":
        raise UserError(f"{trained.name}: its activation is {activation}, but labml_nn's ConvMixer only has GELU")
    if layout == "labml" and kernel_size % 2 == 0:
        raise UserError(
            f"{trained.name}: its kernel_size is {kernel_size}, but labml_nn's ConvMixer takes only odd ones"
        )


def _torch_export(model: nn.Module, trained: Trained) -> bytes:
    """Return a torch.export program for any batch size; `convmixer.json` in it holds classes, mean and deviation."""
    with torch.no_grad():
        program = torch.export.export(model, (_example(trained),), dynamic_shapes=ANY_BATCH)
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={"convmixer.json": json.dumps(_facts(trained))})
    return buffer.getvalue()


def _onnx(model: nn.Module, trained: Trained) -> bytes:
    """Return an ONNX model, `images` to `logits`, for any batch size; its metadata hold classes, mean and deviation."""
    _check_onnx_size(trained)
    names = {"input_names": ["images"], "output_names": ["logits"]}
    program = torch.onnx.export(model, (_example(trained),), **names, dynamic_shapes=ANY_BATCH, verbose=False)
    written = program.model_proto
    for name, value in _facts(trained).items():
        written.metadata_props.add(key=name, value=json.dumps(value))
    return written.SerializeToString()


def _check_onnx_size(trained: Trained) -> None:
    """Refuse a network that one ONNX file can't hold: weights in a second file would be lost when it is passed on."""
    size = sum(tensor.nbytes for tensor in trained.model.state_dict().values())
    if size > LARGEST_ONNX:
        raise UserError(
            f"{trained.name}: its weights are {file_size(size)}, and an ONNX file holds at most "
            f"{file_size(LARGEST_ONNX)}; give --format pt2 or safetensors"
        )


WRITERS: dict[str, Callable[[nn.Module, Trained], bytes]] = {"pt2": _torch_export, "onnx": _onnx}
LARGEST_ONNX = 2**31 - 2**22  # bytes of weights; protobuf allows 2 GiB, and the graph needs some
ANY_BATCH = ({0: torch.export.Dim("batch")},)


def _example(trained: Trained) -> Tensor:
    height, width, channels = trained.image_shape
    return torch.zeros(2, channels, height, width)


def _facts(trained: Trained) -> dict[str, Any]:
    return {"classes": trained.classes, "mean": trained.mean, "std": trained.std}
