#!/usr/bin/env bash
# What the tests of pages need besides Python: packages of npm, and Chromium, which is installed where apt-get can do it.
# Without Chromium those tests are skipped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/npm_packages.sh
for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null; then exit 0; fi
done
if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    echo "There is no Chromium, and only root can install it: the tests that open pages are skipped."
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
if ! { timeout 120 apt-get update -qq && timeout 300 apt-get install -qq --no-install-recommends chromium fonts-dejavu-core; } >/dev/null; then
    echo "apt-get could not install chromium: the tests that open pages are skipped."
fi
