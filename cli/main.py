"""The command `recon`: one verb per file; this one joins them and turns every failure into an exit code."""

from __future__ import annotations

import os
import signal
import sys
from importlib.metadata import version

import typer
from typer.main import get_command

from cli import band, demo, errors, evaluate, export, info, logp, reconstruct, sample, simulate, train

app = typer.Typer(
    name="recon",
    help="Posterior sampling for inverse problems with learned diffusion priors. "
    "Research use, not for diagnosis: generated structure may be absent in the patient.",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def show_version(wanted: bool) -> None:
    if wanted:
        print(f"recon {version('recon')}")
        raise typer.Exit


@app.callback()
def main(
    show: bool = typer.Option(
        False, "--version", callback=show_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


for verb in (
    demo.demo,
    info.info,
    simulate.simulate,
    train.train,
    sample.sample,
    reconstruct.reconstruct,
    evaluate.evaluate,
    logp.logp,
    band.band,
    export.export,
):
    app.command()(verb)


def stop(number: int, frame: object) -> None:
    """First signal: stop as Ctrl-C does, so that a checkpoint is saved. Second: leave at once."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda number, frame: os._exit(128 + number))
    raise errors.Terminated if number == signal.SIGTERM else KeyboardInterrupt


def refuse_empty(arguments: list[str]) -> None:
    """Refuses an empty word, which a path would take for the folder at hand."""
    if "" in arguments:
        found, fix = f"nothing as word {arguments.index('') + 1}", "name a file; a shell variable may be unset"
        raise errors.usage("an empty word", "recon", found, "words that are not empty", fix)


def execute(arguments: list[str]) -> int:
    """Runs one command line and returns its exit code; no exception leaves."""
    command = get_command(app)
    try:
        refuse_empty(arguments)
        with command.make_context("recon", arguments) as context:
            command.invoke(context)
        return errors.OK
    except typer.Exit as leave:
        return leave.exit_code
    except errors.Terminated:
        print("stopped (SIGTERM)", file=sys.stderr)
        return errors.TERMINATED
    except (KeyboardInterrupt, typer.Abort):
        print("stopped", file=sys.stderr)
        return errors.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader of a pipe went away
        return errors.OK
    except Exception as error:
        refusal = errors.explain(error)
        print(refusal, file=sys.stderr)
        return refusal.exit_code


def run() -> None:
    """Entry point of the console script."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads take a busy machine ten times as long
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    sys.exit(execute(sys.argv[1:]))
