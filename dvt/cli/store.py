"""`dvt store`: what is in a feature store, and whether it is whole."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dvt.store import Status, Verification

USAGE = """\
dvt store: look after a feature store.

usage: dvt store status FOLDER     what it holds: settings, records, failures, bytes, runs
       dvt store verify FOLDER     read everything again and compare checksums; exit code 3 when something is damaged"""

ACTIONS = ("status", "verify")


def help_page() -> str:
    """What `dvt store --help` prints."""
    return USAGE


def run(arguments: list[str]) -> int:
    """Run the verb and return its exit code."""
    if len(arguments) != 2 or arguments[0] not in ACTIONS:
        print(f"dvt: {' '.join(['dvt store', *arguments])} is not a call of this verb.\n\n{USAGE}", file=sys.stderr)
        return 2
    action, folder = arguments
    from dvt.store import status, verify

    if action == "status":
        print(status_text(status(folder.removeprefix("store="))))
        return 0
    verification = verify(folder.removeprefix("store="))
    print(verification_text(verification))
    return 0 if verification.ok else 3


def status_text(found: "Status") -> str:
    """What a store holds, for people."""
    meta = found.meta
    solver = meta.solver.get("solver", "?")
    lines = [
        f"backbone   {meta.backbone}, layer {meta.layer}, {'after' if meta.norm else 'before'} the final norm",
        f"weights    {meta.weights_hash}",
        f"grid       {meta.grid}, images of {meta.grid.image_hw[0]} x {meta.grid.image_hw[1]} px",
        f"arrays     {', '.join(meta.arrays)}: {' x '.join(map(str, meta.shape))} {meta.dtype}",
        f"made by    dvt {meta.code_version}, quality={meta.quality}, solver={solver}",
        f"records    {found.num_records} in {found.num_shards} shards, {found.num_bytes / 2**20:.1f} MiB",
        f"failed     {found.num_failed}",
        f"runs       {found.num_runs}",
        *(f"damaged    {reason}" for reason in found.damaged),
    ]
    return "\n".join(lines)


def verification_text(found: "Verification") -> str:
    """What `verify` found, for people."""
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
