"""The ViT, pictures, store and options of the tests of stage 2."""

from denoiser.conftest import backbone, options, pictures, store

__all__ = ["backbone", "options", "pictures", "store"]
