"""The HTML page of the explorer: template, style, script and the data of its images in one file."""

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import torch

from dvt.errors import DvtError
from dvt.files import write_atomic
from dvt.version import __version__
from dvt.viz.colours import LABEL_COLOURS, colourise

COLOUR_MAPS = {"signed": "coolwarm", "similarity": "viridis", "norm": "inferno"}
"""Colour maps of matplotlib by what they stand for: cosines from -1 to 1; cosines of a part of that range; norms."""


def write_explorer(
    path: str | Path,
    images: Sequence[Mapping[str, Any]],
    *,
    title: str,
    about: str = "",
    patch_xy: tuple[float, float] = (0.5, 0.5),
) -> None:
    """Write an explorer page as one HTML file.

    Args:
        path: the file; an existing one is replaced.
        images: what `image_data` returned, one per image.
        title: title of the window and heading.
        about: line below the heading, such as the ViT and its grid.
        patch_xy: place of the first patch, x then y in [0, 1] of what the maps cover.

    Raises:
        DvtError: no images, or images of different methods or channels.
        DiskError: the disk is full or refuses.
    """
    write_atomic(Path(path), explorer_page(images, title=title, about=about, patch_xy=patch_xy).encode())


def explorer_page(
    images: Sequence[Mapping[str, Any]],
    *,
    title: str,
    about: str = "",
    patch_xy: tuple[float, float] = (0.5, 0.5),
    embedded: bool = False,
) -> str:
    """The text of an explorer page.

    Args:
        images: what `image_data` returned, one per image.
        title: title of the window and heading.
        about: line below the heading.
        patch_xy: place of the first patch, x then y in [0, 1] of what the maps cover.
        embedded: for a frame inside another page: without the link to its state, which a frame does not have.

    Raises:
        DvtError: no images, or images of different methods or channels.

    Examples:
        >>> from dvt.viz.explorer.data import ExplorerImage, image_data
        >>> page = explorer_page([image_data(ExplorerImage(name="a", maps={"raw": torch.rand(4, 4, 8)}))], title="a")
        >>> "https:" in page
        False
    """
    if not images:
        raise DvtError("there is nothing to explore: no images were given. Give at least one.")
    _require_same_kind(images)
    data = [explorer_settings([image["name"] for image in images], patch_xy, embedded=embedded)]
    data += [json_script(f"image-{number}", image) for number, image in enumerate(images)]
    parts = files("dvt.viz.explorer")
    return Template(parts.joinpath("template.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        body=explorer_body(title, about),
        style=parts.joinpath("explorer.css").read_text(encoding="utf-8"),
        script=parts.joinpath("explorer.js").read_text(encoding="utf-8"),
        data="\n".join(data),
    )


def _require_same_kind(images: Sequence[Mapping[str, Any]]) -> None:
    """Refuse images that the page could not match with each other."""
    first = _kind_text(images[0])
    for image in images:
        if (kind := _kind_text(image)) != first:
            raise DvtError(
                f"{images[0]['name']} has {first}, and {image['name']} has {kind}. Images of a page are matched with"
                " each other: give all of them the same methods of one ViT, or write a page for each kind."
            )


def _kind_text(image: Mapping[str, Any]) -> str:
    """What images need in common to be matched, in words."""
    return f"{', '.join(each['name'] for each in [*image['maps'], *image['terms']])} in {image['channels']} channels"


def explorer_frame(
    images: Sequence[Mapping[str, Any]], *, title: str, about: str = "", patch_xy: tuple[float, float] = (0.5, 0.5)
) -> str:
    """An explorer page in a frame, as a part of another page.

    Args:
        images: what `image_data` returned, one per image.
        title: title of the frame and heading in it.
        about: line below the heading.
        patch_xy: place of the first patch, as in `explorer_page`.

    Raises:
        DvtError: no images, or images of different methods or channels.
    """
    page = explorer_page(images, title=title, about=about, patch_xy=patch_xy, embedded=True)
    return (
        f'<iframe title="{escape(title)}" sandbox="allow-scripts" style="width: 100%; height: 820px; border: 0"'
        f' srcdoc="{escape(page)}"></iframe>'
    )


def explorer_body(title: str, about: str = "", controls: str = "") -> str:
    """The elements that `explorer.js` works on, as HTML, for a page of another kind.

    Args:
        title: heading.
        about: line below the heading.
        controls: HTML between the heading and the explorer.
    """
    body = files("dvt.viz.explorer").joinpath("body.html").read_text(encoding="utf-8")
    return Template(body).substitute(title=escape(title), about=escape(about), controls=controls)


def explorer_settings(
    names: Sequence[str], patch_xy: tuple[float, float] = (0.5, 0.5), *, embedded: bool = False
) -> str:
    """What `explorer.js` needs besides the images, as a script element that holds JSON.

    Args:
        names: names of the images in the page; none: they are given later, by `dvtExplorer.show`.
        patch_xy: place of the first patch, x then y in [0, 1] of what the maps cover.
        embedded: for a frame inside another page.
    """
    settings = {
        "dvt": __version__,
        "images": list(names),
        "patch": list(patch_xy),
        "embedded": embedded,
        "colour_maps": {meaning: _table(name) for meaning, name in COLOUR_MAPS.items()},
        "cluster_colours": LABEL_COLOURS,
    }
    return json_script("settings", settings)


def json_script(element_id: str, value: Any) -> str:
    """JSON inside a script element; "<" is written as an escape, so that no text in it can end the element."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="{element_id}">{text}</script>'


def _table(colour_map: str) -> str:
    """256 colours of a colour map, uint8 (256, 3), as base64."""
    colours = colourise(torch.linspace(0, 1, 256)[None], 0, 1, colour_map)[0]
    return base64.b64encode((colours * 255).round().to(torch.uint8).numpy().tobytes()).decode()
