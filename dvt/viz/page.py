"""Self-contained HTML pages: one style sheet, tables, lists and figures. Images are embedded; nothing is fetched."""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from PIL import Image

from dvt.files import write_atomic

_STYLE = """
body { font: 16px/1.55 system-ui, sans-serif; color: #181818; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 1rem 0; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #ddd; text-align: right; }
td { white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
.scroll { overflow-x: auto; }
pre { background: #f4f4f4; padding: .8rem 1rem; overflow-x: auto; font-size: .85rem; }
figure { margin: 1.5rem 0; }
img, svg { max-width: 100%; height: auto; }
figcaption, .small { color: #555; font-size: .85rem; }
""".strip()


def write_page(path: str | Path, title: str, parts: Iterable[str]) -> None:
    """Write an HTML page.

    Args:
        path: the file; an existing one is replaced.
        title: title of the window and first heading, as plain text.
        parts: the elements below it, as HTML.

    Raises:
        DiskError: the disk is full or refuses.
    """
    text = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>",
        *parts,
        "</body></html>\n",
    ]
    write_atomic(Path(path), "\n".join(text).encode())


def html_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain texts that scrolls sideways where it is too wide; the first column is aligned left."""
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(each)}</td>' for each in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def html_list(lines: Iterable[str], *, small: bool = False) -> str:
    """A bulleted list of plain texts."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="small">{items}</ul>' if small else f"<ul>{items}</ul>"


def html_figure(caption: str, image: Image.Image | Path) -> str:
    """An image, embedded as PNG, or an image file, embedded as it is, with a caption of plain text below it."""
    if isinstance(image, Path):
        kind, data = image.suffix.removeprefix("."), image.read_bytes()
    else:
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "PNG")
        kind, data = "png", buffer.getvalue()
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    caption = escape(caption)
    return f'<figure><img alt="{caption}" src="{source}"><figcaption>{caption}</figcaption></figure>'
