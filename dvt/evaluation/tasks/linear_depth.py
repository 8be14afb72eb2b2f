"""LinearDepth: the task."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from dvt.backbone.load import image_hw
from dvt.errors import EvaluationError
from dvt.evaluation.config.depth import DepthDataset, DepthProtocol, LinearDepthConfig
from dvt.evaluation.config.layout import Layout
from dvt.evaluation.datasets.depth import EIGEN_BOX, NYU_BORDER_BOX, DepthPictures
from dvt.evaluation.datasets.nyuv2 import find_nyuv2
from dvt.evaluation.datasets.samples import LaidOut
from dvt.evaluation.datasets.sevenscenes import find_sevenscenes
from dvt.evaluation.layout_metrics import in_words, name_in
from dvt.evaluation.metrics import metrics_in
from dvt.evaluation.patches import fitting_hw
from dvt.evaluation.probes.depth_head import DepthHead
from dvt.evaluation.probes.depth_paper import paper_heads
from dvt.evaluation.probes.depth_quick import quick_heads
from dvt.evaluation.probes.depth_score import Errors, score_heads
from dvt.evaluation.task import Scores
from dvt.methods.method import Method
from dvt.progress import SILENT, Reporter

_QUICK_SIZE = 224
_QUICK_TRAIN = 1000
"""Tokens of that many pictures fit into memory."""


class LinearDepth:
    """How much depth a linear head reads off frozen features (DVT paper, section 5.2; DINOv2's linear head)."""

    name = "linear_depth"

    def __init__(self, config: LinearDepthConfig, data: Path):
        """Find the data; pictures are read later.

        Args:
            config: the task.
            data: folder of the data set.

        Raises:
            ConfigError: an image size that is none.
            EvaluationError: data are missing.
        """
        self._config = config
        self.metrics = metrics_in(config.layouts)
        self._quick = config.chosen_protocol is DepthProtocol.quick
        self._looked_at_hw = image_hw(_QUICK_SIZE if config.image_size is None else config.image_size)
        for size in (config.paper.train_size, config.paper.test_size):
            image_hw(size)
        self._train, self._test, self._split = self._find(data)

    @property
    def protocol(self) -> dict[str, Any]:
        """How it is measured."""
        config = self._config
        split = {"sevenscenes": asdict(config.sevenscenes)} if config.dataset is DepthDataset.sevenscenes else {}
        if self._quick:
            numbers = {"image_hw": list(self._looked_at_hw), **asdict(config.quick)}
        else:
            numbers = {name: value for name, value in asdict(config.paper).items() if name != "workers"}
        return {
            "dataset": str(config.dataset),
            "split": self._split,
            **split,
            "train_pictures": len(self._train),
            "test_pictures": len(self._test),
            "eigen_crop": self._eigen_crop,
            "layouts": [str(layout) for layout in config.layouts],
            "protocol": str(config.chosen_protocol),
            **numbers,
            "head": asdict(config.head),
            "loss": {**asdict(config.loss), "gradient": str(config.loss.gradient)},
            "seeds": config.seeds,
        }

    def evaluate(self, method: Method, reporter: Reporter = SILENT) -> Scores:
        """Train a head for every seed and score each on the test pictures, in every layout.

        Args:
            method: makes the features.
            reporter: shows the progress.

        Raises:
            EvaluationError: files cannot be read, or no depth is known in any picture.
            GeometryError: the size does not fit the patch.
        """
        values: dict[str, tuple[float, ...]] = {}
        notes: list[str] = []
        heads_by_layout: dict[Layout, list[DepthHead]] = {}
        for layout in self._config.layouts:
            # Upside down are the test pictures alone, so that the heads are those of the usual layout.
            trained_in = Layout.crops if layout is Layout.crops else Layout.usual
            if trained_in not in heads_by_layout:
                heads_by_layout[trained_in], unusable = self._heads(method, trained_in, reporter)
                notes += _notes("training", trained_in, unusable)
            errors, left_out = self._score(heads_by_layout[trained_in], method, layout, reporter)
            notes += _notes("test", layout, left_out)
            for name in errors[0][0]:
                values[name_in(name, layout)] = tuple(_mean(each, name) for each in errors)
        return Scores(values=values, notes=tuple(notes))

    def _find(self, data: Path) -> tuple[DepthPictures, DepthPictures, str]:
        """Training pictures, test pictures, and how they were split."""
        config = self._config
        match config.dataset:
            case DepthDataset.sevenscenes:
                files, test_files, split = find_sevenscenes(data, config.sevenscenes)
                train = DepthPictures(files)
            case DepthDataset.nyuv2:
                files, test_files = find_nyuv2(data)
                split = "the lists of the data set"
                # Quick squashes whole pictures, in training as in testing; crops are cut out of what has no border.
                train = DepthPictures(files, **{"keep" if self._quick else "crop": NYU_BORDER_BOX})
        test = DepthPictures(test_files, keep=EIGEN_BOX if self._eigen_crop else None)
        num_train = config.num_train
        if num_train is None and self._quick:
            num_train = min(_QUICK_TRAIN, len(train))
        return train.evenly_spaced(num_train, "num_train"), test.evenly_spaced(config.num_test, "num_test"), split

    @property
    def _eigen_crop(self) -> bool:
        given = self._config.eigen_crop
        return self._config.dataset is DepthDataset.nyuv2 if given is None else given

    def _heads(self, method: Method, layout: Layout, reporter: Reporter) -> tuple[list[DepthHead], list[str]]:
        """A head for every seed, and the training pictures that were of no use."""
        if not self._quick:
            return paper_heads(method, self._train, layout, self._config, reporter), []
        return quick_heads(method, LaidOut(self._train, layout, test=False), self._looked_at_hw, self._config, reporter)

    def _score(
        self, heads: list[DepthHead], method: Method, layout: Layout, reporter: Reporter
    ) -> tuple[list[list[Errors]], list[str]]:
        """Errors per head and picture, and the test pictures that were left out."""
        config = self._config
        looked_at = self._looked_at_hw
        if not self._quick:
            looked_at = fitting_hw(method, image_hw(config.paper.test_size), larger=True)
        test = LaidOut(self._test, layout, test=True)
        flip = not self._quick and config.paper.flip_test
        errors, left_out = score_heads(
            heads, method, test, looked_at, flip=flip, range_m=config.head, reporter=reporter
        )
        if not errors[0]:
            raise EvaluationError(
                f"none of the {len(test)} test pictures has a depth between {config.head.min_depth} and"
                f" {config.head.max_depth} m where it is scored. Are the depth files in millimetres?"
            )
        return errors, left_out


def _mean(errors: list[Errors], name: str) -> float:
    return sum(each[name] for each in errors) / len(errors)


def _notes(which: str, layout: Layout, left_out: list[str]) -> list[str]:
    if not left_out:
        return []
    return [
        f"{len(left_out)} {which} pictures without any known depth were left out, {in_words(layout)} (first:"
        f" {left_out[0]})."
    ]
