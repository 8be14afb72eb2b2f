"""The steps of the demo, one after the other, each on what the one before has made."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from dvt.backbone.backbone import Backbone
from dvt.backbone.load import load_backbone
from dvt.decomposition.config import DecomposeConfig
from dvt.decomposition.quality import load_quality
from dvt.decomposition.run_list import ListOptions, decompose_list
from dvt.demo.config import DemoConfig
from dvt.demo.photographs import write_photographs, write_pieces
from dvt.denoiser.config import TrainConfig
from dvt.denoiser.denoised import DenoisedBackbone
from dvt.denoiser.train import train_denoiser
from dvt.diagnosis.config import ArtifactScoresConfig
from dvt.evaluation.result import TaskResult
from dvt.evaluation.run import evaluate
from dvt.evaluation.tasks.artifact_scores import ArtifactScores
from dvt.images import ImageFile, read_image
from dvt.methods.decomposed import Decomposed
from dvt.methods.method import Method, OnePass
from dvt.progress import SilentReporter
from dvt.srt.backbone import SrtBackbone
from dvt.srt.config import SrtConfig
from dvt.store import FeatureStore
from dvt.training.config import LoggerConfig, LoggerKind, OptimizerConfig, TrainerConfig
from dvt.viz import PCABasis, colour_row, decomposition_rows, draw_panel, method_rows, save_png, write_video
from dvt.weights.build import load_denoiser

VIT = "vit_micro"
SHIPPED = "vit_micro/denoiser"
"""The denoiser that comes with it."""


@dataclass(frozen=True, slots=True)
class Story:
    """What the demo has made."""

    out: Path
    """The folder."""
    backbone: str
    """Name of the ViT."""
    panels: list[tuple[str, Path]]
    """Pictures with their captions: the four terms, then the methods side by side."""
    scores: TaskResult
    """Artifact scores of every method."""
    video: Path | None
    """A walk over a photograph, raw and denoised."""
    seconds: dict[str, float]
    """What each step took."""


@dataclass(slots=True)
class Telling:
    """Told how the demo goes."""

    step: Callable[[str], None] = lambda text: None
    """A step begins."""
    progress: Callable[[str, int, int], None] = lambda what, done, total: None
    """How far it is."""


def tell_story(config: DemoConfig, telling: Telling | None = None) -> Story:
    """Run the whole demo; what is there already is not made again.

    Raises:
        ImageError: the packages that ship the photographs are missing.
        WeightsError: the weights that come with dvt are not there.
        DiskError: the disk is full or refuses.
    """
    telling, out, clock = telling or Telling(), Path(config.out), _Clock()
    telling.step("a small ViT that comes with dvt, and six photographs")
    backbone = load_backbone(VIT, device=config.device)
    shipped = DenoisedBackbone(backbone, load_denoiser(SHIPPED))
    photos = write_photographs(out / "photographs")
    pictures = [*photos, *write_pieces(photos, out / "pieces")]
    clock.lap("load")

    telling.step(f"stage 1: {config.num_views + 1} views of each of {len(pictures)} pictures, taken apart")
    quality = load_quality("fast", {"views": {"num_views": config.num_views}})
    _decompose(pictures, backbone, out / "store", quality, telling)
    clock.lap("stage 1")

    telling.step(f"stage 2: a denoiser learns from them, {config.num_steps} steps")
    own = _train(backbone, out, config, telling)
    clock.lap("stage 2")

    telling.step("scores: how much of the features belongs to the position of a patch")
    scores = _score(backbone, {"denoised": shipped, "denoised here": own}, pictures, quality, out, telling)
    clock.lap("scores")

    telling.step("pictures")
    panels = _draw(photos, backbone, shipped, out, telling)
    video = _film(photos[-2], backbone, shipped, out, config.num_frames, telling)
    clock.lap("pictures")
    return Story(out, backbone.timm_name, panels, scores, video, clock.seconds)


class _Clock:
    """What took how long."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last_s = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name], self._last_s = now - self._last_s, now


class _Counted(SilentReporter):
    """Reports the units of a piece of work to a `Telling`."""

    def __init__(self, telling: Telling, what: str = "") -> None:
        self._telling, self._what, self._shown, self._done, self._total = telling, what, what, 0, 0

    def start(self, total: int, unit: str, task: str = "") -> None:
        """The work begins."""
        self._done, self._total, self._shown = 0, total, self._what or task
        self.advance(0)

    def advance(self, count: int = 1, note: str = "") -> None:
        """Units are done."""
        self._done += count
        self._telling.progress(self._shown, self._done, self._total)


def _decompose(
    pictures: list[ImageFile], backbone: Backbone, store: Path, quality: DecomposeConfig, telling: Telling
) -> None:
    arrays = ("raw", "clean", "artifact")
    run = decompose_list(
        pictures,
        backbone,
        store,
        quality,
        ListOptions(arrays=arrays),
        _Counted(telling, "pictures"),
    )
    if run.interrupted:
        raise KeyboardInterrupt


def _train(backbone: Backbone, out: Path, config: DemoConfig, telling: Telling) -> DenoisedBackbone:
    train = TrainConfig(
        num_steps=config.num_steps,
        batch_size=16,
        show_every=0,
        optimizer=OptimizerConfig(base_learning_rate=5e-3),
        trainer=TrainerConfig(accelerator="cpu" if backbone.device.type == "cpu" else "auto"),
        logger=LoggerConfig(kind=LoggerKind.csv),
    )
    trained = train_denoiser(
        [out / "store"],
        out / "denoiser",
        train,
        reporter=_Counted(telling, "steps"),
    )
    if trained.interrupted:
        raise KeyboardInterrupt
    return DenoisedBackbone(backbone, load_denoiser(out / "denoiser"))


def _score(
    backbone: Backbone,
    denoised: dict[str, DenoisedBackbone],
    pictures: list[ImageFile],
    quality: DecomposeConfig,
    out: Path,
    telling: Telling,
) -> TaskResult:
    srt = SrtBackbone(backbone, SrtConfig(max_shift=6, step=6))
    methods: list[Method] = [
        OnePass("raw", backbone),
        OnePass("srt", srt, cost=srt.passes),
        Decomposed(backbone, quality),
        *(OnePass(name, model) for name, model in denoised.items()),
    ]
    task = ArtifactScores(ArtifactScoresConfig(num_images=18, seeds=1), [picture.path for picture in pictures])
    return evaluate(
        task,
        methods,
        "pieces of six photographs",
        cache=False,
        out=out / "scores",
        reporter=_Counted(telling),
    )


def _draw(
    photos: list[ImageFile], backbone: Backbone, denoised: DenoisedBackbone, out: Path, telling: Telling
) -> list[tuple[str, Path]]:
    store, panels = FeatureStore.open(out / "store"), []
    for number, photo in enumerate(photos, 1):
        record = store[photo.key]
        raw, clean, artifact = record.raw.float(), record.clean.float(), record.artifact.float()
        picture = backbone.preprocess(read_image(photo.path))
        name = photo.path.stem
        if number == 1:
            rows = decomposition_rows(picture, raw, clean, artifact, raw - clean - artifact)
            panels.append(("What stage 1 takes apart", save(draw_panel(rows), out / "terms.png")))
        maps = {"raw": raw, "stage 1": clean, "denoised": denoised(picture[None]).patches[0].cpu()}
        panels.append((name, save(draw_panel(method_rows(picture, maps)[:2]), out / f"{name}.png")))
        telling.progress("pictures", number, len(photos))
    return panels


def save(picture: Image.Image, path: Path) -> Path:
    """Write a picture and return where it is."""
    save_png(picture, path)
    return path


def _film(
    photo: ImageFile, backbone: Backbone, denoised: DenoisedBackbone, out: Path, num_frames: int, telling: Telling
) -> Path | None:
    """A window walks over the photograph: what is locked to the grid stands still while the picture moves."""
    if num_frames == 0:
        return None
    image = read_image(photo.path)
    side = min(image.shape[1:]) * 3 // 4
    room = image.shape[2] - side
    frames = [image[:, :side, left : left + side] for left in (n * room // num_frames for n in range(num_frames))]
    pictures = [backbone.preprocess(frame) for frame in frames]
    maps = []
    for number, picture in enumerate(pictures, 1):
        raw, clean = backbone(picture[None]).patches[0].cpu(), denoised(picture[None]).patches[0].cpu()
        maps.append({"raw": raw, "denoised": clean})
        telling.progress("frames", number, num_frames)
    basis = PCABasis.fit([each for one in maps[:: max(1, num_frames // 8)] for each in one.values()])
    path = out / "walk.gif"
    write_video(path, (draw_panel([colour_row(*one, basis)]) for one in zip(pictures, maps, strict=True)), fps=8)
    return path
