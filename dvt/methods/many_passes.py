"""Methods that make their features from many passes of a ViT: stage 1, and SRT."""

import hashlib

from torch import Tensor

from dvt.backbone.backbone import Backbone
from dvt.backbone.features import FeatureExtractor
from dvt.decomposition.config import DecomposeConfig
from dvt.decomposition.run import decompose_image
from dvt.decomposition.store_method import solver_settings
from dvt.methods.method import OnePass, PictureByPicture
from dvt.runtime import seed_for
from dvt.shapes import ImageTensor
from dvt.srt.backbone import SrtBackbone
from dvt.srt.config import SrtConfig


def decomposed_method(backbone: Backbone, config: DecomposeConfig, seed: int = 0) -> PictureByPicture:
    """Stage 1 as a method: the clean term F of every picture.

    Args:
        backbone: the ViT.
        config: quality and options of stage 1.
        seed: of the views; every picture gets its own from this and from its content, for it has no name here.
    """

    def clean(picture: ImageTensor, at_size: FeatureExtractor) -> Tensor:
        content = hashlib.sha256(picture.contiguous().cpu().numpy().tobytes()).hexdigest()
        return decompose_image(picture, at_size, config, seed_for(seed, content)).clean

    settings = solver_settings(config) | {"seed": seed}
    return PictureByPicture("decomposed", backbone, clean, passes=config.views.num_views + 1, options=settings)


def srt_method(backbone: Backbone, config: SrtConfig) -> OnePass:
    """Sub-token shifts as a method."""
    srt = SrtBackbone(backbone, config)
    return OnePass("srt", srt, passes=srt.passes, options=srt.settings)
