#!/usr/bin/env bash
# Remake every table here and the chart; takes hours. Nothing else should run on the machine.
# Needs: pip install 'musclejax[bench,cluster,imgaug]'
set -euo pipefail
cd "$(dirname "$0")"
bench() { musclejax bench "$@" --repeats "${REPEATS:-10}"; }
both=${PRECISIONS:-float32,bfloat16} # float32 alone on a processor without avx512_bf16 or AMX
drawn=../tests/annotations/thigh/test_up.nii.gz
bench infer --engine all --precision "$both" --batch-size 4 -o .
bench infer --variant slim32 --engine all --precision "$both" --batch-size 4 --reference "$drawn" -o slim
bench infer --variant slim32 --engine jax,onednn,openvino --precision "$both" --batch-size 1 -o single
bench infer --variant slim32 --engine jax,onednn --precision "$both" --threads 1,2 -o threads
bench train --engine onednn,torch,keras --precision bfloat16 -o .
bench train --engine onednn,keras --precision "$both" -o keras
bench segment --variant paper --engine onednn --precision bfloat16 -o .
bench segment --engine default,jax --reference "$drawn" -o slim
bench segment --slices 31,500 -o growth
bench cohort --scans 20 -o slim
bench data -o .
find . \( -name '*_repeats.csv' -o -name report.html \) -delete # for a closer look, not to be committed
python cohort.py --scans 6 --repeats 3 -o cohort.csv
python precision.py -o precision.csv
python chart.py
