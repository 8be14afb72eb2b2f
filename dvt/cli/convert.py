"""`dvt convert`: list released weights; convert between them and model folders."""

from difflib import get_close_matches

from dvt.cli.console import DONE, USAGE, complain, say
from dvt.errors import DvtError

PAGE = """\
dvt convert: released weights as model folders, and model folders as files of the original.

usage: dvt convert list [PATTERN]                  names of released denoisers and distilled ViTs, and of local ones
       dvt convert SOURCE OUT.pth [backbone=NAME]  the original's file: {"denoiser": ...}, or {"model": ...} of a ViT
       dvt convert SOURCE OUT     [backbone=NAME]  a model folder: weights.safetensors, config.json and a card

SOURCE is a name of the list, a file of the original, a checkpoint of `dvt train`, a model folder, or owner/name of
a model on the Hugging Face hub. Names are searched in $DVT_HOME, checkpoints/, then on the hub. Keys and values of
the tensors are kept. backbone= names the ViT of a file whose name does not contain it.

  dvt convert list '*dinov2*'
  dvt convert voc_denoised/dinov2_base runs/dinov2_base_denoiser
  dvt convert old/denoiser.pth runs/denoiser backbone=dino_base
  dvt convert runs/denoiser denoiser.pth"""

_BACKBONE = "backbone="


def run(arguments: list[str]) -> int:
    """Run the verb and return its exit code."""
    wrong = _usage_error(arguments)
    if wrong is not None:
        say(f"dvt: {wrong}\n\n{PAGE}")
        return USAGE
    try:
        if arguments[0] == "list":
            return _list(arguments[1] if len(arguments) > 1 else "*")
        return _convert(arguments)
    except DvtError as error:
        return complain(str(error))


def _list(pattern: str) -> int:
    from dvt.weights.released import RELEASED, catalogue_spelling, timm_spelling
    from dvt.weights.resolve import list_denoisers, local_names

    names = [*list_denoisers(pattern), *list_denoisers(pattern, distilled=True)]
    if not names:
        return complain(f"no name fits {pattern!r}: `dvt convert list` prints all of them.")
    here = {timm_spelling(name): path for name, path in local_names().items()}
    width = max(map(len, names))
    for name in names:
        row = RELEASED.get(name)
        place = str(here.get(name, "")) or ("on the hub" if row is not None and row.seen else "on the hub, not checked")
        short = catalogue_spelling(name)
        print(f"{name:<{width}}  {place}{f'  = {short}' if short != name else ''}")
    return DONE


def _convert(arguments: list[str]) -> int:
    from dvt.weights.convert import convert

    source, out = (argument for argument in arguments if not argument.startswith(_BACKBONE))
    backbone = next(
        (argument.removeprefix(_BACKBONE) for argument in arguments if argument.startswith(_BACKBONE)), None
    )
    for line in convert(source, out, backbone=backbone):
        say(line)
    print(out)
    return DONE


def _usage_error(arguments: list[str]) -> str | None:
    """What is wrong with the arguments, or None."""
    plain = [argument for argument in arguments if not argument.startswith(_BACKBONE)]
    if plain[:1] == ["list"]:
        return None if len(arguments) <= 2 else "dvt convert list takes one pattern, in quotes: '*dinov2*'."
    options = [argument for argument in plain if "=" in argument.partition("/")[0]]
    if options:
        key = options[0].partition("=")[0]
        hint = "did you mean backbone=?" if get_close_matches(key, ["backbone"]) else "there is backbone= alone."
        return f"there is no option {key!r}: {hint}"
    if len(arguments) - len(plain) > 1:
        return "backbone= was given more than once."
    if len(plain) != 2:
        return f"dvt convert takes a source and where to write, {len(plain)} were given."
    return None
