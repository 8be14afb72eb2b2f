"""ViTs of transformers (Hugging Face): every model whose blocks give patch tokens."""

import inspect
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from dvt.backbone.reader import IMAGENET, HookReader, VitFacts
from dvt.backbone.sources.libraries import require
from dvt.backbone.sources.network_weights import fill_network
from dvt.backbone.weights import LOCAL, VitNotFetchedError
from dvt.errors import BackboneError, WeightsError, first_line
from dvt.grid import PatchGrid

SOURCE: Final = "transformers"

_log = logging.getLogger(__name__)

_KINDS = (
    "Expected a plain ViT: one sequence of tokens from the patches to the last block (Dinov2, DINOv3ViT, ViT, ViTMAE,"
    " CLIPVision, SiglipVision, IJepa, ...). Another model goes in as a module: backbone.source=module."
)
_NORMS = ("layernorm", "post_layernorm", "norm", "layer_norm", "rms_norm")
"""Names that a final norm has."""
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_COLOURS = {"vit": _HALF, "deit": _HALF, "siglip_vision_model": _HALF, "siglip2_vision_model": _HALF}
_COLOURS |= {"clip_vision_model": _CLIP}
"""Mean and std of the image processors of transformers, where a model comes without one; of the others ImageNet's."""


class TransformersReader(HookReader):
    """A ViT of transformers."""

    def __init__(self, name: str, network: nn.Module, config: Any, colours: Any, trust_remote_code: bool):
        """Find blocks, norm and prefix tokens of a network.

        Args:
            name: repository or folder.
            network: the model.
            config: its config.
            colours: mean and std.
            trust_remote_code: whether code of the repository may be run.

        Raises:
            BackboneError: its blocks give no patch tokens.
        """
        self._name, self._config, self._trusts = name, config, trust_remote_code
        full_name = f"{SOURCE}:{name}"
        if any(getattr(config, option, None) for option in ("depths", "window_size", "window_block_indices")):
            raise BackboneError(f"{full_name} cannot be used: it merges patches or attends in windows. {_KINDS}")
        if getattr(config, "num_channels", 3) != 3:
            raise BackboneError(f"{full_name} cannot be used: it takes {config.num_channels} channels, not RGB.")
        patch, side = _one_number(config, "patch_size", full_name), _native_hw(config, full_name)
        blocks = _find_blocks(network, config, full_name)
        norm = next((each for each in _NORMS if isinstance(getattr(network, each, None), nn.Module)), None)
        if norm is not None and isinstance(getattr(network, norm), nn.Identity):
            norm = None
        prefix = _num_prefix_tokens(network, config)
        mean, std = colours
        facts = VitFacts(
            name=full_name,
            depth=len(network.get_submodule(blocks)),  # type: ignore[arg-type]
            num_channels=config.hidden_size,
            num_prefix_tokens=prefix,
            has_class_token=prefix > 0,
            has_norm=norm is not None,
            patch=patch,
            native_hw=side,
            image_hw=side,
            mean=tuple(mean),
            std=tuple(std),
            license=None,
        )
        super().__init__(network, facts, blocks=blocks, norm=norm)
        self._takes_sizes = "interpolate_pos_encoding" in inspect.signature(network.forward).parameters

    def run(self, images: Tensor) -> Any:
        """Run the network at any image size."""
        model, patch = self._config.model_type, self.facts.patch
        if model == "siglip2_vision_model":  # takes patches, and the sizes of their grids
            patches = functional.unfold(images, patch, stride=patch).transpose(1, 2)
            hw = (images.shape[2] // patch, images.shape[3] // patch)
            patches = patches.reshape(*patches.shape[:2], 3, -1).transpose(2, 3).flatten(2)  # colours last
            return self.network(
                pixel_values=patches,
                pixel_attention_mask=torch.ones(patches.shape[:2], dtype=torch.int64, device=images.device),
                spatial_shapes=torch.tensor([hw], device=images.device).expand(images.shape[0], -1),
            )
        more: dict[str, Any] = {"interpolate_pos_encoding": True} if self._takes_sizes else {}
        if model == "vit_mae":  # it shuffles the patches by noise, and hides a share of them
            number = (images.shape[2] // patch) * (images.shape[3] // patch)
            more["noise"] = torch.arange(number, device=images.device).expand(images.shape[0], -1)
        return self.network(pixel_values=images, **more)

    def fetch(self) -> None:
        """Give the network the weights of its repository or folder."""
        try:
            with _quiet():
                loaded, found = type(self.network).from_pretrained(  # type: ignore[attr-defined]
                    self._name,
                    config=self._config,
                    dtype=torch.float32,
                    trust_remote_code=self._trusts,
                    output_loading_info=True,
                    **_no_pooler(self._config),
                )
        except Exception as error:  # it raises errors of its HTTP library, of safetensors and of its own
            raise VitNotFetchedError(
                f"the weights of {self.facts.name} could not be loaded ({first_line(error)}).",
                f"Check the name and the connection, or download the repository and give its folder as the name, or"
                f" weights with {LOCAL}.",
            ) from error
        missing = sorted(found["missing_keys"])
        if missing:
            raise WeightsError(
                f"{self._name} lacks weights of {type(self.network).__name__}: {', '.join(missing[:6])}. Give the"
                " repository of a model of this class."
            )
        self.network.load_state_dict(loaded.state_dict())

    def fill(self, state: Mapping[str, Tensor], *, source: str) -> None:
        """Give the network the weights of a file, by the names that transformers has in memory or in its files."""
        try:
            fill_network(self.network, state, source=source, name=self.facts.name)
        except WeightsError:
            if not self._fill_as_loaded(state, source):
                raise

    def _fill_as_loaded(self, state: Mapping[str, Tensor], source: str) -> bool:
        """Fill the network as transformers loads a file, with its tensors renamed; False where some do not fit."""
        try:
            with _quiet():
                loaded, found = type(self.network).from_pretrained(  # type: ignore[attr-defined]
                    None,
                    config=self._config,
                    state_dict=dict(state),
                    dtype=torch.float32,
                    output_loading_info=True,
                    **_no_pooler(self._config),
                )
        except Exception as error:  # whatever transformers raises for shapes and names
            _log.debug("%s: transformers does not load it: %s", source, error)
            return False
        aside = sorted(found["unexpected_keys"])
        if found["missing_keys"] or any(key.startswith(f"{self._where}.") for key in aside):
            return False
        self.network.load_state_dict(loaded.state_dict())
        if aside:
            _log.warning("%s: laid aside, as no part of the ViT: %s.", source, ", ".join(aside[:8]))
        return True

    @property
    def made_from(self) -> dict[str, Any]:
        """Its config, and the colours of its image processor."""
        kept = self._config.to_dict().items()  # without the path it came from, and the number format
        config = {key: value for key, value in kept if key != "dtype" and not key.startswith("_")}
        return {"config": config, "mean": list(self.facts.mean), "std": list(self.facts.std)}


def transformers_reader(name: str, *, trust_remote_code: bool, made_from: Mapping[str, Any]) -> TransformersReader:
    """A ViT of transformers, untrained.

    Args:
        name: repository of the hub, or local folder.
        trust_remote_code: whether code of the repository may be run.
        made_from: what `TransformersReader.made_from` gave; empty: asks the repository.

    Raises:
        BackboneError: transformers is not installed, there is no such model, or it has no patch tokens.
    """
    require("transformers", SOURCE, "denoising-vit[transformers]")
    from transformers import AutoConfig, AutoModel

    try:
        if made_from:
            given = dict(made_from["config"])
            config = AutoConfig.for_model(given.pop("model_type"), **given)
        else:
            config = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
    except Exception as error:
        raise BackboneError(_no_config(name, error)) from error
    config = getattr(config, "vision_config", config)  # the image tower of CLIP, SigLIP
    if config.model_type == "vit_mae":
        config.mask_ratio = 0.0
    if hasattr(config, "vision_use_head"):
        config.vision_use_head = False
    try:
        network = AutoModel.from_config(config, trust_remote_code=trust_remote_code, **_no_pooler(config))
        network = network.float().eval()
    except Exception as error:
        raise BackboneError(
            f"{SOURCE}:{name} cannot be used: transformers builds no model of {type(config).__name__}"
            f" ({first_line(error)})."
        ) from error
    colours = (made_from["mean"], made_from["std"]) if made_from else _colours(name, config)
    reader = TransformersReader(name, network, config, colours, trust_remote_code)
    _try_block(reader)
    return reader


@torch.no_grad()
def _try_block(reader: TransformersReader) -> None:
    """Run the first block on a black image.

    Raises:
        BackboneError: it raises, or gives something else than prefix tokens and patches, such as detection tokens.
    """
    facts = reader.facts
    black = torch.zeros(1, 3, *facts.native_hw)
    try:
        reader.tokens(black, [0], PatchGrid.of(facts.native_hw, facts.patch))
    except Exception as error:  # whatever the network raises
        raise BackboneError(f"{facts.name} cannot be used: {first_line(error)} {_KINDS}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """No report of the weights that are left out, and no progress bar: what is missing is an error of ours."""
    from transformers.utils import logging

    before, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bar:
            logging.enable_progress_bar()


def _no_pooler(config: Any) -> dict[str, Any]:
    """The argument that leaves out the pooler behind the tokens, where a model takes it."""
    from transformers import MODEL_MAPPING

    kind = MODEL_MAPPING.get(type(config), None)
    takes_it = kind is not None and "add_pooling_layer" in inspect.signature(kind).parameters
    return {"add_pooling_layer": False} if takes_it else {}


def _no_config(name: str, error: Exception) -> str:
    text = first_line(error)
    if "trust_remote_code" in str(error):
        return (
            f"{SOURCE}:{name} comes with code of its own, which is run where you trust it:"
            " backbone.trust_remote_code=true (trust_remote_code=True in Python)."
        )
    return (
        f"{SOURCE}:{name} was not found ({text}). Give a repository of the Hugging Face hub such as"
        " facebook/dinov2-small, or a local folder that save_pretrained wrote."
    )


def _colours(name: str, config: Any) -> Any:
    """Mean and std of the image processor of a repository, else those of its kind of model."""
    from transformers import BaseImageProcessor

    try:
        found, _ = BaseImageProcessor.get_image_processor_dict(name)
        return found["image_mean"], found["image_std"]
    except (OSError, ValueError, KeyError):  # a repository without one
        return _COLOURS.get(config.model_type, IMAGENET)


def _find_blocks(network: nn.Module, config: Any, full_name: str) -> str:
    """The name of the list of blocks.

    Raises:
        BackboneError: there is none, or more than one.
    """
    depth = getattr(config, "num_hidden_layers", None)
    found = [name for name, part in network.named_modules() if isinstance(part, nn.ModuleList) and len(part) == depth]
    outer = [name for name in found if not any(name.startswith(f"{other}.") for other in found)]
    if len(outer) != 1:
        raise BackboneError(
            f"{full_name} cannot be used: {type(network).__name__} has no single list of {depth} blocks. {_KINDS}"
        )
    name: str = outer[0]
    return name


def _one_number(config: Any, name: str, full_name: str) -> int:
    value = getattr(config, name, None)
    sides = {value} if isinstance(value, int) else set(value or ())
    if len(sides) != 1:
        raise BackboneError(f"{full_name} cannot be used: its config has {name}={value}, not one number.")
    return int(sides.pop())


def _native_hw(config: Any, full_name: str) -> tuple[int, int]:
    size = getattr(config, "image_size", None)
    if size is None and hasattr(config, "num_patches"):  # SigLIP 2 of any size
        side = round(config.num_patches**0.5) * _one_number(config, "patch_size", full_name)
        return side, side
    if isinstance(size, int):
        return size, size
    if size is None or len(size) != 2:
        raise BackboneError(f"{full_name} cannot be used: its config has image_size={size}, not one or two numbers.")
    return int(size[0]), int(size[1])


def _num_prefix_tokens(network: nn.Module, config: Any) -> int:
    """Class, distillation and register tokens, from the parameters of the embeddings."""
    names = ("cls_token", "class_embedding", "distillation_token")
    parts = {name.rpartition(".")[2]: part for name, part in network.named_parameters() if "embeddings." in name}
    registers = parts.get("register_tokens")
    return sum(name in parts for name in names) + (0 if registers is None else registers.shape[-2])
