"""DenoiserModule: what a denoiser is optimised for, and how it is judged in between."""

from typing import Any

import torch
from torch import Tensor

from dvt.backbone.backbone import Backbone
from dvt.denoiser.config import TrainConfig
from dvt.denoiser.denoised import denoiser_input
from dvt.denoiser.network import Denoiser
from dvt.losses import feature_distance
from dvt.shapes import DenoiserInput, FeatureMaps
from dvt.training.comparison import Comparison
from dvt.training.module import Frozen, StageModule


class DenoiserModule(StageModule):
    """Squared error plus cosine distance between the denoised and the clean features (paper, eq. 11)."""

    network: Denoiser

    def __init__(self, denoiser: Denoiser, config: TrainConfig, settings: dict[str, Any], backbone: Backbone | None):
        """Set up the training.

        Args:
            denoiser: what is trained.
            config: how.
            settings: what the run does, as plain JSON; kept in the checkpoints.
            backbone: the frozen ViT that turns pictures into raw features; None where pairs hold raw features.
        """
        super().__init__(denoiser, config, settings)
        self._backbone = Frozen(backbone)

    def loss(self, batch: dict[str, Any]) -> Tensor:
        """The distance over all patches of a batch."""
        return feature_distance(self.network(self.raw(batch)), batch["clean"].float())

    def raw(self, batch: dict[str, Any]) -> DenoiserInput:
        """(B, H, W, C) the raw features of a batch, read or computed; with those of earlier blocks behind them."""
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
        """Bring the ViT to where the work is."""
        if self._backbone.network is not None:
            self._backbone.network.to(self.device)

    def on_validation_epoch_start(self) -> None:
        """Begin to count."""
        self._comparison = Comparison(learnt="denoised", target="clean")

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Count a batch: distances of the raw and of the denoised features from the clean ones, position's share."""
        self._comparison.update(self.maps(batch))

    def on_validation_epoch_end(self) -> None:
        """Log the means over all validation images."""
        self.log_dict({f"val/{name}": value for name, value in self._comparison.means().items()})
