#!/usr/bin/env bash
# Remake the tables and contact sheets under "Results" of docs/weights.md, about half an hour on two cores:
#     tools/prove.sh WEIGHTS DATA
# WEIGHTS: a name or folder; DATA: the third-party scans (not part of this repository).
set -euo pipefail
weights=$1 data=$(realpath "$2")
if [ -d "$weights" ]; then weights=$(realpath "$weights"); fi
cd "$(dirname "$0")/.."
work=${WORK:-$(mktemp -d)}
out=docs/weights
mkdir -p $out

musclejax phantom -o "$work/synthetic" --region both --subjects 0 --test 10
python tools/whole_limbs.py -o "$work/whole"
python tools/real_tests.py --data "$data" -o "$work/real"
for name in synthetic/thigh synthetic/leg whole/thigh whole/leg \
    real/echoes real/thigh_levels real/upper_third real/leg_levels; do
    scores=$work/scores/${name//\//_}
    every=$([[ $name == whole/* ]] && echo --all-slices || true)
    musclejax evaluate --weights "$weights" --data "$work/$name" -o "$scores" --engine auto $every
    for table in summary cases; do
        cp "$scores/$table.csv" "$out/${name//\//_}_$table.csv"
    done
done
for region in thigh leg; do
    for table in table3 table4; do
        cp "$work/scores/synthetic_$region/$table.md" "$out/synthetic_${region}_$table.md"
    done
done
python tools/contact_sheets.py --weights "$weights" --data "$data" -o $out
python tools/foreign_scans.py --weights "$weights" --data "$data" -o $out/quality.csv
for name in thigh_levels leg_levels; do
    python tools/robustness.py --weights "$weights" --data "$work/real/$name" -o $out/robustness_$name.csv
done
