"""`dvt store`: what is in a feature store, and whether it is whole."""

from difflib import get_close_matches
from typing import TYPE_CHECKING

from dvt.cli.console import DONE, SOME_FAILED, USAGE, say
from dvt.paths import expand_home

if TYPE_CHECKING:
    from dvt.store import Status, Verification

PAGE = """\
dvt store: look after a feature store.

usage: dvt store status FOLDER     what it holds: settings, records, failures, bytes, runs
       dvt store verify FOLDER     read everything again and compare checksums; exit code 3 when something is damaged
       dvt store clean FOLDER      delete what crashed runs left unfinished more than an hour ago"""

ACTIONS = ("status", "verify", "clean")


def run(arguments: list[str]) -> int:
    """Run the verb and return its exit code."""
    if len(arguments) != 2 or arguments[0] not in ACTIONS:
        say(f"dvt: {_usage_error(arguments)}\n\n{PAGE}")
        return USAGE
    action, folder = arguments[0], expand_home(arguments[1].removeprefix("store="))
    from dvt.store import remove_leftovers, status, verify

    if action == "status":
        print(status_text(status(folder)))
        return DONE
    if action == "clean":
        removed = remove_leftovers(folder)
        print("\n".join(f"deleted {name}" for name in removed) or "nothing to delete")
        return DONE
    verification = verify(folder)
    print(verification_text(verification))
    return DONE if verification.ok else SOME_FAILED


def _usage_error(arguments: list[str]) -> str:
    """What is wrong with the arguments."""
    if not arguments:
        return "dvt store needs an action and the folder of a store."
    action = arguments[0]
    if action not in ACTIONS:
        near = get_close_matches(action, ACTIONS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(ACTIONS)}."
        return f"there is no action {action!r}: {hint}"
    given = len(arguments) - 1
    return (
        f"dvt store {action} takes one folder, {given} were given." if given else f"dvt store {action} needs a folder."
    )


def status_text(found: "Status") -> str:
    """Text about the content of a store."""
    from dvt.spec import layers_text

    meta, spec = found.meta, found.meta.spec
    solver = meta.solver.get("solver", "?")
    lines = [
        f"backbone   {spec.backbone}, {layers_text(spec.layers)}, {'after' if spec.norm else 'before'} the final norm",
        f"weights    {spec.weights_hash}",
        f"grid       {spec.grid}, images of {spec.grid.image_hw[0]} x {spec.grid.image_hw[1]} px",
        f"arrays     {', '.join(meta.arrays)}: {' x '.join(map(str, meta.shape))} {meta.dtype}",
        *([] if meta.field is None else [f"field      {meta.field}, {meta.dtype}: F can be read at any grid"]),
        f"made by    dvt {meta.code_version}, quality={meta.quality}, solver={solver}",
        f"records    {found.num_records} in {found.num_shards} shards, {found.num_bytes / 2**20:.1f} MiB",
        f"failed     {found.num_failed}",
        f"runs       {found.num_runs}",
        *(f"damaged    {reason}" for reason in found.damaged),
    ]
    return "\n".join(lines)


def verification_text(found: "Verification") -> str:
    """Text about the result of `verify`."""
    lines = [
        f"{found.num_records} records in {found.num_shards} shards, {found.num_bytes / 2**20:.1f} MiB: whole",
        *(f"damaged: {reason}" for reason in found.damaged),
        *(f"uncommitted (being written, or left by a crash; not read): {name}" for name in found.uncommitted),
        *(f"temporary (being written, or left by a crash; not read): {name}" for name in found.temporary),
        *(f"set aside earlier and made again: {name}" for name in found.set_aside),
    ]
    if not found.ok:
        lines.append("Run the same `dvt decompose` again: it sets damaged shards aside and makes their images again.")
    return "\n".join(lines)
