"""The ``srbench`` command: its sub-commands, and how errors reach the user."""

from __future__ import annotations

import sys

import click

from srbench.cli.advise import advise, agree
from srbench.cli.calibrate import calibrate
from srbench.cli.compare import compare
from srbench.cli.console import fail, log_shown, prepare_streams
from srbench.cli.datasets import data, datasets
from srbench.cli.degradations import degradations
from srbench.cli.demo import demo
from srbench.cli.doctor import doctor
from srbench.cli.evaluate import evaluate, score
from srbench.cli.export import export
from srbench.cli.infer import infer
from srbench.cli.measure import measure
from srbench.cli.models import models
from srbench.cli.report import report
from srbench.cli.run import run
from srbench.cli.train import train
from srbench.cli.verify import submit, verify
from srbench.cli.weights import weights
from srbench.utils.errors import SrbenchError
from srbench.utils.progress import hidden
from srbench.version import __version__

INTERRUPTED = 130

_START = """\b
Start here:
  srbench demo                                      no data, no GPU: a leaderboard in minutes
  srbench data import sem_open --from DIR           real micrographs onto the disk
  srbench train csm_sr --dataset sem_open --scale 4
  srbench eval --all --dataset sem_open --scale 4
  srbench report
"""


@click.group(
    epilog=_START, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="srbench")
@click.option("--quiet", "-q", is_flag=True, help="No progress and no remarks; results and errors stay.")
@click.option("--verbose", "-v", is_flag=True, help="Log files read and written, weights and processes.")
@click.pass_context
def cli(context: click.Context, quiet: bool, verbose: bool) -> None:
    """Super-resolution of SEM micrographs, measured: which results preserve structure, which invent it."""
    if quiet and verbose:
        raise click.UsageError("Give --quiet or --verbose, not both.")
    if quiet:
        context.with_resource(hidden())
    if verbose:
        context.with_resource(log_shown())


for command in (demo, models, datasets, degradations, data, weights, train, infer, calibrate, measure):
    cli.add_command(command)
for command in (advise, agree, evaluate, score, report, compare, run, verify, submit, export, doctor):
    cli.add_command(command)


def main() -> None:
    """Run the command line; errors a user can act on are printed without a traceback."""
    prepare_streams()
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except (click.exceptions.Abort, KeyboardInterrupt) as interrupt:
        # click hides what was interrupted; a run that saved itself says how to go on
        fail(str(interrupt.__cause__ or interrupt) or "Interrupted.", INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except SrbenchError as error:
        fail(str(error), 1)
    except OSError as error:
        if error.filename is None or error.errno is None:
            raise  # not about a file of the user's
        fail(
            f"Cannot read or write {error.filename}: {error.strerror}. Choose another path (SRBENCH_HOME "
            "sets where srbench keeps its own files) and run the same command again.",
            1,
        )
