#!/usr/bin/env bash
# Builds sdist and wheel as for a release, checks them, installs the wheel into an empty virtual environment and runs the
# command from another folder, without the checkout. PYTHON is an interpreter of Python >= 3.10.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-python3}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

"$python" -m venv "$place/tools"
"$place/tools/bin/python" -m pip install --quiet build twine
"$place/tools/bin/python" -m build --outdir "$place/dist" . >"$place/build.log" || { cat "$place/build.log"; exit 1; }
"$place/tools/bin/python" -m twine check --strict "$place"/dist/*

"$python" -m venv "$place/venv"
wheel=$(ls "$place"/dist/*.whl)
"$place/venv/bin/python" -m pip install --quiet "${wheel}[demo]"

mkdir "$place/elsewhere"
cd "$place/elsewhere"
dvt=$place/venv/bin/dvt
"$place/venv/bin/python" -c '
from PIL import Image
Image.radial_gradient("L").convert("RGB").save("round.png")
import dvt
assert "site-packages" in dvt.__file__, dvt.__file__
'
vit=(backbone.timm=vit_tiny_patch16_224 backbone.weights=random backbone.image_size=64 quality=tiny device=cpu)
"$dvt" --help
"$dvt" decompose images=round.png store=store "${vit[@]}"
"$dvt" show image=round.png out=round.dvt.png "${vit[@]}"
"$dvt" store verify store
test -s round.dvt.png
"$dvt" demo num_views=4 num_steps=3 num_frames=0 device=cpu
test -s demo/index.html
"$python" -c '
import json
rows = json.load(open("demo/scores/artifact_scores.json"))["rows"]
share = {name: row["values"]["position share"][0] for name, row in rows.items()}
assert max(share["decomposed"], share["denoised"]) < 0.5 * share["raw"], share  # as its images show
'
