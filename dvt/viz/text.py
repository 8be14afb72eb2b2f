"""Words on pictures: Pillow's built-in font, and lines broken to a width."""

from typing import TypeAlias

from PIL import ImageFont

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont


def default_font(size_px: int) -> Font:
    """The font that comes with Pillow, the same on every machine."""
    return ImageFont.load_default(size_px)


def line_height(font: Font) -> int:
    """Pixels from one line to the next."""
    _, top, _, bottom = font.getbbox("ÅÉgjpqy|")
    return round(1.2 * (bottom - top))


def wrap(text: str, font: Font, width_px: int) -> list[str]:
    """Break a text into lines no wider than `width_px`: between words, and inside a word that is wider by itself."""
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
