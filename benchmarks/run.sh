#!/usr/bin/env bash
# Remake every table here and the chart; takes hours. Nothing else should run on the machine.
# Needs: pip install 'musclejax[bench,imgaug]'
set -euo pipefail
cd "$(dirname "$0")"
musclejax bench infer --engine all --precision float32,bfloat16 --repeats "${REPEATS:-10}" --plot -o .
musclejax bench train --engine all --repeats "${REPEATS:-10}" --plot -o .
musclejax bench segment --variant paper,compact8 --repeats "${REPEATS:-10}" --plot -o .
musclejax bench data --repeats "${REPEATS:-10}" --plot -o .
python chart.py
