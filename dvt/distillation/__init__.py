"""Stage 3: a ViT learns to give clean features by itself, without a denoiser.

`student.Student` is the ViT that is trained. `distill.distill` trains it with a model as teacher,
`stored.distill_from_store` with the clean features of stores. Nothing is imported here: `config` must be readable
without torch.
"""
