"""Learn the estimated DSC from synthetic scans whose labels are known, and judge it.

    python tools/calibrate_quality.py --weights phantom -o calibration
    python tools/calibrate_quality.py --weights phantom -o calibration --real real --stacks 0

Draws stacks of slices, segments them as `musclejax segment` does, and keeps what each section shows
of its quality beside its true DSC, in CALIBRATION/rows.csv. A stopped run resumes. People of the
templates' group "train" teach the estimate and choose when it is flagged; people "held_out" judge
it. Writes musclejax/bundled/phantom/quality.json and docs/weights/quality.webp. About 2.5 s a stack
on one core. --real judges the flags on the sets of `tools/real_tests.py` too; they fit nothing.
--stacks 0 fits the rows that are there anew, as after a change of the features.

Source: ours.
"""

import argparse
import csv
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.optimize import minimize
from scipy.special import expit
from scipy.special import logit as log_odds
from scipy.stats import spearmanr

from musclejax.anatomy import REGIONS, SIDES, SLICE_SPACING_MM
from musclejax.data.dataset import IGNORE, read_case, read_dataset
from musclejax.files import check_manifest
from musclejax.loops import result_of
from musclejax.models.weights import Weights, load_weights
from musclejax.phantom.cohort import PROTOCOLS, Scan, sample_scan
from musclejax.phantom.templates import Anatomy, load_anatomy
from musclejax.prediction.estimate import (
    FEATURES,
    QUANTILES,
    Calibration,
    from_json,
    measure_features,
    predict,
    to_json,
)
from musclejax.prediction.evidence import Evidence
from musclejax.prediction.options import SegmentOptions
from musclejax.prediction.segment import label_steps
from musclejax.scan.model_grid import ModelGrid
from musclejax.scan.volume import Volume

ROOT = Path(__file__).resolve().parents[1]
JSON, PICTURE = "musclejax/bundled/phantom/quality.json", "docs/weights/quality.webp"
MAX_SLICES, SPACING_MM = 6, (4.0, 40.0)
"""Of a stack: the most slices, and the range of their distance."""
SHARES = {"leg": 0.4, "held_out": 0.4, "whole": 0.4, "outside": 0.1, "severe": 0.5}
"""Of stacks: of legs; of people held out; of whole limbs; of these, anywhere from pelvis to foot
and not only where there is muscle of the region; of severe disease."""
MAX_UNKNOWN = 0.1
"""Muscles with more of their labels on tissue with an unknown name are left out."""
LOW, GOOD = 0.7, 0.85
"""A muscle whose true DSC is below the first should be flagged, one above the second should not."""
CAUGHT = 0.95
"""Share of the low ones that the threshold flags in the synthetic scans that teach."""
SLICE_WEIGHT = 0.4
"""Weight of a muscle in one slice, against 1 of a muscle in its stack."""
EDGE = 0.015
"""A DSC nearer to 0 or 1 counts as this far away, so that it has a logit."""
SMOOTH = 0.1
"""Width of the kink of the loss, in logits."""
RIDGE = 0.001
"""Strength of the penalty on weights."""
KNOTS, GAP = (0.02, 0.15, 0.35, 0.6, 0.85, 0.98), 0.1
"""Quantiles of a feature at which its knots are, and their least distance in standard deviations.
"""
DIRECTIONS = {"expected": 1, "core": 1}
DIRECTIONS |= dict.fromkeys(("confused", "elsewhere", "removed", "asymmetry"), -1)
"""Whether the DSC rises with a feature, or falls."""
LIMITS, FREE = {1: (0.0, None), -1: (None, 0.0)}, (None, None)
COUNTS = ("reference", "found", "common", "unknown")
"""Pixels of a muscle: true, labeled, both, and labeled on tissue with an unknown name."""
KEYS = ("name", "region", "group", "whole", "severity")


@dataclass(frozen=True)
class Stack:
    """A stack to draw; see `plan`."""

    name: str
    region: str
    group: str
    whole: bool
    outside: bool
    severity: str
    person: int
    slices: int
    spacing_mm: float
    place: float


def main() -> None:
    """Draw, segment, fit and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", default="phantom", metavar="NAME_OR_DIR")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--stacks", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--real", type=Path, help="sets of tools/real_tests.py; they fit nothing")
    parser.add_argument("--json", type=Path, default=ROOT / JSON)
    parser.add_argument("--picture", type=Path, default=ROOT / PICTURE)
    args = parser.parse_args()
    weights = load_weights(args.weights)
    made_from = {"weights": weights.hash, "seed": args.seed}
    check_manifest(args.output / "manifest.json", made_from, "-o")
    rows = args.output / "rows.csv"
    collect(rows, weights, args.stacks, args.seed)
    table = examples(pd.read_csv(rows))
    origin = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "weights": weights.hash,
        "command": f"python tools/calibrate_quality.py --stacks {table['name'].nunique()}",
    }
    calibration = from_json(to_json(fit(table, origin)))
    args.json.write_text(to_json(calibration), encoding="utf-8")
    table = add_estimates(table, calibration)
    print(judge(table).to_string(index=False))
    draw(table, args.picture)
    if args.real:
        real = args.output / "real.csv"
        collect_real(real, weights, args.real)
        found = add_estimates(examples(pd.read_csv(real)), calibration)
        print(judge_real(found).to_string(index=False))


def plan(number: int, seed: int) -> Stack:
    """Return the stack of a number."""
    rng = np.random.default_rng([seed, number])
    chosen = {name: bool(rng.random() < share) for name, share in SHARES.items()}
    return Stack(
        name=f"stack_{number:04d}",
        region="leg" if chosen["leg"] else "thigh",
        group="held_out" if chosen["held_out"] else "train",
        whole=chosen["whole"],
        outside=chosen["outside"],
        severity="severe" if chosen["severe"] else "mild",
        person=int(rng.integers(1000)),
        slices=int(rng.integers(1, MAX_SLICES + 1)),
        spacing_mm=float(np.exp(rng.uniform(*np.log(SPACING_MM)))),
        place=float(rng.random()),
    )


def sample_stack(stack: Stack, people: Anatomy, seed: int) -> tuple[Volume, np.ndarray]:
    """Return a synthetic scan, and its labels in the same order."""
    people = replace(people, limbs=tuple(x for x in people.limbs if x.whole == stack.whole))
    low, high = _span(people, stack.outside)
    length = float(np.median([limb.length_mm for limb in people.limbs]))
    extent = min((stack.slices - 1) * stack.spacing_mm / length, high - low)
    first = low + stack.place * (high - low - extent)
    heights = tuple(np.linspace(first, first + extent, stack.slices).tolist())
    scan = Scan(stack.name, stack.person, 1, stack.severity, "", heights)
    number = int(stack.name.rpartition("_")[2])
    made = sample_scan(people, scan, seed + number, PROTOCOLS["any"])
    affine = np.diag([-SLICE_SPACING_MM, -SLICE_SPACING_MM, max(made.step_mm, 1.0), 1.0])
    data = np.round(1000 * made.image).astype(np.float32).transpose(2, 1, 0)
    return Volume(data, affine, stack.name), made.labels.transpose(2, 1, 0)


def _span(people: Anatomy, outside: bool) -> tuple[float, float]:
    """Return the lowest and highest relative height, of templates with muscle or of all."""
    shown = (people.tiles.sizes[:, 1:] > 0).any(1) | outside
    heights = np.concatenate([limb.heights[shown[limb.tiles]] for limb in people.limbs])
    return float(heights.min()), float(heights.max())


def collect(file: Path, weights: Weights, stacks: int, seed: int) -> None:
    """Append the rows of the stacks that the file lacks."""
    done = _names(file)
    people: dict[tuple[str, str], Anatomy] = {}
    for stack in (plan(number, seed) for number in range(stacks)):
        if stack.name in done:
            continue
        which = stack.region, stack.group
        if which not in people:
            people[which] = load_anatomy(*which)
        volume, labels = sample_stack(stack, people[which], seed)
        about = {key: value for key, value in asdict(stack).items() if key in KEYS}
        _append(file, list(segment_rows(volume, labels, weights, about)))
        print(stack.name, end=" ", flush=True)


def collect_real(file: Path, weights: Weights, folder: Path) -> None:
    """Append the rows of the annotated slices of real scans.

    Muscles that the annotation never names count as unknown.
    """
    done = _names(file)
    for index in sorted(folder.glob("*/dataset.json")):
        dataset = read_dataset(index.parent, 0)
        for case in dataset.cases:
            name = f"{index.parent.name}/{case.name}"
            if name in done:
                continue
            volume, labels, region = read_case(case, dataset)
            about = {"name": name, "region": region, "group": index.parent.name}
            about |= {"whole": False, "severity": ""}
            named = {number for own, number in dataset.values.values() if own == region}
            shown = np.flatnonzero(volume.lps.from_file(labels).any((0, 1)))
            rows = [r for r in segment_rows(volume, labels, weights, about) if r["z"] in shown]
            for row in rows:
                if row["label"] not in named:
                    row |= {"found": 0, "unknown": row["found"] + row["unknown"]}
            _append(file, rows)


def segment_rows(
    volume: Volume, labels: np.ndarray, weights: Weights, about: Mapping[str, object]
) -> Iterator[dict[str, object]]:
    """Segment a scan of a known region; yield a row per slice, side and muscle."""
    region = str(about["region"])
    grid = ModelGrid(volume)
    options = SegmentOptions(engine="auto", batch_size=1)  # one shape to compile
    result = result_of(label_steps(grid, weights, region, None, options))
    assert result.evidence is not None
    maps = (volume.lps.from_file(a) for a in (labels, result.labels, result.sides.voxels))
    counts = count(*maps, REGIONS[region].num_classes)
    for z, side, label in np.ndindex(counts.shape[:3]):
        sums = {f: getattr(result.evidence, f)[z, side, label] for f in Evidence._fields}
        if label and (counts[z, side, label].any() or sums["total"] > 1):
            row = {**about, "z": z, "side": side, "label": label}
            row |= dict(zip(COUNTS, counts[z, side, label].tolist(), strict=True))
            yield row | {name: round(float(value), 4) for name, value in sums.items()}


def count(reference: np.ndarray, found: np.ndarray, sides: np.ndarray, classes: int) -> np.ndarray:
    """Return `COUNTS` by slice, side and class."""
    counts = np.zeros((reference.shape[2], len(SIDES), classes, 4), int)
    for z, side in np.ndindex(counts.shape[:2]):
        here = sides[..., z] == side + 1
        true, ours = reference[..., z][here], found[..., z][here]
        known = true != IGNORE
        parts = true[known], ours[known], ours[true == ours], ours[~known]
        counts[z, side] = np.stack([np.bincount(p, minlength=classes) for p in parts], 1)
    return counts


def _names(file: Path) -> set[str]:
    return set(pd.read_csv(file, usecols=["name"])["name"]) if file.is_file() else set()


def _append(file: Path, rows: list[dict[str, object]]) -> None:
    """Append rows, all in one write."""
    if not rows:
        return
    new = not file.is_file()
    with file.open("a", encoding="utf-8", newline="", buffering=2**24) as out:
        writer = csv.DictWriter(out, list(rows[0]))
        if new:
            writer.writeheader()
        writer.writerows(rows)


def examples(rows: pd.DataFrame) -> pd.DataFrame:
    """Return features and true DSC of every muscle and side: in its whole scan, and by slice."""
    found = []
    for _, scan in rows.groupby("name", sort=False):
        found.append(_examples(scan).assign(scan=True))
        slices = scan["z"].unique()
        parts = (scan[scan["z"] == z] for z in (slices if len(slices) > 1 else ()))
        found += [_examples(part).assign(scan=False) for part in parts]
    return pd.concat(found, ignore_index=True)


def _examples(rows: pd.DataFrame) -> pd.DataFrame:
    classes = REGIONS[rows["region"].iloc[0]].num_classes
    sums = rows.groupby(["side", "label"])[[*COUNTS, *Evidence._fields]].sum()
    pairs = pd.MultiIndex.from_product([range(len(SIDES)), range(classes)], names=sums.index.names)
    full = sums.reindex(pairs, fill_value=0.0)
    fields = (full[name].to_numpy().reshape(len(SIDES), classes) for name in Evidence._fields)
    features = measure_features(Evidence(*fields)).reshape(-1, len(FEATURES))
    table = full[list(COUNTS)].assign(**dict(zip(FEATURES, features.T, strict=True)))
    table["dsc"] = 2 * full["common"] / (full["reference"] + full["found"]).clip(lower=1)
    table = table.assign(**{key: rows[key].iloc[0] for key in KEYS})
    labeled = (full["area_mm2"] > 0) & (full["pixels"] > 0)
    unknown = full["unknown"] > MAX_UNKNOWN * (full["unknown"] + full["found"])
    return table[labeled & ~unknown].reset_index()


def fit(table: pd.DataFrame, origin: Mapping[str, str]) -> Calibration:
    """Fit the quantiles of the DSC to the people who teach, and choose when it is flagged."""
    table = table[table["group"] == "train"]
    features = table[list(FEATURES)].to_numpy().T
    knots = np.stack([_knots(values) for values in features])
    ramps = [_ramps(*pair) for pair in zip(features, knots, strict=True)]
    muscles = [
        (table["region"] == name).to_numpy()[:, None]
        & (table["label"].to_numpy()[:, None] == np.arange(region.num_classes))
        for name, region in REGIONS.items()
    ]
    weight = np.where(table["scan"], 1.0, SLICE_WEIGHT)
    found = np.stack([fit_quantile(ramps, muscles, table["dsc"], weight, q) for q in QUANTILES])
    sizes = [1, *(part.shape[1] for part in (*ramps, *muscles))]
    first, *parts = np.split(found, np.cumsum(sizes)[:-1], axis=1)
    climbs, bases = parts[: len(FEATURES)], parts[len(FEATURES) :]
    # The mean contribution of a feature is part of the bases.
    means = [climb @ ramp.mean(0) for climb, ramp in zip(climbs, ramps, strict=True)]
    heights = [np.pad(climb.cumsum(1), ((0, 0), (1, 0))) for climb in climbs]
    heights = [own - mean[:, None] for own, mean in zip(heights, means, strict=True)]
    first = first + np.sum(means, 0)[:, None]
    named = {name: first + own for name, own in zip(REGIONS, bases, strict=True)}
    plain = Calibration(knots, np.stack(heights, 1), named, 0.0, origin)
    low = add_estimates(table[table["scan"] & (table["dsc"] < LOW)], plain)["estimate"]
    return plain._replace(flag_below=float(low.quantile(CAUGHT)))


def _knots(values: np.ndarray) -> np.ndarray:
    """Return the knots of a feature; many of its values may be equal."""
    knots = np.nanquantile(values, KNOTS)
    gap = GAP * np.nanstd(values)
    return np.maximum.accumulate(knots - gap * np.arange(len(knots))) + gap * np.arange(len(knots))


def _ramps(values: np.ndarray, knots: np.ndarray) -> np.ndarray:
    """Return how far each step from knot to knot is climbed; its mean where a value is missing."""
    climbed = np.clip((values[:, None] - knots[:-1]) / np.diff(knots), 0, 1)
    return np.where(np.isnan(climbed), np.nanmean(climbed, 0), climbed)


def fit_quantile(
    ramps: list[np.ndarray],
    muscles: list[np.ndarray],
    truth: pd.Series,
    weight: np.ndarray,
    quantile: float,
) -> np.ndarray:
    """Return the weights of 1, ramps and muscles for a quantile of the logit of the truth.

    By the pinball loss with a smoothed kink, and a penalty on squared weights. Features climb in
    one direction only; see `DIRECTIONS`.
    """
    matrix = np.column_stack([np.ones(len(truth)), *ramps, *muscles])
    bounds = [
        LIMITS[DIRECTIONS[name]] for name, r in zip(FEATURES, ramps, strict=True) for _ in r.T
    ]
    free = (None, None)
    bounds = [free, *bounds, *[free] * (matrix.shape[1] - 1 - len(bounds))]
    logit, share = log_odds(truth.clip(EDGE, 1 - EDGE).to_numpy()), weight / weight.sum()
    penalty = np.r_[0, np.full(matrix.shape[1] - 1, RIDGE)]

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        error = logit - matrix @ weights
        value = SMOOTH * np.logaddexp(0, error / SMOOTH) - (1 - quantile) * error
        slope = expit(error / SMOOTH) - (1 - quantile)
        pull = penalty * weights
        return share @ value + pull @ weights / 2, pull - matrix.T @ (share * slope)

    start = np.zeros(matrix.shape[1])
    options = {"maxiter": 2000, "maxfun": 5000}
    return minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x


def add_estimates(table: pd.DataFrame, calibration: Calibration) -> pd.DataFrame:
    """Return the rows with their estimates."""
    bases = [
        calibration.bases[region][:, label]
        for region, label in zip(table["region"], table["label"], strict=True)
    ]
    features = table[list(FEATURES)].to_numpy()
    low, middle, high = predict(features, np.array(bases).T, calibration)
    flag = middle < calibration.flag_below
    return table.assign(low=low, estimate=middle, high=high, flag=flag)


def judge(table: pd.DataFrame) -> pd.DataFrame:
    """Return how good the estimates are, for several parts of the table."""
    held_out, scan = table["group"] == "held_out", table["scan"]
    parts = {
        "train": ~held_out & scan,
        "held out": held_out & scan,
        "held out, by slice": held_out & ~scan,
    }
    for region in REGIONS:
        parts[f"held out, {region}"] = held_out & scan & (table["region"] == region)
    parts["held out, whole limbs"] = held_out & scan & table["whole"]
    for severity in ("mild", "severe"):
        parts[f"held out, {severity}"] = held_out & scan & (table["severity"] == severity)
    return pd.DataFrame([{"part": name, **score(table[part])} for name, part in parts.items()])


def score(table: pd.DataFrame) -> dict[str, float]:
    """Return rank correlation, errors, coverage and how flags fall."""
    truth, found = table["dsc"], table["estimate"]
    low, good = truth < LOW, truth > GOOD
    inside = (truth >= table["low"]) & (truth <= table["high"])
    numbers = {
        "rank correlation": spearmanr(truth, found)[0] if len(table) > 2 else np.nan,
        "mean error": (found - truth).abs().mean(),
        "bias": (found - truth).mean(),
        "within interval": inside.mean(),
        "flagged": table["flag"].mean(),
        "low, unflagged": (~table["flag"])[low].mean(),
        "good, flagged": table["flag"][good].mean(),
    }
    counts = {"muscles": len(table), "low": int(low.sum()), "good": int(good.sum())}
    return {**counts, **{name: round(float(value), 3) for name, value in numbers.items()}}


def judge_real(table: pd.DataFrame) -> pd.DataFrame:
    """Return the same for real sets of annotated slices."""
    scans = table[table["scan"]]
    drawn = scans["group"] != "echoes"
    parts = {name: scans[scans["group"] == name] for name in scans["group"].unique()}
    parts |= {"all drawn": scans[drawn], "all drawn, by slice": table[~table["scan"]]}
    return pd.DataFrame([{"part": name, **score(part)} for name, part in parts.items()])


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw true DSC over estimated DSC of people held out, and of those that taught."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    for place, (name, region) in zip(axes, REGIONS.items(), strict=True):
        own = table[(table["region"] == name) & (table["group"] == "held_out") & table["scan"]]
        place.scatter(own["estimate"], own["dsc"], s=7, alpha=0.4, lw=0, c="#3b6fb6")
        own = own.sort_values("estimate")
        bins = [own.iloc[n : n + 40] for n in range(0, len(own), 40)]
        x = [part["estimate"].median() for part in bins]
        ends = [[part["dsc"].quantile(q) for part in bins] for q in QUANTILES]
        place.fill_between(x, ends[0], ends[2], color="#3b6fb6", alpha=0.2, lw=0)
        place.plot(x, ends[1], color="#1d3d66")
        place.plot([0, 1], [0, 1], ":", color="gray")
        rank, error = (score(own)[key] for key in ("rank correlation", "mean error"))
        place.set_title(f"{region.title}: rank correlation {rank:.2f}, mean error {error:.3f}")
        place.set(xlabel="estimated DSC", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes[0].set_ylabel("true DSC, synthetic people held out")
    FigureCanvasAgg(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
