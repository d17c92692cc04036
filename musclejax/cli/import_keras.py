"""`musclejax import-keras`: the weights of the 2021 release."""

from pathlib import Path

import click

_FILE = click.Path(path_type=Path)


@click.command("import-keras")
@click.option("--thigh", type=_FILE, metavar="FILE", help="weights_thigh.hdf5")
@click.option("--leg", type=_FILE, metavar="FILE", help="weights_leg.hdf5")
@click.option("--region", type=_FILE, metavar="FILE", help="weights_thighleg.hdf5")
@click.option("-o", "--output", type=_FILE, required=True, help="Weights folder to make.")
def import_keras(thigh: Path | None, leg: Path | None, region: Path | None, output: Path) -> None:
    """Turn the HDF5 weights of the 2021 release into a weights folder.

    Give any of the three files of Zenodo record 4479168. Files are read as arrays; nothing in
    them is executed. That their labels have the order of `labels.txt` is likely, not verified.

    \b
    Example:
      musclejax import-keras --thigh weights_thigh.hdf5 --leg weights_leg.hdf5 \\
          --region weights_thighleg.hdf5 -o weights2021
      musclejax segment scan.nii.gz -o out --weights weights2021 --geometry 2021
    """
    from musclejax.cli.process import BadUsage

    files = {"region": region, "thigh": thigh, "leg": leg}
    given = {task: path for task, path in files.items() if path}
    if not given:
        raise BadUsage("found no file; accepted: any of --thigh, --leg, --region.")
    from musclejax.models.keras_import import import_keras
    from musclejax.models.weights import save_weights

    networks = {task: import_keras(path, task) for task, path in given.items()}
    provenance = {
        "trained": True,
        "description": "Weights of Agosti et al. 2021, imported from Keras HDF5",
        "source": {task: path.name for task, path in given.items()},
        "label_order": "likely that of labels.txt; not verified",
        "licence": "as the imported files (Zenodo 10.5281/zenodo.4479168)",
    }
    save_weights(output, networks, provenance)
    click.echo(f"{output}: {', '.join(networks)}")
    click.echo(f"next: musclejax segment SCAN -o OUT --weights {output} --geometry 2021")
