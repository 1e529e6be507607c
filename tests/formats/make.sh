#!/usr/bin/env bash
# Makes the sample runs of the format that COMMIT writes: tests/formats/make.sh COMMIT VERSION
# One has ended; one was interrupted after its first epoch, with what adds the most to a checkpoint: Muon, an average of
# weights, mixed images. Made in /tmp/lab, so that no one's paths are in them.
set -euo pipefail
commit=$1 target=$(cd "$(dirname "$0")" && pwd)/v$2
python=$(command -v python)

rm -rf /tmp/lab && mkdir /tmp/lab
git archive "$commit" | tar -x -C /tmp/lab
cd /tmp/lab
small=(data.dataset=shapes data.validation=9000 d_model=4 n_layers=1 patch_size=8)

RUN_UUID=ended "$python" experiment.py "${small[@]}" epochs=2 name=sample

RUN_UUID=interrupted "$python" experiment.py "${small[@]}" epochs=4 name=sample \
    optimizer.optimizer=Muon ema=0.9 'augment.ops=[flip,mixup,cutmix]' &
until [ -e logs/sample/interrupted/checkpoints/last.pt ]; do sleep 0.01; done
kill -INT $!
wait $! || true

"$python" experiment.py export ended --output ended.safetensors

rm logs/sample/*/{.lock,run.pid,source.diff} logs/sample/ended/curves.png
rm -rf "$target" && mkdir -p "$target"
cp -r logs/sample ended.safetensors "$target"
