"""The card of a model (`README.md`), written from its `config.json`."""

import re
from collections.abc import Mapping
from typing import Any

import timm
from huggingface_hub import ModelCard, ModelCardData

from dvt.settings import leaves
from dvt.spec import layers_text
from dvt.weights.info import ModelInfo

_PAPER = "[Denoising Vision Transformers](https://arxiv.org/abs/2401.02957) (Yang et al., ECCV 2024)"
_HUB_LICENSES = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc0-1.0")
"""Identifiers of the hub that ViTs use; other licences are given by name."""

_PURPOSE = {
    "denoiser": (
        "A small network that turns the patch features of a frozen ViT into clean ones: it removes what belongs to"
        " the position of a patch and not to the image."
    ),
    "distilled": (
        "A ViT that was trained to give clean patch features by itself, without what belongs to the position of a patch"
        " and not to the image. No extra layers; its weights load into the plain model of its library."
    ),
    "denoised": (
        "A ViT and a small network behind it that were trained together to give clean patch features, without what"
        " belongs to the position of a patch and not to the image."
    ),
    "fixed_size": "A ViT with clean patch features, exported for images of one size.",
    "backbone": "A small ViT for trying things without a download. It has the artifacts that dvt removes.",
}
_CALIBRATED = (
    "A linear map and a vector for every position, computed from a few images without training: it removes from the"
    " patch features of a frozen ViT what belongs to the position of a patch and not to the image."
)
"""Purpose of a denoiser that `dvt calibrate` made."""
_DROPPING = (
    "A ViT that was trained to give clean patch features by itself, and drops patches on its way: they come back at the"
    " end. dvt loads it; the plain model of its library has no place for its predictors."
)
"""Purpose of a distilled ViT with `student.keep` below 1."""
_REGISTERS = (
    "A few neurons of a frozen ViT that write its high-norm outlier tokens, found on a few images without training."
    " Their activations are moved to an extra token that is left out of the output (Jiang et al., *Vision Transformers"
    " Don't Need Trained Registers*, 2025)."
)
"""Purpose of the registers that `dvt calibrate` found."""
_REGISTERS_LIMITS = (
    "The forward pass of the ViT changes, and with it its class and register tokens.",
    "Other image sizes work; the neurons were found at the size named above.",
)
_NEEDS = {
    "transformers": "`pip install 'denoising-vit[transformers]'`",
    "open_clip": "`pip install 'denoising-vit[openclip]'`",
    "torch_hub": "the repository, whose code makes the ViT",
    "module": "the package, whose function makes the ViT",
}
"""What is needed beside dvt to load a ViT that is not of timm."""
_ONLY_THESE = "It fits only the features named above: no other layer, norm or weights of the ViT."
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_LIMITS = {
    "denoiser": "Class and register tokens are those of the ViT, unchanged.",
    "distilled": "Class and register tokens may have drifted from those of the ViT it started from.",
    "denoised": "Class and register tokens may have drifted from those of the ViT it started from.",
    "fixed_size": "It takes images of that one size.",
    "backbone": "Made for demonstrations and tests: it was trained on few kinds of images.",
}


def model_card(info: ModelInfo, source: str) -> str:
    """The text of the card, with its YAML header.

    Args:
        info: what the model is.
        source: repository or folder of the model, for the example code.
    """
    metrics = {name: f"{value:.4g}" for name, value in info.metrics.items()}
    parts = (
        f"---\n{_header(info)}\n---",
        f"# {info.spec.backbone}: {info.kind.replace('_', ' ')}",
        _purpose(info),
        f"## Use\n\n```python\n{_code(info, source)}\n```",
        f"## What it is\n\n{_facts(info)}",
        f"## How it was trained\n\n{_table('setting', 'value', dict(leaves(info.training))) or 'Not recorded.'}",
        f"## What it reached\n\n{_table('metric', 'value', metrics) or 'Not recorded.'}",
        f"## Limits\n\n{_limits(info)}",
        f"## Licence\n\n{_licence(info)}",
    )
    text = "\n\n".join(parts) + "\n"
    return str(ModelCard(text))  # parses the header: a card that the hub would refuse is an error here


def _purpose(info: ModelInfo) -> str:
    if info.kind == "denoiser" and info.architecture.get("kind") == "affine":
        return _CALIBRATED
    if info.kind == "distilled" and "keep" in info.training.get("student", {}):
        return f"{_DROPPING} Method: {_PAPER}, and DynamicViT (Rao et al., NeurIPS 2021)."
    if info.kind == "denoiser" and _has_registers(info):
        return _REGISTERS
    return _PURPOSE[info.kind] + (f" Method: {_PAPER}." if info.kind != "backbone" else "")


def _has_registers(info: ModelInfo) -> bool:
    return info.architecture.get("kind") == "registers"


def _header(info: ModelInfo) -> str:
    known: dict[str, Any] = {}
    if info.base_license in _HUB_LICENSES:
        known["license"] = info.base_license
    elif info.base_license is not None:
        known |= {"license": "other", "license_name": info.base_license}
    source, name = _source(info)
    base = timm.get_pretrained_cfg(name) if source == "timm" else None
    if base is not None and base.hf_hub_id:
        known["base_model"] = base.hf_hub_id
    if source == "transformers" and _REPOSITORY.fullmatch(name):
        known["base_model"] = name
    data = ModelCardData(
        library_name="dvt",
        pipeline_tag="image-feature-extraction",
        tags=["dvt", "vision-transformer", "dense-features", "denoising", source],
        **known,
    )
    return data.to_yaml().strip()


def _source(info: ModelInfo) -> tuple[str, str]:
    """The library of the ViT, and its name there; names in timm have no colon."""
    source, colon, name = info.spec.backbone.partition(":")
    return (source, name) if colon else ("timm", source)


def _code(info: ModelInfo, source: str) -> str:
    rows, columns = info.spec.grid.finer(info.architecture.get("fine", 1)).hw
    if info.kind == "fixed_size":
        height, width = info.spec.grid.image_hw
        return (
            "import dvt\n\n"
            f'model = dvt.load_fixed_size("{source}")\n'
            f"patches, prefix = model(images)      # images: (B, 3, {height}, {width}) RGB in [0, 1]"
        )
    if info.kind == "backbone":
        return (
            "import dvt\n\n"
            f'backbone = dvt.load_backbone("{info.spec.backbone}")\n'
            "features = backbone(backbone.preprocess(image)[None])\n"
            f"features.patches                     # (1, {rows}, {columns}, {info.spec.channels})"
        )
    return (
        "import dvt\n\n"
        f'model, preprocess = dvt.load_denoised("{info.spec.backbone}", weights="{source}")\n'
        'image = preprocess("cat.jpg")        # RGB in [0, 1]; the model normalises by itself\n'
        f"clean = model(image[None]).patches   # (1, {rows}, {columns}, {info.spec.channels})"
    )


def _facts(info: ModelInfo) -> str:
    height, width = info.spec.grid.image_hw
    facts: dict[str, object] = {
        "ViT": f"`{info.spec.backbone}`",
        "hash of its weights": f"`{info.spec.weights_hash}`" if info.spec.weights_hash else "not recorded",
        "features": f"after {layers_text(info.spec.layers, 'block')}, {'with' if info.spec.norm else 'without'} the"
        " final norm" + (" (-1 is the last block)" if info.spec.layer < 0 else " (counted from 0)"),
        "trained at": f"{height} x {width} px: {info.spec.grid}",
        "channels": info.spec.channels,
        **{f"architecture: {name}": value for name, value in leaves(info.architecture)},
        **({"needs": _NEEDS[source]} if (source := _source(info)[0]) in _NEEDS else {}),
        "written by": f"dvt {info.code_version}",
    }
    return _table("", "", facts)


def _limits(info: ModelInfo) -> str:
    if info.kind == "denoiser" and _has_registers(info):
        return "\n".join(f"- {line}" for line in (*_REGISTERS_LIMITS, _ONLY_THESE))
    lines = (
        "The position of a patch is removed from its features on purpose. Heads that need the place of a patch"
        " (detection, for instance) may need a position embedding of their own."
        if info.kind != "backbone"
        else "",
        _LIMITS[info.kind],
        "Other image sizes work, by resampling a position embedding; they were not trained."
        if info.kind != "fixed_size"
        else "",
        _ONLY_THESE if info.kind == "denoiser" else "",
    )
    return "\n".join(f"- {line}" for line in lines if line)


def _licence(info: ModelInfo) -> str:
    if info.base_license is None:
        return "The licence of the ViT's weights is not recorded here: look it up before you share this model."
    return f"The weights of the ViT that this model was made from are under: {info.base_license}."


def _table(left: str, right: str, rows: Mapping[str, object]) -> str:
    """A Markdown table; empty without rows."""
    if not rows:
        return ""
    lines = [f"| {left} | {right} |", "|---|---|"]
    return "\n".join([*lines, *(f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items())])


def _cell(content: object) -> str:
    return str(content).replace("|", "\\|").replace("\n", " ")
