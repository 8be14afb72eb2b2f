"""Time and peak memory of one pass through a denoiser, by its kind and the number of patches; random weights.

    python benchmarks/denoiser_cost.py [--backward] [--sides 14 28 56 112] [--channels 192 384] [--kinds block conv3x3]

Every cell of the table runs in a process of its own, so that no memory of another one is reused. Time: median of
`--repeats` passes after one. Memory: the highest resident memory during the first pass at that size, less that before
it, with weights, input and a pass of 4 x 4 patches already in memory (Linux). `--backward` adds the backward pass.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import torch
from stopwatch import seconds
from torch import Tensor

from dvt.denoiser.config import DenoiserConfig, Kind
from dvt.denoiser.network import Denoiser
from dvt.runtime import environment


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[14, 28, 56, 112], help="patches along each side")
    parser.add_argument("--channels", type=int, nargs="+", default=[192, 384])
    parser.add_argument(
        "--kinds", nargs="+", default=["block", "semantic_tokens"], choices=[kind.value for kind in Kind]
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--backward", action="store_true")
    parser.add_argument("--cell", action="store_true", help="measure the first of each here, and print it as JSON")
    return parser.parse_args()


def main() -> None:
    args = parse()
    if args.cell:
        print(json.dumps(_cell(args)))
        return
    rows = []
    print("channels  side  kind                 ms      MiB   thousand weights")
    for channels in args.channels:
        for side in args.sides:
            for kind in args.kinds:
                row = {"channels": channels, "side": side, "kind": kind, **_in_own_process(args, channels, side, kind)}
                rows.append(row)
                numbers = f"{row['ms']:8.1f} {row['mib']:8.1f}   {row['weights'] / 1e3:8.0f}"
                print(f"{channels:8}  {side:4}  {kind:16} {numbers}", flush=True)
    about = {"repeats": args.repeats, "threads": args.threads, "backward": args.backward}
    print(json.dumps({"benchmark": "denoiser_cost", **about, "rows": rows, "machine": environment()}))


def _in_own_process(args: argparse.Namespace, channels: int, side: int, kind: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--cell", "--sides", str(side), "--channels", str(channels), "--kinds", kind]
    command += ["--repeats", str(args.repeats), "--threads", str(args.threads), *(["--backward"] * args.backward)]
    out = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, float] = json.loads(out)
    return found


def _cell(args: argparse.Namespace) -> dict[str, float]:
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    side, channels = args.sides[0], args.channels[0]
    denoiser = Denoiser(DenoiserConfig(kind=Kind(args.kinds[0])), channels, (side, side)).eval()
    small, full = (torch.randn(1, hw, hw, channels) for hw in (4, side))

    def run(patches: Tensor) -> None:
        if args.backward:
            denoiser(patches).square().mean().backward()
            denoiser.zero_grad()
        else:
            with torch.no_grad():
                denoiser(patches)

    run(small)
    before = _resident_mib("VmRSS")
    run(full)
    peak = _resident_mib("VmHWM") - before
    times = [seconds(lambda: run(full)) for _ in range(args.repeats)]
    weights = sum(parameter.numel() for parameter in denoiser.denoiser.parameters())
    return {"ms": 1e3 * statistics.median(times), "mib": peak, "weights": weights}


def _resident_mib(name: str) -> float:
    """Resident memory of this process now (VmRSS) or at its highest (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) / 1024


if __name__ == "__main__":
    main()
