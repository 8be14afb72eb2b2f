"""A `.pt2` file: the graph and the weights by torch.export, for PyTorch alone."""

from pathlib import Path
from typing import Any

import torch
from torch.export import Dim, ExportedProgram
from torch.fx import GraphModule

from dvt.export.fixed_size import FixedSize
from dvt.export.parity import Runner
from dvt.weights.info import ModelInfo

DESCRIPTION_FILE = "dvt.json"
"""Name of the description among the extra files of a `.pt2`."""


def trace(fixed: FixedSize) -> ExportedProgram:
    """The graph of a model for any number of images, without the paths of this machine's source files."""
    example = torch.zeros(2, 3, *fixed.grid.image_hw)  # with one image the graph would be for one
    with torch.no_grad():
        program = torch.export.export(fixed, (example,), dynamic_shapes=({0: Dim("batch", min=1)},), strict=False)
    for module in program.graph_module.modules():
        if isinstance(module, GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)
    return program


def write_pt2(fixed: FixedSize, info: ModelInfo, path: Path) -> list[Path]:
    """Write the file; returns its path as a list."""
    torch.export.save(trace(fixed), path, extra_files={DESCRIPTION_FILE: info.to_json()})
    return [path]


def open_pt2(path: Path) -> Runner:
    """Read the file back, as a function of images."""
    module: Any = torch.export.load(path).module()

    def run(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        patches, prefix = module(images)
        return patches, prefix

    return run
