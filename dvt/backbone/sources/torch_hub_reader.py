"""ViTs of torch.hub: repositories of GitHub and local folders with a hubconf.py."""

from collections.abc import Mapping
from typing import Any, Final, cast

import torch
from torch import Tensor, nn

from dvt.backbone.reader import IMAGENET, HookReader, VitFacts
from dvt.backbone.sources.network_weights import fill_network
from dvt.backbone.weights import LOCAL, VitNotFetchedError
from dvt.errors import BackboneError, first_line
from dvt.paths import expand_home

SOURCE: Final = "torch_hub"

_TOKENS = ("cls_token", "dist_token")
_REGISTERS = ("register_tokens", "storage_tokens", "reg_token")


class TorchHubReader(HookReader):
    """A ViT with the parts of DINO, DINOv2, DINOv3 and their like: `patch_embed`, `blocks` and `norm`."""

    def __init__(self, name: str, network: nn.Module, repository: str, function: str):
        """Find the parts of a ViT.

        Args:
            name: its name in the source.
            network: the ViT.
            repository: on GitHub, or a local folder.
            function: the entry in its hubconf.py.

        Raises:
            BackboneError: it is no plain ViT.
        """
        self._repository, self._function = repository, function
        full_name = f"{SOURCE}:{name}"
        vit: Any = network
        if not all(isinstance(getattr(vit, part, None), nn.Module) for part in ("patch_embed", "blocks", "norm")):
            raise BackboneError(
                f"{full_name} cannot be used: {type(network).__name__} has no patch_embed, blocks and norm, as ViTs of"
                " DINO, DINOv2 and DINOv3 have. Another model goes in as a module: backbone.source=module."
            )
        if not isinstance(next(iter(vit.blocks.children()), None), nn.Module) or any(
            isinstance(block, nn.ModuleList) for block in vit.blocks
        ):
            raise BackboneError(
                f"{full_name} cannot be used: its blocks are in chunks. Give a function of its hubconf.py that makes"
                " one list of them, such as those of DINOv2 with their defaults."
            )
        size = vit.patch_embed.patch_size
        patch = size if isinstance(size, int) else size[0]
        registers = next((getattr(vit, part) for part in _REGISTERS if getattr(vit, part, None) is not None), None)
        prefix = sum(getattr(vit, part, None) is not None for part in _TOKENS)
        prefix += 0 if registers is None else registers.shape[-2]
        native = getattr(vit.patch_embed, "img_size", None) or 16 * patch
        hw = (native, native) if isinstance(native, int) else (int(native[0]), int(native[1]))
        facts = VitFacts(
            name=full_name,
            depth=len(vit.blocks),
            num_channels=vit.embed_dim,
            num_prefix_tokens=prefix,
            has_class_token=prefix > 0,
            has_norm=True,
            patch=patch,
            native_hw=hw,
            image_hw=hw,
            mean=IMAGENET[0],
            std=IMAGENET[1],
            license=None,
        )
        super().__init__(network, facts, blocks="blocks", norm="norm")

    def run(self, images: Tensor) -> Any:
        """Run the ViT without its head."""
        vit: Any = self.network
        return vit.forward_features(images) if hasattr(vit, "forward_features") else vit(images)

    def fetch(self) -> None:
        """Give the ViT the weights that its repository names."""
        try:
            loaded = _load(self._repository, self._function, pretrained=True)
        except Exception as error:  # it raises errors of urllib, and whatever the repository raises
            raise VitNotFetchedError(
                f"the weights of {self.facts.name} could not be loaded ({first_line(error)}).",
                f"Check the connection and try again, or give a file with {LOCAL}.",
            ) from error
        self.network.load_state_dict(loaded.state_dict())

    def fill(self, state: Mapping[str, Tensor], *, source: str) -> None:
        """Give the ViT the weights of a file, by its own names."""
        fill_network(self.network, state, source=source, name=self.facts.name)


def torch_hub_reader(name: str, *, trust_remote_code: bool) -> TorchHubReader:
    """The ViT that a repository makes, untrained.

    Args:
        name: `owner/repository:function`, with a branch `owner/repository:branch:function`, or `folder:function`.
        trust_remote_code: whether code of GitHub may be run; that of a local folder is.

    Raises:
        BackboneError: the repository is not to be had or not trusted, has no such function, or gives no plain ViT.
    """
    repository, colon, function = name.rpartition(":")
    if not colon:
        raise BackboneError(
            f"{SOURCE}:{name}: give the repository and its function, such as facebookresearch/dinov2:dinov2_vits14."
        )
    if not expand_home(repository).is_dir() and not trust_remote_code:
        raise BackboneError(
            f"{SOURCE}:{name} runs the code of {repository} on GitHub, which is run where you trust it:"
            " backbone.trust_remote_code=true (trust_remote_code=True in Python). Or give a local folder:"
            f" <folder>:{function}."
        )
    try:
        network = _load(repository, function, pretrained=False)
    except Exception as error:  # whatever the repository raises
        raise BackboneError(
            f"{SOURCE}:{name} could not be made ({type(error).__name__}: {first_line(error)}). Give a function of its"
            " hubconf.py that takes pretrained=False."
        ) from error
    if not isinstance(network, nn.Module):
        raise BackboneError(f"{SOURCE}:{name} returned {type(network).__name__}, not a torch.nn.Module.")
    return TorchHubReader(name, network.float().eval(), repository, function)


def _load(repository: str, function: str, *, pretrained: bool) -> Any:
    folder, load = expand_home(repository), cast(Any, torch.hub.load)  # torch says no types of it
    if folder.is_dir():
        return load(str(folder), function, source="local", pretrained=pretrained)
    return load(repository, function, trust_repo=True, pretrained=pretrained)
