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
_NAME = 1
"""MessagePack extension: a file's name as bytes."""


def send(connection: Connection, message: dict[str, Any]) -> None:
    """Raises OSError when the other side is gone."""
    try:
        data = msgspec.msgpack.encode(message)
    except UnicodeEncodeError:  # a file's name that is not in the locale's encoding
        data = msgspec.msgpack.encode(_escaped(message))
    connection.send_bytes(data)


def receive(connection: Connection) -> dict[str, Any]:
    """Blocks. Raises EOFError when the other side is gone, ValueError when the frame is not a message."""
    try:
        message = msgspec.msgpack.decode(connection.recv_bytes(MAX_FRAME), ext_hook=_name)
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


def _escaped(value: Any) -> Any:
    """With the bytes of texts that stand for files' names; each side has its own encoding for them."""
    match value:
        case str() if not value.isascii():
            return msgspec.msgpack.Ext(_NAME, os.fsencode(value)) if _is_name(value) else value
        case dict():
            return {key: _escaped(item) for key, item in value.items()}
        case list() | tuple():
            return [_escaped(item) for item in value]
        case _:
            return value


def _is_name(text: str) -> bool:
    return any("\udc80" <= sign <= "\udcff" for sign in text)


def _name(code: int, data: memoryview) -> str:
    if code != _NAME:
        raise msgspec.DecodeError(f"an unknown extension {code}")
    return os.fsdecode(bytes(data))


def open_handle(handle: str) -> Connection:
    """The worker's end, from the handle that its command line names; kept from its own children."""
    number = int(handle)
    if sys.platform != "win32":
        os.set_inheritable(number, False)
    return _Pipe(number)
