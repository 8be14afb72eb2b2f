"""Stage 3: a ViT learns to give clean features by itself, without a denoiser.

`student.Student` is the ViT that is trained, `distill.distill` the training. Nothing is imported here: `config` must be
readable without torch.
"""
