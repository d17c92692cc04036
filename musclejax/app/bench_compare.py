"""`musclejax bench compare`: two results side by side."""

from musclejax.app.bench import text_of
from musclejax.app.console import say
from musclejax.app.options import BenchComparison
from musclejax.app.process import check_output, usage
from musclejax.bench.comparison import compare
from musclejax.bench.result import read_result
from musclejax.errors import printable
from musclejax.reports.comparison import save_comparison
from musclejax.reports.pages.comparison import remarks, to_table
from musclejax.reports.pages.document import PAGE
from musclejax.reports.pages.render import check_page


def run(options: BenchComparison) -> None:
    """Compare two results; print the ratios, and write page and picture if wanted.

    Raises:
        BadUsage: If a file is no result, they have no job in common, or -o is unusable.
    """
    with usage():
        results = read_result(options.a), read_result(options.b)
        comparison = compare(*results)
        if options.output:
            check_output(options.output)
            check_page(options.output / PAGE)
    say(text_of(to_table(comparison)))
    for line in remarks(comparison, *results):
        say(printable(line))
    say(f"\n{comparison.summary}")
    if options.output:
        page = save_comparison(comparison, (options.a, options.b), results, options.output)
        say(f"report: {page}: open it in a browser")
