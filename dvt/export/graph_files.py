"""Graph files: ONNX, and torch.export's `.pt2`; each holds graph, weights and description."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule

from dvt.errors import ConfigError
from dvt.export.fixed_size import FixedSize
from dvt.export.parity import Runner
from dvt.weights.info import ModelInfo

DESCRIPTION_FILE = "dvt.json"
"""Name of the description among the extra files of a `.pt2`."""
METADATA_KEY = "dvt"
"""Key of the description in the metadata of an ONNX model."""
OUTPUTS = ("patches", "prefix", "raw")
"""Names of the outputs of an ONNX model; the last one where it was asked for."""
ONE_FILE_BYTES = 1_900_000_000
"""Larger weights go into `<name>.onnx.data`: an ONNX file cannot hold 2 GiB."""


def trace(fixed: FixedSize) -> ExportedProgram:
    """The graph of a model for any number of images, without paths of this machine's source files."""
    example = torch.zeros(2, 3, *fixed.grid.image_hw)  # with one image the graph would be for one
    with torch.no_grad():
        program = torch.export.export(fixed, (example,), dynamic_shapes=({0: Dim("batch", min=1)},), strict=False)
    for module in program.graph_module.modules():
        if isinstance(module, GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)
    return program


def write_pt2(fixed: FixedSize, info: ModelInfo, path: Path) -> list[Path]:
    """Write a `.pt2` file; returns its path as a list."""
    torch.export.save(trace(fixed), path, extra_files={DESCRIPTION_FILE: info.to_json()})
    return [path]


def open_pt2(path: Path) -> Runner:
    """Read a `.pt2` file back, as a function of images."""
    module: Any = torch.export.load(path).module()

    def run(images: Tensor) -> tuple[Tensor, ...]:
        outputs: tuple[Tensor, ...] = module(images)
        return outputs

    return run


def write_onnx(fixed: FixedSize, info: ModelInfo, path: Path) -> list[Path]:
    """Write an `.onnx` file, and a second file for weights that are too large for it.

    Returns:
        The paths written; the last is `path`.

    Raises:
        ConfigError: an operation of the ViT has no form in ONNX.
    """
    try:
        with _quiet_folding():
            program = torch.onnx.export(
                trace(fixed),
                dynamo=True,
                dynamic_shapes=({0: "batch"},),  # the name of the axis
                input_names=["images"],
                output_names=list(OUTPUTS[: 3 if fixed.raw else 2]),
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise ConfigError(
            f"{path.name} was not written: torch.onnx does not convert {info.spec.backbone}. Give another format:"
            " torch_export or safetensors."
        ) from error
    assert program is not None, "the exporter of torch.export graphs gives a program"
    program.model.metadata_props[METADATA_KEY] = info.to_json()
    num_bytes = sum(tensor.nbytes for tensor in fixed.state_dict().values())
    program.save(path, external_data=num_bytes > ONE_FILE_BYTES)
    weights = path.with_name(f"{path.name}.data")
    return [weights, path] if weights.exists() else [path]


def open_onnx(path: Path) -> Runner:
    """Read an `.onnx` file back into ONNX Runtime on the CPU, as a function of images."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(each) for each in session.run(None, {"images": images.numpy()}))

    return run


@contextmanager
def _quiet_folding() -> Iterator[None]:
    """Silence the optimiser, which logs a line per rotary embedding that it does not fold."""
    log = logging.getLogger("onnxscript.optimizer._constant_folding")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
