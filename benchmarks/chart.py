"""Draw the chart of the README from the committed tables.

python benchmarks/chart.py
"""

from pathlib import Path

import pandas as pd

from musclejax.reports.benchmark import draw_rivals

HERE = Path(__file__).parent
TABLES = ("bench_infer.csv", "slim/bench_infer.csv", "bench_train.csv", "keras/bench_train.csv")
CHART = "rivals.png"


def main() -> None:
    """Read the tables beside this file and draw the engines side by side."""
    draw_rivals([pd.read_csv(HERE / name) for name in TABLES], HERE / CHART)


if __name__ == "__main__":
    main()
