"""The formats of an exported model. A light module, imported to print help."""

from enum import Enum


class ExportFormat(str, Enum):
    """What is written."""

    auto = "auto"
    """By the name: .onnx, .pt2, or a folder."""
    onnx = "onnx"
    """One .onnx file, for ONNX Runtime, TensorRT, OpenVINO and others."""
    torch_export = "torch_export"
    """One .pt2 file of torch.export, for PyTorch without dvt and timm."""
    safetensors = "safetensors"
    """A folder with weights.safetensors and config.json, for other code or for dvt."""

    def __str__(self) -> str:
        return self.value


SUFFIXES = {ExportFormat.onnx: ".onnx", ExportFormat.torch_export: ".pt2"}
"""File suffixes of the formats; safetensors is a folder."""

TOLERANCES = {ExportFormat.onnx: 1e-3, ExportFormat.torch_export: 1e-4, ExportFormat.safetensors: 1e-4}
"""Default tolerance: largest accepted absolute difference from PyTorch."""
