#!/usr/bin/env bash
# Remake every table here and the chart; takes hours. Nothing else should run on the machine.
# Needs: pip install 'musclejax[bench,cluster,imgaug]'
set -euo pipefail
cd "$(dirname "$0")"
bench() { musclejax bench "$@" --repeats "${REPEATS:-10}"; }
both=${PRECISIONS:-float32,bfloat16} # float32 alone on a processor without avx512_bf16 or AMX
drawn=../tests/annotations/thigh/test_up.nii.gz
bench infer --engine all --precision "$both" --batch-size 4 -o .
bench infer --variant slim32 --precision "$both" --batch-size 1,4 --reference "$drawn" -o slim
bench infer --engine jax,onednn --threads 1,2 --batch-size 4 -o threads
bench infer --variant half16 --slices 4,31 --batch-size 4 -o compact
bench infer --variant paper,half16 --engine jax --slices 1,4,31,500 --batch-size 4 -o growth
bench train --engine jax,onednn,torch --precision "$both" -o .
bench train --engine onednn,keras --precision "$both" -o keras
bench train --engine onednn,flax -o flax
bench segment --variant paper,compact8 -o .
bench segment --engine default,jax --reference "$drawn" -o slim
bench cohort --scans 20 -o slim
bench segment --variant half16 -o compact
bench data -o .
find . \( -name '*_repeats.csv' -o -name report.html \) -delete # for a closer look, not to be committed
python cohort.py --scans 4 --repeats 2 -o cohort.csv
python chart.py
