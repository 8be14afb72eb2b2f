"""What calibrations would do for a ViT, measured on images that they have not seen."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dvt.backbone.backbone import Backbone
from dvt.calibration.config import CalibrationConfig, Method
from dvt.calibration.registers import NoRegistersError
from dvt.calibration.run import calibrate
from dvt.errors import BackboneError
from dvt.images import MAX_PIXELS, ImageFile
from dvt.progress import SILENT, Reporter

_log = logging.getLogger(__name__)

RAW: Final = "raw"
"""The features as they are."""
GAIN = 0.1
"""A way is better than a cheaper one if it lowers the shift error by this share of it."""
POSITION = 0.05
"""A way that halves a position share from here on is better, whatever the shift error does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Raw features, or those of a calibration, and their scores."""

    name: str
    """raw, or the method of `dvt calibrate`."""
    position_share: float
    """Share of the variance that position explains."""
    shift_error: float
    """Squared difference of tokens of the same content in two windows, over twice the variance."""


def measure_ways(
    backbone: Backbone,
    images: Sequence[ImageFile],
    config: CalibrationConfig,
    *,
    registers: bool = False,
    max_pixels: int = MAX_PIXELS,
    reporter: Reporter = SILENT,
) -> list[Way]:
    """Scores of the raw features and of the calibrations that take one pass, cheapest first.

    Args:
        backbone: the ViT.
        images: the images.
        config: their number, windows, batch size and seed; its method is replaced.
        registers: whether the ViT has outliers, so that registers are measured as well.
        max_pixels: larger images are refused.
        reporter: shows every image.

    Raises:
        ImageError, EvaluationError: as `calibrate`.
    """
    ways: list[Way] = []
    blocks = [Method.blocks] if len(backbone.layers) == 1 and backbone.layer > 0 else []
    moved = [Method.registers] if registers else []
    for method in (Method.centred, Method.projected, *moved, *blocks):
        options = CalibrationConfig(
            method=method,
            num_images=config.num_images,
            windows=config.windows,
            batch_size=config.batch_size,
            seed=config.seed,
        )
        try:
            info = calibrate(backbone, images, options, max_pixels=max_pixels, reporter=reporter).denoiser.info
        except (NoRegistersError, BackboneError) as error:
            if method is not Method.registers:
                raise
            _log.warning("method=registers was not measured: %s", error)
            continue
        assert info is not None
        for name in ("raw", "calibrated"):
            if name == "raw" and ways:
                continue
            position, shift = (info.metrics[f"{score}, {name}"] for score in ("position share", "shift error"))
            ways.append(Way(name=RAW if name == "raw" else method.value, position_share=position, shift_error=shift))
    return ways


def best_way(ways: Sequence[Way]) -> Way:
    """The cheapest way that no later one improves on.

    Examples:
        >>> raw = Way(name="raw", position_share=0.01, shift_error=0.30)
        >>> centred = Way(name="centred", position_share=0.00, shift_error=0.29)
        >>> blocks = Way(name="blocks", position_share=0.00, shift_error=0.14)
        >>> best_way([raw, centred]).name, best_way([raw, centred, blocks]).name
        ('raw', 'blocks')
    """
    best = ways[0]
    for way in ways[1:]:
        less_position = best.position_share >= POSITION and way.position_share < best.position_share / 2
        if less_position or way.shift_error < (1 - GAIN) * best.shift_error:
            best = way
    return best
