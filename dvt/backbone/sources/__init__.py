"""Where ViTs come from: timm, transformers, OpenCLIP, torch.hub, any module. Each file makes a `TokenReader`."""
