"""Stage 2: train a denoiser on pairs of raw and clean features, resumably, and publish it as a model folder."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dvt.backbone.backbone import Backbone
from dvt.backbone.catalogue import licence_of
from dvt.backbone.features import check_model
from dvt.denoiser.config import Kind, Raw, TrainConfig, check_images
from dvt.denoiser.network import Denoiser
from dvt.denoiser.pairs import batch_maps, input_of, make_pair_set
from dvt.denoiser.position_adversary import PositionAdversary
from dvt.denoiser.ridge import check_ridge, solve_ridge, sums_text
from dvt.images import MAX_PIXELS, ImageFile
from dvt.losses import feature_distance
from dvt.numbers import takes_numbers
from dvt.options import check_type
from dvt.progress import SILENT, Reporter
from dvt.runtime import seed_for
from dvt.shapes import DenoiserInput, FeatureMaps
from dvt.torch_state import own_torch_state
from dvt.training.checkpoints import Start, claim_folder, find_start, one_run
from dvt.training.data import ItemSet
from dvt.training.loggers import check_logger
from dvt.training.module import StageModule
from dvt.training.run import Trained, comparable_settings, train_and_publish
from dvt.training.sources import PairsInfo, open_sources
from dvt.weights.checkpoint import CHECKPOINTS, spec_settings
from dvt.weights.info import ModelInfo


@takes_numbers
@own_torch_state()
@one_run
def train_denoiser(
    stores: str | Path | Sequence[str | Path],
    out: str | Path,
    config: TrainConfig | None = None,
    *,
    backbone: Backbone | None = None,
    images: Sequence[ImageFile] | None = None,
    max_pixels: int = MAX_PIXELS,
    reporter: Reporter = SILENT,
) -> Trained:
    """Train a denoiser on the features of one or several stores. The same call continues a run that was stopped.

    A linear denoiser (`denoiser.kind=linear`) is solved by ridge regression, in one pass over the images.

    Args:
        stores: a folder, or several, that `dvt decompose` filled, all with the same features. If they hold F
            (`fine=2`), the image size of `backbone` may be another one, and the denoiser may be finer than the patches.
        out: folder of the run: checkpoints, logs, panels, and at the end `weights.safetensors` and `config.json`.
        config: all options; None: the defaults.
        backbone: the frozen ViT that the stores were made with; not needed with `pairs.raw=stored`.
        images: train on these only, by key; not needed with `pairs.raw=stored`.
        max_pixels: larger images are refused.
        reporter: shows the notes of the start, then every step.

    Raises:
        StoreError: a store is missing or damaged, or has other features than the backbone gives.
        TrainingError: no pairs, images without features, a loss that is not finite, or a run that cannot be resumed.
        ConfigError: options that exclude each other.

    Examples:
        >>> import dvt
        >>> from dvt.denoiser.config import TrainConfig
        >>> trained = dvt.train_denoiser(["runs/photos"], "runs/denoiser", TrainConfig(num_steps=500))  # doctest: +SKIP
        >>> trained.metrics["val/cosine"] > trained.metrics["val/raw_cosine"]  # doctest: +SKIP
        True
    """
    check_type("config", config, TrainConfig, "give dvt.denoiser.config.TrainConfig(num_steps=1000).")
    if backbone is not None:
        check_model("backbone", backbone)
    out, config = Path(out), config or TrainConfig()
    check_logger(config.logger)
    check_images(config, given=images is not None)
    if config.denoiser.kind is Kind.linear:
        check_ridge(config)
    claim_folder(out, "denoiser")
    needs = None if backbone is None else backbone.spec
    sources = open_sources(
        stores, needs, images, missing=config.pairs.missing, group="pairs", fine=config.denoiser.fine,
        any_grid=config.pairs.raw is not Raw.stored,
    )  # fmt: skip
    config = replace(config, denoiser=config.denoiser.for_layers(sources.spec.layers))
    train, val = (
        make_pair_set(part, sources, config, backbone, max_pixels) for part in sources.split(config.pairs.val_share)
    )
    info = sources.info
    left_out = f", {sources.num_missing} without features left out" if sources.num_missing else ""
    summary = (
        f"{info.num_images} images{left_out} -> {out}   {info.spec.backbone}, {info.spec.grid},"
        f" raw {config.pairs.raw.value}"
    )
    if config.denoiser.kind is Kind.linear:
        num_inputs = (1 + len(config.denoiser.layers)) * info.spec.channels
        reporter.note(f"{summary}, {sums_text(num_inputs)}")
        about = _about(info, config)
        return solve_ridge(about, train, val, out, config, backbone=backbone, reporter=reporter)
    summary += f", {config.num_steps} steps of {config.batch_size}"
    start = start_run(info, out, config, summary, reporter)
    return train_on_pairs(info, train, val, out, config, start, backbone=backbone, reporter=reporter)


def start_run(info: PairsInfo, out: Path, config: TrainConfig, summary: str, reporter: Reporter) -> Start:
    """Decide where a run starts, and report it with a line about the run.

    Raises:
        TrainingError: a run that cannot be resumed.
        ConfigError: an adversary that does not fit the maps.
    """
    config.adversary.check_grid(_output_grid(info, config))
    start = find_start(config.resume, out / CHECKPOINTS, _settings(info, config), allow_changes=config.allow_changes)
    start.report(summary, reporter)
    return start


def train_on_pairs(
    info: PairsInfo,
    train: ItemSet,
    val: ItemSet,
    out: Path,
    config: TrainConfig,
    start: Start,
    *,
    backbone: Backbone | None,
    reporter: Reporter,
) -> Trained:
    """Train a denoiser on pairs from any source, and publish it.

    Args:
        info: description of the pairs.
        train: pairs to learn from.
        val: pairs for validation.
        out: folder of the run.
        config: all options.
        start: where the run starts.
        backbone: the frozen ViT, where pairs hold images.
        reporter: shows every step.

    Raises:
        TrainingError: a loss that is not finite.
        ConfigError: options that exclude each other.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_for(config.seed, "first weights"))
        denoiser = Denoiser(config.denoiser, info.spec.channels, info.spec.grid.hw)
    module = DenoiserModule(denoiser, config, _settings(info, config), backbone, _adversary(info, config))
    return train_and_publish(
        module, train, val, config, out, start, command="train", about=_about(info, config),
        state=denoiser.state_dict, reporter=reporter,
    )  # fmt: skip


def _adversary(info: PairsInfo, config: TrainConfig) -> PositionAdversary | None:
    """The untrained adversary of a run; it leaves the first weights of the denoiser as they are."""
    if not config.adversary.weight:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed_for(config.seed, "first weights of the adversary"))
        return PositionAdversary(config.adversary, info.spec.channels, _output_grid(info, config))


def _output_grid(info: PairsInfo, config: TrainConfig) -> tuple[int, int]:
    """Rows and columns of the denoised maps."""
    return info.spec.grid.finer(config.denoiser.fine).hw


def _about(info: PairsInfo, config: TrainConfig) -> ModelInfo:
    """What is published, without the numbers of the run."""
    return ModelInfo(
        kind="denoiser",
        spec=info.spec,
        architecture=config.denoiser.to_plain(),
        training={"data_sha256": info.data_hash, "stage1": info.stage1},
        base_license=licence_of(info.spec.backbone),
    )


def _settings(info: PairsInfo, config: TrainConfig) -> dict[str, Any]:
    """The settings that a resumed run must share with its checkpoint."""
    settings = comparable_settings(config, TrainConfig)
    del settings["ridge"]  # no part of a training by steps
    if not config.adversary.weight:
        del settings["adversary"]  # as in checkpoints from before this option
    del settings["pairs"]["missing"]  # images that were left out show in the number of images and in the data hash
    return {
        **settings,
        "stage": "train",
        "num_images": info.num_images,
        "data": info.data_hash,
        **spec_settings(info.spec),
    }


class DenoiserModule(StageModule):
    """Squared error plus cosine distance between the denoised and the clean features (paper, eq. 11).

    With an adversary the denoiser also minimises `adversary.weight` times what that reads of the position, and the
    adversary learns in the same step, with a learning rate of its own.
    """

    network: Denoiser
    learned, target = "denoised", "clean"

    def __init__(
        self,
        denoiser: Denoiser,
        config: TrainConfig,
        settings: dict[str, Any],
        backbone: Backbone | None,
        adversary: PositionAdversary | None = None,
    ):
        """Set up the training.

        Args:
            denoiser: the network to train.
            config: all options.
            settings: settings of the run as plain JSON; kept in the checkpoints.
            backbone: the frozen ViT that computes raw features of images; None where pairs hold raw features.
            adversary: reads the position from denoised features; checkpoints hold it, the published model does not.
        """
        super().__init__(denoiser, config, settings, backbone)
        self.adversary = adversary
        self._seed = config.seed
        self._readings: list[Tensor] = []

    def loss(self, batch: dict[str, Any]) -> Tensor:
        """The distance over all patches of a batch; with an adversary plus its losses."""
        denoised, clean = self.network(self.raw(batch)), batch["clean"].float()
        distance = feature_distance(denoised, clean)
        if self.adversary is None:
            return distance
        options, losses = self.adversary.config, self.adversary.losses(denoised, clean, self._seed, self.global_step)
        parts = {"distance": distance, "reads": losses.reads, "consistency": losses.consistency}
        parts["reveals"] = losses.reveals
        self.log_dict({f"train/{name}": value.detach() for name, value in parts.items()})
        learns = losses.reads + options.consistency * losses.consistency
        return distance + options.weight * losses.reveals + learns

    def raw(self, batch: dict[str, Any]) -> DenoiserInput:
        """The input of the denoiser for a batch."""
        return input_of(batch, self.frozen.network, self.network.config.layers, self.device)

    def maps(self, batch: dict[str, Any]) -> dict[str, FeatureMaps]:
        """The raw, clean and denoised maps of a batch."""
        return batch_maps(self.network, self.raw(batch), batch["clean"].float())

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The denoiser, and the adversary with its own learning rate."""
        groups = super().parameter_groups()
        if self.adversary is not None:
            groups.append({"params": list(self.adversary.parameters()), "lr": self.adversary.config.learning_rate})
        return groups

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip each network alone: gradients of the adversary must not shorten the steps of the denoiser."""
        if self.adversary is None:
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_val:
            for network in (self.network, self.adversary):
                torch.nn.utils.clip_grad_norm_(network.parameters(), gradient_clip_val)

    def on_validation_epoch_start(self) -> None:
        """Start the comparison and the readings of the adversary."""
        super().on_validation_epoch_start()
        self._readings = []

    def compare(self, maps: dict[str, FeatureMaps]) -> None:
        """Compare the maps of a batch, and let the adversary read them."""
        super().compare(maps)
        if self.adversary is not None:
            read = [self.adversary.accuracy(maps[name]) for name in ("denoised", "clean")]
            self._readings.append(torch.stack(read, dim=1))

    def on_validation_epoch_end(self) -> None:
        """Log the means over all validation images; of the adversary the share of rows and columns it reads right."""
        super().on_validation_epoch_end()
        if self.adversary is not None:
            denoised, clean = torch.cat(self._readings).mean(dim=0)
            found = {"adversary": denoised, "adversary_clean": clean, "adversary_chance": self.adversary.chance}
            self.log_dict({f"val/{name}_accuracy": value for name, value in found.items()})
