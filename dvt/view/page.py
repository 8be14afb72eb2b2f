"""The page of the live app: the explorer, and what is chosen above it."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from string import Template

from dvt.view.offer import Offer
from dvt.viz.explorer.page import explorer_body, explorer_settings, json_script


def live_page(offers: Mapping[str, Offer], images: Sequence[str], max_upload_bytes: int) -> str:
    """The HTML of the page.

    Args:
        offers: what can be chosen, by the name of the ViT; the first is the default.
        images: names of the images of this machine.
        max_upload_bytes: the page sends no larger file.
    """
    given = {
        "backbones": [offer.to_json() for offer in offers.values()],
        "images": list(images),
        "max_upload_bytes": max_upload_bytes,
    }
    parts = files("dvt.view")
    return Template(parts.joinpath("view.html").read_text(encoding="utf-8")).substitute(
        explorer=explorer_body("dvt view", controls=parts.joinpath("controls.html").read_text(encoding="utf-8")),
        settings=explorer_settings(()),
        given=json_script("given", given),
    )
