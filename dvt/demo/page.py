"""The page of the demo: what was done, with the images and numbers that came out; one file, nothing fetched."""

from html import escape
from pathlib import Path

from dvt.demo.photographs import PHOTOGRAPHS
from dvt.demo.story import Story
from dvt.evaluation.table import findings, table
from dvt.viz.page import html_figure, html_list, html_table, write_page

NEXT = """\
dvt doctor    backbone=dinov2_base images=photos/                     does your ViT have the problem?
dvt show      image=photo.jpg backbone=dinov2_base                    the four terms of one of your photographs
dvt decompose images=photos/ store=runs/photos backbone=dinov2_base   stage 1 on a folder
dvt train     store=runs/photos out=runs/denoiser                     stage 2
dvt show      image=photo.jpg method=[raw,denoised] denoiser=runs/denoiser backbone=dinov2_base"""
"""What to do with your own photographs."""


def write_story(story: Story) -> Path:
    """Write the page and return its path.

    Raises:
        DiskError: the disk is full or refuses.
    """
    terms, *photos = story.panels
    times = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in story.seconds.items())
    scores = story.scores
    parts = [
        f"<p>Everything below was made on this machine, by a ViT that comes with dvt ({escape(story.backbone)}, 2.8"
        f" million parameters), in {sum(story.seconds.values()):.0f} s ({escape(times)}).</p>",
        "<h2>The problem</h2>",
        "<p>The features of a ViT should say what each patch shows. They also say where on the grid the patch is: the"
        " same pattern lies over every image. This ViT has it most at the four corners of the grid: see raw.</p>",
        "<h2>Stage 1: raw = clean + artifact + residual</h2>",
        "<p>The ViT sees many random crops of one image. What moves with the image is <b>clean</b>; what stays at its"
        " place on the grid is the <b>artifact</b>; the rest is the residual. No training, no other images.</p>",
        html_figure(*terms),
        "<h2>Stage 2: the same in one pass</h2>",
        "<p>A transformer block learns from such pairs and cleans new images in one forward pass. This one comes with"
        " dvt.</p>",
        *(html_figure(*photo) for photo in photos),
    ]
    if story.video is not None:
        parts += [
            "<h2>A walk</h2>",
            "<p>A window moves over a photograph. What belongs to the image moves with it; what belongs to the grid of"
            " patches stands still.</p>",
            html_figure("raw and denoised, the same colours in all frames", story.video),
        ]
    parts += [
        "<h2>In numbers</h2>",
        html_table(*table(scores)),
        html_list(findings(scores)),
        "<p>denoised is the denoiser that comes with dvt and never saw these images; denoised here was trained just"
        " now, on these images. Passes are forward passes of the ViT per image.</p>",
        html_list((f"{each.name}: {each.meaning}" for each in scores.metrics), small=True),
        "<h2>Your own photographs</h2>",
        f"<pre>{escape(NEXT)}</pre>",
        f'<p class="small">Photographs: {escape("; ".join(each.credit for each in PHOTOGRAPHS))}.</p>',
    ]
    path = story.out / "index.html"
    write_page(path, "dvt: clean features of Vision Transformers", parts)
    return path
