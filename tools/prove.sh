#!/usr/bin/env bash
# Remake every table and picture of docs/weights.md, about half an hour on two cores:
#     tools/prove.sh WEIGHTS DATA
# WEIGHTS: a name or folder; DATA: the third-party scans (not part of this repository).
set -euo pipefail
weights=$1 data=$2
cd "$(dirname "$0")/.."
work=${WORK:-$(mktemp -d)}
out=docs/weights
mkdir -p $out

musclejax phantom -o "$work/synthetic" --region both --subjects 0 --test 10
python tools/real_tests.py --data "$data" -o "$work/real"
sets="synthetic/thigh synthetic/leg real/echoes real/thigh_levels real/leg_levels"
paths=()
for name in $sets; do
    paths+=("$work/$name")
    scores=$work/scores/${name//\//_}
    musclejax evaluate --weights "$weights" --data "$work/$name" -o "$scores"
    for table in summary cases; do
        cp "$scores/$table.csv" "$out/${name//\//_}_$table.csv"
    done
done
cp "$work/scores/synthetic_thigh/table3.md" $out/synthetic_thigh_table3.md
cp "$work/scores/synthetic_leg/table3.md" $out/synthetic_leg_table3.md
cp "$work/scores/synthetic_thigh/table4.md" $out/synthetic_thigh_table4.md
cp "$work/scores/synthetic_leg/table4.md" $out/synthetic_leg_table4.md
python tools/tidying.py --weights "$weights" --data "${paths[@]}" -o $out/tidying.csv
python tools/contact_sheets.py --weights "$weights" --data "$data" -o $out
python tools/foreign_scans.py --weights "$weights" --data "$data" -o $out/signs.csv
for name in thigh_levels leg_levels; do
    python tools/robustness.py --weights "$weights" --data "$work/real/$name" -o $out/robustness_$name.csv
done
