"""Stage 2: train a denoiser on pairs of raw and clean features, resumably, and publish it as a model folder."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dvt.backbone.backbone import Backbone
from dvt.backbone.catalogue import licence_of
from dvt.denoiser.config import Raw, TrainConfig, check_images
from dvt.denoiser.denoised import denoiser_input
from dvt.denoiser.network import Denoiser
from dvt.denoiser.pairs import ComputedPairs, ImagePairs, Pair, PairSet, PairsInfo, Sources, StoredPairs, open_sources
from dvt.errors import ConfigError
from dvt.files import plain
from dvt.images import MAX_PIXELS, ImageFile
from dvt.losses import feature_distance
from dvt.progress import SILENT, Reporter
from dvt.runtime import seed_for
from dvt.shapes import DenoiserInput, FeatureMaps
from dvt.spec import FeatureSpec
from dvt.training.checkpoints import Start, claim_folder, find_start
from dvt.training.module import Frozen, StageModule
from dvt.training.run import Trained, comparable_settings, fit, write_record
from dvt.training.validation import Comparison, ShowSamples
from dvt.version import __version__
from dvt.weights.checkpoint import CHECKPOINTS, spec_settings
from dvt.weights.folder import save_model
from dvt.weights.info import ModelInfo


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
    """Train a denoiser on the features of one or several stores. The same call continues a run that was stopped.

    Args:
        stores: folders that `dvt decompose` filled, all with the same features.
        out: folder of the run: checkpoints, logs, panels, and at the end `weights.safetensors` and `config.json`.
        config: all options; None: the defaults.
        backbone: the frozen ViT that the stores were made with; not needed with `pairs.raw=stored`.
        images: train on these only, by key; not needed with `pairs.raw=stored`.
        needs: the features needed; None: those of the backbone, where one is given.
        max_pixels: larger images are refused.
        reporter: shows the notes of the start, then every step.

    Raises:
        StoreError: a store is missing or damaged, or has other features than needed.
        TrainingError: no pairs, images without features, a loss that is not finite, or a run that cannot be resumed.
        ConfigError: options that exclude each other.

    Examples:
        >>> import dvt
        >>> from dvt.denoiser.config import TrainConfig
        >>> trained = dvt.train_denoiser(["runs/photos"], "runs/denoiser", TrainConfig(num_steps=500))  # doctest: +SKIP
        >>> trained.metrics["val/cosine"] > trained.metrics["val/raw_cosine"]  # doctest: +SKIP
        True
    """
    out, config = Path(out), config or TrainConfig()
    check_images(config, given=images is not None)
    claim_folder(out, "denoiser")
    if needs is None and backbone is not None:
        needs = backbone.spec
    sources = open_sources(stores, needs, images, config.pairs.missing)
    train, val = (
        _pair_set(part, sources, config, backbone, max_pixels) for part in sources.split(config.pairs.val_share)
    )
    info = sources.info
    left_out = f", {sources.num_missing} without features left out" if sources.num_missing else ""
    summary = (
        f"{info.num_images} images{left_out} -> {out}   {info.spec.backbone}, {info.spec.grid},"
        f" raw {config.pairs.raw.value}, {config.num_steps} steps of {config.batch_size}"
    )
    return train_on_pairs(
        info, lambda start: (train, val), out, config, backbone=backbone, summary=summary, reporter=reporter
    )


def train_on_pairs(
    info: PairsInfo,
    make_pairs: Callable[[Start], tuple[PairSet, PairSet]],
    out: Path,
    config: TrainConfig,
    *,
    backbone: Backbone | None,
    summary: str,
    reporter: Reporter,
) -> Trained:
    """Train a denoiser on pairs from any source, and publish it.

    Args:
        info: description of the pairs.
        make_pairs: gives the training and the validation pairs; called once it is known where the run starts.
        out: folder of the run.
        config: all options.
        backbone: the frozen ViT, where pairs hold images.
        summary: a line about the run, for the reporter.
        reporter: shows the notes of the start, then every step.

    Raises:
        TrainingError: a loss that is not finite, or a run that cannot be resumed.
        ConfigError: options that exclude each other.
    """
    settings = comparable_settings(config, TrainConfig)
    del settings["pairs"]["missing"]  # images that were left out show in the number of images and in the data hash
    settings |= {"stage": "train", "num_images": info.num_images, "data": info.data_hash, **spec_settings(info.spec)}
    start = find_start(config.resume, out / CHECKPOINTS, settings, allow_changes=config.allow_changes)
    start.report(summary, reporter)
    train, val = make_pairs(start)
    num_train, num_val = (len(each) for each in (train, val))  # type: ignore[arg-type]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_for(config.seed, "first weights"))
        denoiser = Denoiser(config.denoiser, info.spec.channels, info.spec.grid.hw)
    module = DenoiserModule(denoiser, config, settings, backbone)
    shown = (ShowSamples(val, num_val, out / "panels", config.show_every),) if config.show_every else ()
    fitted = fit(module, train, val, config, out, start, callbacks=shown, reporter=reporter)
    if fitted.is_main:
        if not fitted.interrupted:
            model = ModelInfo(
                kind="denoiser",
                spec=info.spec,
                architecture=plain(config.denoiser),
                training={
                    "data_sha256": info.data_hash,
                    "num_images": num_train,
                    "num_val_images": num_val,
                    "stage1": info.stage1,
                    "num_steps": fitted.step,
                    "batch_size": config.batch_size,
                    "seed": config.seed,
                    "base_learning_rate": config.optimizer.base_learning_rate,
                },
                metrics=fitted.measured,
                base_license=licence_of(info.spec.backbone),
                code_version=__version__,
            )
            save_model(out, denoiser.state_dict(), model)
        write_record(out, "train", config, fitted, start, device=module.device)
    return Trained(out, fitted.step, fitted.interrupted, fitted.metrics, start.notes)


def _pair_set(
    pairs: list[Pair], sources: Sources, config: TrainConfig, backbone: Backbone | None, max_pixels: int
) -> PairSet:
    layers, meta = config.denoiser.layers, sources.stores[0].meta
    if config.pairs.raw is Raw.stored:
        if "raw" not in meta.arrays:
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
    return ImagePairs(pairs, meta.spec.grid, config.pairs, config.seed, max_pixels)


class DenoiserModule(StageModule):
    """Squared error plus cosine distance between the denoised and the clean features (paper, eq. 11)."""

    network: Denoiser

    def __init__(self, denoiser: Denoiser, config: TrainConfig, settings: dict[str, Any], backbone: Backbone | None):
        """Set up the training.

        Args:
            denoiser: the network to train.
            config: all options.
            settings: settings of the run as plain JSON; kept in the checkpoints.
            backbone: the frozen ViT that computes raw features of images; None where pairs hold raw features.
        """
        super().__init__(denoiser, config, settings)
        self._backbone = Frozen(backbone)

    def loss(self, batch: dict[str, Any]) -> Tensor:
        """The distance over all patches of a batch."""
        return feature_distance(self.network(self.raw(batch)), batch["clean"].float())

    def raw(self, batch: dict[str, Any]) -> DenoiserInput:
        """(B, H, W, (1 + L) C) raw features of a batch, stored or computed; those of L earlier blocks behind them."""
        if "raw" in batch:
            return batch["raw"].float()  # type: ignore[no-any-return]
        patches, _, _ = denoiser_input(self._backbone.network, batch["image"], self.network.config.layers)
        return patches.to(self.device, torch.float32)

    def maps(self, batch: dict[str, Any]) -> dict[str, FeatureMaps]:
        """The raw, clean and denoised maps of a batch."""
        raw = self.raw(batch)
        own = raw[..., : self.network.num_channels]
        return {"raw": own, "clean": batch["clean"].float(), "denoised": self.network(raw).float()}

    def on_fit_start(self) -> None:
        """Move the ViT to the device of the training."""
        if self._backbone.network is not None:
            self._backbone.network.to(self.device)

    def on_validation_epoch_start(self) -> None:
        """Start the comparison."""
        self._comparison = Comparison(learned="denoised", target="clean")

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Compare the raw and the denoised features of a batch with the clean ones."""
        self._comparison.update(self.maps(batch))

    def on_validation_epoch_end(self) -> None:
        """Log the means over all validation images."""
        self.log_dict({f"val/{name}": value for name, value in self._comparison.means().items()})
