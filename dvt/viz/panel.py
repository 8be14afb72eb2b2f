"""Tiles with labels, drawn in rows on white."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from dvt.errors import DvtError
from dvt.images import read_image
from dvt.shapes import Float

_INK, _PAPER, _FRAME = (24, 24, 24), (255, 255, 255), (190, 190, 190)
_Resampling = Image.Resampling


@dataclass(frozen=True, eq=False)
class Tile:
    """An image or a map, with a label above it."""

    label: str
    """Text above the tile."""
    image: Float[Tensor, "y x 3"] | Image.Image
    """A tensor in [0, 1] is a map and is enlarged with hard edges, so that patches are visible; a PIL image is
    resampled smoothly."""
    aspect: float | None = None
    """Width over height when drawn; default: its own. A map takes the aspect of the image that it covers."""


@dataclass(frozen=True)
class _Style:
    """Sizes in pixels, in proportion to the tiles."""

    tile_px: int
    gap: int
    font: ImageFont.FreeTypeFont
    title_font: ImageFont.FreeTypeFont

    @classmethod
    def of(cls, tile_px: int, label_px: int | None) -> "_Style":
        font_px = label_px or max(12, tile_px // 14)
        return cls(tile_px, max(10, tile_px // 16), default_font(font_px), default_font(round(1.4 * font_px)))


def draw_panel(
    rows: Sequence[Sequence[Tile]], *, tile_px: int = 224, title: str | None = None, label_px: int | None = None
) -> Image.Image:
    """Draw tiles in a grid on white, each with its label above it.

    Tiles keep their aspect; the longer side is `tile_px`. Rows may differ in length. Long labels are wrapped.

    Args:
        rows: tiles of each row, left to right.
        tile_px: longer side of a tile in pixels, at least 32.
        title: text above the first row.
        label_px: size of the font of labels in pixels; default: in proportion to the tiles, and at least 12.

    Returns:
        An RGB image.

    Raises:
        DvtError: no tiles, tiles too small for labels, or a tensor that is not a map of colours.

    Example:
        >>> draw_panel([[Tile("raw", torch.rand(14, 14, 3)), Tile("clean", torch.rand(14, 14, 3))]]).width
        490
    """
    if not any(rows):
        raise DvtError("there is nothing to draw: no tiles were given. Give at least one row with a tile.")
    if tile_px < 32:
        raise DvtError(f"tiles of {tile_px} px are too small to be labelled. Give tile_px of at least 32.")
    style = _Style.of(tile_px, label_px)
    images = [[_tile_image(tile, tile_px) for tile in row] for row in rows if row]
    labels = [[tile.label for tile in row] for row in rows if row]
    columns = zip_longest(*images)
    # Labels need space even if all tiles of a column are narrow.
    widths = [max(tile_px * 3 // 4, *(image.width for image in column if image)) for column in columns]
    strips = [_row_strip(*row, widths, style) for row in zip(labels, images, strict=True)]
    if title:
        strips.insert(0, _text_strip(title, style.title_font, strips[0].width))
    return _stack(strips, style.gap)


def _row_strip(labels: list[str], images: list[Image.Image], widths: list[int], style: _Style) -> Image.Image:
    """One row with its labels directly above the tiles; as wide as all columns, even if the row has fewer tiles."""
    texts = [_text_strip(label, style.font, width) for label, width in zip(labels, widths, strict=False)]
    label_px = max(text.height for text in texts) + style.gap // 3
    strip_px = (sum(widths) + style.gap * (len(widths) - 1), label_px + max(image.height for image in images))
    strip = Image.new("RGB", strip_px, _PAPER)
    draw = ImageDraw.Draw(strip)
    x = 0
    for text, image, width in zip(texts, images, widths, strict=False):
        strip.paste(text, (x, label_px - style.gap // 3 - text.height))
        strip.paste(image, (x, label_px))
        draw.rectangle((x, label_px, x + image.width - 1, label_px + image.height - 1), outline=_FRAME)
        x += width + style.gap
    return strip


def _text_strip(text: str, font: ImageFont.FreeTypeFont, width_px: int) -> Image.Image:
    lines, step = wrap(text, font, width_px), line_height(font)
    strip = Image.new("RGB", (width_px, step * max(1, len(lines))), _PAPER)
    draw = ImageDraw.Draw(strip)
    for number, line in enumerate(lines):
        draw.text((0, number * step), line, _INK, font)
    return strip


def _stack(strips: list[Image.Image], gap: int) -> Image.Image:
    width = max(strip.width for strip in strips) + 2 * gap
    panel = Image.new("RGB", (width, sum(strip.height + gap for strip in strips) + gap), _PAPER)
    y = gap
    for strip in strips:
        panel.paste(strip, (gap, y))
        y += strip.height + gap
    return panel


def _tile_image(tile: Tile, tile_px: int) -> Image.Image:
    """The tile at its final size."""
    image = _map_pixels(tile) if isinstance(tile.image, Tensor) else _rgb(tile.image)
    aspect = tile.aspect or image.width / image.height
    size = (tile_px, max(1, round(tile_px / aspect))) if aspect >= 1 else (max(1, round(tile_px * aspect)), tile_px)
    if not isinstance(tile.image, Tensor):
        return image.resize(size, _Resampling.LANCZOS)
    enlarged = image.width <= size[0] and image.height <= size[1]
    return image.resize(size, _Resampling.NEAREST if enlarged else _Resampling.BOX)


def _map_pixels(tile: Tile) -> Image.Image:
    colours = tile.image
    assert isinstance(colours, Tensor)
    is_map = colours.ndim == 3 and colours.shape[-1] == 3 and colours.numel() > 0
    if not is_map or not bool(((colours >= 0) & (colours <= 1)).all()):
        raise DvtError(
            f"the tile {tile.label!r} has shape {tuple(colours.shape)}; expected (rows, columns, 3) colours in [0, 1]."
            " Paint numbers with colourise first."
        )
    return Image.fromarray((colours.detach().cpu().float() * 255).round().to(torch.uint8).numpy())


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    pixels = read_image(image).permute(1, 2, 0)
    return Image.fromarray((pixels * 255).round().to(torch.uint8).numpy())


def default_font(size_px: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib ships with: the same on every machine."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size_px)


def line_height(font: ImageFont.FreeTypeFont) -> int:
    """Pixels from one line to the next."""
    _, top, _, bottom = font.getbbox("ÅÉgjpqy|")
    return round(1.2 * (bottom - top))


def wrap(text: str, font: ImageFont.FreeTypeFont, width_px: int) -> list[str]:
    """Break a text into lines of at most `width_px`: between words, or inside a word that is too wide."""
    lines = [""]
    for word in text.split():
        spaced = f"{lines[-1]} {word}".strip()
        if font.getlength(spaced) <= width_px:
            lines[-1] = spaced
            continue
        lines.append("")
        for letter in word:
            if lines[-1] and font.getlength(lines[-1] + letter) > width_px:
                lines.append("")
            lines[-1] += letter
    return [line for line in lines if line]
