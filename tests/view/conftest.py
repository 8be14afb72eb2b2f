"""The app with vit_micro at 64 px and its denoiser, in this process."""

import io

import pytest
from noise import write_noise
from PIL import Image


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Images of this machine: deep/a.png, b.png; beside them a file that is none of them."""
    folder = tmp_path_factory.mktemp("machine")
    write_noise(folder / "photos" / "b.png", (70, 90))
    write_noise(folder / "photos" / "deep" / "a.png", (90, 70), 1)
    (folder / "secret.txt").write_text("a secret")
    return folder


@pytest.fixture(scope="session")
def encoded():
    """encoded(image) -> the bytes of a PIL image as a file; encoded() -> those of a grey one."""

    def encode(image=None, kind="PNG", **options):
        file = io.BytesIO()
        (image or Image.new("RGB", (90, 70), (120, 90, 60))).save(file, kind, **options)
        return file.getvalue()

    return encode
