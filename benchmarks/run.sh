#!/usr/bin/env bash
# Remake every table here and the chart; takes hours. Nothing else should run on the machine.
# Needs: pip install 'musclejax[bench,imgaug]'
set -euo pipefail
cd "$(dirname "$0")"
musclejax bench infer --engine all --precision float32,bfloat16 --repeats "${REPEATS:-10}" -o .
musclejax bench infer --engine jax,onednn --threads 1,2 --repeats "${REPEATS:-10}" --plot -o threads
musclejax bench train --engine jax,onednn,torch --repeats "${REPEATS:-10}" -o .
musclejax bench train --engine onednn,keras --repeats "${REPEATS:-10}" -o keras
musclejax bench train --engine onednn,flax --repeats "${REPEATS:-10}" -o flax
musclejax bench segment --variant paper,compact8 --repeats "${REPEATS:-10}" -o .
musclejax bench segment --variant slim32,half16 --repeats "${REPEATS:-10}" -o slim
musclejax bench segment --variant half16 --repeats "${REPEATS:-10}" -o compact
musclejax bench infer --variant half16 --slices 4,31 --batch-size 4 --repeats "${REPEATS:-10}" -o compact
musclejax bench infer --variant paper,half16 --engine jax --slices 1,4,31,500 --batch-size 4 \
    --repeats "${REPEATS:-10}" -o growth
musclejax bench data --repeats "${REPEATS:-10}" -o .
python cohort.py --scans 4 --repeats 2 -o cohort.csv
python chart.py
