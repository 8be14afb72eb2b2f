"""What the caller has set in torch changes no result of a public function, and is as it was afterwards."""

import contextlib

import pytest
import torch
from PIL import Image

import dvt
from dvt.decomposition.quality import load_quality
from dvt.decomposition.run_list import ListOptions
from dvt.denoiser.config import TrainConfig
from dvt.distillation.config import DistillConfig
from dvt.training.config import LoggerConfig, LoggerKind, TrainerConfig

PRODUCTS = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)


@contextlib.contextmanager
def setting(change, value, back):
    """`change(value)` inside, `change(back)` afterwards."""
    change(value)
    try:
        yield
    finally:
        change(back)


def fp32_precision(precision):
    """The newer of torch's two ways to set the precision of products; they cannot be mixed."""
    for products in PRODUCTS:
        products.fp32_precision = precision


def matmul_precision(precision):
    """The older way."""
    torch.set_float32_matmul_precision(precision)
    if precision == "highest":
        fp32_precision("none")


STATES = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "float64": lambda: setting(torch.set_default_dtype, torch.float64, torch.float32),
    "bfloat16": lambda: setting(torch.set_default_dtype, torch.bfloat16, torch.float32),
    "the device meta": lambda: setting(torch.set_default_device, "meta", None),
    "the device meta, as a context": lambda: torch.device("meta"),
    "no gradients": torch.no_grad,
    "inference mode": torch.inference_mode,
    "fast products": lambda: setting(matmul_precision, "medium", "highest"),
    "tf32": lambda: setting(fp32_precision, "tf32", "none"),
    "deterministic": lambda: setting(torch.use_deterministic_algorithms, True, False),
}
STEPS = {"num_steps": 2, "batch_size": 2, "save_every": 2, "validate_every": 2, "show_every": 0, "log_every": 1}
QUIET = {"trainer": TrainerConfig(accelerator="cpu"), "logger": LoggerConfig(kind=LoggerKind.none)}


def state_now():
    device = torch.get_default_device()
    return (
        torch.is_autocast_enabled("cpu"), torch.get_default_dtype(), device, torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(), *(products.fp32_precision for products in PRODUCTS),
        torch.are_deterministic_algorithms_enabled(),
    )  # fmt: skip


def tensors_of(model):
    return list(model.state_dict().values())


def closed_form(place):
    result = dvt.decompose(place / "photos" / "0.png", vit(), "tiny", num_views=3, fine=2)
    return [result.raw, result.clean, result.fine, result.field.read(result.grid)]


def gradient(place):
    result = dvt.decompose(place / "photos" / "0.png", vit(), "tiny", solver="gradient", num_views=3)
    return [result.raw, result.clean, result.artifact]


def a_list(place):
    config = load_quality("tiny", {"num_views": 3, "fine": 2})
    dvt.decompose_list(dvt.find_images(place / "photos"), vit(), place / "list", config, ListOptions())
    record = dvt.FeatureStore.open(place / "list")["0.png"]
    return [record.clean, record.raw, record.field.read(vit().grid)]


def a_distillation(place):
    config = DistillConfig(**STEPS, **QUIET)
    dvt.distill_from_store([place / "store"], dvt.find_images(place / "photos"), place / "out", config, backbone=vit())
    return tensors_of(dvt.load_denoised(weights=place / "out", device="cpu")[0])


def a_denoiser(place):
    dvt.train_denoiser([place / "store"], place / "out", TrainConfig(**STEPS, **QUIET))
    return tensors_of(dvt.load_denoiser(place / "out"))


def an_image(place):
    return [dvt.read_image(place / "photos" / "0.png"), dvt.read_image(torch.full((3, 20, 20), 0.5, device="cpu"))]


def vit():
    return dvt.load_backbone("vit_micro", image_size=64, device="cpu")


@contextlib.contextmanager
def all_of_them():
    with contextlib.ExitStack() as stack:
        for name, state in STATES.items():
            if name not in ("float64", "fast products"):
                stack.enter_context(state())
        yield


QUICK, SLOWER = (closed_form, gradient, a_list, an_image), (a_distillation, a_denoiser)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Images and their store."""
    place = tmp_path_factory.mktemp("state")
    (place / "photos").mkdir()
    for number in range(4):
        Image.radial_gradient("L").rotate(40 * number).resize((90, 80)).convert("RGB").save(
            place / "photos" / f"{number}.png"
        )
    config = load_quality("tiny", {"num_views": 3, "fine": 2})
    dvt.decompose_list(dvt.find_images(place / "photos"), vit(), place / "store", config, ListOptions())
    return place


@pytest.fixture(scope="module")
def plain(prepared, tmp_path_factory):
    """plain(function) -> what it gives in the usual state."""
    found = {}

    def of(function):
        if function not in found:
            found[function] = function(linked(prepared, tmp_path_factory.mktemp("plain")))
        return found[function]

    return of


def linked(prepared, place):
    for name in ("photos", "store"):
        (place / name).symlink_to(prepared / name)
    return place


@pytest.mark.parametrize(
    ("function", "state"),
    [
        *(
            pytest.param(function, STATES[name], id=f"{function.__name__}, {name}")
            for function in QUICK
            for name in STATES
        ),
        *(pytest.param(function, all_of_them, id=f"{function.__name__}, all") for function in SLOWER),
    ],
)
def test_the_result_is_the_same(function, state, prepared, plain, tmp_path):
    wanted = plain(function)
    with state():
        before = state_now()
        found = function(linked(prepared, tmp_path))
        assert state_now() == before
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == other.dtype and one.device == other.device and torch.equal(one, other)
