"""Options of `dvt evaluate`, as a typed Hydra schema. Light: imported to print help."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from dvt.cli.apps import MISSING
from dvt.cli.method_apps import MethodsApp
from dvt.diagnosis.sampling import ArtifactScoresConfig
from dvt.evaluation.depth.config import LinearDepthConfig
from dvt.evaluation.discovery.config import ObjectDiscoveryConfig, SaliencyConfig
from dvt.evaluation.retrieval.config import RetrievalConfig
from dvt.evaluation.segmentation.config import KnnSegmentationConfig, LinearSegmentationConfig
from dvt.evaluation.video.config import VideoSegmentationConfig


class Report(str, Enum):
    """What is written beside the tables."""

    none = "none"
    """Nothing."""
    html = "html"
    """One page with tables, plots and pictures, that needs nothing else."""


@dataclass(kw_only=True, slots=True)
class EvaluateApp(MethodsApp):
    """Options of `dvt evaluate`."""

    task: Any = MISSING
    """One or several of linear_segmentation, knn_segmentation, linear_depth, object_discovery, saliency,
    video_segmentation, retrieval, artifact_scores; the options of each stand under its name."""
    data: str = MISSING
    """Folder of the data; a task that does not find what it needs says which layout it looked for."""
    out: str | None = None
    """Folder for tables (.md, .json), features that were dear, and the report; left out: the table is printed, nothing
    is kept."""
    report: Report = Report.none
    """html: one page with tables, plots and pictures in out."""
    pictures: Any = None
    """Images that the report shows; a few of the data when left out."""
    method: list[str] = field(default_factory=lambda: ["raw", "tiles", "decomposed"])
    """Features side by side: raw, srt, decomposed, denoised, distilled; raw@2x looks at twice the image size, tiles at
    2 x 2 parts of the picture (tiles@3x, srt-tiles): how much of a gain is zoom alone."""
    linear_segmentation: LinearSegmentationConfig = field(default_factory=LinearSegmentationConfig)
    """Linear probe for classes of patches or pixels."""
    knn_segmentation: KnnSegmentationConfig = field(default_factory=KnnSegmentationConfig)
    """Classes by nearest class means, without training."""
    linear_depth: LinearDepthConfig = field(default_factory=LinearDepthConfig)
    """Linear probe for depth."""
    object_discovery: ObjectDiscoveryConfig = field(default_factory=ObjectDiscoveryConfig)
    """Boxes around objects, without training."""
    saliency: SaliencyConfig = field(default_factory=SaliencyConfig)
    """Masks of objects, without training."""
    video_segmentation: VideoSegmentationConfig = field(default_factory=VideoSegmentationConfig)
    """A mask carried through a video."""
    retrieval: RetrievalConfig = field(default_factory=RetrievalConfig)
    """Pictures found by pictures, and classified by their neighbours."""
    artifact_scores: ArtifactScoresConfig = field(default_factory=ArtifactScoresConfig)
    """What belongs to the position of a patch."""
