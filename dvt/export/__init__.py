"""Export a backbone at one image size to a file that runs without dvt, checked against PyTorch.

`run.export_model` writes ONNX, torch.export or safetensors, `fixed_size.fixed_size` makes the module that is written,
`weights_folder.load_fixed_size` reads the safetensors back. This module imports nothing, so that options (`config`) are
listed without torch.
"""
