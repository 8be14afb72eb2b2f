"""Time of `import dvt` and of loading a ViT for inference, beside `import timm`: new processes, in turn.

    python benchmarks/import_time.py --repeats 15

CPU seconds are less disturbed by other work on the machine than seconds on the clock; both are printed. One thread per
process: threads that wait for each other on busy cores would count as work.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

from dvt.runtime import environment

LOAD = "dvt.load_denoised('vit_micro', weights='vit_micro/denoiser', device='cpu')"
COMMANDS = {
    "import timm": "import timm",
    "import dvt": "import dvt",
    "import dvt, load_denoised": f"import dvt; {LOAD}",
}
BASE = "import timm"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    for code in COMMANDS.values():
        measured(code)  # compiles modules and reads files once
    rounds = [{name: measured(code) for name, code in COMMANDS.items()} for _ in range(options.repeats)]
    results = {}
    print(f"{'seconds, median of ' + str(options.repeats):32}{'clock':>8}{'min':>8}{'max':>8}{'of timm':>9}"
          f"{'CPU':>8}{'min':>8}{'max':>8}{'of timm':>9}")  # fmt: skip
    for name in COMMANDS:
        row, cells = {}, ""
        for index, kind in enumerate(("clock", "cpu")):
            values = [each[name][index] for each in rounds]
            ratios = [each[name][index] / each[BASE][index] for each in rounds]
            row[kind] = {
                "median_s": statistics.median(values),
                "min_s": min(values),
                "max_s": max(values),
                "of_timm": statistics.median(ratios),
                "of_timm_quartiles": statistics.quantiles(ratios, n=4)[::2],
            }
            cells += "".join(f"{row[kind][key]:8.3f}" for key in ("median_s", "min_s", "max_s"))
            cells += f"{row[kind]['of_timm']:9.3f}"
        results[name] = row
        print(f"{name:32}{cells}")
    machine = {"cores": os.cpu_count(), **environment()}
    print(json.dumps({"benchmark": "import_time", "repeats": options.repeats, "results": results, "machine": machine}))


def measured(code: str) -> tuple[float, float]:
    """Seconds on the clock, and seconds of CPU time, of a new process."""
    start, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - start, cpu


if __name__ == "__main__":
    main()
