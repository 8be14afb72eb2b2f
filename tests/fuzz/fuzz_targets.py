"""What is fuzzed: for each kind of input its seeds, how they are mutated, and what reads them.

A check returns where dvt accepts an input or refuses it with a `DvtError` that names the file. Anything else escapes.
"""

import hashlib
import io
import json
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from random import Random

import torch
from fuzz_mutations import mutated_bytes, mutated_json, mutated_lines
from PIL import Image, features
from safetensors.torch import save

from dvt.backbone.load import load_backbone
from dvt.cli.main import VERBS
from dvt.cli.main import run as run_command
from dvt.denoiser.config import DenoiserConfig
from dvt.denoiser.network import Denoiser
from dvt.errors import DvtError
from dvt.evaluation.datasets.masks import read_mask
from dvt.evaluation.datasets.voc_boxes import read_voc_list, read_voc_objects
from dvt.evaluation.result import TaskResult
from dvt.evaluation.summary import summary_table
from dvt.evaluation.table import markdown
from dvt.grid import PatchGrid
from dvt.images import find_images, read_image
from dvt.images.read import has_colours
from dvt.images.video import Video, is_video
from dvt.spec import FeatureSpec
from dvt.store import FeatureStore, StoreMeta, StoreWriter, status, verify
from dvt.store.schema import sha256_of
from dvt.training.checkpoints import read_checkpoint
from dvt.weights.build import load_denoised, load_denoiser
from dvt.weights.folder import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE, read_model_folder, read_model_info
from dvt.weights.info import ModelInfo
from dvt.weights.recognise import recognise
from dvt.weights.resolve import Found

Mutate = Callable[[Random, bytes, list[bytes], tuple[bytes, ...]], bytes]


@dataclass(frozen=True)
class Target:
    """One kind of input."""

    seeds: Callable[[], list[bytes]]
    """Good inputs."""
    check: Callable[[bytes, Path], None]
    """Give an input to dvt; the folder is empty and may be filled."""
    weight: float
    """Share of the inputs."""
    mutate: Mutate = mutated_bytes
    """Makes an input of a seed."""
    tokens: tuple[bytes, ...] = ()
    """Parts of such inputs that are put in."""


class UnnamedFileError(Exception):
    """The text of a `DvtError` does not say which file it is about."""


@contextmanager
def only_dvt_errors(about: Path | None = None) -> Iterator[None]:
    """Let a `DvtError` pass that names the file, or a folder above it."""
    try:
        yield
    except DvtError as error:
        if about is not None and about.name not in str(error):
            raise UnnamedFileError(f"{about.name} is not named in: {error}") from error


# ---- images


def _pattern(mode: str, size: tuple[int, int] = (24, 17)) -> Image.Image:
    width, height = size
    colours = bytes(
        (x * 9 + y * 5 + 60 * channel) % 256 for y in range(height) for x in range(width) for channel in range(3)
    )
    image = Image.frombytes("RGB", size, colours)
    if mode in ("I;16", "I", "F"):
        grey = image.convert("L").convert("F" if mode == "F" else "I")
        return grey.point(lambda value: value * (1 / 255) if mode == "F" else value * 257.0 + 0.0).convert(mode)
    if mode == "P":
        return image.quantize(16)
    made = image.convert(mode)
    if mode in ("RGBA", "LA"):
        made.putalpha(image.convert("L"))
    return made


def exif_block() -> bytes:
    """EXIF with an orientation, texts, rationals, and the IFDs of the camera and of GPS."""
    exif = Image.Exif()
    exif[274], exif[271], exif[282] = 6, "maker", 72.5
    exif.get_ifd(0x8769)[36867] = "2020:01:01 00:00:00"
    exif.get_ifd(0x8769)[33434] = 0.01
    exif.get_ifd(0x8825)[1] = "N"
    return exif.tobytes()


def _saved(kind: str, mode: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    _pattern(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def _more() -> list[Image.Image]:
    """Two further frames; saving leaves traces in an image."""
    return [_pattern("RGB").rotate(90 * turn) for turn in (1, 2)]


@cache
def image_seeds() -> list[bytes]:
    """Images of all formats that dvt reads, in several modes and compressions."""
    exif = exif_block()
    return [
        _saved("JPEG", "RGB", exif=exif),
        _saved("JPEG", "RGB", progressive=True, quality=30, subsampling=2),
        _saved("JPEG", "L", icc_profile=b"0" * 128, comment=b"text"),
        _saved("JPEG", "CMYK"),
        _saved("MPO", "RGB", save_all=True, append_images=_more(), exif=exif),
        _saved("PNG", "RGB", exif=exif, dpi=(72, 72)),
        _saved("PNG", "RGBA"),
        _saved("PNG", "P", transparency=3),
        _saved("PNG", "LA"),
        _saved("PNG", "I;16"),
        _saved("PNG", "1"),
        _saved("PNG", "RGB", save_all=True, append_images=_more(), duration=40),
        _saved("WEBP", "RGB", exif=exif),
        _saved("WEBP", "RGBA", lossless=True),
        _saved("WEBP", "RGB", save_all=True, append_images=_more(), duration=40),
        _saved("BMP", "RGB"),
        _saved("BMP", "P"),
        _saved("BMP", "1"),
        _saved("BMP", "RGBA"),
        _saved("TIFF", "RGB", exif=exif),
        *(_saved("TIFF", "RGB", compression=name) for name in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg")),
        *(_saved("TIFF", "1", compression=name) for name in ("group3", "group4", "tiff_ccitt")),
        _saved("TIFF", "I;16"),
        _saved("TIFF", "F", compression="tiff_adobe_deflate"),
        _saved("TIFF", "CMYK"),
        _saved("TIFF", "LAB"),
        _saved("TIFF", "RGB", save_all=True, append_images=_more()),
        _saved("GIF", "P", transparency=1),
        _saved("GIF", "RGB", save_all=True, append_images=_more(), duration=40, loop=0),
        _saved("PPM", "RGB"),
        _saved("PPM", "L"),
        _saved("PPM", "1"),
        _saved("PPM", "I;16"),
        _saved("PPM", "F"),
        b"P3\n# plain\n3 2\n255\n" + b" ".join(b"%d" % value for value in range(18)),
        b"P1\n4 2\n1 0 1 0\n0 1 0 1\n",
        _saved("JPEG2000", "RGB"),
        _saved("JPEG2000", "RGBA", irreversible=True, num_resolutions=2),
        _saved("JPEG2000", "L", tile_size=(16, 16)),
        _saved("JPEG2000", "I;16"),
        *([_saved("AVIF", "RGB", exif=exif), _saved("AVIF", "RGBA", quality=20)] if features.check("avif") else []),
    ]  # fmt: skip


IMAGE_TOKENS = (
    b"\xff\xd8\xff", b"\xff\xe1", b"\xff\xc0", b"\xff\xc2", b"\xff\xda", b"\xff\xd9", b"Exif\0\0", b"MPF\0", b"IHDR",
    b"IDAT", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"iCCP", b"zTXt", b"iTXt", b"eXIf", b"IEND", b"RIFF",
    b"WEBP", b"VP8 ", b"VP8L", b"VP8X", b"ANIM", b"ANMF", b"II*\0", b"MM\0*", b"II+\0", b"GIF89a", b"!\xf9\x04",
    b",\0\0\0\0", b"BM", b"P1\n", b"P3\n", b"P4\n", b"P5\n", b"P6\n", b"P7\n", b"Pf\n", b"PyRGBA\n", b"65535\n",
    b"99999 99999\n", b"-1 ",
    b"ftypavif", b"meta", b"iloc", b"ispe", b"mdat",
    b"jP  \r\n\x87\n", b"ftypjp2 ", b"jp2h", b"ihdr", b"colr", b"pclr", b"cmap", b"cdef",
    b"res ", b"\xff\x4f\xff\x51", b"\xff\x52", b"\xff\x5c", b"\xff\x90", b"\xff\x93",
)  # fmt: skip


def check_image(data: bytes, folder: Path) -> None:
    """Read an image, by a name that does not say its format; as a video if it is one."""
    path = folder / "image.gif"
    path.write_bytes(data)
    with only_dvt_errors(path):
        has_colours(path)
    with only_dvt_errors(path):
        pixels = read_image(path)
        assert pixels.ndim == 3 and pixels.shape[0] == 3 and pixels.dtype == torch.float32
        assert 0 <= float(pixels.min()) and float(pixels.max()) <= 1
    if is_video(path):
        with only_dvt_errors(path):
            for _ in islice(Video.open(path), 8):
                pass


def check_mask(data: bytes, folder: Path) -> None:
    """Read an image as a label map."""
    path = folder / "mask.png"
    path.write_bytes(data)
    for soft in (False, True):
        with only_dvt_errors(path):
            _ = read_mask(path, soft=soft).numbers


def check_png(data: bytes, folder: Path) -> None:
    """A PNG whose checksums are made right, so that the decoder sees the content."""
    out, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        length = struct.unpack(">I", data[at : at + 4])[0]
        if at + 12 + length > len(data):
            break
        body = data[at + 4 : at + 8 + length]
        out += data[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    check_image(bytes(out) + data[at:], folder)


def png_seeds() -> list[bytes]:
    """The PNG files among the seeds."""
    return [seed for seed in image_seeds() if seed.startswith(b"\x89PNG")]


def bomb_seeds() -> list[bytes]:
    """PNG files of few bytes and many pixels."""
    made = []
    for mode, side in (("1", 9000), ("P", 9000), ("L", 5000), ("RGBA", 4000)):
        buffer = io.BytesIO()
        Image.new(mode, (side, side)).save(buffer, "PNG")
        made.append(buffer.getvalue())
    return made


def _container(kind: str, exif: bytes) -> bytes:
    buffer = io.BytesIO()
    image = _pattern("RGB")
    if kind == "MPO":
        image.save(buffer, kind, save_all=True, append_images=[image], exif=exif)
    else:
        image.save(buffer, kind, exif=exif)
    return buffer.getvalue()


def check_exif(data: bytes, folder: Path) -> None:
    """EXIF in an intact image; the first byte chooses the format. The pixels have to come out."""
    kind = ("JPEG", "PNG", "WEBP", "MPO")[data[0] % 4] if data else "JPEG"
    try:
        image = _container(kind, data[1:])
    except (OSError, ValueError, struct.error):  # too long for the format
        return
    path = folder / "exif.jpg"
    path.write_bytes(image)
    assert read_image(path).numel() == 3 * 24 * 17
    check_image(image, folder)


def exif_seeds() -> list[bytes]:
    """EXIF blocks, each with the byte that chooses the format."""
    tiff = exif_block()
    return [bytes([kind]) + block for kind in range(4) for block in (tiff, tiff.removeprefix(b"Exif\0\0"))]


# ---- weights


@cache
def small_denoiser() -> Denoiser:
    """A denoiser of 192 channels (those of vit_micro) without position embedding and with a narrow MLP."""
    torch.manual_seed(0)
    return Denoiser(DenoiserConfig(mlp_ratio=0.25, head_channels=64), 192, (14, 14))


@cache
def tiny_state() -> dict[str, torch.Tensor]:
    """A state dict with the names of a denoiser and few numbers."""
    return {
        name: torch.zeros([min(size, 4) for size in tensor.shape])
        for name, tensor in small_denoiser().state_dict().items()
    }


def check_weights(path: Path) -> None:
    """Everything that reads a weights file."""
    with only_dvt_errors(path):
        recognise(Found(path, str(path)))
    with only_dvt_errors(path):
        load_denoiser(path)


def safetensors_seeds() -> list[bytes]:
    """Small files with the names of a denoiser and of a ViT, and several number formats."""
    numbers = (torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.float8_e4m3fn)
    return [
        save(tiny_state(), {"format": "pt"}),
        save({"blocks.0.norm1.weight": torch.ones(4), "patch_embed.proj.weight": torch.ones(2, 3, 2, 2)}),
        save({f"denoiser.x{place}": torch.zeros(3).to(kind) for place, kind in enumerate(numbers)}),
    ]


def check_safetensors(data: bytes, folder: Path) -> None:
    """A safetensors file."""
    path = folder / "weights.safetensors"
    path.write_bytes(data)
    check_weights(path)


def header_seeds() -> list[bytes]:
    """Headers of safetensors files."""
    return [seed[8 : 8 + struct.unpack("<Q", seed[:8])[0]] for seed in safetensors_seeds()]


def check_header(data: bytes, folder: Path) -> None:
    """The header of a safetensors file, with its length and as many zeros behind it as it claims, at most 1 MB."""
    ends = [0]
    try:
        entries = json.loads(data).values()
        ends += [entry["data_offsets"][1] for entry in entries if "data_offsets" in entry]
        length = max(min(max(ends), 10**6), 0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        length = 4096
    check_safetensors(struct.pack("<Q", len(data)) + data + bytes(int(length)), folder)


@cache
def torch_contents() -> list[object]:
    """Contents of torch.save files: state dicts, nested ones, a checkpoint of a run."""
    state = tiny_state()
    spec = feature_spec().to_json()
    settings = {
        "stage": "train",
        "features": spec,
        "denoiser": asdict(DenoiserConfig()) | {"kind": "block"},
        "num_steps": 6,
    }
    student = {"vit.norm.weight": torch.ones(4), "denoiser.mixing.linear.bias": torch.ones(4)}
    return [
        state,
        {"model": {f"module.{name}": tensor for name, tensor in state.items()}, "epoch": 3},
        {"state_dict": state, "dvt": {"settings": settings}, "global_step": 4},
        {"state_dict": student, "dvt": {"settings": settings | {"student": {"layers": [1, 2]}}}, "global_step": 4},
        OrderedDict(a=torch.nn.Parameter(torch.ones(2)), b=torch.zeros(2, dtype=torch.bfloat16).requires_grad_()),
    ]  # fmt: skip


def _torch_bytes(content: object, *, legacy: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def archive_seeds() -> list[bytes]:
    """Files of torch.save, of its present and of its old format."""
    return [_torch_bytes(content, legacy=legacy) for content in torch_contents() for legacy in (False, True)]


def check_archive(data: bytes, folder: Path) -> None:
    """A file of torch.save, as weights and as a checkpoint of a run."""
    path = folder / "weights.ckpt"
    path.write_bytes(data)
    check_weights(path)
    with only_dvt_errors(path):
        read_checkpoint(path)


def pickle_seeds() -> list[bytes]:
    """The pickles inside files of torch.save, and others."""
    made = []
    for content in torch_contents():
        with zipfile.ZipFile(io.BytesIO(_torch_bytes(content, legacy=False))) as archive:
            made.append(archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl"))))
    numbers = {"a": bytearray(b"abc"), "b": [1, 2.5, None, True], "c": (1, "é"), "d": {3}, "e": 10**30}
    return [*made, pickle.dumps(numbers, 2), pickle.dumps(OrderedDict(x=torch.Size([1, 2])), 2)]


PICKLE_TOKENS = (
    b"c__builtin__\nbytearray\n", b"ccollections\nOrderedDict\n", b"ccollections\nCounter\n", b"ctorch\nSize\n",
    b"cos\nsystem\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch._utils\n_rebuild_parameter\n",
    b"ctorch\nFloatStorage\n", b"ctorch\nfloat32\n", b"ctorch.storage\nUntypedStorage\n",
    b"ctorch._utils\n_rebuild_sparse_tensor\n", b"ctorch\ndevice\n", b"ctorch\nTensor\n",
    b"ctorch.nn.parameter\nParameter\n", b"c_codecs\nencode\n", b"ctorch._utils\n_rebuild_meta_tensor_no_storage\n",
    b"cargparse\nNamespace\n", b"ctorch._utils\n_rebuild_wrapper_subclass\n", b"ctorch._utils\n_rebuild_qtensor\n",
    b"cbuiltins\nset\n", b"cbuiltins\ncomplex\n", b"J\xff\xff\xff\x7f\x85R", b"J\x00\x00\x00\x80\x85R",
    b"\x8a\x06\x00\x00\x00\x00\x00\x10\x85R", b"K\x00", b"M\xff\xff", b")R", b"}", b"]", b")", b"(", b"t", b"\x85",
    b"\x86", b"\x87", b"R", b"b", b"Q", b"s", b"u", b"e", b"a", b"q\x00", b"h\x00", b"r\xff\xff\xff\x7f",
    b"j\xff\xff\xff\x7f", b"2", b"0", b"N", b"\x88", b"G\x7f\xf0\0\0\0\0\0\0", b"X\xff\xff\xff\x7f", b".",
)  # fmt: skip


def check_pickle(data: bytes, folder: Path) -> None:
    """A pickle in the archive of torch.save, with the numbers of 40 tensors beside it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", "little")
        for number in range(40):
            archive.writestr(f"archive/data/{number}", bytes(64))
        archive.writestr("archive/version", "3\n")
    check_archive(buffer.getvalue(), folder)


def check_vit(data: bytes, folder: Path) -> None:
    """The header of a safetensors file as the weights of a ViT; the numbers behind it are zeros."""
    path = folder / "vit.safetensors"
    length = 400_000
    path.write_bytes(struct.pack("<Q", len(data)) + data + bytes(length))
    with only_dvt_errors(path):
        load_backbone("vit_micro", weights=path, image_size=32, device="cpu")


# ---- model folders


def feature_spec() -> FeatureSpec:
    """The features of vit_micro at 64 px."""
    return FeatureSpec(
        backbone="vit_micro_patch16_224.dvt", weights_hash="ab12", layer=5, norm=True, channels=192,
        grid=PatchGrid.of((64, 64), patch=16),
    )  # fmt: skip


@cache
def _folder_weights() -> bytes:
    return save({name: tensor.half() for name, tensor in small_denoiser().state_dict().items()})


def config_seeds() -> list[bytes]:
    """The config.json of a denoiser and of other kinds."""
    sha256 = hashlib.sha256(_folder_weights()).hexdigest()
    architecture = {**asdict(DenoiserConfig(mlp_ratio=0.25)), "kind": "block"}
    about = {"spec": feature_spec(), "base_license": "apache-2.0", "metrics": {"loss": 0.5}}
    return [
        ModelInfo(kind=kind, architecture=architecture if kind != "distilled" else {}, training={"steps": 3}, **about)
        .to_json(sha256)
        .encode()
        for kind in ("denoiser", "distilled", "denoised", "fixed_size", "backbone")
    ]


def check_config(data: bytes, folder: Path) -> None:
    """The config.json of a model folder whose weights are intact."""
    model = folder / "model"
    model.mkdir(exist_ok=True)
    (model / CONFIG_FILE).write_bytes(data)
    (model / WEIGHTS_FILE).write_bytes(_folder_weights())
    (model / CARD_FILE).write_text("card")
    with only_dvt_errors(model):
        read_model_info(model)
    with only_dvt_errors(model):
        read_model_folder(model)
    with only_dvt_errors(model):
        load_denoiser(model)
    with only_dvt_errors():
        load_denoised(weights=model, device="cpu", image_size=64, backbone_weights="random")


# ---- stores


@cache
def store_files() -> dict[str, bytes]:
    """The files of a store of four images in two shards, with a failure and F."""
    from tempfile import TemporaryDirectory

    meta = StoreMeta(
        spec=feature_spec(),
        solver={"solver": "closed_form", "field": {"nodes": 28}},
        quality="fast",
        code_version="0.1",
    )
    with TemporaryDirectory() as place:
        path = Path(place) / "store"
        with StoreWriter.open(path, meta) as writer:
            for number in range(4):
                writer.put(f"{number}.png", {"raw": torch.full(meta.shape, 0.5), "clean": torch.ones(meta.shape)})
                if number % 2:
                    writer.commit()
            writer.fail("bad.png", "bad.png", "it is damaged")
        files = {
            file.relative_to(path).as_posix(): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()
        }
    return dict(_without_chance(name, data) for name, data in files.items())


def _without_chance(name: str, data: bytes) -> tuple[str, bytes]:
    """A file of a store, without the random part of its name and without the time: the same in every run."""
    if name.endswith(".jsonl"):
        return "failures/0of1-00000000.jsonl", json.dumps(json.loads(data) | {"time": 1.0}).encode() + b"\n"
    if not name.startswith("shards/"):
        return name, data
    chance = Path(name).stem.rpartition("-")[2]
    if name.endswith(".json"):
        body = json.loads(data)
        data = _with_checksum(json.dumps(body | {"file": body["file"].replace(chance, "00000000")}).encode())
    return name.replace(chance, "00000000"), data


def _with_checksum(data: bytes) -> bytes:
    """A sidecar with the checksum of its content; as it is where it has none."""
    try:
        body = json.loads(data)
        body.pop("checksum", None)
        return json.dumps({**body, "checksum": sha256_of(body)}).encode()
    except (ValueError, TypeError, AttributeError, RecursionError):
        return data


def store_seeds(suffix: str) -> list[bytes]:
    """The files of a store that end in a suffix."""
    return [data for name, data in store_files().items() if name.endswith(suffix)]


def _check_store(folder: Path, changes: dict[str, bytes]) -> None:
    path = folder / "store"
    for name, data in (store_files() | changes).items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    (path / "runs").mkdir(exist_ok=True)
    with only_dvt_errors(path):
        status(path)
    with only_dvt_errors(path):
        _ = verify(path).ok
    with only_dvt_errors(path):
        store = FeatureStore.open(path)
        for record in store.values():
            with only_dvt_errors(path):
                assert tuple(record.raw.shape) == tuple(record.clean.shape) == store.meta.shape
            if store.meta.field is not None:
                with only_dvt_errors(path):
                    record.field.read(store.meta.spec.grid)
    assert run_command(["store", "status", str(path)]) in (0, 2, 3)
    with only_dvt_errors(path):
        meta = StoreMeta.from_json(store_files()["meta.json"].decode())
        with StoreWriter.open(path, meta) as writer:
            writer.done_keys()


def check_meta(data: bytes, folder: Path) -> None:
    """A store with another meta.json."""
    _check_store(folder, {"meta.json": _with_solver_hash(data)})


def _with_solver_hash(data: bytes) -> bytes:
    """A meta with the hash of its solver; as it is where it has none."""
    try:
        body = json.loads(data)
        return json.dumps(body | {"solver_sha256": sha256_of(body["solver"])}).encode() if data[:1] == b" " else data
    except (ValueError, KeyError, TypeError, RecursionError):
        return data


def meta_seeds() -> list[bytes]:
    """The meta of a store; after a blank the hash of the solver is made right."""
    (meta,) = store_seeds("meta.json")
    field = json.dumps(json.loads(meta) | {"schema": 2, "field": {"nodes": [9, 9], "samples_per_patch": 4}}).encode()
    return [meta, b" " + meta, field, b" " + field]


def _first(suffix: str) -> str:
    return next(name for name in store_files() if name.endswith(suffix) and name.startswith("shards/"))


def check_sidecar(data: bytes, folder: Path) -> None:
    """A store with another sidecar, its checksum made right."""
    _check_store(folder, {_first(".json"): _with_checksum(data)})


def check_plain_sidecar(data: bytes, folder: Path) -> None:
    """A store with another sidecar, its checksum as it is."""
    _check_store(folder, {_first(".json"): data})


def check_shard(data: bytes, folder: Path) -> None:
    """A store with another shard."""
    _check_store(folder, {_first(".safetensors"): data})


def shard_seeds() -> list[bytes]:
    """A shard of a store."""
    return [store_files()[_first(".safetensors")]]


def check_failures(data: bytes, folder: Path) -> None:
    """A store with another record of failures."""
    _check_store(folder, {"failures/0of1-1.jsonl": data})


# ---- texts


def check_list(data: bytes, folder: Path) -> None:
    """A list file beside some images."""
    for name in ("a.png", "b.png", "sub/c.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    path = folder / "list.txt"
    path.write_bytes(data)
    with only_dvt_errors(path):
        find_images(path)
    with only_dvt_errors(path):
        read_voc_list(path)
    pattern = data.split(b"\n")[0].decode(errors="surrogateescape")
    if not pattern.startswith(("/", "~")) and ".." not in pattern:  # stay in the folder
        with only_dvt_errors():
            find_images(f"{folder}/{pattern}")


LIST_SEEDS = [
    b"a.png\nb.png\nsub/c.png\n",
    b"\xef\xbb\xbfa.png\r\n# comment\r\n\r\n",
    b"sub/../a.png\n./b.png\n",
    b"*.png\n",
    b"**/[abc].png\n",
]
LIST_TOKENS = (
    b"a.png", b"sub/c.png", b"../a.png", b"/", b"", b".", b"..", b"~", b"~nobody/x", b"~root/x", b"#", b"\x00",
    b"a.png\x00", b"\xff\xfe", b"*", b"**", b"**/*", b"[", b"[!", b"[a-", b"?", b"x" * 300, b"a/" * 3000,
    b"\xed\xa0\x80", b"/dev/null", b"a.png/b", b"nul", b" ", b"\x85", b"\x0c",
)  # fmt: skip


def result_seeds() -> list[bytes]:
    """The JSON of an evaluation."""
    row = {
        "values": {"mIoU": [0.5, 0.25], "accuracy": [None]},
        "notes": ["a note"],
        "details": {"a": 1},
        "passes": 1,
        "seconds": 2.5,
        "fingerprint": {"dvt": "0"},
        "environment": {"torch": "2"},
    }
    metrics = [
        {"name": "mIoU", "unit": "%", "higher_is_better": True, "meaning": "a"},
        {"name": "accuracy", "unit": "", "higher_is_better": None, "meaning": "b"},
    ]
    body = {
        "kind": "dvt evaluation",
        "schema": 3,
        "task": "knn_segmentation",
        "backbone": "vit",
        "data": "photos",
        "protocol": {"images": 3},
        "metrics": metrics,
        "rows": {"raw": row, "denoised": row},
    }
    return [json.dumps(body).encode()]


def check_result(data: bytes, folder: Path) -> None:
    """The result file of an evaluation, read again and shown."""
    path = folder / "knn_segmentation.json"
    path.write_bytes(data)
    with only_dvt_errors(path):
        result = TaskResult.read(path)
        markdown(result)
        summary_table([result])
        result.to_json()


ANNOTATION = (
    b"<annotation><object><name>cat</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax>"
    b"<ymax>40.5</ymax></bndbox><part><name>head</name></part></object></annotation>"
)
XML_TOKENS = (
    b"<!DOCTYPE a [<!ENTITY b 'bbbbbbbbbb'><!ENTITY c '&b;&b;&b;&b;&b;&b;'>]>", b"&b;", b"&c;",
    b"<?xml version='1.0' encoding='utf-16'?>", b"<?xml version='1.0' encoding='x'?>", b"nan", b"inf", b"-1",
    b"1e999", b"<object>", b"</object>", b"<bndbox/>", b"\x00", b"<a>" * 3000,
)  # fmt: skip


def check_annotation(data: bytes, folder: Path) -> None:
    """An annotation of boxes."""
    path = folder / "boxes.xml"
    path.write_bytes(data)
    with only_dvt_errors(path):
        read_voc_objects(path)


# ---- the command line

COMMANDS = [
    b"decompose\nimages=photos\nstore=out\nbackbone=vit_micro\nquality=tiny\nbackbone.image_size=64",
    b"decompose\nimages=[a,b]\nstore=~/x\nmethod=srt\nsrt.fine=2\nfine=2\ndtype=int8\narrays=[raw,clean]",
    b"train\nstore=out\nout=runs/a\nrecipe=quick\ntrainer=cpu\nlogger=none\noptimizer.base_learning_rate=1e-3",
    b"train\nstore=out\nout=x\ndenoiser.layers=[2,4]\nnum_steps=10\nseed=3\npairs.crop=0.5",
    b"distill\nimages=photos\ndenoiser=runs/a\nout=runs/b\nstudent.layers=all\ndataset.train=0.9",
    b"show\nimage=a.png\nout=b.png\nmethod=[raw,srt]\ndevice=cpu",
    b"evaluate\ntask=knn_segmentation\ndata=camvid\nmethod=[raw,raw@2x,decomposed:paper]\nout=scores",
    b"doctor\nimages=photos\nout=d.png\nprecision=bf16",
    b"export\nformat=onnx\nout=m\nbackbone.stride=8",
    b"demo\nout=d\nnum_views=4",
]
OPTION_TOKENS = (
    b"", b"=", b"=1", b"a=", b"a=b", b"store=", b"out=null", b"images=[", b"images=[a,b", b"images='a", b'images="a',
    b"images=${x}", b"images=${oc.env:NOTHING}", b"images=${images}", b"store=${out}", b"seed=${seed}", b"seed=1e999",
    b"seed=-1", b"seed=nan", b"seed=1.5", b"seed=true", b"seed=[1]", b"seed={a:1}", b"seed=9223372036854775808",
    b"num_steps=0", b"num_steps=1,2", b"num_steps=range(3)", b"num_steps=choice(1,2)", b"backbone=null",
    b"backbone=[a]", b"backbone={a:b}", b"backbone=nothing", b"backbone=../x", b"backbone.name=x",
    b"backbone.layer=a", b"backbone.layer=-99", b"backbone.image_size=[64,64]", b"backbone.image_size=0",
    b"backbone.image_size=[1,2,3]", b"backbone@x=vit_micro", b"+backbone=vit_micro", b"++backbone=vit_micro",
    b"~backbone", b"~seed=1", b"+x=1", b"++x=1", b"+a.b.c=1", b"a.b.c=1", b"quality=best", b"quality=x",
    b"quality=a,b", b"+quality@y=tiny", b"engine=ray", b"hydra.run.dir=x", b"hydra.verbose=true", b"hydra.job.num=3",
    b"hydra/launcher=x", b"hydra/launcher=basic", b"hydra.x=1", b"hydra=null", b"hydra.searchpath=[x]",
    b"hydra.job_logging=null", b"hydra.mode=MULTIRUN", b"hydra.output_subdir=x", b"--help", b"-h", b"--cfg",
    b"--cfg=all", b"--cfg\nhydra", b"--resolve", b"--info", b"--info\nconfig", b"--package", b"--package\nbackbone",
    b"--config-dir", b"--config-dir\n.", b"--config-name", b"--config-name\nx", b"--hydra-help", b"--version", b"-x",
    b"--", b"-", b"method=", b"method=raw", b"method=[]", b"method=[raw,raw]", b"method=[raw", b"method=x@y:z",
    b"closed_form.smoothness=.", b"views.num_views=-3", b"views.scale=[1,0]", b"device=gpu9", b"precision=x",
    b"arrays=[]", b"arrays=raw", b"dtype=x", b"shard=3of2", b"shard=x", b"trainer=x", b"trainer.devices=auto",
    b"denoiser.kind=x", b"denoiser.layers=[a]", b"denoiser.layers=x", b"experiment=x", b"debug=x", b"recipe=null",
    b"optimizer=null", b"dataset=[]", b"srt=1", "é=é".encode(), b"\xff=\xff", b"a\x00=b", b"a=\x00",
    b"images=\xf0\x9f\x98\x80", b"seed='1'", b"seed=\\", b"seed=\\'", b"seed=!!python/object:os.system", b"seed=1 2",
    b" seed=1", b"seed =1", b"task=x", b"task=null", b"task=[a]", b"data=[]", b"max_pixels=1e3", b"max_pixels=-1",
    b"fine=0", b"fine=999999999999", b"format=x",
)  # fmt: skip
_WITHOUT_OPTIONS = {"store", "convert"}


def check_command(data: bytes, folder: Path) -> None:
    """A command line up to its checked options: `--cfg job` comes first, so that no work is done."""
    arguments = data.decode(errors="surrogateescape").split("\n")
    verb = arguments[0] if arguments[0] in VERBS and arguments[0] not in _WITHOUT_OPTIONS else "decompose"
    rest = arguments[1:]
    shown = [] if {"--cfg", "--help", "-h", "--version"} & set(rest) else ["--cfg", "job"]
    code = run_command([verb, *shown, *rest])
    assert code in (0, 2, 3), f"exit code {code}"


TARGETS: dict[str, Target] = {
    "image": Target(image_seeds, check_image, 30, tokens=IMAGE_TOKENS),
    "png": Target(png_seeds, check_png, 8, tokens=IMAGE_TOKENS),
    "bomb": Target(bomb_seeds, check_png, 0.02),
    "exif": Target(exif_seeds, check_exif, 8, tokens=(b"II*\0", b"MM\0*", b"\x12\x01", b"\x87\x69", b"Exif\0\0")),
    "mask": Target(image_seeds, check_mask, 5, tokens=IMAGE_TOKENS),
    "safetensors": Target(safetensors_seeds, check_safetensors, 6),
    "header": Target(header_seeds, check_header, 8, mutated_json),
    "vit": Target(header_seeds, check_vit, 0.5, mutated_json),
    "archive": Target(archive_seeds, check_archive, 5),
    "pickle": Target(pickle_seeds, check_pickle, 10, tokens=PICKLE_TOKENS),
    "config": Target(config_seeds, check_config, 5, mutated_json),
    "meta": Target(meta_seeds, check_meta, 4, mutated_json),
    "sidecar": Target(lambda: store_seeds(".json")[1:], check_sidecar, 5, mutated_json),
    "plain_sidecar": Target(lambda: store_seeds(".json")[1:], check_plain_sidecar, 2, mutated_json),
    "shard": Target(shard_seeds, check_shard, 2),
    "failures": Target(lambda: store_seeds(".jsonl"), check_failures, 3, tokens=(b"\n", b"null\n", b"[]\n", b"1e999")),
    "list": Target(lambda: LIST_SEEDS, check_list, 6, mutated_lines, LIST_TOKENS),
    "result": Target(result_seeds, check_result, 4, mutated_json),
    "annotation": Target(lambda: [ANNOTATION], check_annotation, 4, tokens=XML_TOKENS),
    "command": Target(lambda: COMMANDS, check_command, 1, mutated_lines, OPTION_TOKENS),
}
"""By name."""


def make_input(target: str, seed: int, number: int) -> bytes:
    """The n-th input of a target: a function of the seed and n alone."""
    rng, kind = Random(f"{seed} {target} {number}"), TARGETS[target]
    seeds = _seeds(target)
    return kind.mutate(rng, rng.choice(seeds), seeds, kind.tokens)


@cache
def _seeds(target: str) -> list[bytes]:
    return TARGETS[target].seeds()
