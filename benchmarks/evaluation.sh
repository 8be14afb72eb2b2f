#!/usr/bin/env bash
# Every task of `dvt evaluate`, every method side by side, at sizes that two CPU cores do in an hour or so:
#
#   benchmarks/evaluation.sh DATA OUT backbone.timm=... backbone.weights=... denoiser=... [distilled=...]
#
# DATA holds camvid/, sevenscenes/, davis2016/ and imagenette/. All results go into OUT, with report.html, pareto.svg and
# summary.md. METHODS=raw,decomposed:fast,... replaces the methods, and TASKS=camvid,depth,... does some of the five groups
# of tasks. The same command continues after a stop. SRT and tiles@3x cost nine passes each.
# Records: benchmarks/records/*_evaluation_*.md
set -euo pipefail

data=$1 out=$2
shift 2
methods=raw,raw@2x,tiles,tiles@3x,srt,decomposed,denoised
[[ "$*" == *distilled=* ]] && methods+=,distilled
methods=${METHODS:-$methods}
common=(device=cpu srt.max_shift=6 srt.step=6 report=html "$@")

tasks=${TASKS:-}
for name in ${tasks//,/ }; do
    [[ " camvid artifacts depth davis imagenette " == *" $name "* ]] || { echo "TASKS: there is no $name" >&2; exit 2; }
done

run() {
    local name=$1 began=$SECONDS
    [[ ",${TASKS:-$name}," == *",$name,"* ]] || return 0
    shift
    dvt evaluate "out=$out" "method=[$methods]" "$@" "${common[@]}"
    echo "$name took $((SECONDS - began)) s"
}

run camvid data="$data/camvid" 'task=[linear_segmentation,knn_segmentation]' \
    linear_segmentation.num_train=60 knn_segmentation.num_train=60
run artifacts data="$data/imagenette/val" task=artifact_scores artifact_scores.num_images=20
run depth data="$data/sevenscenes" task=linear_depth 'linear_depth.layouts=[usual]'
run davis data="$data/davis2016" 'task=[object_discovery,saliency,video_segmentation]' \
    object_discovery.image_size=240 saliency.image_size=240 video_segmentation.max_frames=20
run imagenette data="$data/imagenette" task=retrieval retrieval.num_train=200 retrieval.num_test=100
