"""The command `musclejax` and its subcommands; each imports what it needs when it runs."""

from typing import Any

import click

from musclejax import __version__
from musclejax.app.console import ready_streams
from musclejax.cli.augment import augment
from musclejax.cli.bench import bench
from musclejax.cli.dataset import dataset
from musclejax.cli.demo import demo
from musclejax.cli.describe import describe
from musclejax.cli.evaluate import evaluate
from musclejax.cli.export import export
from musclejax.cli.import_keras import import_keras
from musclejax.cli.measure import measure
from musclejax.cli.phantom import phantom
from musclejax.cli.report import report
from musclejax.cli.scan import scan
from musclejax.cli.segment import segment
from musclejax.cli.train import train
from musclejax.cli.tune import tune
from musclejax.cli.weights import weights
from musclejax.errors import InputError, describe_error


class _Group(click.Group):
    """Turns the errors a user can mend into one line and exit code 1."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        ready_streams()
        return super().main(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # click ends the command
        except (InputError, OSError, MemoryError) as error:
            raise click.ClickException(describe_error(error)) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="musclejax")
def main() -> None:
    """Segment thigh and leg muscles on MRI, on a CPU.

    \b
    Start with:
      musclejax demo                          two sample scans, a minute
      musclejax segment scan.nii.gz -o out    your own scan
      musclejax scan study/                   the series of a study, and which would be segmented
      musclejax measure out                   label maps that you have corrected
      musclejax report out                    pages of results for a browser, to look and to review
      musclejax dataset --help                how labeled scans are laid out, to train on them
      musclejax phantom --help                synthetic scans with known labels
      musclejax train --help                  the paper's recipe on them; then evaluate
      musclejax export --help                 a network as ONNX or StableHLO, for other programs
      musclejax bench --help                  how fast this machine is, and against whom
      musclejax COMMAND --help                what a command does, with examples

    Research use only; not a medical device.
    """


for _command in (
    scan,
    segment,
    measure,
    report,
    evaluate,
    demo,
    import_keras,
    export,
    describe,
    weights,
    dataset,
    phantom,
    augment,
    train,
    tune,
    bench,
):
    main.add_command(_command)
