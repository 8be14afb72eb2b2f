"""read_image: a file, PIL image, array or tensor -> (3, height, width) float32 RGB in [0, 1]."""

import io
import math
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

from dvt.errors import ImageError
from dvt.images.formats import HEIF_HINT, IMAGE_EXTENSIONS, MAX_PIXELS, PILLOW_FORMATS, has_heif
from dvt.images.pillow_settings import pillow_settings
from dvt.images.resize import resize
from dvt.images.untrusted import check_gif_frame, check_size, damage_named
from dvt.numbers import takes_numbers
from dvt.paths import expand_home
from dvt.shapes import ImageTensor
from dvt.torch_state import own_torch_state

ImageLike: TypeAlias = str | Path | Image.Image | Tensor | npt.NDArray[Any]
"""What `read_image` takes: a path, a PIL image, a (3, H, W) float tensor, a (H, W, 3) uint8 array."""

_ROUNDING = 1e-5
"""A tensor may leave [0, 1] by this much, by rounding; it is clamped."""

_Floats = npt.NDArray[np.float32]
_Band: TypeAlias = Callable[[int, int], _Floats]
"""Some rows of an image, by the first and the one after the last: (rows, x) grey or (rows, x, 3) RGB in [0, 1]."""
_BAND_PIXELS = 1 << 18

_ALPHA_MODES = ("RGBA", "RGBa", "LA", "La", "PA")
_DEEP_GREY_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings an image upright, by its EXIF orientation; 1 is upright."""
_AVIF_BRANDS = (b"avif", b"avis")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_TIFF_BITS_PER_SAMPLE, _TIFF_PHOTOMETRIC = 258, 262


@takes_numbers
@own_torch_state()
def read_image(image: ImageLike, *, max_pixels: int = MAX_PIXELS) -> ImageTensor:
    """Read an image as RGB, upright, transparency on white.

    The first frame of an animation is read, and the first page of a TIFF. 16-bit grey keeps its depth. Colour profiles
    are not applied. Truncated files are refused, never filled up.

    Args:
        image: a path, a PIL image, a (3, H, W) float tensor in [0, 1], or a (H, W, 3) uint8 array.
        max_pixels: files and PIL images with more pixels than this are refused before they are decoded.

    Returns:
        (3, H, W) float32 in [0, 1], contiguous, on the CPU; a tensor stays on its device, and is returned without a
        copy when it is in this form already.

    Raises:
        ImageError: missing, unreadable, damaged, too large, or of a wrong shape, type or range.

    Examples:
        >>> from PIL import Image
        >>> red = read_image(Image.new("RGB", (20, 10), (255, 0, 0)))
        >>> red.shape, red[:, 0, 0].tolist()
        (torch.Size([3, 10, 20]), [1.0, 0.0, 0.0])
    """
    if isinstance(image, (str, Path)):
        return _read_file(expand_home(image), max_pixels)
    if isinstance(image, Image.Image):
        with pillow_settings():
            return _decode(image, "the PIL image", max_pixels)
    if isinstance(image, Tensor):
        return _check_tensor(image)
    if isinstance(image, np.ndarray):
        return _read_array(image)
    raise ImageError(
        f"an image of type {type(image).__name__} cannot be read."
        " Give a path, a PIL image, or a (3, height, width) float tensor in [0, 1]."
    )


@own_torch_state()
def read_encoded(content: bytes, name: str, *, max_pixels: int = MAX_PIXELS) -> ImageTensor:
    """Read the content of an image file, as `read_image` reads the file.

    Args:
        content: the bytes of the file.
        name: what errors call it.
        max_pixels: more pixels than this are refused before they are decoded.

    Returns:
        (3, H, W) float32 in [0, 1], contiguous, on the CPU.

    Raises:
        ImageError: empty, not an image, damaged, or too large.

    Examples:
        >>> from PIL import Image
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (20, 10), (255, 0, 0)).save(file, "PNG")
        >>> read_encoded(file.getvalue(), "red.png").shape
        torch.Size([3, 10, 20])
    """
    _check_not_empty(name, len(content))
    with pillow_settings(), _open(content, name, max_pixels) as image:
        return _decode(image, name, max_pixels)


def check_encoded(content: bytes, name: str, max_pixels: int = MAX_PIXELS) -> None:
    """`check_header` of the content of a file.

    Raises:
        ImageError: empty, not an image, or too large.
    """
    _check_not_empty(name, len(content))
    with pillow_settings(), _open(content, name, max_pixels) as image:
        check_size(name, image.size, max_pixels)


@own_torch_state()
def read_thumbnail(path: Path, side: int, *, max_pixels: int = MAX_PIXELS) -> ImageTensor:
    """Read an image file, made smaller. A JPEG is decoded at a fraction of its size, which is quick.

    Args:
        path: the file.
        side: the longer side of the result in pixels, unless the image is smaller.
        max_pixels: larger files are refused.

    Returns:
        (3, H, W) float32 in [0, 1], contiguous, on the CPU.

    Raises:
        ImageError: as `read_image`.
    """
    _check_file(path)
    with pillow_settings(), _open(path, str(path), max_pixels) as image:
        check_size(str(path), image.size, max_pixels)
        image.draft(None, (side, side))
        pixels = _decode(image, str(path), max_pixels)
    height, width = pixels.shape[-2:]
    share = min(1, side / max(height, width))
    return resize(pixels, (max(1, round(height * share)), max(1, round(width * share)))).clamp(0, 1)


def has_colours(path: Path) -> bool:
    """Whether an image file has colour channels; label and depth maps have one channel, or a palette.

    Raises:
        ImageError: it cannot be opened as an image.
    """
    with _open(path, str(path)) as image:
        return len(image.getbands()) >= 3


def orientation_of(path: Path) -> int:
    """The EXIF orientation of an image file, by which `read_image` turns it: 2 to 8, or 1 for upright.

    Raises:
        ImageError: it cannot be opened as an image.
    """
    with pillow_settings(), _open(path, str(path)) as image:
        return _orientation(image)


def check_header(path: Path, max_pixels: int = MAX_PIXELS) -> None:
    """Open a file as an image and look at its size; the pixels are not decoded.

    Raises:
        ImageError: missing, not an image, or too large.
    """
    _check_file(path)
    with pillow_settings(), _open(path, str(path), max_pixels) as image:
        check_size(str(path), image.size, max_pixels)


def _read_file(path: Path, max_pixels: int) -> ImageTensor:
    _check_file(path)
    with pillow_settings(), _open(path, str(path), max_pixels) as image:
        return _decode(image, str(path), max_pixels)


def _check_file(path: Path) -> None:
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise ImageError(f"{path} does not exist. Expected an image file; check the path.") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise _unreadable(path, error) from error
    if stat.S_ISDIR(status.st_mode):
        raise ImageError(f"{path} is a folder; expected one image file. Use find_images to list the images in it.")
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{path} is not a regular file but a device, pipe or socket. Expected an image file.")
    _check_not_empty(str(path), status.st_size)


def _check_not_empty(name: str, num_bytes: int) -> None:
    if num_bytes == 0:
        raise ImageError(f"{name} is empty (0 bytes). Expected an image file; copy or download it again.")


def _open(file: Path | bytes, name: str, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open a file, or its content; the pixels are not decoded."""
    with damage_named(name):
        try:
            with _bytes_of(file) as stream:
                check_gif_frame(stream, name, max_pixels)
            return Image.open(_opened(file), formats=PILLOW_FORMATS)
        except UnidentifiedImageError as error:
            with _bytes_of(file) as stream:
                brand = _iso_brand(stream)
            if brand in _HEIF_BRANDS:
                return _open_heif(file, name)
            if brand in _AVIF_BRANDS:
                raise ImageError(f"{name} is an AVIF image, which this Pillow does not read: convert it.") from error
            raise ImageError(
                f"{name} is not an image Pillow can read. Expected the content of one of"
                f" {' '.join(IMAGE_EXTENSIONS)}, whatever its name; convert it or leave it out."
            ) from error
        except PermissionError as error:
            raise _unreadable(Path(name), error) from error


def _opened(file: Path | bytes) -> Path | io.BytesIO:
    """What Pillow opens; it closes a path that it has opened."""
    return io.BytesIO(file) if isinstance(file, bytes) else file


@contextmanager
def _bytes_of(file: Path | bytes) -> Iterator[io.BufferedIOBase]:
    with io.BytesIO(file) if isinstance(file, bytes) else file.open("rb") as stream:
        yield stream


def _iso_brand(stream: io.BufferedIOBase) -> bytes:
    """The brand of a file in the ISO base media format, such as b"heic"; empty for others."""
    head = stream.read(12)
    return head[8:] if head[4:8] == b"ftyp" else b""


def _open_heif(file: Path | bytes, name: str) -> Image.Image:
    if not has_heif():
        raise ImageError(f"{name} is a HEIC image: {HEIF_HINT}, or convert it.")
    import pillow_heif

    pillow_heif.register_heif_opener()
    return Image.open(_opened(file), formats=("HEIF",))


def _decode(image: Image.Image, name: str, max_pixels: int) -> ImageTensor:
    check_size(name, image.size, max_pixels)
    with damage_named(name):
        image.load()
        return _pil_to_tensor(image, name)


def _unreadable(path: Path, error: Exception) -> ImageError:
    reason = error.strerror if isinstance(error, OSError) else error
    return ImageError(f"{path} cannot be opened: {reason}. Expected an image file that this user may read.")


def _check_tensor(image: Tensor) -> ImageTensor:
    shape = "x".join(str(size) for size in image.shape)
    if image.ndim != 3 or image.shape[0] != 3 or image.numel() == 0:
        raise ImageError(
            f"a tensor of shape ({', '.join(str(size) for size in image.shape)}) is not an image."
            " Expected (3, height, width): channels first, RGB, no batch dimension."
        )
    if not image.is_floating_point():
        raise ImageError(
            f"a tensor of type {image.dtype} is not an image. Expected floats in [0, 1]; of 0..255 make them with"
            " image.float() / 255."
        )
    image = image.detach().to(torch.float32)
    low, high = (value.item() for value in image.aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        count = int((~image.isfinite()).sum())
        raise ImageError(
            f"the image tensor ({shape}) holds {count} values that are NaN or infinite; expected [0, 1]."
            " Look for them where it is made."
        )
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        cause = "normalised by mean and standard deviation" if low < -_ROUNDING else "scaled to 0..255"
        raise ImageError(
            f"the image tensor ({shape}) holds values from {low:g} to {high:g}; expected [0, 1]."
            f" It is probably {cause}: undo that, the backbone normalises by itself."
        )
    if low < 0 or high > 1:
        image = image.clamp(0, 1)
    return image.contiguous()


def _read_array(image: npt.NDArray[Any]) -> ImageTensor:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ImageError(
            f"an array of shape {image.shape} and type {image.dtype} is not an image. Expected (height, width, 3)"
            " uint8; or give a (3, height, width) float tensor in [0, 1]."
        )
    return _pil_to_tensor(Image.fromarray(np.ascontiguousarray(image)), "the array")


def _pil_to_tensor(image: Image.Image, name: str) -> ImageTensor:
    """Convert a PIL image, upright by its EXIF orientation, transparency on white.

    Grey of more than 8 bits keeps its depth (65535 is white); colour of more than 8 bits is read as 8 by Pillow.
    Colour profiles are not applied.

    Args:
        image: of any mode and size; decoded here if it is not yet.
        name: of the image in errors.

    Returns:
        (3, height, width) float32 in [0, 1], contiguous.

    Raises:
        ImageError: grey values out of range.
    """
    tiff_tags = getattr(image, "tag_v2", {})
    image = _upright(image)
    if image.mode in _DEEP_GREY_MODES:
        band = _deep_grey(image, tiff_tags, name)
    elif image.mode == "F":
        band = _float_grey(image, name)
    elif image.mode in _ALPHA_MODES or "transparency" in image.info:
        band = _on_white(image)
    else:
        band = partial(_eight_bit, image, "RGB")
    width, height = image.size
    pixels = np.empty((3, height, width), np.float32)
    rows = max(_BAND_PIXELS // width, 1)
    for top in range(0, height, rows):  # besides the result, only some rows are in memory as floats
        bottom = min(top + rows, height)
        values = band(top, bottom)
        pixels[:, top:bottom] = values if values.ndim == 2 else values.transpose(2, 0, 1)
    return torch.from_numpy(pixels)


def _upright(image: Image.Image) -> Image.Image:
    """An image turned and mirrored as its EXIF orientation says; as it is where that cannot be read.

    `PIL.ImageOps.exif_transpose` also writes the other metadata again, and fails on some that Pillow itself has read.
    """
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none, or none that can be read."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except MemoryError:
        raise
    except Exception:  # on damaged metadata Pillow raises errors of nearly every type; the pixels are whole
        return 1
    return orientation if isinstance(orientation, int) and orientation in _TURNS else 1


def _eight_bit(image: Image.Image, mode: str, top: int, bottom: int) -> _Floats:
    rows = image.crop((0, top, image.width, bottom)).convert(mode)
    values: _Floats = np.array(rows, dtype=np.float32) / np.float32(255)
    return values


def _on_white(image: Image.Image) -> _Band:
    if image.mode == "La":  # Pillow converts premultiplied grey only to its straight form
        image = image.convert("LA")

    def band(top: int, bottom: int) -> _Floats:
        rgba = _eight_bit(image, "RGBA", top, bottom)
        colour, alpha = rgba[:, :, :3], rgba[:, :, 3:]
        on_white: _Floats = colour * alpha + (1 - alpha)
        return on_white

    return band


def _deep_grey(image: Image.Image, tiff_tags: Mapping[int, Any], name: str) -> _Band:
    values = np.array(image)
    # Pillow unpacks 12-bit TIFF without scaling it, and undoes white-is-zero up to 8 bits only.
    white = 4095 if tiff_tags.get(_TIFF_BITS_PER_SAMPLE) == (12,) else 65535
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > white:
        raise ImageError(
            f"{name} is grey with values from {low} to {high}; expected 0 to {white}."
            " Scale it into that range and save it as 16-bit PNG or TIFF."
        )
    white_is_zero, transparent = tiff_tags.get(_TIFF_PHOTOMETRIC) == 0, image.info.get("transparency")

    def band(top: int, bottom: int) -> _Floats:
        rows = values[top:bottom].astype(np.int64)
        grey = (white - rows if white_is_zero else rows) / white
        if transparent is not None:
            grey[rows == transparent] = 1
        return grey.astype(np.float32)

    return band


def _float_grey(image: Image.Image, name: str) -> _Band:
    values = np.array(image, dtype=np.float32)
    if not (values.min() >= 0 and values.max() <= 1):  # false for NaN as well
        raise ImageError(
            f"{name} holds floats from {values.min():g} to {values.max():g}, whose black and white are not known;"
            " expected 0 to 1. Scale it into that range first."
        )
    return lambda top, bottom: values[top:bottom]
