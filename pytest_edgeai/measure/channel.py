"""The channel between the pytest process and a worker: framed MessagePack over a private connection, never pickled objects.

Requests are ``{"do": name, ...}``. Answers are ``{"ok": value}``, or ``{"refused": class, "text": sentence}`` for an error that the
worker raised on purpose.
"""

import os
import select
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import msgspec

if sys.platform == "win32":
    from multiprocessing.connection import PipeConnection as _Pipe
else:
    _Pipe = Connection

MAX_FRAME = 256 * 2**20
"""Bytes; a longer frame is nonsense (arrays travel as files)."""


def send(connection: Connection, message: dict[str, Any]) -> None:
    """Raises OSError when the other side is gone."""
    connection.send_bytes(msgspec.msgpack.encode(message))


def receive(connection: Connection) -> dict[str, Any]:
    """Blocks. Raises EOFError when the other side is gone, ValueError when the frame is not a message."""
    try:
        message = msgspec.msgpack.decode(connection.recv_bytes(MAX_FRAME))
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"not a message: {error}") from error
    except OSError as error:
        if str(error) == "bad message length":  # multiprocessing's own error, without a number
            raise ValueError(f"a message of more than {MAX_FRAME >> 20} MiB") from error
        raise
    if not isinstance(message, dict):
        raise ValueError(f"not a message: {type(message).__name__}")  # noqa: TRY004 - bytes are wrong, not a type
    return message


def waiter(connection: Connection) -> Callable[[float], bool]:
    """A function that tells whether something can be received within so many seconds.

    Not ``connection.poll``, which makes a selector anew each time: with one that lasts, a turn costs the pytest process a sixth less.
    """
    if sys.platform == "win32":
        return connection.poll
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return lambda seconds: bool(poll.poll(1000 * seconds))


def open_handle(handle: str) -> Connection:
    """The worker's end, from the handle that its command line names; kept from its own children."""
    number = int(handle)
    if sys.platform != "win32":
        os.set_inheritable(number, False)
    return _Pipe(number)
