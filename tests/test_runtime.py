"""Device, precision, seeds and the record of the surroundings."""

import platform
import subprocess
import sys

import pytest
import torch

from dvt.errors import ConfigError
from dvt.runtime import Precision, environment, pick_device, seed_for


def test_auto_picks_a_device_that_works():
    device = pick_device()
    assert torch.ones(2, device=device).sum().item() == 2
    if torch.cuda.is_available():
        assert device.type == "cuda"


def test_a_named_device_is_taken():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "meta", ""])
def test_an_absent_device_is_refused_with_those_that_exist(device):
    with pytest.raises(ConfigError, match=r"does not exist on this machine. Give auto or one of cpu") as caught:
        pick_device(device)
    assert f"device={device}" in str(caught.value)


def test_precision_names_its_type():
    assert [Precision.parse(name).dtype for name in ("fp32", "fp16", "bf16")] == [
        torch.float32,
        torch.float16,
        torch.bfloat16,
    ]
    assert f"{Precision.bf16}" == "bf16"


def test_an_unknown_precision_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"precision=fp8 does not exist. Give one of fp32, fp16, bf16"):
        Precision.parse("fp8")


def test_seeds_depend_on_seed_and_key_alone():
    assert seed_for(0, "a.jpg") == 1_625_082_567_482_804_758  # a changed value would change every stored result
    keys = [f"{index}.jpg" for index in range(500)]
    seeds = {seed_for(seed, key) for seed in (0, 1) for key in keys}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62


@pytest.mark.process
def test_seeds_are_the_same_in_another_process():
    code = "from dvt.runtime import seed_for; print(seed_for(7, 'Grüße/ä.png'))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(run.stdout) == seed_for(7, "Grüße/ä.png")


def test_environment_names_the_versions():
    record = environment(torch.device("cpu"))
    assert set(record) == {"dvt", "python", "torch", "timm", "platform", "device"}
    assert record["torch"] == torch.__version__
    assert record["python"] == platform.python_version()
    assert record["device"].startswith("cpu (")
    assert all(record.values())
