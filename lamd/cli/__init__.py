"""The `lamd` command: its commands by name, and what an error becomes; light to import."""

import sys
from typing import Annotated, NoReturn

import typer

from lamd import __version__
from lamd.base.errors import LamdError, is_out_of_memory
from lamd.base.extensions import load_extensions
from lamd.base.files import is_full
from lamd.base.processes import check_temporary_folder
from lamd.base.terminal import escape_unencodable, print_traceback, say
from lamd.cli import doctor, evaluate, generate, reproduce, show
from lamd.cli.data import data_app, weights_app
from lamd.cli.output import print_lines, report_failures

INTERRUPTED = 130

app = typer.Typer(
    name="lamd",
    help="Latent Motion Diffusion: every table and figure by one command.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("list")(show.list_)
app.command()(show.show)
app.command()(show.plan)
app.command()(show.bench)
app.command()(reproduce.reproduce)
app.command("results")(show.results)
app.command()(reproduce.train)
app.command()(generate.generate)
app.command()(evaluate.evaluate)
app.command("evaluate-captions")(evaluate.evaluate_captions)
app.command()(doctor.doctor)
app.add_typer(data_app, name="data")
app.add_typer(weights_app, name="weights")


def _print_version(asked: bool) -> None:
    if asked:
        print_lines(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Latent Motion Diffusion: every table and figure by one command."""
    check_temporary_folder()
    load_extensions()


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line; the exit code is 0, 1 (failed), 2 (user error) or 130 (Ctrl-C)."""
    escape_unencodable()
    code = _run(sys.argv[1:] if arguments is None else arguments)
    if code == INTERRUPTED:
        say("stopped; run the same command to resume")
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    try:
        result = typer.main.get_command(app).main(
            args=arguments, prog_name="lamd", standalone_mode=False
        )
        return result if isinstance(result, int) else 0
    except LamdError as error:
        say(error)
        return 2
    except OSError as error:
        if is_full(error):
            where, reason = error.filename or "writing", error.strerror or error
            say(f"{where}: {reason}; make room and run it again")
            return 2
        if error.filename is None:
            print_traceback()
            return 1
        say(f"{error.filename}: {error.strerror}; choose another file or folder")
        return 2
    except SystemExit as stop:
        if stop.code != 1:  # click's answer to a closed pipe, which is no failure
            raise
        return 0
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception as error:
        if is_out_of_memory(error):
            say("not enough memory; lower the batch sizes, or give smaller files")
            return 1
        from lamd.pipeline.store import CellFailed

        if isinstance(error, CellFailed):
            return report_failures([error])
        if not hasattr(error, "format_message"):  # click's own errors have it
            print_traceback()
            return 1
        if message := error.format_message():  # none where the help was printed
            command = getattr(getattr(error, "ctx", None), "command_path", "lamd")
            say(f"{message.rstrip('.')}; see `{command} --help`")
        return getattr(error, "exit_code", 2)
