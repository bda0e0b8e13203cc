"""The command `aftercall`, and the one place that knows how its parts are put together."""

import gc
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Iterable
from functools import partial
from importlib import import_module
from importlib.metadata import version
from typing import Final

from cyclopts import App, CycloptsError, UnusedCliTokensError

from worker.cli.exit_codes import BUG, DONE, UNREACHABLE, USAGE, Unreachable, WrongArguments
from worker.cli.output import say
from worker.settings import SettingsError

COMMANDS: Final = {
    "webhook": "worker.cli.roles.commands:webhook",
    "consume": "worker.cli.roles.commands:consume",
    "all": "worker.cli.roles.commands:every_role",
    "sweep": "worker.cli.roles.sweeper:sweep",
    "demo": "worker.cli.demo:demo",
    "simulate": "worker.cli.develop:simulate",
    "send": "worker.cli.develop:send",
    "tail": "worker.cli.tail:tail",
    "topology": "worker.cli.topology.commands:app",
    "dead": "worker.cli.dead.commands:app",
    "alerts": "worker.cli.alerts.commands:app",
    "explain": "worker.cli.explain.commands:explain",
    "calls": "worker.cli.calls.commands:app",
    "export": "worker.cli.calls.export:export",
    "replay": "worker.cli.calls.replay:replay",
    "doctor": "worker.cli.doctor.commands:doctor",
    "config": "worker.cli.config:config",
}
GC_THRESHOLDS: Final = (50_000, 20, 50)
"""How many objects are made between two looks of the garbage collector: imports and calls make many, and few cycles."""


def command_line(*, is_complete: bool) -> App:
    """The commands; only `is_complete` loads them all, for a list of them: one that runs loads what it needs."""
    app = App(
        name="aftercall",
        version=partial(version, "aftercall"),
        help="Every voice call that ended on Vapi reaches every subscriber, or lies in a named place with the reason.",
        help_format="markdown",
        suppress_keyboard_interrupt=False,
    )
    for name, where in COMMANDS.items():
        module, _, attribute = where.partition(":")
        app.command(getattr(import_module(module), attribute) if is_complete else where, name=name)
    return app


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with a code that says what happened."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run the command line; the exit code."""
    gc.set_threshold(*GC_THRESHOLDS)
    # We tell of every failure of the broker ourselves, with the mend; these would add stack traces.
    warnings.filterwarnings("ignore", message="coroutine 'Connection.close' was never awaited")  # aio_pika's own
    for library in ("aiormq", "aio_pika"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    try:
        app = command_line(is_complete=arguments[:1] not in [[name] for name in COMMANDS])
        return _run(app, arguments)
    except SettingsError as error:
        return _refused("The settings cannot be used:", error.problems)
    except Unreachable as error:
        say(str(error))
        return UNREACHABLE
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001  # the last resort of every command
        return _ended_by(error)


def _run(app: App, arguments: list[str]) -> int:
    try:
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except WrongArguments as error:
        problems = error.args
    except UnusedCliTokensError as error:
        problems = (f"{' '.join(error.unused_tokens or ())}: more than the command takes",)
    except CycloptsError as error:
        problems = (str(error),)
    else:
        return code if isinstance(code, int) else DONE
    command = " ".join(("aftercall", *app.parse_commands(arguments)[0]))
    return _refused("The arguments cannot be used:", [*problems, f"`{command} --help` shows what it takes."])


def _refused(heading: str, problems: Iterable[str]) -> int:
    say("\n  ".join((heading, *problems)))
    return USAGE


def _ended_by(error: Exception) -> int:
    """The exit code of a command that ended by something it did not foresee."""
    if isinstance(error, BrokenPipeError):  # whoever reads us, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the last flush would fail again
        return DONE
    traceback.print_exception(error)
    say("This is a bug in aftercall: please report it with the lines above.")
    return BUG
