#!/usr/bin/env bash
# Trains what comes with vit_micro: a denoiser of one block, as in the paper (recipe=quick), and a clean ViT: a copy that is
# trained together with a linear layer on all of its blocks (experiment=laptop of dvt distill). Both learn from stage 1 over
# a few hundred images. After a stop the same command continues.
#
#   scripts/train_embedded_denoiser.sh IMAGES WORK      IMAGES: a folder, glob or .txt list; WORK: a folder for the store
#
# Writes WORK/denoiser and WORK/clean, and their weights in float16 to checkpoints/vit_micro.
set -euo pipefail
images=$1 work=$2
target=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/checkpoints/vit_micro

dvt decompose "images=$images" "store=$work/store" backbone=vit_micro fine=2 device=cpu
dvt train "store=$work/store" "out=$work/denoiser" recipe=quick trainer=cpu
dvt distill "store=$work/store" "images=$images" "out=$work/clean" experiment=laptop
python - "$work" "$target" <<'PYTHON'
import sys
from pathlib import Path

from dvt.weights.folder import read_model_folder, save_model

work, target = map(Path, sys.argv[1:])
for name, kind in (("denoiser", "denoiser"), ("clean", "denoised")):
    state, info = read_model_folder(work / name, kind=kind)
    save_model(target / name, {key: tensor.half() for key, tensor in state.items()}, info)
PYTHON
echo "written: $target/denoiser and $target/clean"
