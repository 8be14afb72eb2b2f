"""Build the page that runs a ViT in the browser: `python web/build.py FOLDER`, after `scripts/npm_packages.sh`.

The page is the explorer with `controls.html` above it. FOLDER then holds it whole: the scripts of this folder, ONNX
Runtime from `node_modules`, `vit_micro` with its denoiser as ONNX, and example images. It works from any web server,
without others.
"""

import shutil
import sys
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from PIL import Image

import dvt
from dvt.demo.images import DEMO_IMAGES, source_of
from dvt.grid import PatchGrid
from dvt.images import MAX_PIXELS
from dvt.viz.explorer import ExplorerImage, image_data
from dvt.viz.explorer.page import explorer_body, explorer_settings, json_script

HERE = Path(__file__).parent
RUNTIME = HERE / "node_modules" / "onnxruntime-web" / "dist"
RUNTIME_FILES = (
    "ort.wasm.bundle.min.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.bundle.min.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
"""ONNX Runtime on the CPU, then by WebGPU: the script, and the WebAssembly that it fetches from beside it."""
SCRIPTS = ("page.js", "worker.js", "features.js", "image_file.js", "model_file.js", "resample.js")
MODEL_FILE, IMAGE_SIZE = "vit_micro.onnx", 448
EXAMPLES = DEMO_IMAGES[:4]
"""Example images; the first is shown when the page opens."""
EYE = (0.39, 0.38)
"""The patch that is marked first, on an eye of the cat."""
PHOTO_SIDE = 900
"""Longest side of an example in pixels."""


def build(folder: Path, image_size: int = IMAGE_SIZE) -> None:
    """Write the page into a folder, which is emptied before.

    Args:
        folder: the folder.
        image_size: height and width in pixels of the images that the model takes.

    Raises:
        SystemExit: the packages of `package.json` are not there.
    """
    if not RUNTIME.is_dir():
        sys.exit(f"{RUNTIME} does not exist: run scripts/npm_packages.sh, which needs npm.")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "examples").mkdir(parents=True)
    for name in SCRIPTS:
        shutil.copy(HERE / name, folder)
    for name in RUNTIME_FILES:
        shutil.copy(RUNTIME / name, folder)
    denoised, preprocess = dvt.load_denoised("vit_micro", "vit_micro/denoiser", image_size=image_size, device="cpu")
    dvt.export_model(denoised, folder / MODEL_FILE, raw=True)
    photos = [write_example(source_of(each), folder / "examples" / f"{each.name}.jpg") for each in EXAMPLES]
    view = preprocess(photos[0])[None]
    maps = {"raw": denoised.backbone(view).patches[0], "denoised": denoised(view).patches[0]}
    first = image_data(ExplorerImage(name=photos[0].name, photo=photos[0], maps=maps))
    (folder / "index.html").write_text(
        page(first, photos, denoised.grid, (folder / MODEL_FILE).stat().st_size), encoding="utf-8"
    )


def write_example(source: Path, path: Path) -> Path:
    """An example image as JPEG, made smaller where it is large; returns its path."""
    with Image.open(source) as image:
        photo = image.convert("RGB")
    photo.thumbnail((PHOTO_SIDE, PHOTO_SIDE), Image.Resampling.LANCZOS)
    photo.save(path, quality=90)
    return path


def page(first: dict[str, object], photos: list[Path], grid: PatchGrid, model_bytes: int) -> str:
    """The text of the page; `first` is the image that it shows when it opens."""
    model = {"file": MODEL_FILE, "title": "vit_micro with its denoiser", "bytes": model_bytes}
    examples = "".join(
        f'<button type="button" title="{escape(each.credit)}">'
        f'<img src="examples/{path.name}" alt="{each.name}"></button>'
        for each, path in zip(EXAMPLES, photos, strict=True)
    )
    (height, width), (rows, columns) = grid.image_hw, grid.hw
    about_model = f"{model['title']}, {height} × {width} px, {rows} × {columns} patches"
    controls = (HERE / "controls.html").read_text(encoding="utf-8")
    on_cpu, on_gpu = RUNTIME_FILES[:2], RUNTIME_FILES[2:]
    cpu_mb, gpu_mb = (round((model_bytes + _runtime_bytes(names)) / 1e6) for names in (on_cpu, on_gpu))
    controls = Template(controls).substitute(examples=examples, model=about_model, cpu_mb=cpu_mb, gpu_mb=gpu_mb)
    explorer = files("dvt.viz.explorer")
    title = "Try it in the browser"
    about = "Features of a Vision Transformer, computed on your device. Images and models stay on it."
    data = [
        explorer_settings([str(first["name"])], EYE),
        json_script("image-0", first),
        json_script("page-settings", {"model": model, "max_pixels": MAX_PIXELS}),
    ]
    return Template((HERE / "index.html").read_text(encoding="utf-8")).substitute(
        title=title,
        style=explorer.joinpath("explorer.css").read_text(encoding="utf-8")
        + (HERE / "page.css").read_text(encoding="utf-8"),
        body=explorer_body(title, about, controls),
        data="\n".join(data),
        script=explorer.joinpath("explorer.js").read_text(encoding="utf-8"),
    )


def _runtime_bytes(names: tuple[str, ...]) -> int:
    return sum((RUNTIME / name).stat().st_size for name in names)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python web/build.py FOLDER")
    build(Path(sys.argv[1]))
