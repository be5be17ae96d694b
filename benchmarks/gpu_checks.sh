#!/bin/bash
# What only a GPU can show, in one command of at most ten minutes:
#
#     bash benchmarks/gpu_checks.sh [cuda|cpu] [folder for the results]
#
# 1. benchmarks/paper_scale.py, alone on the device.
# 2. Every training config for a few steps, with small models.
# 3. python -m pytest -m gpu
# 4. inference.json and evaluate.json: the masks equal those of the CPU.
#
# It needs the repository and an environment with torch. What else is missing may lie as wheels in .whl/: they are
# installed into a folder of their own. Each part has a time-out; one that fails takes no other with it. With `cpu` it
# runs in miniature, to see that everything is wired.
set -u
device=${1:-cuda}
out=$(realpath -m "${2:-${OUT:-gpu_checks}}")
cd "$(dirname "$0")/.." || exit 1
work=$(mktemp -d)
mkdir -p "$out"
export PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}

if compgen -G ".whl/*.whl" >/dev/null; then
    python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --target "$work/site" .whl/*.whl || exit 1
    export PYTHONPATH=$work/site${PYTHONPATH:+:$PYTHONPATH}
fi
mkdir "$work/package" && ln -s "$PWD/bundle/scripts" "$work/package/medvol_r1"
export PYTHONPATH=$work/package${PYTHONPATH:+:$PYTHONPATH}

# part NAME SECONDS COMMAND...: a line in the summary, the output in a log.
part() {
    local name=$1 limit=$2 start=$SECONDS code
    shift 2
    timeout -k 5 "$limit" "$@" >"$work/$name.log" 2>&1
    code=$?
    echo "| $name | $([ $code = 0 ] && echo ok || echo "FAILED, exit code $code") | $((SECONDS - start)) s |" >>"$out/summary.md"
    [ $code = 0 ] || { echo "== $name"; tail -n 25 "$work/$name.log"; } >>"$out/failures.txt"
}

# config NAME FILES OPTIONS...: a config of bundle/configs with its overlays, on the device.
config() {
    local name=$1 files=$2
    shift 2
    part "$name" 240 python3 -m monai.bundle run --config_file "[$files]" --bundle_root bundle --logging_file False \
        --device "$device" --output_dir "$work/$name" "$@"
}

trainings() {
    local c=bundle/configs small=(--num_slices 4 --validate_every 2 --validation_volumes 1)
    local sft=("${small[@]}" --max_steps 3 --slice_size 48 --patch_size 12 --queries_per_volume 2 --batch_size 2)
    local grpo=("${small[@]}" --max_steps 3 --queries_per_volume 2 --num_generations 2 --max_new_tokens 24 --batch_size 1)
    local clips=(--epochs 1 --epoch_length 2 --random_volumes 2 --phantom_volumes 2 --clips 2
        --validation_volumes 1 --val_interval 1)
    config train "'$c/train.json'" "${sft[@]}" &
    [ "$device" = cpu ] && wait
    config train_several_volumes "'$c/train.json'" "${sft[@]}" --volumes_per_forward 2 &
    [ "$device" = cpu ] && wait
    config train_lora_checkpointing "'$c/train.json'" "${sft[@]}" --lora_rank 4 --gradient_checkpointing true &
    [ "$device" = cpu ] && wait
    config train_grpo "'$c/train_grpo.json'" "${grpo[@]}" &
    [ "$device" = cpu ] && wait
    config train_grpo_ablation "'$c/train_grpo.json','$c/ablations/no_ra.json'" "${grpo[@]}" --lora_rank 4 &
    [ "$device" = cpu ] && wait
    config pretrain_vision "'$c/pretrain_vision.json'" "${small[@]}" --max_steps 3 --batch_size 2 &
    [ "$device" = cpu ] && wait
    (
        config train_propagator "'$c/train_propagator.json'" "${clips[@]}"
        config propagator_clips "'$c/train_propagator.json','$c/propagator_clips.json'" "${clips[@]}" \
            --init_path "$work/train_propagator/model"
        config propagator_long_clips \
            "'$c/train_propagator.json','$c/propagator_clips.json','$c/propagator_long_clips.json'" "${clips[@]}" \
            --init_path "$work/propagator_clips/model"
    ) &
    [ "$device" = cpu ] && wait
    (
        part write_phantoms 60 python3 -m medvol_r1.datasets.write_phantoms --subset organs --split validation \
            --count 2 --shape 96 96 24 --output_dir "$work/listed"
        config fine_tuning_on_a_list "'$c/train_propagator.json','$c/medsam2_t512.json'" --epochs 1 --epoch_length 2 \
            --val_interval 1 --medsam2_path bundle/models/medsam2 --num_slices 8 --slice_size 96 \
            --train_datalist "$work/listed/datalist.json" --validation_datalist "$work/listed/datalist.json"
    ) &
    wait
}

# masks NAME FILES OPTIONS...: a config on the device and on the CPU; their masks agree.
masks() {
    local name=$1 files=$2
    shift 2
    config "$name" "$files" "$@"
    device=cpu config "${name}_on_the_cpu" "$files" "$@"
    part "${name}_masks" 60 python3 - "$work/$name" "$work/${name}_on_the_cpu" <<'END'
import sys
from pathlib import Path

import nibabel
import numpy as np

found, expected = map(Path, sys.argv[1:])
files = sorted(file.relative_to(expected) for file in expected.rglob("*mask*.nii.gz"))
assert files, f"no masks in {expected}"
for file in files:
    one, other = (np.asarray(nibabel.load(folder / file).dataobj) > 0 for folder in (found, expected))
    dice = 2 * (one & other).sum() / max(1, one.sum() + other.sum()) if one.any() or other.any() else 1.0
    print(file, "Dice", dice)
    assert dice > 0.999, f"{file}: Dice {dice} between the device and the CPU"
END
    grep Dice "$work/${name}_masks.log" >>"$out/masks.txt"
}

rm -f "$out"/{summary.md,failures.txt,masks.txt}
echo "| part | result | time |
|---|---|---|" >"$out/summary.md"
part paper_scale 280 python3 benchmarks/paper_scale.py --device "$device"
cp "$work/paper_scale.log" "$out/paper_scale.txt"
c=bundle/configs
if [ "$device" = cpu ]; then
    trainings
    masks inference "'$c/inference.json'"
    masks evaluation "'$c/inference.json','$c/evaluate.json'" --save_masks true --queries_per_phantom 2
else
    trainings &
    part pytest_gpu 240 python3 -m pytest -q -m gpu -p no:cacheprovider &
    masks inference "'$c/inference.json'" &
    masks evaluation "'$c/inference.json','$c/evaluate.json'" --save_masks true &
    wait
fi
[ -f "$out/failures.txt" ] && cat "$out/failures.txt"
grep '^|' "$out/paper_scale.txt" | awk '!seen[$0]++' # it prints a row when it is known, and all at the end
cat "$out/masks.txt" "$out/summary.md"
rm -rf "$work"
[ ! -f "$out/failures.txt" ]
