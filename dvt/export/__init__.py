"""Export: a backbone at one image size, as a file that runs without dvt, compared with PyTorch first.

`run.export_model` writes ONNX, torch.export or safetensors, `fixed_size.fixed_size` makes the module that is written,
`weights_folder.load_fixed_size` reads the safetensors back. Nothing is imported here, so that options (`config`) can be
listed without waiting for torch.
"""
