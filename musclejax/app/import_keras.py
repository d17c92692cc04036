"""Import the weights of the 2021 release: the program of `musclejax import-keras`."""

from musclejax.anatomy import TASKS
from musclejax.app import console
from musclejax.app.options import KerasFiles
from musclejax.app.process import BadUsage, check_output, writing
from musclejax.models.keras_import import import_keras
from musclejax.models.provenance import Provenance
from musclejax.models.weights import save_weights
from musclejax.system import versions


def run(files: KerasFiles) -> None:
    """Import the files that are given.

    Raises:
        BadUsage: If none is given, or the folder cannot be written.
        InputError: If h5py is not installed, or a file is damaged or another network's.
    """
    given = {task: path for task in TASKS if (path := getattr(files, task, None))}
    if not given:
        raise BadUsage("found no file; accepted: any of --thigh, --leg, --region.")
    check_output(files.output)
    networks = {task: import_keras(path, task) for task, path in given.items()}
    provenance = {
        task: Provenance(
            description="Weights of Agosti et al. 2021, imported from Keras HDF5",
            license="as the imported file (Zenodo 10.5281/zenodo.4479168)",
            origin={
                "file": path.name,
                "label order": "likely that of labels_thigh.txt and labels_leg.txt; not verified",
            },
            versions=versions(),
        )
        for task, path in given.items()
    }
    with writing(files.output):
        save_weights(files.output, networks, provenance)
    console.say(f"{files.output}: {', '.join(networks)}")
    console.say(f"next: musclejax segment SCAN -o OUT --weights {files.output} --geometry 2021")
