"""The features of one image by several methods, as the explorer shows them."""

from collections.abc import Iterator, Sequence

from dvt.decomposition.result import Decomposition
from dvt.grid import PatchGrid
from dvt.methods.decomposed import Decomposed
from dvt.methods.method import Method, maps_of
from dvt.progress import SILENT, Reporter
from dvt.shapes import FeatureMap, ImageTensor
from dvt.viz.explorer import ExplorerImage


def explorer_image(image: ImageTensor, name: str, grid: PatchGrid, methods: Sequence[Method]) -> ExplorerImage:
    """The features of an image by every method; artifact and residual are those of the first stage 1 among them.

    Args:
        image: (3, y, x) RGB in [0, 1], any size.
        name: its name on the page.
        grid: patches of the ViT at the image size that the methods run at.
        methods: at least one.
    """
    *_, last = explorer_images(image, name, grid, methods)
    return last


def explorer_images(
    image: ImageTensor, name: str, grid: PatchGrid, methods: Sequence[Method], reporter: Reporter = SILENT
) -> Iterator[ExplorerImage]:
    """`explorer_image` as far as it is computed: the methods of one forward pass first, then one more method each time.

    Methods that read the same F share its fit. The maps stand in the order of `methods`.

    Args:
        image: (3, y, x) RGB in [0, 1], any size.
        name: its name on the page.
        grid: patches of the ViT at the image size that the methods run at.
        methods: at least one.
        reporter: shows the progress of stage 1; an exception that it raises ends the work.
    """
    image_hw = grid.image_hw
    cheap = [method for method in methods if method.cost == 1]
    later = [method for method in methods if method.cost > 1]
    maps: dict[str, FeatureMap] = {}
    fitted: list[tuple[Decomposed, Decomposition]] = []

    def computed() -> ExplorerImage:
        ordered = {method.name: maps[method.name] for method in methods if method.name in maps}
        terms = {"artifact": fitted[0][1].artifact, "residual": fitted[0][1].residual} if fitted else {}
        return ExplorerImage(name=name, maps=ordered, photo=image, terms=terms, grid=grid)

    for method in cheap:
        maps |= maps_of([method], image, image_hw)
    if cheap:
        yield computed()
    for method in later:
        if isinstance(method, Decomposed):
            found = next((found for other, found in fitted if other.same_field(method)), None)
            if found is None:
                found = method.decompose(image, image_hw, reporter)
                fitted.append((method, found))
            maps[method.name] = method.features_from(found, image_hw)
        else:
            reporter.start(1, "images", method.name)
            maps |= maps_of([method], image, image_hw)
        yield computed()
