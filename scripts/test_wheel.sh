#!/usr/bin/env bash
# Builds sdist and wheel as for a release, checks them, installs the wheel into an empty virtual environment and runs the
# command from another folder, without the checkout. PYTHON is an interpreter of Python >= 3.10.
#
#   scripts/test_wheel.sh            what the wheel needs is installed with it
#   scripts/test_wheel.sh lent       it is lent by .venv, of the same Python: no installation, a minute less
set -euo pipefail

case "${1:-}" in
    "" | lent) lent=${1:-} ;;
    *) echo "usage: scripts/test_wheel.sh [lent]" >&2; exit 2 ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."
checkout=$PWD
python=${PYTHON:-python3}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

"$python" -m venv "$place/tools"
"$place/tools/bin/python" -m pip install --quiet build twine
"$place/tools/bin/python" -m build --outdir "$place/dist" . >"$place/build.log" || { cat "$place/build.log"; exit 1; }
"$place/tools/bin/python" -m twine check --strict "$place"/dist/*

"$python" -m venv "$place/venv"
wheel=$(ls "$place"/dist/*.whl)
if [[ $lent ]]; then
    packages='import sysconfig; print(sysconfig.get_path("purelib"))'
    # Folders that a .pth file names come last, and their own .pth files are not read: dvt is that of the wheel.
    "$checkout/.venv/bin/python" -c "$packages" >"$("$place/venv/bin/python" -c "$packages")/lent.pth"
    "$place/venv/bin/python" -m pip install --quiet --no-deps --ignore-installed "$wheel"
else
    "$place/venv/bin/python" -m pip install --quiet "${wheel}[demo]"
fi

mkdir "$place/elsewhere"
cd "$place/elsewhere"
dvt=$place/venv/bin/dvt
"$place/venv/bin/python" -c '
from PIL import Image
Image.radial_gradient("L").convert("RGB").save("round.png")
import sys
import dvt
assert dvt.__file__.startswith(sys.prefix), dvt.__file__
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
