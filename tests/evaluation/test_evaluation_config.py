"""Options of the segmentation tasks: light, documented, typed, and refused where they make no sense."""

import math
import subprocess
import sys
from dataclasses import fields

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import ValidationError

from dvt.cli.help import attribute_docs
from dvt.errors import ConfigError
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


def test_the_options_are_read_without_torch():
    code = "import sys, dvt.evaluation.config.segmentation; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("kind", [LinearSegmentationConfig, KnnSegmentationConfig, PatchProbeConfig, WindowsConfig])
def test_every_option_says_what_it_is(kind):
    docs = attribute_docs(kind)
    assert all(docs.get(entry.name, "").endswith(".") for entry in fields(kind))


def test_options_from_a_command_line_become_the_dataclass():
    given = OmegaConf.from_dotlist(
        ["dataset=voc2012", "layouts=[upside_down]", "protocol=patches", "windows.size=448", "image_size=[224,448]"]
    )
    config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(LinearSegmentationConfig), given))
    expected = LinearSegmentationConfig(
        dataset=DatasetName.voc2012,
        layouts=[Layout.upside_down],
        protocol=LinearProtocol.patches,
        windows=WindowsConfig(size=448),
        image_size=[224, 448],
    )
    assert config == expected
    with pytest.raises(ValidationError):
        OmegaConf.merge(OmegaConf.structured(KnnSegmentationConfig), {"dataset": "cityscapes"})


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        (SegmentationConfig, {"num_train": 0}, r"num_train=0: give at least 1"),
        (SegmentationConfig, {"layouts": []}, r"layouts=\[\]: give at least one of usual, crops, upside_down"),
        (SegmentationConfig, {"layouts": [Layout.crops] * 2}, r"layouts=\[crops,crops\].*each once"),
        (LinearSegmentationConfig, {"num_test": -1}, r"num_test=-1"),
        (LinearSegmentationConfig, {"seeds": 0}, r"seeds=0"),
        (KnnSegmentationConfig, {"neighbours": 0}, r"neighbours=0"),
        (KnnSegmentationConfig, {"temperature": 0.0}, r"temperature=0.0: give a positive number"),
        (PatchProbeConfig, {"num_steps": 0}, r"patches\.num_steps=0"),
        (PatchProbeConfig, {"lr": math.nan}, r"patches\.lr=nan"),
        (WindowsConfig, {"flip": 1.5}, r"windows\.flip=1.5: give at most 1"),
        (WindowsConfig, {"hue": 0.6}, r"windows\.hue=0.6"),
        (WindowsConfig, {"min_scale": 3.0}, r"windows\.min_scale=3.0 windows\.max_scale=2.0"),
        (WindowsConfig, {"stride": 600}, r"windows\.stride=600 leaves gaps"),
    ],
)
def test_options_that_make_no_sense_are_refused(kind, options, said):
    with pytest.raises(ConfigError, match=said):
        kind(**options)
