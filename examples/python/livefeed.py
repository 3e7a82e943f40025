"""A blocking WebSocket feed client that can never go silently stale, and never hides a gap.

    import livefeed

    with livefeed.open("wss://feed.example/ws", stale_after="5s") as feed:
        for event in feed:
            if isinstance(event, livefeed.Message):
                print(event.text)
            elif isinstance(event, livefeed.Gap):
                print("data may be missing here:", event.cause)

This is one file for Python 3.9 and newer, without dependencies, over the C library of livefeed: put it beside your program. It
looks for the library where the environment variable LIVEFEED_LIBRARY says, then beside this file, then where the system has its
libraries. What a configuration can hold is in livefeed's README.

Threads: every method may be called from any thread. Each event goes to one reader. All waiting lets other threads run, and
ends with a signal's exception (Ctrl-C) on the main thread. The library has two threads of its own for each feed.

Ends: close a feed, or use `with` or `async with`. One that is forgotten is closed when nothing refers to it any more; one with
`on_event` goes on until it is closed. At the end of the interpreter all are. After a fork the child can't use the feeds of its
parent: each call raises Forked.
"""

from __future__ import annotations

import _thread
import atexit
import base64
import ctypes
import ctypes.util
import io
import json
import logging
import math
import os
import re
import select
import struct
import sys
import threading
import time
import warnings
import weakref
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Callable, ClassVar, Optional, TypeVar, Union

__all__ = [
    "Alert", "Attempt", "Closed", "ConfigError", "Connected", "Connecting", "Disconnected", "Dropped", "Ended", "Event",
    "EventsTaken", "Fatal", "Feed", "FeedClosed", "FeedError", "FeedTimeout", "Forked", "Gap", "LibraryPanic", "Message",
    "NotConnected", "OtherEvent", "OutboxFull", "Refused", "Stale", "Subscribed", "SystemLimit", "Target", "TooLarge",
    "UnknownSubscription", "Unsupported", "WouldDeadlock", "abi_version", "log_to", "open", "version",
]  # fmt: skip

_ABI = 1
T = TypeVar("T")


# ---- errors --------------------------------------------------------------------------------------------------------


class FeedError(Exception):
    """Why a call failed. `code` is the result code of the C library."""

    code: int = 0


class FeedTimeout(FeedError, TimeoutError):
    """The time for waiting is over. Nothing was changed by waiting."""


class FeedClosed(FeedError):
    """The feed is over, and everything was read; the text says why it closed."""


class ConfigError(FeedError, ValueError):
    """The configuration, or an argument, is wrong. The text names the field."""


class NotConnected(FeedError, ConnectionError):
    """There is no connection at the moment, and nothing is kept for a later one."""


class OutboxFull(FeedError):
    """Too much waits to be written. Try again when some of it is."""


class TooLarge(FeedError, ValueError):
    """What was to be sent is larger than the limit."""


class UnknownSubscription(FeedError, LookupError):
    """There is no subscription of that name."""


class WouldDeadlock(FeedError, RuntimeError):
    """The call waits for the very thread that makes it: that of a callback of this feed."""


class EventsTaken(FeedError, RuntimeError):
    """The events go to `on_event`."""


class SystemLimit(FeedError, RuntimeError):
    """The system's limit was met: no thread, or no file descriptor."""


class Forked(FeedError, RuntimeError):
    """The feed was opened by another process, from which this one was forked."""


class LibraryPanic(FeedError, RuntimeError):
    """A bug in livefeed."""


class Unsupported(FeedError, NotImplementedError):
    """This platform does not have that."""


class Dropped(FeedError, ConnectionError):
    """It was not written: the connection ended before."""


class Fatal(Exception):
    """A token provider raises it when trying again is of no use: the feed closes. Put no secret into the text."""


_TIMEOUT, _CLOSED, _CONFIG, _WOULD_DEADLOCK, _NO_VALUE = 1, 2, 6, 11, 17
_ERRORS: dict[int, type[FeedError]] = {
    1: FeedTimeout,
    2: FeedClosed,
    4: ConfigError,
    6: ConfigError,
    7: NotConnected,
    8: OutboxFull,
    9: TooLarge,
    10: UnknownSubscription,
    11: WouldDeadlock,
    12: EventsTaken,
    13: SystemLimit,
    14: Forked,
    15: LibraryPanic,
    16: Unsupported,
    20: Dropped,
}


# ---- events --------------------------------------------------------------------------------------------------------


class Event:
    """What happened to a feed."""

    __slots__ = ()

    name: ClassVar[str] = "other"
    """The name in JSON."""

    epoch: int
    """The connection it belongs to, counted from 1."""
    time_ns: int
    """When, in nanoseconds since 1970, by the wall clock."""

    @property
    def time(self) -> float:
        """When, in seconds since 1970, by the wall clock."""
        return self.time_ns / 1e9

    if TYPE_CHECKING:  # Each has it, in its own way.

        @property
        def json(self) -> dict[str, Any]:
            """The event as its JSON object, as the command line prints it."""
            raise NotImplementedError


class Message(Event):
    """A message of the server."""

    __slots__ = ("epoch", "time_ns", "text", "data", "subscriptions", "_origin")

    name = "message"

    text: str
    """The text. A binary message has none, and raises AttributeError; `payload` and `data` are always there."""
    data: bytes
    """The bytes, whichever kind it is."""
    subscriptions: tuple[str, ...]
    """The subscriptions whose data it is; empty if it is of none."""
    _origin: tuple[str, int]  # The feed's name; the monotonic clock less the wall clock when the batch was read.

    if not TYPE_CHECKING:  # A type checker would take it for leave to ask for anything.

        def __getattr__(self, name):
            # Only what is not set comes here: the bytes of a text, and the text of a binary message.
            if name == "data":
                self.data = self.text.encode()
                return self.data
            if name == "text":
                raise AttributeError("a binary message has no text: see `data`")
            raise AttributeError(name)

    @property
    def is_binary(self) -> bool:
        """Whether it is a binary message."""
        return not hasattr(self, "text")

    @property
    def payload(self) -> Union[str, bytes]:
        """The text of a text message, the bytes of a binary one."""
        return self.data if self.is_binary else self.text

    @property
    def age(self) -> float:
        """Seconds since it was received. Setting the clock does not change it."""
        return (time.monotonic_ns() - self.time_ns - self._origin[1]) / 1e9

    def __bytes__(self) -> bytes:
        return self.data

    @property
    def json(self) -> dict[str, Any]:
        seconds, rest = divmod(self.time_ns, 1_000_000_000)
        day = datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
        content = {"binary": base64.b64encode(self.data).decode()} if self.is_binary else {"text": self.text}
        return {
            "event": "message",
            "time": f"{day}.{rest // 1_000_000:03}Z",
            "feed": self._origin[0],
            "epoch": self.epoch,
            "subscriptions": list(self.subscriptions),
            **content,
        }

    def __repr__(self) -> str:
        subscriptions = list(self.subscriptions)
        return f"Message({self.payload!r}, epoch={self.epoch}, subscriptions={subscriptions})"


@dataclass(frozen=True)
class _Told(Event):
    epoch: int
    time_ns: int
    json: dict[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True)
class OtherEvent(_Told):
    """An event of a kind that this file does not know. All of it is in `json`."""


@dataclass(frozen=True)
class Connecting(_Told):
    """An attempt to connect begins."""

    name = "connecting"
    attempt: int
    """Counts the attempts since the last connection, from 1."""
    endpoint: str
    """The URL, without what is secret in it."""


@dataclass(frozen=True)
class Connected(_Told):
    """A connection is established."""

    name = "connected"
    took: float
    """Seconds, from name resolution to upgrade."""
    peer: str
    subprotocol: Optional[str]


@dataclass(frozen=True)
class Subscribed(_Told):
    """A subscription is confirmed."""

    name = "subscribed"
    subscription: str


@dataclass(frozen=True)
class Refused(_Told):
    """The server refused a subscription, or did not answer it in time."""

    name = "refused"
    subscription: str
    severity: str
    """How bad it is: `class` in JSON."""
    detail: str
    retry_in: Optional[float]
    """Seconds until it is tried again; None: not on this connection."""


@dataclass(frozen=True)
class Ended(_Told):
    """The server ended a subscription while the connection goes on."""

    name = "ended"
    subscription: str
    severity: str
    detail: str
    retry_in: Optional[float]


@dataclass(frozen=True)
class Stale(_Told):
    """There was no data for longer than the limit."""

    name = "stale"
    subscription: Optional[str]
    """None: the connection as a whole."""
    cause: str
    age: float
    """Seconds without data."""
    limit: float
    next: str
    """What is done about it: probe, resubscribe, reconnect, next_endpoint, wait."""


@dataclass(frozen=True)
class Gap(_Told):
    """The data before and the data after may not join up."""

    name = "gap"
    cause: str
    subscriptions: tuple[str, ...]
    """Those that it affects; empty: everything on the feed."""
    last_message: Optional[str]
    """When the last message before it came."""
    lost: Optional[int]
    """How many messages were lost, where that is known."""
    last_number: Optional[int]
    """For a gap in sequence numbers, the last before it: `from` in JSON."""
    next_number: Optional[int]
    """The first after it: `to` in JSON."""


@dataclass(frozen=True)
class Disconnected(_Told):
    """A connection ended, or one or more attempts failed."""

    name = "disconnected"
    was_connected: bool
    reason: str
    detail: str
    attempts: int
    """How many ends this stands for."""
    retry_in: Optional[float]
    """Seconds until the next attempt; None: there is none."""


@dataclass(frozen=True)
class Alert(_Told):
    """Something a person should know. What belongs to the kind is in `json`."""

    name = "alert"
    kind: str
    status: str
    """raised, cleared or happened."""


@dataclass(frozen=True)
class Closed(_Told):
    """The feed is over. Always the last."""

    name = "closed"
    reason: str


_Fields = Callable[[dict[str, Any]], tuple[Any, ...]]
_LIFECYCLE: dict[int, tuple[type[_Told], _Fields]] = {
    1: (Connecting, lambda o: (o["attempt"], o["endpoint"])),
    2: (Connected, lambda o: (o["took_ms"] / 1e3, o["peer"], o["subprotocol"])),
    3: (Subscribed, lambda o: (o["subscription"],)),
    4: (Refused, lambda o: (o["subscription"], o["class"], o["detail"], o["retry_in_seconds"])),
    5: (Ended, lambda o: (o["subscription"], o["class"], o["detail"], o["retry_in_seconds"])),
    7: (Stale, lambda o: (o["subscription"], o["cause"], o["age_seconds"], o["limit_seconds"], o["next"])),
    8: (Gap, lambda o: (o["cause"], tuple(o["subscriptions"]), o["last_message"], o["lost"], o["from"], o["to"])),
    9: (
        Disconnected,
        lambda o: (o["was_connected"], o["reason"], o["detail"], o["attempts"], o["retry_in_seconds"]),
    ),
    10: (Alert, lambda o: (o["kind"], o["status"])),
    11: (Closed, lambda o: (o["reason"],)),
}
_MESSAGE = 6
_TEXT, _BINARY = 1, 2
_IS_BINARY = 1


@dataclass(frozen=True)
class Attempt:
    """What a token provider is told of the attempt that it is asked for."""

    number: int
    """Counts the attempts since the last connection, from 1."""
    epoch: int
    """The epoch that the connection will have."""
    endpoint: int
    """Which of the configured ones would be taken: 0 is `url`, 1 the first of `endpoints`."""
    previous: Optional[str]
    """How the connection or attempt before it ended."""


@dataclass
class Target:
    """What a token provider returns: what differs from the configuration for this attempt."""

    url: Optional[str] = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    subprotocols: Sequence[str] = ()
    variables: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Values for `${name}` in what is sent on that connection: anything that JSON can hold."""


Config = Union[str, Mapping[str, Any], "os.PathLike[str]"]
Provider = Callable[[Attempt], Union[Target, str, None]]


# ---- the library ---------------------------------------------------------------------------------------------------


def _load() -> ctypes.CDLL:
    named = os.environ.get("LIVEFEED_LIBRARY")
    file = {"win32": "livefeed.dll", "darwin": "liblivefeed.dylib"}.get(sys.platform, "liblivefeed.so")
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), file)
    if named:
        path = named
    elif os.path.exists(beside):
        path = beside
    else:
        path = ctypes.util.find_library("livefeed") or file
    try:
        return ctypes.CDLL(path)
    except OSError as error:
        raise ImportError(
            f"the library of livefeed can't be loaded: {error}. Set LIVEFEED_LIBRARY to its path, or put {file} beside "
            f"{os.path.basename(__file__)}. In livefeed's sources it is made by `cargo rustc --lib --release "
            "--features capi --crate-type cdylib`, in target/release"
        ) from None


_library = _load()
_handle = ctypes.c_void_p
_text = ctypes.c_char_p  # A pointer to bytes; their length goes along.
_size = ctypes.c_size_t
_int = ctypes.c_int32
_ms_type = ctypes.c_int64
_out = ctypes.POINTER
_OnEvent = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
_OnAttempt = ctypes.CFUNCTYPE(_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
_OnLog = ctypes.CFUNCTYPE(None, ctypes.c_void_p, _int, ctypes.c_void_p, _size, ctypes.c_void_p, _size)


_functions: dict[str, Any] = {}


def _function(name: str, *arguments: Any, result: Any = _int) -> Any:
    try:
        function = getattr(_library, "livefeed_" + name)
    except AttributeError:
        raise ImportError(f"{_library._name} is not the library of livefeed, or another version") from None
    function.argtypes, function.restype = arguments, result
    _functions[name] = function
    return function


_abi_version = _function("abi_version", result=ctypes.c_uint32)
if _abi_version() != _ABI:
    raise ImportError(f"{_library._name} has version {_abi_version()} of the interface, and this file is for {_ABI}")

_error_message = _function("error_message", result=_text)
_version = _function("version", result=_text)
_prepare = _function("prepare", _text, _size, _out(_handle))
_start = _function("start", _handle)
_set_callback = _function("set_callback", _handle, _OnEvent, ctypes.c_void_p)
_set_token_provider = _function("set_token_provider", _handle, _OnAttempt, ctypes.c_void_p)
_set_log_callback = _function("set_log_callback", _int, ctypes.c_void_p, ctypes.c_void_p)
_next_batch = _function("next_batch", _handle, _size, _ms_type, _out(_handle))
_batch_views = _function("batch_views", _handle, _out(_handle), _out(_size))
_batch_free = _function("batch_free", _handle, result=None)
_event_free = _function("event_free", _handle, result=None)
_event_view = _function("event_view", _handle, ctypes.c_void_p)
_event_json = _function("event_json", _handle, _out(_handle), _out(_size))
_event_subscription_count = _function("event_subscription_count", _handle, result=_size)
_event_subscription = _function("event_subscription", _handle, _size, _out(_handle), _out(_size))
_send = _function("send", _handle, _int, _text, _size)
_send_wait = _function("send_wait", _handle, _int, _text, _size, _ms_type)
_subscribe = _function("subscribe", _handle, _text, _size)
_unsubscribe = _function("unsubscribe", _handle, _text, _size)
_request = _function("request", _handle, _text, _size, _text, _size, _ms_type, _out(_handle))
_reconnect = _function("reconnect", _handle)
_wait_connected = _function("wait_connected", _handle, _ms_type)
_wait_fresh = _function("wait_fresh", _handle, _ms_type)
_health_json = _function("health_json", _handle, _out(_handle), _out(_size))
_string_free = _function("string_free", _handle, result=None)
_attempt_number = _function("attempt_number", _handle, result=ctypes.c_uint32)
_attempt_epoch = _function("attempt_epoch", _handle, result=ctypes.c_uint64)
_attempt_endpoint = _function("attempt_endpoint", _handle, result=_size)
_attempt_previous = _function("attempt_previous", _handle, _out(_handle), _out(_size))
_target_set_url = _function("target_set_url", _handle, _text, _size)
_target_add_header = _function("target_add_header", _handle, _text, _size, _text, _size)
_target_add_subprotocol = _function("target_add_subprotocol", _handle, _text, _size)
_target_set_variable = _function("target_set_variable", _handle, _text, _size, _text, _size)
_target_set_error = _function("target_set_error", _handle, _text, _size)
_fd = _function("fd", _handle, _out(ctypes.c_int))
_close = _function("close", _handle, _ms_type)
_free = _function("free", _handle, result=None)

# livefeed_view: event, data, length, subscriptions, epoch, time_ns, kind, flags, reserved.
_VIEW = struct.Struct("@PPNPQqiIQ")


class _ByCopy:
    """Memory by address, for interpreters and machines on which the quick way does not work."""

    def __getitem__(self, part: slice) -> bytes:
        return ctypes.string_at(part.start, part.stop - part.start)


def _memory() -> Union[memoryview, _ByCopy]:
    """Memory by address: what is sliced out of it is copied once, without an object of ctypes for each piece."""
    probe = ctypes.create_string_buffer(b"livefeed")
    address = ctypes.addressof(probe)
    # Where pointers have tags in their top byte they are no offsets.
    if sys.implementation.name == "cpython" and address < 1 << 55 < sys.maxsize:
        memory = memoryview((ctypes.c_char * sys.maxsize).from_address(0)).cast("B").toreadonly()
        if bytes(memory[address : address + 8]) == b"livefeed":
            return memory
    return _ByCopy()


_MEMORY = _memory()


def _failure(code: int) -> FeedError:
    text: bytes = _error_message()
    error = _ERRORS.get(code, FeedError)(text.decode("utf-8", "replace"))
    error.code = code
    return error


def _check(code: int) -> None:
    if code:
        raise _failure(code)


def _ms(timeout: Optional[float]) -> int:
    """In the library's form: rounded up, as nothing may end early; None waits for ever."""
    if timeout is None:
        return -1
    if math.isnan(timeout):
        raise ValueError("a timeout is a number of seconds, or None")
    return math.ceil(min(max(timeout, 0.0) * 1e3, 2.0**53))


def _deadline(timeout: Optional[float]) -> Optional[float]:
    if timeout is None:
        return None
    if math.isnan(timeout):
        raise ValueError("a timeout is a number of seconds, or None")
    return time.monotonic() + timeout


def _left(deadline: Optional[float]) -> Optional[float]:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _interruptibly(call: Callable[[], T]) -> T:
    """Calls what may wait in the library so that a signal ends the waiting: only the main thread gets signals."""
    if not _is_main_thread():
        return call()
    results: list[T] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    try:
        threading.Thread(target=run, name="livefeed-wait", daemon=True).start()
    except RuntimeError:  # No more threads, or the interpreter is ending.
        return call()
    done.wait()
    if errors:
        try:
            raise errors[0]
        finally:
            errors.clear()
    return results[0]


def version() -> str:
    """The version of the library."""
    return str(_version().decode())


def abi_version() -> int:
    """The version of the interface between this file and the library."""
    return int(_abi_version())


# ---- callbacks -----------------------------------------------------------------------------------------------------

_logger = logging.getLogger("livefeed")
_inside = threading.local()
"""Has `depth` on threads of livefeed that are in a callback."""
_kept: list[Any] = []
"""Callbacks that might still run: what is freed while it runs ends the process."""


class _Inside:
    def __enter__(self) -> None:
        _inside.depth = getattr(_inside, "depth", 0) + 1

    def __exit__(self, *_: object) -> None:
        _inside.depth -= 1


def _is_inside() -> bool:
    return getattr(_inside, "depth", 0) > 0


_LOG_LEVELS = {1: logging.ERROR, 2: logging.WARNING, 3: logging.INFO, 4: logging.DEBUG, 5: 5}


def log_to(logger: Optional[logging.Logger], level: int = logging.INFO) -> None:
    """Passes on what livefeed logs, of this level and above, to a logger, whose children are named as livefeed's modules; None
    ends that. There is one for the whole process. Below DEBUG is everything.
    """
    if logger is None:
        _check(_set_log_callback(0, None, None))
        return
    target_logger = logger

    def log(_: object, level: int, target: int, target_size: int, text: int, text_size: int) -> None:
        try:
            names = ctypes.string_at(target, target_size).decode("utf-8", "replace").split("::")[1:]
            child = target_logger.getChild(".".join(names)) if names else target_logger
            child.log(_LOG_LEVELS.get(level, 5), "%s", ctypes.string_at(text, text_size).decode("utf-8", "replace"))
        except Exception:
            pass  # There is nowhere left to say it.

    callback = _OnLog(log)
    most = next((theirs for theirs, ours in _LOG_LEVELS.items() if ours <= level), 5)
    _kept.append(callback)
    _check(_set_log_callback(most, ctypes.cast(callback, ctypes.c_void_p), None))


def _attempt(pointer: int) -> Attempt:
    text, size = ctypes.c_void_p(), ctypes.c_size_t()
    previous = None
    code = _attempt_previous(pointer, ctypes.byref(text), ctypes.byref(size))
    if code != _NO_VALUE:
        _check(code)
        previous = ctypes.string_at(text.value or 0, size.value).decode()
    return Attempt(_attempt_number(pointer), _attempt_epoch(pointer), _attempt_endpoint(pointer), previous)


def _kind(value: object) -> str:
    return type(value).__name__


def _encode(what: str, value: object) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"{what} is a str, not {_kind(value)}")
    return value.encode()


def _fill_target(target: int, answer: Union[Target, str, None]) -> None:
    if answer is None:
        return
    if isinstance(answer, str):
        answer = Target(answer)
    if not isinstance(answer, Target):
        raise TypeError(f"a token provider returns a URL, a Target or None, not {_kind(answer)}")
    if answer.url is not None:
        url = _encode("the URL", answer.url)
        _check(_target_set_url(target, url, len(url)))
    for name, value in answer.headers.items():
        key, text = _encode("a header's name", name), _encode("a header's value", value)
        _check(_target_add_header(target, key, len(key), text, len(text)))
    for name in answer.subprotocols:
        key = _encode("a subprotocol", name)
        _check(_target_add_subprotocol(target, key, len(key)))
    for name, variable in answer.variables.items():
        key, text = _encode("a variable's name", name), json.dumps(variable).encode()
        _check(_target_set_variable(target, key, len(key), text, len(text)))


def _provider_callback(provider: Provider) -> Any:
    def provide(_: object, attempt: int, target: int) -> int:
        with _Inside():
            try:
                _fill_target(target, provider(_attempt(attempt)))
                return 0
            except BaseException as error:
                text = (str(error) or type(error).__name__).encode("utf-8", "replace")
                _target_set_error(target, text, len(text))
                return 2 if isinstance(error, Fatal) else 1

    return _OnAttempt(provide)


_HAS_POLL = hasattr(select, "poll")
"""Without it there is no descriptor to wait for, as on Windows, and the main thread waits in slices."""
_BATCH = 1024
"""How many events are taken at once: more save little, and the first of them would wait longer for the last."""


def _told(pointer: int, epoch: int, time_ns: int, kind: int) -> Event:
    text, size = ctypes.c_void_p(), ctypes.c_size_t()
    _check(_event_json(pointer, ctypes.byref(text), ctypes.byref(size)))
    told = json.loads(ctypes.string_at(text.value or 0, size.value))
    make, fields = _LIFECYCLE.get(kind, (OtherEvent, lambda _: ()))
    event: Event = make(epoch, time_ns, told, *fields(told))
    return event


def _subscriptions(pointer: int) -> tuple[str, ...]:
    names = []
    for index in range(_event_subscription_count(pointer)):
        text, size = ctypes.c_void_p(), ctypes.c_size_t()
        _check(_event_subscription(pointer, index, ctypes.byref(text), ctypes.byref(size)))
        names.append(ctypes.string_at(text.value or 0, size.value).decode())
    return tuple(names)


def _wake(readable: Any) -> None:
    if not readable.done():
        readable.set_result(None)


# ---- the feed ------------------------------------------------------------------------------------------------------

_feeds: weakref.WeakSet[Feed] = weakref.WeakSet()
_running: set[Feed] = set()
"""Those with a callback, until they are over."""
_registry = threading.Lock()


_NULL = ctypes.c_void_p()


class _Batch:
    """Events that the library lends until they are freed: here only if they were not read to the end."""

    __slots__ = ("pointer",)

    def __init__(self) -> None:
        self.pointer = ctypes.c_void_p()

    def __del__(self, free: Callable[[ctypes.c_void_p], None] = _batch_free) -> None:
        if self.pointer:
            free(self.pointer)


_leaving: set[_thread.LockType] = set()
"""A lock for each feed that is freed apart, released when it is."""


def _free_apart(
    pointer: ctypes.c_void_p,
    callbacks: list[Any],
    busy: _thread.LockType,
    free: Callable[[Any], None] = _free,
    leaving: set[_thread.LockType] = _leaving,
) -> None:
    # This waits for a callback that runs: for one that waits for a lock of the thread that forgot the feed, or is on that thread.
    # What it is called by is in use until then.
    free(pointer)
    callbacks.clear()
    leaving.discard(busy)
    busy.release()


def _mistake(text: str) -> ConfigError:
    error = ConfigError(text)
    error.code = _CONFIG
    return error


def _plain(value: object) -> str:
    if isinstance(value, timedelta):
        return f"{value // timedelta(microseconds=1)}us"
    raise TypeError(f"{_kind(value)} is nothing that JSON can hold")


def _config_text(config: Config) -> str:
    if isinstance(config, Mapping):
        try:
            return json.dumps(dict(config), default=_plain)
        except (TypeError, ValueError) as error:  # Also what refers to itself.
            raise _mistake(f"the configuration can't be written as JSON: {error}") from None
    if isinstance(config, os.PathLike):
        with io.open(config, encoding="utf-8") as file:
            return file.read()
    if isinstance(config, str):
        return config
    raise TypeError(f"a configuration is a URL, JSON, a dict or the Path of a file, not {_kind(config)}")


def _with_settings(config: Config, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(config, Mapping):
        return {**config, **settings}
    text = _config_text(config)
    if re.match(r"\s*[a-z][a-z0-9+.-]*://", text, re.IGNORECASE):
        return {"url": text.strip(), **settings}
    try:
        told = json.loads(text)
    except ValueError as error:
        raise _mistake(f"the configuration is neither a URL (ws://, wss://) nor JSON: {error}") from None
    if not isinstance(told, dict):
        raise _mistake("the configuration is neither a URL (ws://, wss://) nor a JSON object")
    return {**told, **settings}


class Feed:
    """A feed: what `open` returns."""

    def __init__(
        self,
        config: Config,
        *,
        on_event: Optional[Callable[[Event], object]] = None,
        token_provider: Optional[Provider] = None,
    ) -> None:
        self._pointer = ctypes.c_void_p()
        for name, function in [("on_event", on_event), ("token_provider", token_provider)]:
            if function is not None and not callable(function):
                raise TypeError(f"{name} is a function, not {_kind(function)}")
        try:
            text = _config_text(config).encode()
        except UnicodeError as error:
            raise _mistake(f"the configuration is no UTF-8: {error}") from None
        _check(_prepare(text, len(text), ctypes.byref(self._pointer)))
        self._queue: deque[Event] = deque()
        self._batch: Optional[_Batch] = None  # What was taken from the library and is not in the queue yet.
        self._reading = threading.Lock()
        self._is_closed = False
        self._poll: Optional[select.poll] = None
        self._callbacks: list[Any] = []
        self._name = ""
        if on_event is not None:
            self._callbacks.append(self._event_callback(on_event))
            _check(_set_callback(self._pointer, self._callbacks[-1], None))
        if token_provider is not None:
            self._callbacks.append(_provider_callback(token_provider))
            _check(_set_token_provider(self._pointer, self._callbacks[-1], None))
        with _registry:
            _feeds.add(self)
            if on_event is not None:
                _running.add(self)
        try:
            _check(_start(self._pointer))
            self._name = str(self.health()["name"])
        except BaseException:
            self._over()
            raise

    def _event_callback(self, on_event: Callable[[Event], object]) -> Any:
        def tell(_: object, pointer: int) -> None:
            with _Inside():
                try:
                    event = self._event(pointer)
                    try:
                        on_event(event)
                    finally:
                        if isinstance(event, Closed):
                            self._over()
                except BaseException:
                    _logger.exception("on_event of feed %s failed; the feed goes on", self._name)

        return _OnEvent(tell)

    def _over(self) -> None:
        self._is_closed = True
        with _registry:
            _running.discard(self)

    @property
    def name(self) -> str:
        """As configured, else the host."""
        if not self._name:
            self._name = str(self.health()["name"])
        return self._name

    @property
    def closed(self) -> bool:
        """Whether it was closed, or gave up. What came before can still be read."""
        return self._is_closed or self.health()["state"] == "closed"

    # ---- reading

    def __iter__(self) -> Iterator[Event]:
        """All events, until the feed is closed. What is left when the loop is ended early can still be read."""
        while True:
            take = self._queue.popleft
            try:
                while True:
                    yield take()
            except IndexError:
                pass
            try:
                self._fill(_BATCH, None)
            except FeedClosed:
                return

    def __next__(self) -> Event:
        """For `next(feed)`: the next event, however long it takes; StopIteration after the last."""
        try:
            return self.next()
        except FeedClosed:
            raise StopIteration from None

    def messages(self) -> Iterator[Message]:
        """The messages alone, until the feed is closed. Gaps and all else are skipped: for those who do not mind."""
        while True:
            take = self._queue.popleft
            try:
                while True:
                    event = take()
                    if type(event) is Message:
                        yield event
            except IndexError:
                pass
            try:
                self._fill(_BATCH, None)
            except FeedClosed:
                return

    def batches(self, most: int = 1024) -> Iterator[list[Event]]:
        """All events, as lists of those that wait, each of at least one, until the feed is closed."""
        while True:
            try:
                events = self.next_batch(most)
            except FeedClosed:
                return
            yield events

    def next(self, timeout: Optional[float] = None) -> Event:
        """Waits for the next event. Raises FeedTimeout if none came in that time (seconds), FeedClosed after the last."""
        deadline = _deadline(timeout)
        while True:
            events = self._dequeue(1)
            if events:
                return events[0]
            self._fill_or_raise(1, deadline)

    def next_batch(self, most: int = 1024, timeout: Optional[float] = None) -> list[Event]:
        """Waits for events, and returns those that wait, at least one. Raises as `next`."""
        if most < 1:
            raise ValueError("a batch has at least one event")
        deadline = _deadline(timeout)
        while True:
            events = self._dequeue(most)
            if events:
                return events
            self._fill_or_raise(most, deadline)

    def ready(self) -> list[Event]:
        """All events that are there now; empty if there is none. Never waits. Raises FeedClosed after the last.

        This goes with `fileno`: other ways to read leave events behind that the file descriptor does not tell of.
        """
        self._fill(0, 0.0)
        return self._dequeue(sys.maxsize)

    def fileno(self) -> int:
        """A file descriptor that is readable while events wait, and after the end. It belongs to the feed; not on Windows."""
        descriptor = ctypes.c_int(-1)
        _check(_fd(self._pointer, ctypes.byref(descriptor)))
        return descriptor.value

    async def __aiter__(self) -> AsyncIterator[Event]:
        """All events, until the feed is closed, in a loop of asyncio that has `add_reader`: not that of Windows."""
        import asyncio

        loop = asyncio.get_running_loop()
        # A loop has one reader for each number; with a copy several tasks may read.
        descriptor = os.dup(self.fileno())
        try:
            while True:
                try:
                    is_there = self._fill(_BATCH, 0.0)
                except FeedClosed:
                    return
                if not is_there:
                    readable: asyncio.Future[None] = loop.create_future()
                    loop.add_reader(descriptor, _wake, readable)
                    try:
                        await readable
                    finally:
                        loop.remove_reader(descriptor)
                    continue
                while True:
                    try:
                        event = self._queue.popleft()
                    except IndexError:
                        break
                    yield event
                await asyncio.sleep(0)  # A flood leaves the loop to others now and then.
        finally:
            os.close(descriptor)

    def _dequeue(self, most: int) -> list[Event]:
        events: list[Event] = []
        try:
            while len(events) < most:
                events.append(self._queue.popleft())
        except IndexError:
            pass
        except BaseException:  # A signal.
            self._queue.extendleft(reversed(events))
            raise
        return events

    def _fill_or_raise(self, most: int, deadline: Optional[float]) -> None:
        if not self._fill(most, _left(deadline)):
            error = FeedTimeout("no event came in that time")
            error.code = _TIMEOUT
            raise error

    def _fill(self, most: int, timeout: Optional[float]) -> bool:
        """Waits until there are events in the queue, or another thread has them; false if the time is over."""
        deadline = _deadline(timeout)
        patience = -1 if timeout is None else min(max(timeout, 0.0), threading.TIMEOUT_MAX)
        if not self._reading.acquire(timeout=patience):
            return bool(self._queue)
        try:
            while not self._queue:
                if self._batch is not None and self._batch.pointer:
                    # A signal came below before its events were in the queue.
                    return self._unpack(self._batch)
                batch = _Batch()
                left = _left(deadline)
                # On the main thread a signal has to end the waiting: it ends that of `poll`, not that of the library.
                is_last = left == 0.0 or not _is_main_thread()
                wait = _ms(left) if is_last else 0 if _HAS_POLL else 100 if left is None else min(_ms(left), 100)
                self._batch = batch
                code = _next_batch(self._pointer, most, wait, ctypes.byref(batch.pointer))
                if code == 0:
                    return self._unpack(batch)
                self._batch = None
                if code != _TIMEOUT:
                    if code == _CLOSED:
                        self._over()
                    raise _failure(code)
                if is_last:
                    return False
                if _HAS_POLL:
                    self._wait_for_descriptor(left)
            return True
        finally:
            self._reading.release()

    def _wait_for_descriptor(self, timeout: Optional[float]) -> None:
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self.fileno(), select.POLLIN)
        self._poll.poll(None if timeout is None else min(_ms(timeout), 2**31 - 1))

    def _unpack(self, batch: _Batch) -> bool:
        views, count = ctypes.c_void_p(), ctypes.c_size_t()
        _check(_batch_views(batch.pointer, ctypes.byref(views), ctypes.byref(count)))
        events = deque(self._events(views.value or 0, count.value))
        # All or nothing, if a signal interrupts: nothing is called in between.
        pointer = batch.pointer
        self._queue, self._batch, batch.pointer = events, None, _NULL
        _batch_free(pointer)
        return True

    def _events(self, views: int, count: int) -> list[Event]:
        memory, new = _MEMORY, Message.__new__
        origin = (self.name, time.monotonic_ns() - time.time_ns())
        lists: dict[int, tuple[str, ...]] = {0: ()}  # By what stands for them in this batch.
        last, subscriptions = 0, lists[0]
        events: list[Event] = []
        append = events.append
        array = memory[views : views + count * _VIEW.size]
        for event, start, length, names, epoch, time_ns, kind, flags, _ in _VIEW.iter_unpack(array):
            if kind != _MESSAGE:
                append(_told(event, epoch, time_ns, kind))
                continue
            message = new(Message)
            if flags & _IS_BINARY:
                message.data = bytes(memory[start : start + length])
            else:
                message.text = str(memory[start : start + length], "utf-8")
            if names != last:
                if names not in lists:
                    lists[names] = _subscriptions(event)
                last, subscriptions = names, lists[names]
            message.subscriptions = subscriptions
            message.epoch = epoch
            message.time_ns = time_ns
            message._origin = origin
            append(message)
        return events

    def _event(self, pointer: int) -> Event:
        view = ctypes.create_string_buffer(_VIEW.size)
        _check(_event_view(pointer, view))
        return self._events(ctypes.addressof(view), 1)[0]

    # ---- talking

    def send(self, payload: Union[str, bytes]) -> None:
        """Sends a text (str) or binary message. Never waits: it is admitted or refused at once.

        Raises NotConnected, OutboxFull (try again), TooLarge, FeedClosed (final).
        """
        kind, data = _outgoing(payload)
        _check(_send(self._pointer, kind, data, len(data)))

    def send_wait(self, payload: Union[str, bytes], timeout: Optional[float] = None) -> None:
        """The same, and waits until it is written to the operating system. Raises also FeedTimeout, Dropped."""
        kind, data = _outgoing(payload)
        limit = _ms(timeout)
        _interruptibly(lambda: _check(_send_wait(self._pointer, kind, data, len(data), limit)))

    def subscribe(self, subscription: Mapping[str, Any]) -> None:
        """Adds a subscription, an entry as in the configuration's `subscriptions`, or replaces the one of that id."""
        text = json.dumps(subscription).encode()
        _check(_subscribe(self._pointer, text, len(text)))

    def unsubscribe(self, subscription: str) -> None:
        """Ends a subscription. Raises UnknownSubscription."""
        text = subscription.encode()
        _check(_unsubscribe(self._pointer, text, len(text)))

    def request(self, question: Any, matcher: Mapping[str, Any], timeout: Optional[float] = None) -> Message:
        """Sends a question, a text or what JSON can hold, and waits for the first message that the matcher accepts.

        `${id}` in both is a number that is used once. Raises FeedTimeout, NotConnected, OutboxFull (try again), ConfigError,
        TooLarge, FeedClosed, WouldDeadlock (final).
        """
        ask, answer = json.dumps(question).encode(), json.dumps(matcher).encode()
        limit = _ms(timeout)

        def run() -> Event:
            pointer = ctypes.c_void_p()
            _check(_request(self._pointer, ask, len(ask), answer, len(answer), limit, ctypes.byref(pointer)))
            try:
                return self._event(pointer.value or 0)
            finally:
                _event_free(pointer)

        message = _interruptibly(run)
        assert isinstance(message, Message)
        return message

    def reconnect(self) -> None:
        """Asks for a new connection."""
        _check(_reconnect(self._pointer))

    def wait_connected(self, timeout: Optional[float] = None) -> None:
        """Waits until there is a connection. Raises FeedTimeout; FeedClosed if the feed has given up."""
        self._wait(_wait_connected, timeout)

    def wait_fresh(self, timeout: Optional[float] = None) -> None:
        """Waits until data has come on the present connection. Raises as `wait_connected`."""
        self._wait(_wait_fresh, timeout)

    def _wait(self, wait: Callable[[Any, int], int], timeout: Optional[float]) -> None:
        limit = _ms(timeout)
        if wait(self._pointer, 0):  # The rule is that there is nothing to wait for.
            _interruptibly(lambda: _check(wait(self._pointer, limit)))

    def health(self) -> dict[str, Any]:
        """How the feed is. Never waits."""
        text, size = ctypes.c_void_p(), ctypes.c_size_t()
        _check(_health_json(self._pointer, ctypes.byref(text), ctypes.byref(size)))
        try:
            health: dict[str, Any] = json.loads(ctypes.string_at(text.value or 0, size.value))
            return health
        finally:
            _string_free(text)

    # ---- closing

    def close(self, timeout: float = 5.0) -> None:
        """Closes the feed, within this time. What was received before can still be read. May be called again, and anywhere.

        In a callback of the feed it does not wait. Raises FeedTimeout if a callback holds it up: it goes on closing.
        """
        limit = _ms(timeout)

        def run() -> int:
            code = int(_close(self._pointer, limit))
            if code not in (0, _WOULD_DEADLOCK):
                raise _failure(code)  # The text is that of this thread.
            return code

        try:
            code = _interruptibly(run)
        except FeedError:
            self._is_closed = True
            raise
        self._is_closed = True
        if code == 0:
            self._over()

    def __enter__(self) -> Feed:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.close()
        except Forked:
            pass  # It is the parent's.

    async def __aenter__(self) -> Feed:
        return self

    async def __aexit__(self, *_: object) -> None:
        import asyncio

        await asyncio.to_thread(self.__exit__)

    def __repr__(self) -> str:
        return f"<livefeed.Feed {self._name}>"

    def __reduce_ex__(self, _: object) -> Any:
        # Two of them would free one handle.
        raise TypeError("a feed can't be copied or pickled: open one where it is used")

    def __del__(
        self,
        free: Callable[[Any], None] = _free,
        free_apart: Callable[..., None] = _free_apart,
        leaving: set[_thread.LockType] = _leaving,
        kept: list[Any] = _kept,
    ) -> None:
        # Nothing refers to it: no thread is in a call, and none can begin one.
        pointer, self._pointer = self._pointer, ctypes.c_void_p()
        if not pointer:
            return
        if not self._is_closed:
            warnings.warn(f"{self!r} was not closed", ResourceWarning, source=self)
        if self._callbacks:
            try:
                busy = _thread.allocate_lock()
                busy.acquire()
                leaving.add(busy)
                _thread.start_new_thread(free_apart, (pointer, self._callbacks, busy))
                return
            except Exception:  # No more threads, or the interpreter is ending.
                leaving.discard(busy)
                kept.append(self._callbacks)
        free(pointer)


def _outgoing(payload: Union[str, bytes]) -> tuple[int, bytes]:
    return (_TEXT, payload.encode()) if isinstance(payload, str) else (_BINARY, bytes(memoryview(payload)))


def open(
    config: Optional[Config] = None,
    *,
    on_event: Optional[Callable[[Event], object]] = None,
    token_provider: Optional[Provider] = None,
    **settings: Any,
) -> Feed:
    """Opens a feed and returns at once; the connection is made behind it. Raises ConfigError, which names the field.

    `config` is a URL, a configuration as JSON or as a dict, or the Path of a file with JSON; settings are added to it
    (`stale_after="5s"`, or a timedelta), and can be all there is (`url=`). With `on_event` each event goes there, on a thread
    of livefeed, and nowhere else. The token provider is asked before each attempt to connect, on a thread of livefeed too: it
    returns a URL, a Target, or None for what is configured. If it raises, it is asked again later; if it raises Fatal, the
    feed closes.
    """
    if config is None:
        if not settings:
            raise TypeError("open() needs a URL or a configuration")
        config = {}
    if settings:
        config = _with_settings(config, settings)
    return Feed(config, on_event=on_event, token_provider=token_provider)


# ---- the end of the process, and its children ----------------------------------------------------------------------


def _at_exit() -> None:
    # Threads of livefeed that come for the interpreter when it is gone would never end. Handles stay: a daemon thread
    # might still use one.
    with _registry:
        feeds = list(_feeds)
    for feed in feeds:
        _close(feed._pointer, 0)
    deadline = time.monotonic() + 2.0
    for feed in feeds:
        _close(feed._pointer, _ms(deadline - time.monotonic()))
        feed._over()
    for busy in list(_leaving):
        busy.acquire(timeout=max(0.0, deadline - time.monotonic()))
    _set_log_callback(0, None, None)


def _in_child() -> None:
    # The locks may be held by threads that are not in the child; what was read is the parent's.
    global _registry
    _registry = threading.Lock()
    _running.clear()
    _leaving.clear()
    for feed in list(_feeds):
        feed._reading = threading.Lock()
        feed._queue, feed._batch = deque(), None
        feed._is_closed = True


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
