#!/usr/bin/env bash
# Trains the denoiser that comes with vit_micro: stage 1 over a few hundred images, then stage 2, which also reads two
# earlier blocks (recipe=layers). After a stop the same command continues.
#
#   scripts/train_embedded_denoiser.sh IMAGES WORK      IMAGES: a folder, glob or .txt list; WORK: a folder for the store
#
# Writes WORK/denoiser, and float16 weights to checkpoints/vit_micro/denoiser.
set -euo pipefail
images=$1 work=$2
target=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/checkpoints/vit_micro/denoiser

dvt decompose "images=$images" "store=$work/store" backbone=vit_micro views.num_views=64
dvt train "store=$work/store" "out=$work/denoiser" recipe=layers "denoiser.layers=[2,4]" "images=$images"
python - "$work/denoiser" "$target" <<'PYTHON'
import sys
from pathlib import Path

from dvt.weights.folder import read_model_folder, save_model

state, info = read_model_folder(Path(sys.argv[1]), kind="denoiser")
save_model(Path(sys.argv[2]), {key: tensor.half() for key, tensor in state.items()}, info)
PYTHON
echo "written: $target"
