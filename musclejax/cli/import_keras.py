"""`musclejax import-keras`: the weights of the 2021 release."""

import click

from musclejax.app.options import KerasFiles
from musclejax.cli.options import Command, record_options


@click.command("import-keras", cls=Command)
@record_options(files=KerasFiles)
def import_keras(files: KerasFiles) -> None:
    """Turn the HDF5 weights of the 2021 release into a weights folder.

    Give any of the three files of Zenodo record 4479168. Files are read as arrays; nothing in
    them is executed. That their labels have the order of `labels.json` is likely, not verified.

    Needs: pip install 'musclejax[keras]'

    \b
    Example:
      musclejax import-keras --thigh weights_thigh.hdf5 --leg weights_leg.hdf5 \\
          --region weights_thighleg.hdf5 -o weights2021
      musclejax segment scan.nii.gz -o out --weights weights2021 --geometry 2021
    """
    from musclejax.app.import_keras import run

    run(files)
