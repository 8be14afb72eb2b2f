"""Stage 2: a lightweight transformer that maps raw features to clean ones in one forward pass.

`network.Denoiser` is the module, `denoised.DenoisedBackbone` a ViT with it, `train.train_denoiser` the training.
Nothing is imported here: `config` must be readable without torch.
"""
