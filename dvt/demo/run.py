"""The steps of the demo: decompose, train, score, draw."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dvt.backbone.backbone import Backbone
from dvt.backbone.load import load_backbone
from dvt.decomposition.config import DecomposeConfig
from dvt.decomposition.quality import load_quality
from dvt.decomposition.run_list import ListOptions, decompose_list
from dvt.demo.config import DemoConfig
from dvt.demo.images import write_images, write_pieces
from dvt.denoiser.config import TrainConfig
from dvt.denoiser.denoised import DenoisedBackbone
from dvt.denoiser.train import train_denoiser
from dvt.diagnosis.config import ArtifactScoresConfig
from dvt.evaluation.result import TaskResult
from dvt.evaluation.run import evaluate
from dvt.evaluation.tasks.artifact_scores import ArtifactScores
from dvt.images import ImageFile, read_image
from dvt.methods.decomposed import Decomposed
from dvt.methods.method import Method, Model, OnePass
from dvt.one_writer import LOCK, one_writer
from dvt.progress import SILENT, Reporter
from dvt.srt.backbone import SrtBackbone
from dvt.srt.config import SrtConfig
from dvt.store import FeatureStore
from dvt.training.config import LoggerConfig, LoggerKind, OptimizerConfig, TrainerConfig
from dvt.viz import PCABasis, colour_row, decomposition_rows, draw_panel, save_png, write_video
from dvt.viz.explorer import ExplorerImage, image_data, write_explorer
from dvt.viz.explorer.data import image_budget
from dvt.weights.build import load_denoised, load_denoiser

VIT = "vit_micro"
SHIPPED = {"denoised": "vit_micro/denoiser", "clean ViT": "vit_micro/clean"}
"""The denoiser of `VIT` that ships with dvt, and the clean ViT that was made from it."""
EXPLORER = "explorer.html"
"""Name of the explorer page in the output folder."""
FINE = 2
"""Cells per patch along each side at which F is drawn; as many as the nodes of F."""


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo has made."""

    out: Path
    """Output folder."""
    backbone: str
    """Name of the ViT."""
    terms: Path
    """Image of the four terms of stage 1, of the first image."""
    explorer: Path
    """The page that compares the methods in the browser."""
    scores: TaskResult
    """Artifact scores of every method."""
    video: Path | None
    """A window that moves over an image, raw and denoised."""
    seconds: dict[str, float]
    """Duration of each step."""


def run_demo(config: DemoConfig, reporter: Reporter = SILENT) -> DemoResult:
    """Run the whole demo; results that exist are reused.

    Raises:
        ImageError: a package that ships the images is missing.
        WeightsError: the weights that ship with dvt are missing.
        DiskError: the disk is full or refuses.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the next call resumes.
    """
    with one_writer(Path(config.out) / LOCK, config.out):
        return _run_all(config, reporter)


def _run_all(config: DemoConfig, reporter: Reporter) -> DemoResult:
    out, seconds, start = Path(config.out), dict[str, float](), time.perf_counter()

    def lap(step: str) -> None:
        seconds[step] = time.perf_counter() - start - sum(seconds.values())

    reporter.note("\na small ViT that ships with dvt, and six images")
    backbone = load_backbone(VIT, device=config.device)
    shipped = {name: load_denoised(VIT, weights, device=config.device)[0] for name, weights in SHIPPED.items()}
    wholes = write_images(out / "photographs")
    images = [*wholes, *write_pieces(wholes, out / "pieces")]
    lap("load")

    reporter.note(f"\nstage 1: decompose {len(images)} images from {config.num_views + 1} views each")
    quality = load_quality("fast", {"views": {"num_views": config.num_views}})
    arrays, with_field = ListOptions(arrays=("raw", "clean", "artifact")), replace(quality, fine=FINE)
    if decompose_list(images, backbone, out / "store", with_field, arrays, reporter).interrupted:
        raise KeyboardInterrupt
    lap("stage 1")

    reporter.note(f"\nstage 2: train a denoiser on them, {config.num_steps} steps")
    trained = _train(backbone, out, config, reporter)
    lap("stage 2")

    reporter.note("\nscores: how much of the features is determined by the position of a patch")
    scores = _score(backbone, {**shipped, "denoised here": trained}, images, quality, out, reporter)
    lap("scores")

    reporter.note("\nimages and video")
    terms = _draw(wholes, backbone, shipped, out, reporter)
    video = _write_walk(wholes[-2], backbone, shipped["denoised"], out, config.num_frames, reporter)
    lap("images")
    return DemoResult(out, backbone.full_name, terms, out / EXPLORER, scores, video, seconds)


def _train(backbone: Backbone, out: Path, config: DemoConfig, reporter: Reporter) -> DenoisedBackbone:
    train = TrainConfig(
        num_steps=config.num_steps,
        batch_size=16,
        show_every=0,
        optimizer=OptimizerConfig(base_learning_rate=5e-3),
        trainer=TrainerConfig(accelerator="cpu" if backbone.device.type == "cpu" else "auto"),
        logger=LoggerConfig(kind=LoggerKind.csv),
    )
    if train_denoiser([out / "store"], out / "denoiser", train, reporter=reporter).interrupted:
        raise KeyboardInterrupt
    return DenoisedBackbone(backbone, load_denoiser(out / "denoiser"))


def _score(
    backbone: Backbone,
    denoised: Mapping[str, Model],
    images: list[ImageFile],
    quality: DecomposeConfig,
    out: Path,
    reporter: Reporter,
) -> TaskResult:
    srt = SrtBackbone(backbone, SrtConfig(max_shift=6, step=6))
    methods: list[Method] = [
        OnePass("raw", backbone),
        OnePass("srt", srt, cost=srt.passes),
        Decomposed(backbone, quality),
        *(OnePass(name, model) for name, model in denoised.items()),
    ]
    task = ArtifactScores(ArtifactScoresConfig(num_images=18, seeds=1), [image.path for image in images])
    return evaluate(task, methods, "pieces of six photographs", cache=False, out=out / "scores", reporter=reporter)


def _draw(
    images: list[ImageFile], backbone: Backbone, shipped: Mapping[str, Model], out: Path, reporter: Reporter
) -> Path:
    """The four terms of the first image, and the explorer of all of them; returns the image of the terms."""
    store, terms_png = FeatureStore.open(out / "store"), out / "terms.png"
    explored: list[dict[str, Any]] = []
    reporter.start(len(images), "images", "draw")
    for file in images:
        record = store[file.key]
        raw, clean, artifact = record.raw.float(), record.clean.float(), record.artifact.float()
        fine = record.field.read(backbone.grid.finer(FINE))
        image, residual = backbone.preprocess(read_image(file.path)), raw - clean - artifact
        if not explored:
            save_png(draw_panel(decomposition_rows(image, raw, clean, artifact, residual, fine)), terms_png)
        cells = f"stage 1, {FINE} x {FINE} cells a patch"
        maps = {"raw": raw, "stage 1": clean, cells: fine}
        maps |= {name: model(image[None]).patches[0].cpu() for name, model in shipped.items()}
        terms = {"artifact": artifact, "residual": residual}
        shown = ExplorerImage(name=file.path.stem, maps=maps, photo=file.path, terms=terms, grid=backbone.grid)
        explored.append(image_data(shown, image_budget(len(images))))
        reporter.advance()
    write_explorer(out / EXPLORER, explored, title="Six images", about=f"{backbone.full_name}, {backbone.grid}")
    return terms_png


def _write_walk(
    file: ImageFile, backbone: Backbone, denoised: Model, out: Path, num_frames: int, reporter: Reporter
) -> Path | None:
    """A video of a window that moves over an image: the artifact stays in place while the content moves."""
    if num_frames == 0:
        return None
    whole = read_image(file.path)
    side = min(whole.shape[1:]) * 3 // 4
    lefts = [number * (whole.shape[2] - side) // num_frames for number in range(num_frames)]
    frames = [backbone.preprocess(whole[:, :side, left : left + side]) for left in lefts]
    maps = []
    reporter.start(num_frames, "frames", "video")
    for frame in frames:
        raw, clean = backbone(frame[None]).patches[0].cpu(), denoised(frame[None]).patches[0].cpu()
        maps.append({"raw": raw, "denoised": clean})
        reporter.advance()
    basis = PCABasis.fit([each for one in maps[:: max(1, num_frames // 8)] for each in one.values()])
    path = out / "walk.gif"
    write_video(path, (draw_panel([colour_row(*one, basis)]) for one in zip(frames, maps, strict=True)), fps=8)
    return path
