"""The paper's Tables 2 to 4 and a summary per muscle, from the rows of many cases."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from musclejax import anatomy
from musclejax.evaluation.compare import ERRORS
from musclejax.evaluation.metrics import GROUPS
from musclejax.evaluation.result import Comparison

DSC_METRIC = "hard DSC, mean over muscles, then slices"
ACCURACY_METRIC = "categorical accuracy, of scans"
SEVERITIES = ("mild", "severe")
"""In the order of the paper's Table 3; others follow."""
_MEASURES = ["dsc", "jaccard", "hd95_mm", "msd_mm", *ERRORS]
_AGREEMENT_SD = 1.96
"""Source: Bland and Altman 1986: 95 % of normally distributed differences."""
_SPLITS = ("train", "validation")


def summary(muscles: pd.DataFrame) -> pd.DataFrame:
    """Return mean, standard deviation, median and number of cases per muscle and side.

    Errors have limits of agreement too, as NAME_lower and NAME_upper. Regions and splits stay
    apart. A case in which a measure is NaN does not count for it.
    """
    keys = ["region", "split", "muscle", "side"]
    table = muscles.groupby(keys, sort=False)[_MEASURES].agg(["mean", "std", "median", "count"])
    names = {"std": "sd", "count": "n"}
    table.columns = pd.Index(
        [f"{column[0]}_{names.get(column[1], column[1])}" for column in table.columns]
    )
    for name in ERRORS:
        agreement = limits(table[f"{name}_mean"], table[f"{name}_sd"])
        table[f"{name}_lower"], table[f"{name}_upper"] = agreement
    order = [m.abbreviation for region in anatomy.REGIONS.values() for m in region.muscles]
    ranks: dict[str, Callable[[str], Any]] = {
        "region": list(anatomy.REGIONS).index,
        "split": str,
        "muscle": order.index,
        "side": GROUPS.index,
    }
    return table.reset_index().sort_values(
        keys, key=lambda column: column.map(ranks[str(column.name)]), ignore_index=True
    )


def limits(mean: Any, sd: Any) -> tuple[Any, Any]:
    """Return the 95 % limits of agreement: NaN where there is no standard deviation."""
    return mean - _AGREEMENT_SD * sd, mean + _AGREEMENT_SD * sd


def table2(comparison: Comparison) -> pd.DataFrame:
    """Return accuracy on training and validation data, a row per network.

    The classifier's row counts the scans that it was applied to. The paper's DSC in this table is
    the soft one of training, over batches and with background.

    Source: paper, Table 2.
    """
    cases, slices = comparison.cases, comparison.slices
    classified = cases[cases["classifier_region"] != ""]
    right = (classified["classifier_region"] == classified["region"]).astype(float)
    rows = [_accuracy("Classification", ACCURACY_METRIC, right, classified["classifier_split"])]
    for region in anatomy.REGIONS.values():
        here = slices[slices["region"] == region.name]
        name = f"{region.title} segmentation"
        rows.append(_accuracy(name, DSC_METRIC, here["dsc"], here["split"]))
    return pd.DataFrame(rows)


def table3(slices: pd.DataFrame) -> pd.DataFrame:
    """Return the mean DSC over the slices of each test subject, by severity.

    Source: paper, Table 3.
    """
    test = slices[slices["split"] == "test"]
    grouped = test.groupby(["severity", "subject", "region"])["dsc"]
    sizes = _by_region(grouped.size(), "slices").fillna(0).astype(int)
    table = _by_region(grouped.mean(), "dsc").join(sizes)
    return table.reset_index().sort_values(
        ["severity", "subject"], key=by_severity, ignore_index=True
    )


def table4(slices: pd.DataFrame) -> pd.DataFrame:
    """Return the DSC of each slice away from the annotated slices, from the feet upwards.

    Slices of thigh and leg with one number are in one row and have nothing else in common.

    Source: paper, Table 4.
    """
    unseen = slices[slices["split"] == "unseen"].sort_values(["subject", "case", "level"])
    number = unseen.groupby(["subject", "region"]).cumcount() + 1
    keyed = unseen.drop(columns="slice").assign(slice=number)
    table = _by_region(keyed.set_index(["subject", "slice", "region"])["dsc"], "dsc")
    return table.reset_index()


def with_means(table: pd.DataFrame) -> pd.DataFrame:
    """Return Table 3 with a row below each severity: the mean over its subjects."""
    parts = []
    for severity, rows in table.groupby("severity", sort=False):
        means = rows[[c for c in rows if str(c).endswith("_dsc")]].mean().to_dict()
        total = rows[[c for c in rows if str(c).endswith("_slices")]].sum().to_dict()
        mean = {"severity": severity, "subject": "mean", **means, **total}
        parts += [rows, pd.DataFrame([mean])]
    return pd.concat(parts, ignore_index=True) if parts else table


def by_severity(column: pd.Series) -> pd.Series:
    """Return the sort key of a column: the rank of severities, other columns as they are."""
    return column.map(severity_rank) if column.name == "severity" else column


def severity_rank(severity: str) -> tuple[int, str]:
    """Return the rank of a severity: mild, severe, others by name, none."""
    known = severity in SEVERITIES
    rank = SEVERITIES.index(severity) if known else len(SEVERITIES) + (not severity)
    return rank, severity


def _accuracy(name: str, metric: str, values: pd.Series, splits: pd.Series) -> dict[str, object]:
    row: dict[str, object] = {"network": name, "metric": metric}
    row |= {split: values[splits == split].mean() for split in _SPLITS}
    return row | {f"{split}_n": int((splits == split).sum()) for split in _SPLITS}


def _by_region(values: pd.Series, name: str) -> pd.DataFrame:
    """Turn the index level "region" into the columns thigh_NAME and leg_NAME."""
    table = values.unstack("region").reindex(columns=list(anatomy.REGIONS))
    table.columns = pd.Index([f"{region}_{name}" for region in anatomy.REGIONS])
    return table
