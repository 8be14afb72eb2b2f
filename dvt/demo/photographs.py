"""The photographs of the demo: real ones, which ship inside scikit-image and scikit-learn."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from dvt.errors import ImageError
from dvt.images import ImageFile


@dataclass(frozen=True, slots=True)
class Photograph:
    """One photograph, and where it comes from."""

    name: str
    """What its files are called."""
    package: str
    """The package that ships it."""
    path: str
    """Where it lies in there."""
    credit: str
    """Who made it, and what may be done with it."""


PHOTOGRAPHS = (
    Photograph("chelsea", "skimage", "data/chelsea.png", "Chelsea the cat, Stéfan van der Walt, CC0, in scikit-image"),
    Photograph("astronaut", "skimage", "data/astronaut.png", "Eileen Collins, NASA, public domain, in scikit-image"),
    Photograph("coffee", "skimage", "data/coffee.png", "Coffee cup, Rachel Michetti, CC0, in scikit-image"),
    Photograph("rocket", "skimage", "data/rocket.jpg", "Falcon 9, SpaceX, CC0, in scikit-image"),
    Photograph(
        "china", "sklearn", "datasets/images/china.jpg", "Summer Palace, Zhang Jianfei, CC BY 2.0, in scikit-learn"
    ),
    Photograph("flower", "sklearn", "datasets/images/flower.jpg", "Dahlia, dany13, CC BY 2.0, in scikit-learn"),
)


def write_photographs(folder: Path) -> list[ImageFile]:
    """Copy the photographs into a folder as PNG; those that are there stay.

    Raises:
        ImageError: a package that ships them is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for each in PHOTOGRAPHS:
        path = folder / f"{each.name}.png"
        if not path.exists():
            with Image.open(source_of(each)) as image:
                image.convert("RGB").save(path)
        files.append(ImageFile(key=path.name, path=path))
    return files


def write_pieces(files: list[ImageFile], folder: Path) -> list[ImageFile]:
    """Cut photographs into five overlapping pieces each, two thirds as long and wide: more pictures to learn from."""
    folder.mkdir(parents=True, exist_ok=True)
    pieces = []
    for file in files:
        with Image.open(file.path) as image:
            width, height = image.size
            for number, (x, y) in enumerate(((0, 0), (2, 0), (1, 1), (0, 2), (2, 2))):  # sixths of the sides
                left, top = x * width // 6, y * height // 6
                path = folder / f"{file.path.stem}_{number}.png"
                if not path.exists():
                    image.crop((left, top, left + width * 2 // 3, top + height * 2 // 3)).save(path)
                pieces.append(ImageFile(key=path.name, path=path))
    return pieces


def source_of(photograph: Photograph) -> Path:
    """Where a photograph lies in the package that ships it.

    Raises:
        ImageError: it is not there.
    """
    spec = find_spec(photograph.package)
    place = None if spec is None or spec.origin is None else Path(spec.origin).parent / photograph.path
    if place is None or not place.is_file():
        raise ImageError(
            f"the photograph {photograph.name} of the demo ships inside {photograph.package}, which is not here:"
            ' pip install "dvt[demo]".'
        )
    return place
