#!/usr/bin/env bash
# The denoiser that comes with vit_micro: stage 1 over a few hundred pictures, then stage 2.
#
#   scripts/train_embedded_denoiser.sh IMAGES WORK      IMAGES: a folder, glob or .txt list; WORK: a folder for the store
#
# The result is WORK/denoiser; what is published of it goes to checkpoints/vit_micro/denoiser.
set -euo pipefail
images=$1 work=$2
dvt decompose "images=$images" "store=$work/store" backbone=vit_micro views.num_views=64
dvt train "store=$work/store" "out=$work/denoiser" recipe=quick
target=$(dirname "${BASH_SOURCE[0]}")/../checkpoints/vit_micro/denoiser
mkdir -p "$target"
cp "$work"/denoiser/{weights.safetensors,config.json,README.md} "$target/"
