#!/bin/sh
# The demo language model on one GPU, within ten minutes in all; needs nothing but this repository and a few files.
#
#     FILES=.gpu OUT=runs/gpu sh benchmarks/train_demo_gpu.sh
#
# FILES holds openkbp.npz (benchmarks/openkbp_archive.py), tokenizer/ (of demo_models/demo_lvlm.py) and, where packages
# are missing, wheels/*.whl. OUT receives the log, the scores and, again and again, the weights in parts:
# `cat lvlm.tar.* | tar x`.
set -u
begin=$(date +%s)
: "${FILES:=.gpu}" "${OUT:=runs/gpu}" "${SECONDS_IN_ALL:=565}" "${SECONDS_AROUND:=120}"
work=$(mktemp -d)
mkdir -p "$OUT"
if ls "$FILES"/wheels/*.whl >/dev/null 2>&1; then
    python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$work/site" "$FILES"/wheels/*.whl || exit 1
    export PYTHONPATH=$work/site
fi
export PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1 PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True
df -h /dev/shm | tail -1  # the workers hand their batches over there: it should hold some GB
nvidia-smi --query-gpu=name,memory.total --format=csv,noheader 2>/dev/null
nproc --all

run=$work/run
pack() {
    [ -f "$run/lvlm/config.json" ] || return 0
    rm -rf "$work"/packed && mkdir "$work"/packed && cp -r "$run/lvlm" "$work"/packed/lvlm &&
        tar -C "$work"/packed -c lvlm | split -b 15M - "$work"/packed/lvlm.tar. && mv "$work"/packed/lvlm.tar.* "$OUT"/
    cp "$run/scores.json" "$OUT"/ 2>/dev/null
    cp "$log" "$OUT"/train.log
}
log=$work/train.log
: >"$log"
train() {
    left=$((SECONDS_IN_ALL - SECONDS_AROUND - $(date +%s) + begin))
    minutes=$(python3 -c "print($left / 60)")
    echo "training for $minutes minutes: $*"
    python3 -m monai.bundle run --config_file bundle/configs/train_demo.json --bundle_root bundle --output_dir "$run" \
        --minutes "$minutes" --archive "$FILES/openkbp.npz" --tokenizer_path "$FILES/tokenizer" "$@" >>"$log" 2>&1 &
    trainer=$!
    seconds=0
    while kill -0 $trainer 2>/dev/null; do
        sleep 1
        seconds=$((seconds + 1))
        [ $((seconds % 60)) = 0 ] && grep -h "loss" "$log" | tail -1 | cut -c1-160
        [ $((seconds % 20)) = 0 ] && pack
    done
    wait $trainer
}
train "$@"
code=$?
# A run that fails in its first minutes is tried again with half the volumes at a time: most likely it was memory.
if [ $code != 0 ] && [ ! -f "$run/lvlm/config.json" ] && [ $(($(date +%s) - begin)) -lt 200 ]; then
    tail -40 "$log"
    train "$@" --batch_size 8
    code=$?
fi
pack
grep -h "loss" "$log" | awk 'NR % 4 == 1' | cut -c1-160 | tail -40
grep -h "step .*format_rate\|scored" "$log" | cut -c1-220
[ $code = 0 ] || tail -30 "$log"
ls -l "$OUT"
echo "$(($(date +%s) - begin)) seconds in all, rc $code"
exit $code
