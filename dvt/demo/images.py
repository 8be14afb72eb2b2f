"""The images of the demo: photographs that ship inside scikit-image and scikit-learn."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from dvt.errors import ImageError
from dvt.images import ImageFile
from dvt.viz import save_png


@dataclass(frozen=True, slots=True)
class DemoImage:
    """One image and its origin."""

    name: str
    """Stem of its file names."""
    package: str
    """The package that ships it."""
    path: str
    """Path inside the package."""
    credit: str
    """Title, author, licence and package."""


DEMO_IMAGES = (
    DemoImage("chelsea", "skimage", "data/chelsea.png", "Chelsea the cat, Stéfan van der Walt, CC0, in scikit-image"),
    DemoImage("astronaut", "skimage", "data/astronaut.png", "Eileen Collins, NASA, public domain, in scikit-image"),
    DemoImage("coffee", "skimage", "data/coffee.png", "Coffee cup, Rachel Michetti, CC0, in scikit-image"),
    DemoImage("rocket", "skimage", "data/rocket.jpg", "Falcon 9, SpaceX, CC0, in scikit-image"),
    DemoImage(
        "china", "sklearn", "datasets/images/china.jpg", "Summer Palace, Zhang Jianfei, CC BY 2.0, in scikit-learn"
    ),
    DemoImage("flower", "sklearn", "datasets/images/flower.jpg", "Dahlia, dany13, CC BY 2.0, in scikit-learn"),
)


def write_images(folder: Path) -> list[ImageFile]:
    """Copy the images into a folder as PNG; existing files are kept.

    Raises:
        ImageError: a package that ships them is missing.
        DvtError: a file cannot be written.
    """
    files = []
    for each in DEMO_IMAGES:
        path = folder / f"{each.name}.png"
        if not path.exists():
            with Image.open(source_of(each)) as image:
                save_png(image.convert("RGB"), path)
        files.append(ImageFile(key=path.name, path=path))
    return files


def write_pieces(files: list[ImageFile], folder: Path) -> list[ImageFile]:
    """Cut each image into five overlapping pieces of two thirds of its height and width: more training images.

    Raises:
        DvtError: a file cannot be written.
    """
    pieces = []
    for file in files:
        with Image.open(file.path) as image:
            width, height = image.size
            for number, (x, y) in enumerate(((0, 0), (2, 0), (1, 1), (0, 2), (2, 2))):  # in sixths of the sides
                left, top = x * width // 6, y * height // 6
                path = folder / f"{file.path.stem}_{number}.png"
                if not path.exists():
                    save_png(image.crop((left, top, left + width * 2 // 3, top + height * 2 // 3)), path)
                pieces.append(ImageFile(key=path.name, path=path))
    return pieces


def source_of(image: DemoImage) -> Path:
    """Path of an image in the package that ships it.

    Raises:
        ImageError: the package or the file is missing.
    """
    spec = find_spec(image.package)
    path = None if spec is None or spec.origin is None else Path(spec.origin).parent / image.path
    if path is None or not path.is_file():
        raise ImageError(
            f"the image {image.name} of the demo ships inside {image.package}, which is not installed:"
            ' pip install "denoising-vit[demo]".'
        )
    return path
