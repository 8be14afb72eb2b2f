"""Calibrate a denoiser for a ViT on a few images: sums, the map, its scores, and the folder."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from dvt.backbone.backbone import Backbone
from dvt.backbone.features import check_model, require_finite
from dvt.calibration.config import CalibrationConfig, Method
from dvt.calibration.maps import Affine, components, erased, subtracted, without_directions
from dvt.calibration.registers import find_registers
from dvt.calibration.sums import PositionSums
from dvt.calibration.windows import Windows
from dvt.decomposition.quality import load_quality
from dvt.decomposition.run import decompose_image
from dvt.denoiser.config import ALL, DenoiserConfig, Kind
from dvt.denoiser.denoised import DenoisedBackbone, denoiser_input
from dvt.denoiser.network import Denoiser, LinearMixing
from dvt.diagnosis.diagnose import fill_meters
from dvt.diagnosis.scores import ArtifactMeter
from dvt.diagnosis.windows import Choice, choose_images
from dvt.errors import BackboneError
from dvt.files import plain
from dvt.images import MAX_PIXELS, ImageFile, read_image
from dvt.images.resize import resize
from dvt.progress import SILENT, Reporter
from dvt.runtime import seed_for
from dvt.shapes import DenoiserInput, ImageBatch
from dvt.torch_state import own_torch_state
from dvt.weights.info import ModelInfo

_log = logging.getLogger(__name__)

LEAST_IMAGE_SHARE = 0.05
"""Images with a smaller share of the variance between them look alike. Measured with AugReg ViT-Ti, after and before
the norm, 24 images: 0.13 and 0.11 for images of ImageNet, 0.09 and 0.08 for six videos, 0.02 to 0.04 for the streets
of CamVid, one kitchen or one video."""
_BLANKS = 32
"""Images without content."""
_SCORES = ("position share", "shift error")
"""Of the raw and of the calibrated features, on images that were not used."""


@dataclass(frozen=True, slots=True, eq=False)
class Calibrated:
    """Result of a calibration."""

    denoiser: Denoiser
    """The denoiser; `.info.metrics` holds its scores, `.save_pretrained(folder)` writes it."""
    failed: dict[str, str]
    """Key and reason of images that could not be read; others were drawn in their place."""
    seconds: float
    """Duration."""


@own_torch_state()
@torch.no_grad()
def calibrate(
    backbone: Backbone,
    images: Sequence[ImageFile],
    config: CalibrationConfig | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
    reporter: Reporter = SILENT,
) -> Calibrated:
    """Compute a denoiser of kind `affine` or `registers` from a few images, without training.

    Three quarters of the images make it; the others measure it and choose the rank of `projected` and the number of
    neurons of `registers`.

    Args:
        backbone: the ViT.
        images: the images, `dvt.images.find_images("photos/")`.
        config: all options; None: the defaults.
        max_pixels: larger images are refused.
        reporter: shows every image.

    Raises:
        ImageError: too few images that can be read.
        ConfigError: an option that the method or this ViT does not have; `registers` of a ViT without outlier tokens.
        BackboneError: `backbone` is no ViT; `registers` of one that is not of timm or has other MLPs than plain ones.
        EvaluationError: features that are not finite.

    Examples:
        >>> import dvt
        >>> from dvt.images import find_images
        >>> backbone = dvt.load_backbone("vit_micro", device="cpu")
        >>> found = calibrate(backbone, find_images("photos/"))  # doctest: +SKIP
        >>> found.denoiser.save_pretrained("runs/centred")  # doctest: +SKIP
    """
    check_model("backbone", backbone)
    if not isinstance(backbone, Backbone):
        raise BackboneError(f"{backbone.full_name} is no plain ViT: give the backbone inside.")
    config, start_s = config or CalibrationConfig(), time.perf_counter()
    chosen = choose_images(images, config.num_images, config.seed, max_pixels)
    num_held_out = len(chosen.images) // 4
    held_out, used = chosen.images[:num_held_out], chosen.images[num_held_out:]
    windows = Windows(backbone.grid, config, max_pixels, reporter)
    make = _registers if config.method is Method.registers else _affine
    denoiser, numbers = make(backbone, windows, used, held_out)
    scores = _scores(DenoisedBackbone(backbone, denoiser), held_out, config, max_pixels)
    denoiser.info = _describe(denoiser, backbone, config, chosen, scores | numbers)
    return Calibrated(denoiser, dict(chosen.failed), time.perf_counter() - start_s)


def _registers(
    backbone: Backbone, windows: Windows, used: Sequence[ImageFile], held_out: Sequence[ImageFile]
) -> tuple[Denoiser, dict[str, float]]:
    found = find_registers(backbone, windows, used, held_out, windows.config.rank)
    config = DenoiserConfig(kind=Kind.registers)
    denoiser = Denoiser(config, backbone.num_channels, backbone.grid.hw, len(found.neurons))
    assert denoiser.neurons is not None
    denoiser.neurons.copy_(torch.tensor(found.neurons))
    return denoiser.eval(), found.numbers


def _affine(
    backbone: Backbone, windows: Windows, used: Sequence[ImageFile], held_out: Sequence[ImageFile]
) -> tuple[Denoiser, dict[str, float]]:
    layers = ALL if windows.config.method is Method.blocks else []
    architecture = DenoiserConfig(kind=Kind.affine, layers=layers).for_layers(backbone.layers, "method=blocks, layers")
    mixing = LinearMixing(len(architecture.layers), backbone.num_channels)
    found = _find(_Inputs(backbone, architecture, mixing, windows), used, held_out)
    return _as_denoiser(found, backbone, architecture), found.numbers


@dataclass(frozen=True, slots=True)
class _Inputs:
    """Windows as inputs of a linear denoiser."""

    backbone: Backbone
    architecture: DenoiserConfig
    mixing: LinearMixing
    windows: Windows

    def of(self, images: ImageBatch) -> DenoiserInput:
        """(B, H, W, (1 + L) C) inputs of the linear map, on the CPU."""
        raw, _, _ = denoiser_input(self.backbone, images.to(self.backbone.device), self.architecture.layers)
        require_finite(self.backbone.full_name, raw)
        return self.mixing.inputs(raw.float()).cpu()

    def sums(self, files: Sequence[ImageFile]) -> PositionSums:
        """The sums over windows of images."""
        sums = PositionSums(self.backbone.grid.num_patches, self.mixing.linear.in_features)
        for batches in self.windows.of_each(files):
            sums.add(torch.cat([self.of(batch) for batch in batches]))
        return sums


def _find(inputs: _Inputs, used: Sequence[ImageFile], held_out: Sequence[ImageFile]) -> Affine:
    """The map of a method."""
    config, backbone = inputs.windows.config, inputs.backbone
    match config.method:
        case Method.artifact:
            return subtracted(_mean_artifact(backbone, inputs.windows, used))
        case Method.blank:
            pattern = _blank_map(inputs)
            if not config.rank:
                return subtracted(pattern)
            return without_directions(pattern, inputs.sums(used).mean, config.rank)
        case Method.centred:
            sums = inputs.sums(used)
            _warn_if_alike(sums)
            return subtracted(sums.pattern)
        case Method.projected:
            sums = inputs.sums(used)
            _warn_if_alike(sums)
            return erased(sums, inputs.sums(held_out), config.rank, bool(config.centre))
        case Method.blocks:
            sums, num_blocks = inputs.sums(used), 1 + len(inputs.architecture.layers)
            _warn_if_alike(sums)
            scale = sums.covariance.diagonal()[: backbone.num_channels].sum()
            return components(sums, num_blocks, float(scale), config.centre is not False)
        case Method.registers:
            raise AssertionError("registers are no map")


def _mean_artifact(backbone: Backbone, windows: Windows, used: Sequence[ImageFile]) -> Tensor:
    """The mean of G over images, as stage 1 finds it, (P, C)."""
    quality = load_quality("fast")
    total = torch.zeros(backbone.grid.num_patches, backbone.num_channels, dtype=torch.float64)
    windows.reporter.start(len(used), "images", "stage 1")
    for file in used:
        image = read_image(file.path, max_pixels=windows.max_pixels)
        result = decompose_image(image, backbone, quality, seed_for(windows.config.seed, file.key))
        total += result.artifact.double().flatten(0, 1)
        windows.reporter.advance()
    return total / len(used)


def _blank_map(inputs: _Inputs) -> Tensor:
    """The mean response to images without content, (P, C)."""
    config = inputs.windows.config
    images = blank_images(inputs.backbone.grid.image_hw, config.seed)
    maps = [inputs.of(batch).double() for batch in torch.split(images, config.batch_size)]
    return torch.cat(maps).mean(dim=0).flatten(0, 1)


def blank_images(image_hw: tuple[int, int], seed: int) -> ImageBatch:
    """Images without content: half of one random colour each, black and white first, half of noise around grey.

    Examples:
        >>> blank_images((32, 48), 0).shape
        torch.Size([32, 3, 32, 48])
    """
    rng = torch.Generator().manual_seed(seed_for(seed, "blank images"))
    colours = torch.rand(_BLANKS // 2, 3, 1, 1, generator=rng)
    colours[0], colours[1] = 0, 1
    noise = 0.5 + 0.2 * torch.randn(_BLANKS // 2, 3, *image_hw, generator=rng)
    return torch.cat([colours.expand(-1, -1, *image_hw), noise.clamp(0, 1)])


def _warn_if_alike(sums: PositionSums) -> None:
    if sums.image_share < LEAST_IMAGE_SHARE:
        _log.warning(
            "the images look alike: %.3f of the variance lies between them, below %.2f. What they share at a position"
            " may be the scene and not the ViT: give images of many scenes.",
            sums.image_share,
            LEAST_IMAGE_SHARE,
        )


def _as_denoiser(found: Affine, backbone: Backbone, architecture: DenoiserConfig) -> Denoiser:
    denoiser = Denoiser(architecture, backbone.num_channels, backbone.grid.hw)
    denoiser.linear_mixing.fill(found.weight, found.bias)
    assert denoiser.pos_embed is not None
    denoiser.pos_embed.copy_(found.pattern)
    return denoiser.eval()


def _scores(
    model: DenoisedBackbone, images: Sequence[ImageFile], config: CalibrationConfig, max_pixels: int
) -> dict[str, float]:
    """Artifact scores of raw and calibrated features on images that were not used."""
    grid, names = model.grid, ("raw", "calibrated")
    meters = [ArtifactMeter(f"{model.backbone.full_name}, {name}", len(images), seed=config.seed) for name in names]

    def features(views: list[Tensor]) -> list[Tensor]:
        batch = torch.stack([resize(view, grid.image_hw) for view in views]).to(model.device)
        return [each(batch).patches.float() for each in (model.backbone, model)]

    fill_meters(meters, features, grid, images, seed=config.seed, batch_size=config.batch_size, max_pixels=max_pixels)
    found: dict[str, float] = {}
    for name, meter in zip(names, meters, strict=True):
        numbers = meter.result().numbers()
        found |= {f"{score}, {name}": numbers[score] for score in _SCORES}
    return found


def _describe(
    denoiser: Denoiser, backbone: Backbone, config: CalibrationConfig, chosen: Choice, metrics: dict[str, float]
) -> ModelInfo:
    given = {each.name: getattr(config, each.name) for each in fields(CalibrationConfig)}  # of a subclass no more
    options: dict[str, Any] = {name: plain(value) for name, value in given.items() if value is not None}
    return ModelInfo(
        kind="denoiser",
        spec=backbone.spec,
        architecture=denoiser.config.to_plain(),
        training={"calibration": options, "num_images": len(chosen.images)},
        metrics=metrics,
        base_license=backbone.reader.facts.license,
        made_from=backbone.reader.made_from,
    )
