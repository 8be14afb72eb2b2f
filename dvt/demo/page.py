"""The page of the demo: what was done, with the pictures and numbers that came out; one file, nothing fetched."""

import base64
from html import escape
from pathlib import Path

from dvt.demo.photographs import PHOTOGRAPHS
from dvt.demo.story import Story
from dvt.evaluation.table import findings, table
from dvt.files import write_atomic

_STYLE = """
body { font: 17px/1.6 system-ui, sans-serif; color: #181818; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child, td:first-child { text-align: left; }
.scroll { overflow-x: auto; }
pre { background: #f4f4f4; padding: .8rem 1rem; overflow-x: auto; font-size: .85em; }
figure { margin: 1.5rem 0; }
img { max-width: 100%; }
figcaption, .small { color: #555; font-size: .85em; }
""".strip()

NEXT = """\
dvt doctor    backbone=dinov2_base images=photos/                     has your ViT the problem?
dvt show      image=photo.jpg backbone=dinov2_base                    the four terms of one of your photographs
dvt decompose images=photos/ store=runs/photos backbone=dinov2_base   stage 1 on a folder
dvt train     store=runs/photos out=runs/denoiser                     stage 2
dvt show      image=photo.jpg method=[raw,denoised] denoiser=runs/denoiser backbone=dinov2_base"""
"""What to do with one's own photographs."""


def write_story(story: Story) -> Path:
    """Write the page and return where it is.

    Raises:
        DiskError: the disk is full or refuses.
    """
    terms, *photos = story.panels
    path = story.out / "index.html"
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>dvt: a demo</title><style>{_STYLE}</style></head><body>",
        "<h1>Clean features of Vision Transformers</h1>",
        f"<p>Everything below was made on this machine, by a ViT that comes with dvt ({escape(story.backbone)}, 2.8"
        " million parameters), in " + escape(_times(story)) + ".</p>",
        "<h2>The problem</h2>",
        "<p>A ViT should say of each patch what is to be seen there. It also says where on the grid the patch stands:"
        " the same pattern lies over every picture. This ViT has it most at the four corners of the grid: look there"
        " in raw.</p>",
        "<h2>Stage 1: raw = clean + artifact + residual</h2>",
        "<p>One picture is looked at many times, in random crops. What moves with the picture is <b>clean</b>; what"
        " stays at its place on the grid is the <b>artifact</b>; the rest is the residual. No training, no other"
        " pictures.</p>",
        _figure(*terms),
        "<h2>Stage 2: the same in one pass</h2>",
        "<p>A transformer block learns from such pairs, and cleans new pictures in one forward pass. Here: the one that"
        " comes with dvt.</p>",
        *(_figure(*photo) for photo in photos),
        *(_walk(story.video) if story.video is not None else []),
        "<h2>In numbers</h2>",
        _scores(story),
        "<h2>Your own photographs</h2>",
        f"<pre>{escape(NEXT)}</pre>",
        f'<p class="small">Photographs: {escape("; ".join(each.credit for each in PHOTOGRAPHS))}.</p>',
        "</body></html>\n",
    ]
    write_atomic(path, "\n".join(parts).encode())
    return path


def _walk(video: Path) -> list[str]:
    return [
        "<h2>A walk</h2>",
        "<p>A window moves over a photograph. What belongs to the picture moves with it; what is locked to the grid of"
        " patches stands still.</p>",
        _figure("raw and denoised, the same colours in all frames", video),
    ]


def _scores(story: Story) -> str:
    heads, rows = table(story.scores)
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(each)}</td>' for each in row)}</tr>" for row in rows)
    said = "".join(f"<li>{escape(line)}</li>" for line in findings(story.scores))
    meanings = "".join(f"<li>{escape(each.name)}: {escape(each.meaning)}</li>" for each in story.scores.metrics)
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div><ul>{said}</ul>'
        "<p>denoised is the denoiser that comes with dvt and never saw these pictures; denoised here was trained a"
        " moment ago, on these very pictures. Passes are forward passes of the ViT per picture.</p>"
        f'<ul class="small">{meanings}</ul>'
    )


def _times(story: Story) -> str:
    total = sum(story.seconds.values())
    parts = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in story.seconds.items())
    return f"{total:.0f} s ({parts})"


def _figure(caption: str, picture: Path) -> str:
    kind = picture.suffix.removeprefix(".")
    data = base64.b64encode(picture.read_bytes()).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/{kind};base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
