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
musclejax phantom -o "$work/any" --region both --subjects 0 --test 10 --protocol any
python tools/real_tests.py --data "$data" -o "$work/real"
sets="synthetic/thigh synthetic/leg any/thigh any/leg real/echoes real/thigh_levels real/leg_levels"
for name in $sets; do
    scores=$work/scores/${name//\//_}
    musclejax evaluate --weights "$weights" --data "$work/$name" -o "$scores"
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
