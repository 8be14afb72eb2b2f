"""Named ViTs: their timm names and default image sizes."""

from dataclasses import dataclass
from difflib import get_close_matches

from dvt.backbone.names import TIMM, split_name
from dvt.errors import BackboneError


@dataclass(frozen=True, slots=True)
class Row:
    """A named ViT."""

    name: str
    """Its name here."""
    timm: str
    """Its name in timm: architecture and weights."""
    image_size: int | None
    """Default side in pixels of a square view; None: the native size of the model."""


# Patches of 14 px run at 518 px (37 x 37), patches of 16 px at 512 px (32 x 32), as in the paper. Exceptions: patches
# of 8 px run at their native 224 px (28 x 28; 512 px would be 64 x 64 and sixteen times the attention), augreg_tiny at
# its native 224 px, being the one for a laptop.
# Where timm has one ViT trained at several sizes, the row takes the paper's choice, else the size nearest to 512.
# vit_micro comes with the project (dvt/backbone/micro.py).
# EVA02 small is not here: it normalises after pooling, so its tokens have no final norm (use timm= and norm=false).
_ROWS = (
    Row("dino_small", "vit_small_patch16_224.dino", 512),
    Row("dino_base", "vit_base_patch16_224.dino", 512),
    Row("dino_small_patch8", "vit_small_patch8_224.dino", 224),
    Row("dino_base_patch8", "vit_base_patch8_224.dino", 224),
    Row("deit3_small", "deit3_small_patch16_224.fb_in1k", 512),
    Row("deit3_base", "deit3_base_patch16_224.fb_in1k", 512),
    Row("deit3_large", "deit3_large_patch16_224.fb_in1k", 512),
    Row("eva02_base", "eva02_base_patch16_clip_224.merged2b", 512),
    Row("eva02_large", "eva02_large_patch14_clip_336.merged2b", 518),
    Row("clip_base", "vit_base_patch16_clip_384.laion2b_ft_in12k_in1k", 512),
    Row("clip_large", "vit_large_patch14_clip_336.laion2b_ft_in12k_in1k", 518),
    # OpenAI trained with the quick GELU; timm's rows without it are meant for fine-tuning.
    Row("clip_openai_base", "vit_base_patch16_clip_quickgelu_224.openai", 512),
    Row("clip_openai_large", "vit_large_patch14_clip_quickgelu_336.openai", 518),
    Row("dinov2_small", "vit_small_patch14_dinov2.lvd142m", 518),
    Row("dinov2_base", "vit_base_patch14_dinov2.lvd142m", 518),
    Row("dinov2_large", "vit_large_patch14_dinov2.lvd142m", 518),
    Row("dinov2_giant", "vit_giant_patch14_dinov2.lvd142m", 518),
    Row("dinov2_reg_small", "vit_small_patch14_reg4_dinov2.lvd142m", 518),
    Row("dinov2_reg_base", "vit_base_patch14_reg4_dinov2.lvd142m", 518),
    Row("dinov2_reg_large", "vit_large_patch14_reg4_dinov2.lvd142m", 518),
    Row("dinov2_reg_giant", "vit_giant_patch14_reg4_dinov2.lvd142m", 518),
    Row("mae_base", "vit_base_patch16_224.mae", 512),
    Row("mae_large", "vit_large_patch16_224.mae", 512),
    Row("mae_huge", "vit_huge_patch14_224.mae", 518),
    Row("augreg_tiny", "vit_tiny_patch16_224.augreg_in21k_ft_in1k", 224),
    Row("augreg_small", "vit_small_patch16_384.augreg_in21k_ft_in1k", 512),
    Row("augreg_base", "vit_base_patch16_384.augreg_in21k_ft_in1k", 512),
    Row("augreg_large", "vit_large_patch16_384.augreg_in21k_ft_in1k", 512),
    Row("vit_micro", "vit_micro_patch16_224.dvt", None),
    Row("dinov3_small", "vit_small_patch16_dinov3.lvd1689m", 512),
    Row("dinov3_base", "vit_base_patch16_dinov3.lvd1689m", 512),
    Row("dinov3_large", "vit_large_patch16_dinov3.lvd1689m", 512),
    Row("siglip2_base", "vit_base_patch16_siglip_512.v2_webli", 512),
    Row("siglip2_large", "vit_large_patch16_siglip_512.v2_webli", 512),
    Row("siglip2_so400m", "vit_so400m_patch16_siglip_512.v2_webli", 512),
)

CATALOGUE = {row.name: row for row in _ROWS}
"""Every named ViT."""


def list_backbones() -> list[str]:
    """Names of the catalogue; `load_backbone` also takes the timm name of any plain ViT.

    Examples:
        >>> "dinov2_base" in list_backbones()
        True
    """
    return list(CATALOGUE)


def lookup(name: str) -> Row:
    """The ViT of that name.

    Args:
        name: a catalogue name, or the name of a model in timm (without an image size).

    Raises:
        BackboneError: the name is unknown; with the nearest names of both kinds.
    """
    if name in CATALOGUE:
        return CATALOGUE[name]
    if any(name == row.timm for row in _ROWS):
        return Row(name=name, timm=name, image_size=None)
    from timm import list_models  # slow: only for names outside the catalogue

    known = {*list_models(), *list_models(pretrained=True)}
    if name in known:
        return Row(name=name, timm=name, image_size=None)
    ours = get_close_matches(name, CATALOGUE, n=3, cutoff=0.4) or list(CATALOGUE)
    timm = get_close_matches(name, known, n=3, cutoff=0.5)
    raise BackboneError(
        f"there is no backbone {name!r}. Nearest names: {', '.join(ours)}"
        + (f"; in timm: {', '.join(timm)}" if timm else "; in timm: none like it")
        + "."
    )


def licence_of(timm_name: str) -> str | None:
    """The licence of a ViT's pretrained weights, as far as timm knows it; None for other sources."""
    if split_name(timm_name)[0] != TIMM:
        return None
    from timm import get_pretrained_cfg

    import dvt.backbone.micro  # noqa: F401  (registers it in timm)

    config = get_pretrained_cfg(timm_name)
    return None if config is None else config.license
