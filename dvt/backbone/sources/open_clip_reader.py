"""ViTs of OpenCLIP: the image tower alone."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor, nn
from torch.func import functional_call

from dvt.backbone.reader import HookReader, TokenReader, VitFacts
from dvt.backbone.sources.libraries import require
from dvt.backbone.sources.network_weights import fill_network
from dvt.backbone.sources.timm_build import build_vit
from dvt.backbone.sources.timm_reader import TimmReader
from dvt.backbone.weights import LOCAL, VitNotFetchedError
from dvt.errors import BackboneError, first_line

SOURCE: Final = "open_clip"

_POSITIONS = "positional_embedding"


class OpenClipReader(HookReader):
    """An image tower of OpenCLIP's own. OpenCLIP takes images of one size; here its position embedding is resampled."""

    def __init__(self, tower: nn.Module, facts: VitFacts, architecture: str, tag: str | None):
        """Read a tower.

        Args:
            tower: `open_clip.transformer.VisionTransformer`.
            facts: what it is.
            architecture: its name in OpenCLIP.
            tag: its weights.
        """
        super().__init__(tower, facts, blocks="transformer.resblocks", norm="ln_post" if facts.has_norm else None)
        self._architecture, self._tag = architecture, tag

    def run(self, images: Tensor) -> Any:
        """Run the tower, its position embedding resampled to the patches of the images."""
        tower: Any = self.network
        patch = self.facts.patch
        hw, native = (images.shape[2] // patch, images.shape[3] // patch), tuple(tower.grid_size)
        if hw == native:
            return tower(images)
        resampled = resample_abs_pos_embed(
            getattr(tower, _POSITIONS)[None], new_size=list(hw), old_size=list(native), num_prefix_tokens=1
        )[0]
        return functional_call(tower, {_POSITIONS: resampled}, (images,))

    def fetch(self) -> None:
        """Give the tower its pretrained weights."""
        self.network.load_state_dict(_pretrained(self._architecture, self._tag).state_dict())

    def fill(self, state: Mapping[str, Tensor], *, source: str) -> None:
        """Give the tower the weights of a file, by the names of OpenCLIP; the text tower is laid aside."""
        fill_network(self.network, state, source=source, name=self.facts.name, behind=("proj",))


class TimmTowerReader(TimmReader):
    """An image tower of OpenCLIP that is a ViT of timm, such as that of SigLIP."""

    def __init__(self, timm_name: str, facts: Mapping[str, Any], architecture: str, tag: str | None):
        """Build the ViT.

        Args:
            timm_name: its name in timm.
            facts: what OpenCLIP says otherwise: name, image size, mean and std.
            architecture: name of the tower in OpenCLIP.
            tag: its weights.
        """
        super().__init__(build_vit(timm_name))
        self.facts = replace(self.facts, **facts)
        self._architecture, self._tag = architecture, tag

    def fetch(self) -> None:
        """Give the ViT its pretrained weights, without the pooling behind the tokens."""
        trunk = _pretrained(self._architecture, self._tag).get_submodule("trunk").state_dict()
        self.fill(trunk, source=self.facts.name)


def open_clip_reader(name: str) -> TokenReader:
    """The image tower of a model of OpenCLIP, untrained.

    Args:
        name: architecture, and after a slash its weights: `ViT-B-16/laion2b_s34b_b88k`.

    Raises:
        BackboneError: OpenCLIP is not installed, knows no such model, or its image tower is no plain ViT.
    """
    require("open_clip", SOURCE, "denoising-vit[openclip]")
    import open_clip
    from open_clip.transformer import VisionTransformer

    architecture, _, tag = name.partition("/")
    config = open_clip.get_model_config(architecture)
    if config is None or (tag and tag not in open_clip.list_pretrained_tags_by_model(architecture)):
        raise BackboneError(_unknown(name, architecture if config is not None else None))
    vision, full_name = config["vision_cfg"], f"{SOURCE}:{name}"
    tags = [tag] if tag else open_clip.list_pretrained_tags_by_model(architecture)
    own = open_clip.get_pretrained_cfg(architecture, tags[0]) if tags else {}
    colours = {
        "mean": tuple(own.get("mean") or open_clip.OPENAI_DATASET_MEAN),
        "std": tuple(own.get("std") or open_clip.OPENAI_DATASET_STD),
    }
    size = vision.get("image_size", 224)
    native = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    common: dict[str, Any] = {"name": full_name, "native_hw": native, "image_hw": native, "license": None, **colours}
    if vision.get("timm_model_name"):
        return TimmTowerReader(vision["timm_model_name"], common, architecture, tag or None)
    with _quiet():
        quick = bool(own.get("quick_gelu"))
        tower = open_clip.create_model(architecture, load_weights=False, force_quick_gelu=quick).visual
    if not isinstance(tower, VisionTransformer) or tower.attn_pool is not None:
        raise BackboneError(
            f"{full_name} cannot be used: its image tower is a {type(tower).__name__}"
            f"{' with attentional pooling' if isinstance(tower, VisionTransformer) else ''}. Expected a plain ViT."
        )
    tower = tower.float().eval()
    tower.proj = None  # behind the pooled token
    facts = VitFacts(
        depth=len(tower.transformer.resblocks),
        num_channels=tower.conv1.out_channels,
        num_prefix_tokens=1,
        has_class_token=True,
        has_norm=not tower.final_ln_after_pool,  # else it norms the pooled token alone
        patch=tower.conv1.kernel_size[0],
        **common,
    )
    return OpenClipReader(tower, facts, architecture, tag or None)


def _pretrained(architecture: str, tag: str | None) -> nn.Module:
    """The image tower with its weights.

    Raises:
        VitNotFetchedError: there are none, or they cannot be had.
    """
    import open_clip

    if tag is None:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(architecture)) or "none"
        raise VitNotFetchedError(
            f"{SOURCE}:{architecture} names no weights.",
            f"Add one of OpenCLIP's to the name, as in {architecture}/<weights> (there are: {tags}), or give {LOCAL}.",
        )
    try:
        tower: nn.Module = open_clip.create_model(architecture, pretrained=tag).visual
    except Exception as error:  # it raises errors of its HTTP library
        raise VitNotFetchedError(
            f"the weights of {SOURCE}:{architecture}/{tag} could not be loaded ({first_line(error)}).",
            f"Check the connection and try again, or give a file with {LOCAL}.",
        ) from error
    if hasattr(tower, "proj"):
        del tower.proj
    return tower.to(torch.float32)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without OpenCLIP's warning that a model has no weights yet."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _unknown(name: str, architecture: str | None) -> str:
    from difflib import get_close_matches

    import open_clip

    if architecture is None:
        near = get_close_matches(name.partition("/")[0], open_clip.list_models(), n=3, cutoff=0.4)
        return f"OpenCLIP has no model {name.partition('/')[0]!r}. Nearest names: {', '.join(near) or 'none'}."
    tags = ", ".join(open_clip.list_pretrained_tags_by_model(architecture)) or "none"
    return f"OpenCLIP has no weights {name.partition('/')[2]!r} of {architecture}. There are: {tags}."
