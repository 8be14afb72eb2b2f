"""An `.onnx` file: the graph and the weights for ONNX Runtime and its like."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from dvt.export.exported_program import trace
from dvt.export.fixed_size import FixedSize
from dvt.export.parity import Runner
from dvt.weights.info import ModelInfo

METADATA_KEY = "dvt"
"""Key of the description in the metadata of the model."""

ONE_FILE_BYTES = 1_900_000_000
"""Larger weights go into a file of their own, `<name>.onnx.data`: an ONNX file cannot hold 2 GiB."""


def write_onnx(fixed: FixedSize, info: ModelInfo, path: Path) -> list[Path]:
    """Write the file, and where the weights are too large for it theirs.

    Returns:
        The paths written; the last is `path`.
    """
    with _quiet_folding():
        program = torch.onnx.export(
            trace(fixed),
            dynamo=True,
            dynamic_shapes=({0: "batch"},),  # the name of the axis
            input_names=["images"],
            output_names=["patches", "prefix"],
            verbose=False,
        )
    assert program is not None, "the exporter of torch.export graphs gives a program"
    program.model.metadata_props[METADATA_KEY] = info.to_json()
    num_bytes = sum(tensor.nbytes for tensor in fixed.state_dict().values())
    program.save(path, external_data=num_bytes > ONE_FILE_BYTES)
    weights = path.with_name(f"{path.name}.data")
    return [weights, path] if weights.exists() else [path]


def open_onnx(path: Path) -> Runner:
    """Read the file back into ONNX Runtime on the CPU, as a function of images."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> tuple[Tensor, Tensor]:
        patches, prefix = session.run(["patches", "prefix"], {"images": images.numpy()})
        return torch.from_numpy(patches), torch.from_numpy(prefix)

    return run


@contextmanager
def _quiet_folding() -> Iterator[None]:
    """Without the line per rotary embedding that the optimiser logs about what it leaves as it is."""
    log = logging.getLogger("onnxscript.optimizer._constant_folding")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
