"""`dvt view`: a local web app that shows the features of images given in the browser."""

import socket
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from dvt.backbone.config import BackboneConfig
from dvt.cli.console import say, say_failures
from dvt.cli.method_options import MethodsOptions, check_methods, load_methods, weights_by_name, with_suffixes
from dvt.cli.outcome import Result
from dvt.errors import ConfigError
from dvt.images import MAX_PIXELS

if TYPE_CHECKING:
    from dvt.backbone.reader import VitFacts
    from dvt.grid import PatchGrid
    from dvt.images import ImageFile
    from dvt.view.features import Loaded
    from dvt.view.offer import Offer

HEAD = """\
dvt view: drop an image into the browser and explore its features. A server on this machine computes them.

usage: dvt view backbone=NAME [denoiser=FOLDER] [images=FOLDER] [key=value ...]

  dvt view backbone=vit_micro                                     works offline, with the denoiser that ships with dvt
  dvt view backbone=dinov2_base denoiser=runs/denoiser            raw and denoised at once, stage 1 in a while
  dvt view backbone=dino_small images=photos/                     images of a folder to choose from, besides your own
  dvt view backbone=dino_small backbones=[mae_base,deit3_small]   several ViTs to choose from
  dvt view backbone=vit_micro host=0.0.0.0 open=false             for other machines too; anyone there may use it

It prints its address and opens the browser, if there is one. Ctrl-C ends it."""

GROUPS = ("backbone", "quality")
METRIC = None

_MICRO = "vit_micro"
_MICRO_DENOISER = "vit_micro/denoiser"
_MAX_IMAGES = 500
"""Thumbnails on the page."""


@dataclass(kw_only=True, slots=True)
class Options(MethodsOptions):
    """Options of `dvt view`."""

    images: str | None = None
    """An image, or a folder, glob or list of images, to choose from in the page; their paths stay on this machine."""
    backbones: list[str] = field(default_factory=list)
    """Further ViTs to choose from, by their names; vit_micro is always there."""
    method: list[str] = field(default_factory=lambda: ["raw", "decomposed"])
    """Methods that are chosen at first, besides those with weights (denoiser=, distilled=); the page also offers srt.
    Names as in dvt show: raw@2x, decomposed@fine4, decomposed:draft."""
    host: str = "127.0.0.1"
    """Where to listen; 0.0.0.0 lets other machines in."""
    port: int = 8484
    """Port; the next one that is free is taken if it is in use. 0: any."""
    open: bool = True
    """Open the page in the browser, if there is one."""
    max_pixels: int = MAX_PIXELS
    """Larger images are refused as decompression bombs."""
    batch_size: int = 8
    """Views per forward pass of the backbone; few, so that progress is seen and Cancel is quick."""

    def __post_init__(self) -> None:
        """Refuse invalid values."""
        MethodsOptions.__post_init__(self)
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port={self.port}: give a number from 0 to 65535.")


def work(options: Options, choices: dict[str, str]) -> Result:
    """Serve until Ctrl-C. Errors in the options are found before the server starts."""
    _require_extra()
    from dvt.view.access import is_loopback
    from dvt.view.app import make_app
    from dvt.view.features import FeatureWork
    from dvt.view.jobs import Jobs
    from dvt.view.server import address_of, listen, open_browser, serve

    options = _with_trained_methods(with_suffixes(options))
    check_methods(options, choices["quality"])
    images = _images(options)
    shelf = Shelf(options)
    with listen(options.host, options.port) as listening:
        port = listening.getsockname()[1]
        if options.port not in (0, port):
            say(f"port {options.port} is in use: taking {port}.")
        if not is_loopback(options.host):
            say(
                f"warning: host={options.host} lets every machine that reaches this one see the images and use its"
                f" processors; there is no password. They open http://{socket.gethostname()}:{port}/, or the same with"
                " the IP address of this machine."
            )
        address = address_of(listening, options.host)
        print(f"dvt view: {address}   Ctrl-C ends it.", flush=True)
        if options.open:
            open_browser(address)
        jobs = Jobs(FeatureWork(shelf.load, shelf.loaded, options.max_pixels))
        try:
            serve(make_app(jobs, shelf.offers, images, host=options.host, max_pixels=options.max_pixels), listening)
        except KeyboardInterrupt:  # the usual end
            say("dvt view: ended.")
        finally:
            jobs.close()
    return Result()


def _require_extra() -> None:
    """Refuse to start without the web server.

    Raises:
        ConfigError: says what to install.
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"dvt view needs FastAPI and uvicorn ({error}): pip install 'denoising-vit[view]'."
        ) from error


def _images(options: Options) -> "list[ImageFile]":
    """The images to choose from. Those that cannot be opened are named and left out."""
    if options.images is None:
        return []
    from dvt.images import find_images
    from dvt.images.readable import split_readable

    found = find_images(options.images)
    if len(found) > _MAX_IMAGES:
        say(f"{options.images} has {len(found)} images: the first {_MAX_IMAGES} are shown.")
    readable, failed = split_readable(found[:_MAX_IMAGES], options.max_pixels)
    say_failures(failed)
    return readable


class Shelf:
    """The ViTs to choose from, and how they are loaded. The first is loaded here: faults of the options are found.

    Args:
        options: the options of the command.

    Raises:
        BackboneError: there is no ViT of a name.
        WeightsError: weights that are not found, or belong to another ViT.
        ConfigError, GeometryError: options that do not fit the ViT.
    """

    def __init__(self, options: Options) -> None:
        from dvt.backbone.vit import facts_of

        first = options.backbone.full_name
        others = [name for name in dict.fromkeys([*options.backbones, _MICRO]) if name != first]
        self._options = {first: options, **{name: _for_other(options, name) for name in others}}
        loaded = load_methods(replace(options, method=_offered(options)), one_size=True)
        self.loaded = {(first, loaded[0].layers): loaded}
        """The first ViT, by what it is loaded by."""
        self.offers = {first: _offer(first, options, loaded[0].grid, loaded[0].layers, loaded[0].reader.facts)}
        """What can be chosen, by the name of the ViT."""
        for name in others:
            facts = facts_of(name, trust_remote_code=options.backbone.trust_remote_code)
            self.offers[name] = _offer(name, self._options[name], facts.spec.grid, (facts.depth - 1,), facts)

    def load(self, name: str, layers: tuple[int, ...]) -> "Loaded":
        """The ViT at these blocks, and all methods that are offered there.

        Raises:
            DvtError: it cannot be downloaded or read.
        """
        offer, options = self.offers[name], self._options[name]
        options = replace(options, method=list(offer.methods_at(layers)))
        if layers != offer.layers[0]:
            grid = offer.grid
            wanted = replace(options.backbone, layer=list(layers), stride=grid.stride, image_size=list(grid.image_hw))
            options = replace(options, backbone=wanted, denoiser=None, distilled=None)
        return load_methods(options, one_size=True)


def _for_other(options: Options, name: str) -> Options:
    """The options for a further ViT, without what belongs to the first."""
    rest = [each for each in options.method if each not in _trained(options)]
    backbone = BackboneConfig(name=name, precision=options.backbone.precision)
    return _with_trained_methods(replace(options, backbone=backbone, denoiser=None, distilled=None, method=rest))


def _with_trained_methods(options: Options) -> Options:
    """The options with raw first and a method for each denoiser and distilled ViT behind it.

    vit_micro has the denoiser that ships with it, unless options say otherwise.
    """
    plain = options.backbone == BackboneConfig(name=_MICRO, precision=options.backbone.precision)
    if plain and options.denoiser is None and options.distilled is None:
        options = replace(options, denoiser=_MICRO_DENOISER)
    trained = _trained(options)
    rest = [name for name in options.method if name != "raw" and name not in trained]
    return replace(options, method=["raw", *trained, *rest])


def _trained(options: Options) -> list[str]:
    """Names of the methods with weights of their own."""
    names: list[str] = []
    for base, option in (("denoised", "denoiser"), ("distilled", "distilled")):
        given = weights_by_name(options, option)
        names += [base] if len(given) == 1 else [f"{base}:{name}" for name in given]
    return names


def _offered(options: Options) -> list[str]:
    """Names of the methods to choose from, in the order of the page."""
    trained = _trained(options)
    rest = [name for name in options.method if name not in ("raw", "srt", *trained)]
    return ["raw", *trained, "srt", *rest, *(["decomposed"] if "decomposed" not in rest else [])]


def _offer(name: str, options: Options, grid: "PatchGrid", layers: tuple[int, ...], facts: "VitFacts") -> "Offer":
    from dvt.view.offer import Offer

    single = [(each,) for each in reversed(range(facts.depth)) if (each,) != layers]
    return Offer(
        name=name,
        grid=grid,
        layers=(layers, *single),
        methods=tuple(_offered(options)),
        trained=tuple(_trained(options)),
        ticked=tuple(options.method),
    )
