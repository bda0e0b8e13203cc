"""Handlers of the user's: found by their name, opened with what they need, run as they are written.

A handler is `async def handle(call: EnrichedCall) -> None`, or a plain function, which runs in a thread. One that takes
a second parameter is given the `Delivery` too. A function without parameters that makes an async context manager, such
as one under `contextlib.asynccontextmanager`, is entered at the start and left at the end: it yields the handler.
"""

import asyncio
import inspect
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from consumers.enriched import EnrichedCall
from consumers.messages import Delivery
from worker.cli.exit_codes import Unreachable, WrongArguments
from worker.cli.running.process import Process
from worker.operate.threads import Threads

Handler = Callable[[EnrichedCall, Delivery], Awaitable[None]]


async def open_handler(target: str, process: Process) -> Handler:
    """The handler of that name, ready to be called.

    Raises `WrongArguments` if it is none, and `Unreachable` if what it needs cannot be had.
    """
    found = _found(target)
    if _parameters(found, target) == 0:
        found = await _entered(found, target, process)
    parameters = _parameters(found, target)
    if not parameters:
        raise WrongArguments(f"{target}: a handler takes the call, or the call and the delivery, and nothing else")
    return _handler(found, parameters, process)


def _found(target: str) -> Any:
    module, _, name = target.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # as `python -m` does: the user's package lies where it is run
    try:
        found = getattr(import_module(module), name, None)
    except (Exception, SystemExit) as error:  # a module may raise anything while it is imported
        why = f"{type(error).__name__}: {error}; looked for in {here} first"
        raise WrongArguments(f"{target}: {module} cannot be imported: {why}") from error
    if not callable(found):
        raise WrongArguments(f"{target}: {module} has no function {name!r}; name one as package.module:function")
    return found


def _parameters(found: Any, target: str) -> int | None:
    """How many things it takes, of those that we could give it; None if it cannot be called with those."""
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError) as error:
        raise WrongArguments(f"{target}: what it takes cannot be told: {error}") from error
    return next((count for count in range(3) if _takes(signature, count)), None)


def _takes(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


async def _entered(found: Any, target: str, process: Process) -> Any:
    try:
        manager = found()
        if not isinstance(manager, AbstractAsyncContextManager):
            raise WrongArguments(f"{target}: takes no call, so it is to make an async context manager of a handler")
        handler = await process.stack.enter_async_context(manager)
    except WrongArguments:
        raise
    except Exception as error:
        raise Unreachable(f"{target} cannot be opened: {type(error).__name__}: {error}") from error
    if not callable(handler):
        raise WrongArguments(f"{target}: its context manager is to yield the handler, not {handler!r}")
    return handler


def _handler(found: Any, parameters: int, process: Process) -> Handler:
    is_async = inspect.iscoroutinefunction(found) or inspect.iscoroutinefunction(type(found).__call__)
    threads = None if is_async else _threads(process)

    async def handle(call: EnrichedCall, delivery: Delivery) -> None:
        given = (call, delivery)[:parameters]
        with _told_as_bugs():
            answer = found(*given) if threads is None else await threads.outlast(lambda: found(*given))
            if inspect.isawaitable(answer):
                await answer

    return handle


@contextmanager
def _told_as_bugs() -> Iterator[None]:
    """What would end the whole process, such as `sys.exit`, is an error of this call alone."""
    try:
        yield
    except (Exception, asyncio.CancelledError):
        raise
    except BaseException as error:
        raise RuntimeError(f"{type(error).__name__}: {error}") from error


def _threads(process: Process) -> Threads:
    threads = Threads("handler", count=process.settings.prefetch)
    process.stack.callback(threads.stop)
    return threads
