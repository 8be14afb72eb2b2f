"""Stage 3: a ViT learns to give clean features by itself, without a block behind it.

`student.Student` is the ViT that learns, `distill.distill` the training. Nothing is imported here, so that options
(`config`) can be listed without waiting for torch.
"""
