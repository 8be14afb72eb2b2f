"""Time in `dvt view` from the drop of an image to its drawing, in Chromium: raw and denoised, then stage 1.

    python benchmarks/view.py --image cat.jpg backbone=vit_micro
    python benchmarks/view.py --image cat.jpg --repeats 11 backbone=dinov2_base denoiser=runs/denoiser

What follows the flags is given to `dvt view`. The image is dropped `repeats` times, each time when the one before is
done, and once before that: the first run is slower.
"""

import argparse
import base64
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

from dvt.runtime import environment

DROP = """([name, content]) => new Promise((done) => {
    const bytes = Uint8Array.from(atob(content), (each) => each.charCodeAt(0));
    const dataTransfer = new DataTransfer(), times = {}, start = performance.now();
    dataTransfer.items.add(new File([bytes], name));
    document.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
    const look = () => {
        const seconds = (performance.now() - start) / 1000, status = dvtView.status();
        const said = document.querySelector("#job-text").textContent;
        if (document.title.startsWith(name)) times.first ??= seconds;
        if (said !== `${name}: done` && status?.state !== "failed") return requestAnimationFrame(look);
        done({ ...times, all: seconds, state: status.state });
    };
    requestAnimationFrame(look);
})"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("options", nargs="*", help="of dvt view")
    given = parser.parse_args()
    run = "from dvt.cli.main import main; main()"
    command = [sys.executable, "-c", run, "view", "open=false", "port=0", *given.options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, sync_playwright() as playwright:
        try:
            address = re.search(r"http://\S+", server.stdout.readline())[0]
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1280, "height": 900})
            page.goto(address)
            content = base64.b64encode(given.image.read_bytes()).decode()
            runs = [
                page.evaluate(DROP, [f"{number}-{given.image.name}", content]) for number in range(given.repeats + 1)
            ]
            browser.close()
        finally:
            server.terminate()
    assert all(each["state"] == "done" for each in runs), runs
    print(f"{'seconds, median of ' + str(given.repeats):32}{'median':>8}{'min':>8}{'max':>8}{'first run':>11}")
    results = {}
    for name, key in (("raw and denoised drawn", "first"), ("stage 1 drawn", "all")):
        values = [each[key] for each in runs[1:]]
        results[key] = {"median_s": statistics.median(values), "min_s": min(values), "max_s": max(values)}
        print(f"{name:32}" + "".join(f"{each:8.2f}" for each in results[key].values()) + f"{runs[0][key]:11.2f}")
    machine = {"cores": os.cpu_count(), "load": os.getloadavg(), **environment()}
    print(json.dumps({"benchmark": "view", "repeats": given.repeats, "results": results, "machine": machine}))


if __name__ == "__main__":
    main()
