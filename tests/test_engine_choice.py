"""Which engine and precision are taken, whatever this machine has; what is measured and kept."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from musclejax.errors import InputError
from musclejax.models.network import Network
from musclejax.models.weights import BUNDLED, Weights, load_weights
from musclejax.prediction import engine_choice, engine_speed
from musclejax.prediction.engine_speed import Pair
from musclejax.prediction.engines import ENGINES, Facts
from musclejax.prediction.options import SegmentOptions
from tests.networks import drawn, network_of
from tests.small import SMALL_VARIANTS, VARIANT

EVERYWHERE = {("jax", "float32"), ("jax", "bfloat16")}
ABLE = EVERYWHERE | {(e, p) for e in ("onednn", "openvino") for p in ("float32", "bfloat16")}
OLD = {pair for pair in ABLE if pair[1] == "float32"} | EVERYWHERE
"""What a machine can: plain JAX, all with bfloat16, all on a processor without."""
Machine = Callable[[set[tuple[str, str]]], None]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    def pretend(able: set[tuple[str, str]]) -> None:
        def reason(engine: str, precision: str) -> InputError | None:
            here = (engine, precision) in able
            return None if here else InputError(f"engine {engine}", "nothing here", "another")

        monkeypatch.setattr(engine_choice, "unavailable_reason", reason)
        monkeypatch.setattr(engine_choice.onednn, "bfloat16_unavailable_reason", lambda: "too old")

    return pretend


def weights(*, bundled: bool) -> Weights:
    spec = SMALL_VARIANTS[VARIANT]
    network = network_of(spec, "thigh", drawn(spec, "thigh"))
    return Weights("w", {"thigh": network}, bundled=bundled)


OURS, OTHERS = weights(bundled=True), weights(bundled=False)


@pytest.mark.parametrize(
    ("able", "given", "whose", "expected"),
    [
        (ABLE, {}, OURS, "onednn bfloat16"),
        (ABLE, {}, OTHERS, "jax float32"),
        (ABLE, {"geometry": "2021"}, OURS, "jax float32"),
        (ABLE, {"precision": "float32"}, OURS, "jax float32"),
        (ABLE, {"precision": "bfloat16"}, OTHERS, "onednn bfloat16"),
        (ABLE, {"engine": "jax"}, OURS, "jax float32"),
        (ABLE, {"engine": "jax", "precision": "bfloat16"}, OURS, "jax bfloat16"),
        (ABLE, {"engine": "openvino"}, OURS, "openvino bfloat16"),
        (ABLE, {"engine": "openvino"}, OTHERS, "openvino float32"),
        (ABLE, {"engine": "onednn"}, OTHERS, "onednn float32"),
        (OLD, {}, OURS, "jax float32"),
        (OLD, {"engine": "onednn"}, OURS, "onednn float32"),
        (EVERYWHERE, {}, OURS, "jax float32"),
        (EVERYWHERE, {"engine": "auto"}, OURS, "jax float32"),
    ],
)
def test_what_is_taken(
    able: set[tuple[str, str]],
    given: dict[str, str],
    whose: Weights,
    expected: str,
    machine: Machine,
) -> None:
    machine(able)
    options, warning, *_ = engine_choice.resolve(SegmentOptions(**given), whose)
    assert f"{options.engine} {options.precision}" == expected
    assert not warning
    assert engine_choice.resolve(options, whose).options == options


@pytest.mark.parametrize("able", [OLD, EVERYWHERE])
def test_bfloat16_that_gains_nothing_is_off_with_one_line(
    able: set[tuple[str, str]], machine: Machine
) -> None:
    machine(able)
    options, warning, *_ = engine_choice.resolve(SegmentOptions(precision="bfloat16"), OURS)
    assert (options.engine, options.precision) == ("jax", "float32")
    assert warning == "bfloat16 gains nothing here (too old): computed in float32"


@pytest.mark.parametrize(
    ("lacks", "half", "hinted"),
    [("no oneDNN", True, True), ("no oneDNN", False, False), ("", True, False)],
)
def test_a_processor_with_bfloat16_and_no_onednn_gets_a_hint(
    lacks: str, half: bool, hinted: bool, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(EVERYWHERE)
    monkeypatch.setattr(engine_choice.onednn, "unavailable_reason", lambda: lacks)
    monkeypatch.setattr(engine_choice, "has_bfloat16", lambda: half)
    found = engine_choice.resolve(SegmentOptions(), OURS)
    assert (found.options.precision, found.warning) == ("float32", "")
    assert found.details == "bfloat16 gains nothing here (too old): computed in float32"
    assert ("pip install 'musclejax[onednn]'" in found.hint) == bool(found.hint) == hinted
    for options, whose in (
        (SegmentOptions(engine="jax"), OURS),
        (SegmentOptions(precision="float32"), OURS),
        (SegmentOptions(), OTHERS),
    ):
        assert engine_choice.resolve(options, whose)[1:] == ("", "", "")


@pytest.mark.parametrize(
    "given", [{"engine": "openvino"}, {"engine": "openvino", "precision": "bfloat16"}]
)
def test_an_engine_by_name_that_is_not_here_is_refused(
    given: dict[str, str], machine: Machine
) -> None:
    machine(EVERYWHERE)
    with pytest.raises(InputError, match="engine openvino: found nothing here"):
        engine_choice.check(SegmentOptions(**given))


def test_weights_know_whether_they_are_bundled(weights_folder: Path) -> None:
    assert load_weights("phantom").bundled
    assert load_weights(BUNDLED / "phantom").bundled
    assert not load_weights(weights_folder).bundled


FAST, SLOW = Pair("openvino", "bfloat16"), Pair("onednn", "bfloat16")


class Timed:
    """Engines that take a stated time."""

    def __init__(self, seconds: dict[Pair, float]) -> None:
        self.seconds, self.measured = seconds, list[Pair]()

    def __call__(self, network: Network, pair: Pair, images: np.ndarray) -> float:
        assert images.shape[0] == 4
        self.measured.append(pair)
        return self.seconds.get(pair, 9.0)


@pytest.fixture
def timed(machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Timed:
    machine(ABLE)
    stated = Timed({FAST: 0.1, SLOW: 0.2})
    monkeypatch.setattr(engine_speed, "_seconds", stated)
    monkeypatch.setattr(engine_speed, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(engine_speed, "library_versions", lambda engine: {engine: "1"})
    return stated


def auto(**given: str) -> engine_choice.Resolved:
    return engine_choice.resolve(SegmentOptions(engine="auto", **given), OURS)


def test_auto_measures_once_and_takes_the_fastest(timed: Timed, tmp_path: Path) -> None:
    options, warning, details, _ = auto()
    assert (options.engine, options.precision, warning) == (*FAST, "")
    assert set(timed.measured) == {Pair(*pair) for pair in ABLE - {("jax", "bfloat16")}}
    assert details.startswith(
        "engines, seconds per slice: openvino bfloat16 0.025, onednn bfloat16 0.050, "
    )
    count = len(timed.measured)
    assert auto().options == options
    assert len(timed.measured) == count
    assert (tmp_path / "cache").stat().st_mode & 0o077 == 0


def test_auto_keeps_to_the_precision(timed: Timed) -> None:
    timed.seconds[Pair("onednn", "float32")] = 0.01
    assert auto(precision="bfloat16").options.engine == FAST.engine
    assert auto(precision="float32").options.engine == "onednn"


@pytest.mark.parametrize("what", ["versions", "processor", "threads", "batch"])
def test_auto_measures_again_where_something_else_counts(
    what: str, timed: Timed, monkeypatch: pytest.MonkeyPatch
) -> None:
    auto()
    count = len(timed.measured)
    if what == "versions":
        monkeypatch.setattr(engine_speed, "library_versions", lambda engine: {engine: "2"})
    elif what == "processor":
        monkeypatch.setattr(engine_speed, "cpu_model", lambda: "another")
    elif what == "threads":
        monkeypatch.setattr(engine_speed, "available_threads", lambda: 1000)
    else:
        monkeypatch.setattr(Timed, "__call__", lambda self, *a: self.measured.append(a[1]) or 1.0)
        engine_choice.resolve(SegmentOptions(engine="auto", batch_size=2), OURS)
    auto()
    assert len(timed.measured) == 2 * count


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"%s": {"openvino bfloat16": "fast"}}', '{"%s": {"openvino bfloat16": -1.0}}'],
)
def test_a_bad_cache_is_ignored(text: str, timed: Timed, tmp_path: Path) -> None:
    auto()
    count, file = len(timed.measured), tmp_path / "cache" / engine_speed.FILE
    key = next(iter(engine_speed._read()))
    file.write_text(text.replace("%s", key))
    assert auto().options.engine == FAST.engine
    assert len(timed.measured) == 2 * count
    assert set(engine_speed._read()) == {key}


def test_without_a_cache_folder_it_is_measured_each_time(
    timed: Timed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_speed, "cache_folder", lambda: None)
    assert auto().options == auto().options
    assert len(timed.measured) == 2 * len(set(timed.measured))


def test_the_cache_does_not_grow(timed: Timed, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(engine_speed.KEPT + 3):
        monkeypatch.setattr(engine_speed, "cpu_model", lambda number=number: str(number))
        auto()
    assert len(engine_speed._read()) == engine_speed.KEPT


def test_the_second_call_of_an_engine_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one compiles."""
    now, calls = [0.0], list[int]()

    def predict(images: np.ndarray) -> tuple[np.ndarray, ...]:
        calls.append(len(images))
        now[0] += 5.0 if len(calls) == 1 else 0.5
        return (images,)

    monkeypatch.setitem(ENGINES, "jax", Facts(lambda network, precision, probabilities: predict))
    monkeypatch.setattr(engine_speed.time, "perf_counter", lambda: now[0])
    found = engine_speed._seconds(
        OURS.networks["thigh"], Pair("jax", "float32"), np.zeros((4, 6, 6, 1), np.float32)
    )
    assert found == 0.5
