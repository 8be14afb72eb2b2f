"""The page that runs a ViT in the browser, in Chromium: the numbers of PyTorch, files of every kind, keys, phones."""

import base64
import importlib.util
import io
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import onnx
import pytest
import torch
from browser import ROOT, assert_accessible, chromium, npm_packages, open_page
from PIL import Image

import dvt
from dvt.backbone.load import load_backbone
from dvt.demo.images import DEMO_IMAGES, source_of
from dvt.images import MAX_PIXELS
from dvt.images.resize import resize
from dvt.viz.colours import PCABasis

pytestmark = pytest.mark.browser
FEATURES = "features in"
SIDE = 224


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The page, with a model for smaller images, which is faster."""
    npm_packages()
    spec = importlib.util.spec_from_file_location("build", ROOT / "web" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("site") / "browser"
    module.build(folder, SIDE)
    return folder


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address(site):
    """Where the page is served."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    """With an emulated graphics card, which the page uses when its address says so."""
    with chromium("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan") as launched:
        yield launched


def opened(browser, address, **options):
    """The page in a context of its own. It may ask its own server alone."""
    own = (address.split("?")[0], "data:", "blob:")
    return open_page(browser, address, may_ask=lambda url: url.startswith(own), may_say=lambda text: True, **options)


@pytest.fixture
def page(browser, address):
    with opened(browser, address) as shown:
        yield shown


@pytest.fixture(scope="module")
def used(browser, address, photo):
    """A page whose model is loaded, with the photograph in it; for tests that give it further files."""
    with opened(browser, address) as shown:
        give(shown, photo)
        yield shown


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A photograph whose sides are no multiples of anything."""
    path = tmp_path_factory.mktemp("photo") / "cup.png"
    with Image.open(source_of(DEMO_IMAGES[2])) as image:
        image.convert("RGB").crop((31, 17, 560, 384)).save(path)
    return path


@pytest.fixture(scope="module")
def denoised():
    return dvt.load_denoised("vit_micro", "vit_micro/denoiser", image_size=SIDE, device="cpu")[0]


def give(page, *paths, waits_for=FEATURES):
    """Choose files, and wait for a text in the line below the controls."""
    page.locator("#status").evaluate("(status) => { status.textContent = ''; }")
    page.locator("#image-file").set_input_files([str(path) for path in paths])
    page.locator("#status", has_text=waits_for).wait_for()


def problems(page):
    return page.locator("#problems").inner_text()


def give_bad(page, path):
    """Choose a file that the page refuses; returns its message."""
    page.locator("#image-file").set_input_files(str(path))
    page.locator("#problems p").first.wait_for()
    return problems(page)


def features(page, method):
    """(H, W, C) features of the image that was computed last: directions times norms."""
    rows, columns, directions, norms = page.evaluate(
        f"""() => {{
          const map = dvtPage.shown().at(-1).maps.find((each) => each.name === "{method}");
          return [map.rows, map.columns, Array.from(map.features), Array.from(map.norms)];
        }}"""
    )
    return torch.tensor(directions).view(rows, columns, -1) * torch.tensor(norms).view(rows, columns, 1)


def assert_same_tokens(found, expected):
    """Within 1e-3 of the length of every token."""
    assert found.shape == expected.shape
    assert ((found - expected).norm(dim=-1) / expected.norm(dim=-1)).max() < 1e-3


# ---------------------------------------------------------------------------------------------------- numbers


def test_tokens_are_those_of_pytorch(used, photo, denoised):
    give(used, photo)
    view = denoised.preprocess(photo)[None]
    assert_same_tokens(features(used, "raw"), denoised.backbone(view).patches[0])
    assert_same_tokens(features(used, "denoised"), denoised(view).patches[0])


def test_similarity_is_the_exact_cosine(used, photo, denoised):
    give(used, photo)
    exact = torch.nn.functional.normalize(denoised(denoised.preprocess(photo)[None]).patches[0], dim=-1)
    for row, column in ((0, 0), (6, 9), (13, 13)):
        found = torch.tensor(used.evaluate(f"dvtExplorer.similarity('denoised', {row}, {column})"))
        assert (found - exact @ exact[row, column]).abs().max() < 0.02


def test_matching_with_the_example_that_python_has_computed(used, site, photo, denoised):
    give(used, photo)
    query = denoised(denoised.preprocess(photo)[None]).patches[0, 4, 5]
    keys = denoised(denoised.preprocess(site / "examples" / "chelsea.jpg")[None]).patches[0]
    found = torch.tensor(used.evaluate("dvtExplorer.similarity('denoised', 4, 5, 0)"))
    assert (found - torch.nn.functional.cosine_similarity(keys, query, dim=-1)).abs().max() < 0.02


def test_colours_and_norms_are_those_of_python(used, photo, denoised):
    give(used, photo)
    view = denoised.preprocess(photo)[None]
    maps = {"raw": denoised.backbone(view).patches[0], "denoised": denoised(view).patches[0]}
    basis = PCABasis.fit(list(maps.values()))
    for number, (name, expected) in enumerate(maps.items()):
        colours = used.evaluate(f"Array.from(dvtPage.shown().at(-1).maps[{number}].colours)")
        wanted = (basis.colours(expected) * 255).round().flatten()
        assert (torch.tensor(colours) - wanted).abs().max() <= 2, name
    low, high = used.evaluate("dvtPage.shown().at(-1).norm_range")
    norms = torch.cat([each.norm(dim=-1).flatten() for each in maps.values()])
    assert high == pytest.approx(norms.max().item(), rel=1e-3)
    assert low == pytest.approx(max(norms.min().item(), high / 100), rel=1e-3)


@pytest.mark.parametrize(
    ("from_hw", "hw"),
    [((90, 130), (32, 48)), ((17, 23), (64, 40)), ((48, 48), (48, 48)), ((1, 1), (8, 8)), ((600, 5), (7, 9))],
)
def test_resizing_is_that_of_preprocess(page, from_hw, hw):
    pixels = torch.randint(0, 256, (*from_hw, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    rgba = torch.cat([pixels, torch.full((*from_hw, 1), 255, dtype=torch.uint8)], dim=-1).numpy()
    found = page.evaluate(
        """async ([text, from, to]) => {
          const { resized } = await import("./resample.js");
          const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
          const rows = (top, bottom) => bytes.subarray(4 * top * from[0], 4 * bottom * from[0]);
          return Array.from(resized(rows, from, to, 16));
        }""",
        [base64.b64encode(rgba.tobytes()).decode(), from_hw[::-1], hw[::-1]],
    )
    expected = resize(pixels.permute(2, 0, 1).float() / 255, hw).clamp(0, 1)
    assert (torch.tensor(found).view(3, *hw) - expected).abs().max() < 1e-5


@pytest.fixture(scope="module")
def small_model(tmp_path_factory):
    """(ViT, file) of a ViT without a denoiser whose patches overlap."""
    backbone = load_backbone("vit_micro", image_size=[64, 96], stride=8, layer=1, device="cpu")
    path = tmp_path_factory.mktemp("model") / "mine.onnx"
    dvt.export_model(backbone, path)
    return backbone, path


def test_a_model_of_the_user(page, photo, small_model):
    backbone, path = small_model
    give(page, path, photo)
    page.locator("#status", has_text="cup.png: features in").wait_for()
    assert_same_tokens(features(page, "features"), backbone(backbone.preprocess(photo)[None]).patches[0])
    assert "mine.onnx: vit_micro" in page.locator("#model-name").inner_text()
    assert "64 × 96 px, 7 × 11 patches" in page.locator("#model-name").inner_text()
    assert page.evaluate("dvtPage.shown().at(-1).frame") == pytest.approx([4 / 96, 4 / 64, 88 / 96, 56 / 64])
    page.locator("#own-model").click()
    page.locator("#model-name", has_text="vit_micro with its denoiser").wait_for()
    page.locator("#status", has_text="cup.png: features in").wait_for()
    assert page.locator(".tile h2").all_inner_texts() == ["raw", "denoised"] and problems(page) == ""


@pytest.mark.slow
def test_webgpu(browser, address, photo, small_model):
    """By an emulated graphics card, which is slow: with a small model."""
    backbone, path = small_model
    with opened(browser, f"{address}?device=gpu") as page:
        if page.evaluate("navigator.gpu?.requestAdapter().then(Boolean, () => false) ?? false") is False:
            pytest.skip("this Chromium emulates no graphics card")
        give(page, path, photo)
        page.locator("#status", has_text="on the GPU, by WebGPU").wait_for()
        page.locator("#status", has_text="cup.png: features in").wait_for()
        assert_same_tokens(features(page, "features"), backbone(backbone.preprocess(photo)[None]).patches[0])


# ---------------------------------------------------------------------------------------------------- images


def save(path, image, **options):
    image.save(path, **options)
    return path


def test_an_image_is_brought_upright(used, photo, tmp_path, denoised):
    with Image.open(photo) as image:
        exif = Image.Exif()
        exif[0x0112] = 6  # the right side is up
        turned = save(tmp_path / "turned.jpg", image, quality=95, exif=exif)
    give(used, turned)
    assert used.evaluate("[dvtPage.shown().at(-1).width, dvtPage.shown().at(-1).height]") == [367, 529]
    expected = denoised(denoised.preprocess(turned)[None]).patches[0]
    found = features(used, "denoised")
    assert torch.nn.functional.cosine_similarity(found, expected, dim=-1).mean() > 0.99  # JPEG decoders differ a little


def test_transparency_is_white(used, tmp_path, denoised):
    pixels = np.zeros((60, 80, 4), np.uint8)
    pixels[20:40, 20:60] = (200, 30, 30, 255)
    path = save(tmp_path / "clear.png", Image.fromarray(pixels))
    give(used, path)
    assert_same_tokens(features(used, "raw"), denoised.backbone(denoised.preprocess(path)[None]).patches[0])


def cmyk(folder):
    return save(folder / "print.jpg", Image.new("CMYK", (90, 60), (20, 200, 40, 10)))


def animated(folder):
    frames = [Image.new("RGB", (64, 48), colour) for colour in ("red", "blue", "green")]
    return save(folder / "moves.gif", frames[0], save_all=True, append_images=frames[1:], duration=50)


def one_pixel(folder):
    return save(folder / "dot.png", Image.new("RGB", (1, 1), "teal"))


@pytest.mark.parametrize(
    ("make", "note"),
    [
        (cmyk, "print.jpg is in CMYK"),
        (animated, "moves.gif is an animation: its first frame is used"),
        (one_pixel, "dot.png has only 1 × 1 pixels"),
    ],
)
def test_an_unusual_image_is_shown_with_a_note(used, tmp_path, make, note):
    path = make(tmp_path)
    give(used, path)
    assert note in problems(used) and used.locator("#image option:checked").inner_text().startswith(path.name)


def huge(folder):
    return save(folder / "huge.png", Image.new("1", (20_000, 20_000)))


def text(folder):
    (folder / "cat.jpg").write_text("no image")
    return folder / "cat.jpg"


def empty(folder):
    (folder / "none.png").touch()
    return folder / "none.png"


def cut(folder):
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)).save(stream, "PNG")
    (folder / "half.png").write_bytes(stream.getvalue()[:300])
    return folder / "half.png"


def heic(folder):
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    return folder / "phone.heic"


def vector(folder):
    (folder / "drawing.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    return folder / "drawing.svg"


def broken_onnx(folder):
    (folder / "broken.onnx").write_bytes(b"\x08\x09\x3a\xff\xff\xff\x7fabc")
    return folder / "broken.onnx"


def other_onnx(folder):
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    x, y = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy")
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", [x], [y])), folder / "other.onnx")
    return folder / "other.onnx"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (huge, f"huge.png has 20000 × 20000 pixels, and this page takes at most {MAX_PIXELS // 1_000_000} megapixels"),
        (text, "cat.jpg is not an image that this browser reads"),
        (empty, "none.png is empty (0 bytes)"),
        (cut, "half.png is damaged"),
        (heic, "HEIC images must be converted"),
        (vector, "drawing.svg is damaged, or an image of a kind whose pixels this browser does not read"),
        (broken_onnx, "broken.onnx is not a complete ONNX file"),
        (other_onnx, "other.onnx was not written by dvt"),
    ],
)
def test_what_cannot_be_used_is_explained_and_the_page_goes_on(used, tmp_path, photo, make, message):
    assert message in give_bad(used, make(tmp_path))
    give(used, photo)
    assert problems(used) == "" and used.locator("#model-name").inner_text().startswith("vit_micro with its denoiser")


def test_a_model_of_dvt_that_onnx_runtime_refuses(used, tmp_path, photo, small_model):
    model = onnx.load(small_model[1])
    model.graph.node[-1].op_type = "NoSuchOperation"
    onnx.save(model, tmp_path / "odd.onnx")
    assert "odd.onnx cannot be run here: ONNX Runtime says" in give_bad(used, tmp_path / "odd.onnx")
    give(used, photo)
    assert used.locator("#model-name").inner_text().startswith("vit_micro with its denoiser")


def test_a_good_image_among_bad_ones(used, tmp_path, photo):
    give(used, text(tmp_path), photo, empty(tmp_path), waits_for=FEATURES)
    used.locator("#problems p", has_text="none.png is empty").wait_for()
    assert "cat.jpg is not an image" in problems(used)
    assert used.locator("#image option:checked").inner_text().startswith("cup.png")


# ---------------------------------------------------------------------------------------------------- use


def test_the_page_opens_with_an_example_and_fetches_the_model_with_the_first_image(browser, address, site):
    fetched = []
    with opened(browser, address) as page:
        on_cpu = [*site.glob("ort.wasm.*"), site / "ort-wasm-simd-threaded.wasm", site / "vit_micro.onnx"]
        said = f": {sum(path.stat().st_size for path in on_cpu) / 1e6:.0f} MB, or "
        assert said in page.locator("#status").inner_text()
        page.context.on("request", lambda ask: fetched.append(ask.url.split("/")[-1]))
        assert page.locator(".tile h2").all_inner_texts() == ["raw", "denoised"]
        assert not [name for name in fetched if name.endswith((".onnx", ".wasm"))]
        page.get_by_role("button", name="coffee").click()
        page.locator("#status", has_text="coffee.jpg: features in").wait_for()
        assert "No WebGPU: " in page.locator("#status").inner_text()
        assert "vit_micro.onnx" in fetched and "ort-wasm-simd-threaded.wasm" in fetched
        assert page.locator("#image option").all_inner_texts() == ["chelsea.jpg", "coffee.jpg"]


TRANSFER = """([kind, name, text]) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)), data = new DataTransfer();
  data.items.add(new File([bytes], name, { type: "image/png" }));
  const event = kind === "paste" ? new ClipboardEvent(kind, { clipboardData: data, bubbles: true })
    : new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true });
  document.body.dispatchEvent(event);
}"""


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_an_image_is_dropped_or_pasted(used, photo, kind):
    text, name = base64.b64encode(photo.read_bytes()).decode(), f"{kind}.png"
    for shown in (name, f"{name} (2)"):
        used.evaluate(TRANSFER, [kind, name, text])
        used.locator("#image option", has_text=shown).wait_for(state="attached")
        assert used.locator("#image option:checked").inner_text() == shown


def test_a_text_that_is_pasted_or_dropped_is_explained(page):
    for kind, part in (("paste", "no image on the clipboard"), ("drop", "No file was dropped")):
        page.evaluate(
            TRANSFER.replace(
                'data.items.add(new File([bytes], name, { type: "image/png" }))', 'data.setData("text/plain", "cat")'
            ),
            [kind, "", ""],
        )
        assert part in problems(page)


def test_by_keys_alone(page, photo):
    # The dialog of the browser itself is not opened: under load it may not report that it is there.
    page.evaluate(
        "document.getElementById('image-file').addEventListener('click', (event) => {"
        " event.preventDefault(); window.asked = true; })"
    )
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "choose-image":
            break
    page.keyboard.press("Enter")
    page.wait_for_function("window.asked")
    page.locator("#image-file").set_input_files(str(photo))
    page.locator("#status", has_text="cup.png: features in").wait_for()
    page.keyboard.press("3")
    assert page.locator("#views input:checked").get_attribute("value") == "norm"


def test_stop(page, photo):
    page.locator("#image-file").set_input_files([str(photo)] * 3)
    page.locator("#stop").click()
    page.locator("#problems p", has_text="Stopped.").wait_for()
    page.locator("#stop").wait_for(state="hidden")
    assert page.locator("#image option").all_inner_texts() == ["chelsea.jpg"]
    give(page, photo)
    assert problems(page) == ""


def test_without_a_connection(page, photo):
    page.context.set_offline(True)
    assert "could not be fetched" in give_bad(page, photo)
    page.context.set_offline(False)
    give(page, photo)
    page.context.set_offline(True)
    give(page, photo)  # nothing more is fetched
    assert problems(page) == ""


def test_on_a_phone(browser, address, photo):
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
    with opened(browser, address, **phone) as page:
        give(page, photo)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.locator("#stage").bounding_box()["y"] < 844  # the image is scrolled to


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_serious(used, tmp_path, scheme, width):
    used.emulate_media(color_scheme=scheme)
    used.set_viewport_size({"width": width, "height": 900})
    give(used, cmyk(tmp_path), text(tmp_path))
    used.locator("#problems p", has_text="cat.jpg is not an image").wait_for()
    assert_accessible(used)
    used.evaluate("document.body.classList.add('dragging')")
    assert_accessible(used)
    used.evaluate("document.body.classList.remove('dragging')")
