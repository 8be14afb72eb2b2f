"""The HTML page of the demo: images and numbers, and the explorer, a file beside it, in a frame."""

from html import escape
from pathlib import Path

from dvt.demo.images import DEMO_IMAGES
from dvt.demo.run import FINE, DemoResult
from dvt.evaluation.table import findings, table
from dvt.viz.page import html_figure, html_list, html_table, write_page

NEXT = """\
dvt doctor    backbone=dinov2_base images=photos/                     does your ViT have artifacts?
dvt show      image=photo.jpg backbone=dinov2_base                    the four terms of one of your images
dvt show      image=photo.jpg backbone=dinov2_base out=photo.html     the same as a page to explore in the browser
dvt view      backbone=dinov2_base                                    the same live: drop images into the browser
dvt show      image=photo.jpg backbone=dinov2_base fine=2             and the clean features at 2 x 2 cells per patch
dvt decompose images=photos/ store=runs/photos backbone=dinov2_base   stage 1 on a folder
dvt train     store=runs/photos out=runs/denoiser                     stage 2
dvt show      image=photo.jpg method=[raw,denoised] denoiser=runs/denoiser backbone=dinov2_base"""
"""Commands for the user's own images."""


def write_demo_page(result: DemoResult) -> Path:
    """Write the page and return its path.

    Raises:
        DiskError: the disk is full or refuses.
    """
    times = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in result.seconds.items())
    scores = result.scores
    parts = [
        f"<p>Everything below was made on this machine, by a ViT that ships with dvt ({escape(result.backbone)}, 2.8"
        f" million parameters), in {sum(result.seconds.values()):.0f} s ({escape(times)}).</p>",
        "<h2>The problem</h2>",
        "<p>The features of a ViT should say what each patch shows. They also depend on the position of the patch: the"
        " same pattern is added to every image. In this ViT it is strongest at the four corners of the grid: see raw."
        "</p>",
        "<h2>Stage 1: raw = clean + artifact + residual</h2>",
        "<p>The ViT sees many random crops of one image. What moves with the image is <b>clean</b>; what stays at its"
        " place on the grid is the <b>artifact</b>; the rest is the residual. No training, no other images.</p>",
        html_figure("The terms of stage 1", result.terms),
        "<p>Clean is a function of the place in the image. It can be read finer than a patch, from the same passes:"
        f" here at {FINE} x {FINE} cells a patch.</p>",
        "<h2>Stages 2 and 3: the same in one pass</h2>",
        "<p>A transformer block behind the frozen ViT is trained on such pairs and cleans new images in one forward"
        " pass (denoised). Or a copy of the ViT itself learns them, with a linear layer on all of its blocks (clean"
        " ViT): it comes closer to stage 1. Both ship with dvt.</p>",
        "<p>Compare them on all six images: move over a patch, drag the line, choose another view, as"
        f' <a href="{result.explorer.name}">a page of its own</a> or here.</p>',
        f'<iframe title="explorer" src="{result.explorer.name}"'
        ' style="width: 100%; height: 860px; border: 0"></iframe>',
    ]
    if result.video is not None:
        parts += [
            "<h2>Video</h2>",
            "<p>A window moves over an image. Clean features move with the image; the artifact stays in place.</p>",
            html_figure("raw and denoised, the same colours in all frames", result.video),
        ]
    parts += [
        "<h2>Scores</h2>",
        html_table(*table(scores)),
        html_list(findings(scores)),
        "<p>denoised and clean ViT ship with dvt; they were not trained on these images. denoised here was trained"
        " during this demo, on these images. Passes are forward passes of the ViT per image.</p>",
        html_list((f"{each.name}: {each.meaning}" for each in scores.metrics), small=True),
        "<h2>Your own images</h2>",
        f"<pre>{escape(NEXT)}</pre>",
        f'<p class="small">Images: {escape("; ".join(each.credit for each in DEMO_IMAGES))}.</p>',
    ]
    path = result.out / "index.html"
    write_page(path, "dvt: clean features of Vision Transformers", parts)
    return path
