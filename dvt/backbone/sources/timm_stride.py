"""The dense stride: overlapping patches from a ViT that was trained on adjacent patches."""

from typing import Any

from timm.layers.format import Format, nchw_to
from timm.layers.patch_embed import PatchEmbed
from timm.layers.pos_embed_sincos import RotaryEmbeddingDinoV3
from torch import Tensor, nn
from torch.nn import functional

from dvt.backbone.sources.timm_build import PlainVit
from dvt.errors import BackboneError
from dvt.grid import PatchGrid
from dvt.shapes import ImageBatch


class DensePatchEmbed(nn.Module):
    """timm's patch embedding with another stride: the same weights under the same keys, more patches.

    Replaces `vit.patch_embed` and has the attributes that timm's ViTs use. `grid_size` and `num_patches` are those of
    the native grid, the layout of the position embedding; the ViT resamples it to the patches of the input.
    """

    def __init__(self, embed: PatchEmbed, stride: int):
        """Take over the weights of `embed`.

        Args:
            embed: the patch embedding of a ViT made with `dynamic_img_size=True`; its modules are shared, not copied.
            stride: pixels between neighbouring patches, 1..patch size.
        """
        super().__init__()
        assert not embed.strict_img_size and not embed.dynamic_img_pad, "made with dynamic_img_size=True, no padding"
        self.stride = stride
        self.patch_size = embed.patch_size
        self.img_size = embed.img_size
        self.grid_size = embed.grid_size
        self.num_patches = embed.num_patches
        self.strict_img_size = embed.strict_img_size
        self.dynamic_img_pad = embed.dynamic_img_pad
        self.flatten = embed.flatten
        self.output_fmt = embed.output_fmt
        self.proj = embed.proj
        self.norm = embed.norm

    def dynamic_feat_size(self, img_size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of patches of an image of that height and width.

        Raises:
            GeometryError: image, patch and stride do not go together.
        """
        return PatchGrid.of(img_size, self.patch_size[0], self.stride).hw

    def feat_ratio(self, as_scalar: bool = True) -> int | tuple[int, int]:
        """Pixels between neighbouring patches."""
        return self.stride if as_scalar else (self.stride, self.stride)

    def forward(self, images: ImageBatch) -> Tensor:
        """Patches in timm's layout: (B, H, W, C) as its ViTs ask for it, (B, N, C) flattened, or (B, C, H, W).

        Raises:
            GeometryError: image, patch and stride do not go together.
        """
        self.dynamic_feat_size((images.shape[-2], images.shape[-1]))
        patches = functional.conv2d(images, self.proj.weight, self.proj.bias, stride=self.stride)
        if self.flatten:
            patches = patches.flatten(2).transpose(1, 2)
        elif self.output_fmt != Format.NCHW:
            patches = nchw_to(patches, self.output_fmt)
        embedded: Tensor = self.norm(patches)
        return embedded


def set_stride(vit: PlainVit, stride: int) -> None:
    """Set the stride of a ViT.

    timm resamples absolute position embeddings to the denser grid. Rotary ones work where they span the image whatever
    the number of patches (EVA02, DINOv3).

    Raises:
        BackboneError: the rotary embedding of this ViT counts patches, so that denser patches would seem further apart.
    """
    embed: Any = vit.patch_embed
    if stride == embed.patch_size[0]:
        return
    rope = getattr(vit, "rope", None)
    spans_image = isinstance(rope, RotaryEmbeddingDinoV3) or getattr(rope, "ref_feat_shape", None) is not None
    if rope is not None and not spans_image:
        raise BackboneError(
            f"stride {stride} does not work with this ViT: its rotary position embedding ({type(rope).__name__}) counts"
            " patches, and denser ones would seem further apart than they are. Leave the stride at"
            f" {embed.patch_size[0]}."
        )
    vit.patch_embed = DensePatchEmbed(embed, stride)
