"""Stage 2: a lightweight transformer learns raw -> clean over many images, and cleans new ones in one forward pass.

`network.Denoiser` is the module, `denoised.DenoisedBackbone` a ViT with it, `train.train_denoiser` the training.
Nothing is imported here, so that options (`config`) can be listed without waiting for torch.
"""
