"""`musclejax report`: pages of results that open in a browser."""

import click

from musclejax.app.options import ReportOptions
from musclejax.app.process import configure
from musclejax.cli.options import Command, record_options


@click.command(cls=Command)
@record_options(options=ReportOptions)
def report(options: ReportOptions) -> None:
    """Write the pages of a FOLDER of results: OUT/report.html, and OUT/NAME_report.html per scan.

    `segment` and `measure` write them too, while scans finish. Run this after scans or tables were
    removed or moved, a review was put into the folder, or with results of an earlier version.
    Nothing is segmented or measured.

    The pages open from disk in any browser; they need no server and load nothing from the internet.

    \b
    report.html shows
      what needs a look first    failed scans, low estimated DSC, warnings
      all scans                  a table to sort, filter and save; links to pages and pictures
      muscles                    medians and quartiles; choose one to see it scan by scan
      plots                      volume, fat fraction, left against right, change between visits
      how it was made            weights, versions, settings, how to cite

    To review: mark each scan (right, to correct, unusable), comment if you like, "Save review.csv",
    and put that file into FOLDER. `musclejax measure FOLDER` and `musclejax dataset make FOLDER`
    read it, and also NAME_review.csv, which the page of a scan saves.

    Pages of scans are written if they are missing or older than their results; a file of that name
    that musclejax did not write stays, with a line.
    Exit code: 0 all written, 1 some failed, 2 wrong usage, 130 stopped by Ctrl-C.

    \b
    Examples:
      musclejax report out               all pages
      musclejax report out --no-scans    the page of all scans only
    """
    configure(None)
    from musclejax.app.report import run

    raise SystemExit(run(options))
