"""Stage 2: train a denoiser on feature stores, resumably, and publish it as a model folder."""

from collections.abc import Sequence
from pathlib import Path

from dvt.backbone.backbone import Backbone
from dvt.denoiser.config import Raw, TrainConfig, check_images
from dvt.denoiser.learn import Pairs, learn
from dvt.denoiser.pairs import ComputedPairs, PicturePairs, StoredPairs
from dvt.denoiser.sources import Pair, Sources, open_sources
from dvt.errors import ConfigError
from dvt.images import MAX_PIXELS, ImageFile
from dvt.progress import SILENT, Reporter
from dvt.spec import FeatureSpec
from dvt.training.resume import claim_folder
from dvt.training.run import Trained


def train_denoiser(
    stores: Sequence[str | Path],
    out: str | Path,
    config: TrainConfig | None = None,
    *,
    backbone: Backbone | None = None,
    images: Sequence[ImageFile] | None = None,
    needs: FeatureSpec | None = None,
    max_pixels: int = MAX_PIXELS,
    reporter: Reporter = SILENT,
) -> Trained:
    """Train a denoiser on the features of one or several stores.

    Args:
        stores: folders that `dvt decompose` filled, for one backbone and one reading of it.
        out: folder of the run: checkpoints, logs, pictures, and at the end `weights.safetensors` and `config.json`.
        config: all options; None: the defaults.
        backbone: the frozen ViT that the stores were made with; not needed with `pairs.raw=stored`.
        images: learn from these only, by key; not needed with `pairs.raw=stored`.
        needs: what the features have to be; None: those of the backbone, where one is given.
        max_pixels: larger pictures are refused.
        reporter: shows the notes of the start, then every step.

    Raises:
        StoreError: a store is missing or damaged, or its features are others than those needed.
        TrainingError: nothing to learn from, images without features, a loss that is not finite, or a run that cannot
            be resumed.
        ConfigError: options that do not go together.
    """
    out, config = Path(out), config or TrainConfig()
    check_images(config, given=images is not None)
    claim_folder(out, "denoiser")
    if needs is None and backbone is not None:
        needs = backbone.spec
    sources = open_sources(stores, needs, images, config.pairs.missing)
    pairs = sources.split(config.pairs.val_share)
    train, val = (_data_set(part, sources, config, backbone, max_pixels) for part in pairs)
    left_out = f", {sources.num_missing} without features left out" if sources.num_missing else ""
    summary = (
        f"{len(sources.pairs)} images{left_out} -> {out}   {sources.meta.spec.backbone}, {sources.meta.spec.grid},"
        f" raw {config.pairs.raw.value}, {config.num_steps} steps of {config.batch_size}"
    )
    return learn(
        sources,
        lambda start: (train, val),
        out,
        config,
        backbone=backbone,
        summary=summary,
        reporter=reporter,
    )


def _data_set(
    pairs: list[Pair],
    sources: Sources,
    config: TrainConfig,
    backbone: Backbone | None,
    max_pixels: int,
) -> Pairs:
    layers = config.denoiser.layers
    if config.pairs.raw is Raw.stored:
        if "raw" not in sources.meta.arrays:
            raise ConfigError(
                "the store holds no raw features: give pairs.raw=recomputed and images=..., or make a store with"
                " arrays=[raw,clean]."
            )
        return StoredPairs(pairs)
    if backbone is None:
        raise ConfigError(f"pairs.raw={config.pairs.raw.value} needs the ViT that the stores were made with: backbone.")
    if any(layer >= backbone.layer for layer in layers):
        raise ConfigError(
            f"denoiser.layers={layers}: give blocks before block {backbone.layer}, which the store is of."
        )
    if config.pairs.raw is Raw.computed:
        return ComputedPairs(pairs, backbone, layers, max_pixels)
    return PicturePairs(pairs, sources.meta.spec.grid, config.pairs, config.seed, max_pixels)
