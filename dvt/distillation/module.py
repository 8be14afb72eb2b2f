"""DistillModule: what a student is optimised for, and how it is judged in between."""

from typing import Any

import torch
from torch import Tensor

from dvt.backbone.features import Features
from dvt.distillation.config import DistillConfig
from dvt.distillation.student import Student, Teacher
from dvt.losses import feature_distance
from dvt.shapes import FeatureMaps
from dvt.training.comparison import Comparison
from dvt.training.module import Frozen, StageModule


class DistillModule(StageModule):
    """Squared error plus cosine distance between the patches of student and teacher; the same of the class token."""

    network: Student

    def __init__(
        self,
        student: Student,
        config: DistillConfig,
        settings: dict[str, Any],
        teacher: Teacher,
        class_token_weight: float,
    ):
        """Set up the training.

        Args:
            student: what is trained.
            config: how.
            settings: what the run does, as plain JSON; kept in the checkpoints.
            teacher: gives the patches to learn, and the class token.
            class_token_weight: weight of the class token's distance beside that of the patches; 0: none.
        """
        super().__init__(student, config, settings)
        self._teacher = Frozen(teacher)
        self._class_token_weight = class_token_weight
        self._has_class_token = student.backbone.vit.cls_token is not None

    def loss(self, batch: dict[str, Any]) -> Tensor:
        """The distance over all patches of a batch, and the weighted one over its class tokens."""
        wanted, given = self._teacher.network(batch["image"]), self.network(batch["image"])
        loss = feature_distance(given.patches.float(), wanted.patches.float())
        if not self._class_token_weight:
            return loss
        class_token = feature_distance(given.prefix[:, 0].float(), wanted.prefix[:, 0].float())
        return loss + self._class_token_weight * class_token

    def features(self, batch: dict[str, Any]) -> dict[str, Features]:
        """The features that the ViT before (`raw`), the teacher and the student give of a batch."""
        teacher = self._teacher.network
        extractors = {"raw": teacher.backbone, "teacher": teacher, "student": self.network}
        return {name: extractor(batch["image"]) for name, extractor in extractors.items()}

    def maps(self, batch: dict[str, Any]) -> dict[str, FeatureMaps]:
        """The maps of the ViT before, the teacher and the student."""
        return {name: features.patches.float() for name, features in self.features(batch).items()}

    def on_fit_start(self) -> None:
        """Bring the teacher to where the work is."""
        self._teacher.network.to(self.device)

    def on_validation_epoch_start(self) -> None:
        """Begin to count."""
        self._comparison = Comparison(learnt="student", target="teacher")
        self._class_tokens: list[Tensor] = []

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Count a batch: distances from the teacher of the ViT and of the student, class tokens, position's share."""
        features = self.features(batch)
        self._comparison.update({name: each.patches.float() for name, each in features.items()})
        if self._has_class_token:
            before, after = (features[name].prefix[:, 0].float() for name in ("raw", "student"))
            self._class_tokens += torch.cosine_similarity(before, after, dim=-1).unbind()

    def on_validation_epoch_end(self) -> None:
        """Log the means over all validation images."""
        self.log_dict({f"val/{name}": value for name, value in self._comparison.means().items()})
        if self._has_class_token:
            self.log("val/class_token_cosine", torch.stack(self._class_tokens).mean())
