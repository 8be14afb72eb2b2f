"""Options of segmentation and depth: light, documented, typed, and refused where they are invalid."""

import math
import subprocess
import sys
from dataclasses import fields, is_dataclass

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import ValidationError

from dvt.cli.help import attribute_docs
from dvt.errors import ConfigError
from dvt.evaluation.config.depth import (
    DepthProtocol,
    HeadConfig,
    LinearDepthConfig,
    LossConfig,
    OptimizerConfig,
    PaperConfig,
    SevenScenesConfig,
)
from dvt.evaluation.config.layout import Layout
from dvt.evaluation.config.segmentation import (
    DatasetName,
    KnnSegmentationConfig,
    LinearProtocol,
    LinearSegmentationConfig,
    PatchProbeConfig,
    SegmentationConfig,
    WindowsConfig,
)


def test_options_are_read_without_torch():
    modules = "dvt.evaluation.config.depth, dvt.evaluation.config.segmentation, dvt.evaluation.tasks"
    code = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def configs(kind):
    yield kind
    for entry in fields(kind):
        if is_dataclass(value := getattr(kind(), entry.name)):
            yield from configs(type(value))


@pytest.mark.parametrize("kind", [LinearSegmentationConfig, KnnSegmentationConfig, LinearDepthConfig])
def test_every_option_is_documented(kind):
    for part in configs(kind):
        docs = attribute_docs(part)
        assert all(docs.get(entry.name, "").endswith(".") for entry in fields(part)), part


def from_command_line(kind, *options):
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind), OmegaConf.from_dotlist(list(options))))


def test_options_of_a_command_line_become_the_dataclass():
    segmentation = from_command_line(
        LinearSegmentationConfig,
        "dataset=voc2012", "layouts=[upside_down]", "protocol=patches", "windows.size=448", "image_size=[224,448]",
    )  # fmt: skip
    assert segmentation == LinearSegmentationConfig(
        dataset=DatasetName.voc2012,
        layouts=[Layout.upside_down],
        protocol=LinearProtocol.patches,
        windows=WindowsConfig(size=448),
        image_size=[224, 448],
    )
    depth = from_command_line(
        LinearDepthConfig, "dataset=nyuv2", "loss.gradient=original", "quick.num_steps=7", "paper.train_size=[32,48]"
    )
    assert depth.chosen_protocol is DepthProtocol.paper and depth.paper.train_size == [32, 48]
    assert (depth.quick.num_steps, depth.quick.batch_size, depth.loss.gradient) == (7, 4, "original")
    assert LinearDepthConfig().chosen_protocol is DepthProtocol.quick
    with pytest.raises(ValidationError):
        from_command_line(KnnSegmentationConfig, "dataset=cityscapes")


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        (SegmentationConfig, {"num_train": 0}, r"num_train=0: give at least 1"),
        (SegmentationConfig, {"layouts": []}, r"layouts=\[\]: give at least one of usual, crops, upside_down"),
        (SegmentationConfig, {"layouts": [Layout.crops] * 2}, r"layouts=\[crops,crops\].*each once"),
        (LinearSegmentationConfig, {"num_test": -1}, r"num_test=-1"),
        (LinearSegmentationConfig, {"seeds": 0}, r"seeds=0"),
        (KnnSegmentationConfig, {"num_neighbours": 0}, r"num_neighbours=0"),
        (KnnSegmentationConfig, {"temperature": 0.0}, r"temperature=0.0: give a number above 0"),
        (PatchProbeConfig, {"num_steps": 0}, r"patches\.num_steps=0"),
        (PatchProbeConfig, {"learning_rate": math.nan}, r"patches\.learning_rate=nan"),
        (WindowsConfig, {"flip": 1.5}, r"windows\.flip=1.5: give at most 1"),
        (WindowsConfig, {"hue": 0.6}, r"windows\.hue=0.6"),
        (WindowsConfig, {"min_scale": 3.0}, r"windows\.min_scale=3.0 windows\.max_scale=2.0"),
        (WindowsConfig, {"stride": 600}, r"windows\.stride=600 leaves gaps"),
        (LinearDepthConfig, {"seeds": 0}, "seeds=0: give at least 1"),
        (LinearDepthConfig, {"num_test": 0}, "num_test=0: give at least 1"),
        (LinearDepthConfig, {"layouts": []}, r"layouts=\[\]: give at least one of usual"),
        (LinearDepthConfig, {"protocol": DepthProtocol.paper, "image_size": 224}, "no effect with protocol=paper"),
        (SevenScenesConfig, {"test_every": 1}, "test_every=1"),
        (HeadConfig, {"min_depth": 3, "max_depth": 2}, r"head\.min_depth=3"),
        (LossConfig, {"gradient_weight": math.nan}, r"loss\.gradient_weight=nan: give at least 0"),
        (LossConfig, {"gradient_scales": 0}, r"loss\.gradient_scales=0"),
        (OptimizerConfig, {"learning_rate": 0}, "learning_rate=0: give a number above 0"),
        (OptimizerConfig, {"warmup_steps": -1}, "warmup_steps=-1"),
        (OptimizerConfig, {"momentum_turn": 1}, "momentum_turn=1: give a number below 1"),
        (PaperConfig, {"flip_share": 2}, r"paper\.flip_share=2: give at most 1"),
        (PaperConfig, {"num_workers": 0}, r"paper\.num_workers=0"),
    ],
)
def test_invalid_options_are_refused(kind, options, said):
    with pytest.raises(ConfigError, match=said):
        kind(**options)
