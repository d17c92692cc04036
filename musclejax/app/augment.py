"""`musclejax augment`: write a fixed set of augmented slices, or resume one."""

from musclejax import __version__
from musclejax.anatomy import TASKS
from musclejax.app import console
from musclejax.app.process import usage
from musclejax.app.recipe_options import AugmentOptions
from musclejax.config import load_recipe
from musclejax.data.sampler import SliceSampler
from musclejax.data.write import write_augmented_steps
from musclejax.errors import InputError
from musclejax.files import check_manifest
from musclejax.training.setup import load_data_steps


def run(options: AugmentOptions) -> None:
    """Write the slices.

    Raises:
        BadUsage: If an option is unusable.
        InputError: If the data cannot be learned from.
    """
    with usage():
        config = load_recipe(options.config, options.changes)
        if TASKS[config.task].is_classifier:
            raise InputError("--config", "the classifier's recipe", "thigh or leg")
        if config.data.source == "phantom":
            remedy = "See: musclejax phantom --help"
            raise InputError("--config", "a recipe of synthetic slices", "one of data", remedy)
    data = console.follow(load_data_steps(options.data, config), "cases")
    with usage():
        checksums = {split: data.record[split]["checksum"] for split in data.samplers}
        provenance = {"musclejax": __version__, "n": options.n, "data": checksums}
        manifest = {**provenance, "config": config.to_dict()}
        check_manifest(options.output / "augment.json", manifest, "-o")
    samplers = {name: s for name, s in data.samplers.items() if isinstance(s, SliceSampler)}
    console.follow(write_augmented_steps(options.output, samplers, options.n, config), "slices")
    hint = "train with --set augment.backend=none"
    console.say(f"{options.output}: {options.n} augmented slices; {hint}")
