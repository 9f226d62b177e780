#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""A client of tidegate servers in one file, to be copied: Python 3.9 or later and its standard library.

    with Client("127.0.0.1:7411", timeout=5) as client:
        print(client.request(1, b"hello"))                        # one request, one reply
        sent = [client.send(1, b"%d" % n) for n in range(1000)]   # many, before any reply is awaited
        print([each.result() for each in sent])

It blocks, and belongs to one thread. It reads while it sends, so pipelining never locks up; it checks every length
before it takes memory and every CRC before it believes a byte; it answers PING while one of its calls runs (`poll` is
one that does nothing else). Every failure says by `not_processed` whether the same request may safely be sent again.

It never reconnects or retries by itself, starts no thread, and has no TLS, topics, or text lines.
From the shell: `python3 tidegate.py 127.0.0.1:7411 --route 1 hello`. The protocol: docs/PROTOCOL.md.
"""

from __future__ import annotations

import argparse
import re
import selectors
import socket
import struct
import sys
import time
import zlib
from collections import deque
from typing import NamedTuple, Optional

EXT, CONTROL, ROUTE_MAX = 0x8000, 0x4000, 0x3FFF
PING, PONG, HELLO, WELCOME, ERROR, GOAWAY, NOTICE = 0x4000, 0x4001, 0x4002, 0x4003, 0x4004, 0x4005, 0x400C
CLIENT_ONLY = (HELLO, 0x4006, 0x4007, 0x4008)

STATUS_NAMES = (
    "OK PROTOCOL UNAUTHENTICATED FORBIDDEN NO_ROUTE OVERLOADED UNAVAILABLE OUTCOME_UNKNOWN DEADLINE_EXCEEDED DRAINING "
    "INTERNAL SLOW_CONSUMER REPLACED IDLE TOO_LARGE UNSUPPORTED"
).split()
DRAINING = 9
#: Replies that promise that nothing was done: OVERLOADED, UNAVAILABLE, DEADLINE_EXCEEDED, DRAINING.
NOT_PROCESSED = frozenset({5, 6, 8, DRAINING})
#: A last GOAWAY with one of these stands behind the replies to all that was processed: PROTOCOL, UNAUTHENTICATED,
#: DRAINING, IDLE, TOO_LARGE, UNSUPPORTED.
ANSWERED_FIRST = frozenset({1, 2, DRAINING, 13, 14, 15})

BLOCK_MAX = 1020  # bytes that a payload with an extension block may have beyond the limit on bodies
CONTROL_MAX = 4096  # bytes of a control frame's payload in front of WELCOME
QUEUED_MAX = 256 * 1024  # bytes: while more wait to be sent, `send` waits
OPEN_MAX = 65_536  # requests: while more are open, `send` waits
READ_BYTES = 64 * 1024


class TidegateError(Exception):
    """Whatever went wrong. `not_processed`: surely nothing was done, so the request may be sent again."""

    not_processed = False


class StatusError(TidegateError):
    """The server's answer to this request is a failure. The connection stays."""

    def __init__(self, status: int, text: str, retry_after_ms: Optional[int] = None) -> None:
        super().__init__(f"{status_name(status)} ({status}): {text}")
        self.status, self.text, self.retry_after_ms = status, text, retry_after_ms
        self.not_processed = status in NOT_PROCESSED


class Goaway(NamedTuple):
    status: int
    reconnect_after_ms: int
    text: str


class Ended(TidegateError, ConnectionError):
    """The connection ended before the reply came. `goaway` says why, if the server said so."""

    def __init__(self, why: str, goaway: Optional[Goaway], not_processed: bool) -> None:
        fate = "the request was not processed" if not_processed else "whether the request was processed is unknown"
        super().__init__(f"{why}; {fate}")
        self.goaway, self.not_processed = goaway, not_processed


class TimedOut(TidegateError, TimeoutError):
    """Not within the timeout. A reply may still come, and may be waited for again; the connection stays."""

    def __init__(self, text: str, not_processed: bool = False) -> None:
        super().__init__(text)
        self.not_processed = not_processed


class ProtocolError(TidegateError):
    """What came is no protocol: damaged, over a limit, or from no tidegate server. The connection is unusable."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason  # as in docs/PROTOCOL.md, "Why a connection ends"


def status_name(status: int) -> str:
    return STATUS_NAMES[status] if status < 16 else "INTERNAL" if status < 256 else "APPLICATION"


def encode(header: int, payload: bytes) -> bytes:
    """A whole frame."""
    frame = struct.pack(">HI", header, len(payload)) + payload
    return frame + struct.pack(">I", zlib.crc32(frame))


class Decoder:
    """Cuts a stream into checked frames; how the stream was split does not matter. A fault is final."""

    def __init__(self, max_payload: int) -> None:
        self.max_payload, self.max_control = max_payload, CONTROL_MAX
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def needs(self) -> int:
        """Bytes of the frame that is incomplete, as far as they are known; 0: there is none."""
        if not self._buffer:
            return 0
        return 6 if len(self._buffer) < 6 else 10 + int.from_bytes(self._buffer[2:6], "big")

    def next(self) -> Optional[tuple[int, bytes]]:
        """The next frame's header and payload, or None until more was fed."""
        if len(self._buffer) < 6:
            return None
        header, length = struct.unpack_from(">HI", self._buffer)
        limit = self.max_control if header & CONTROL else self.max_payload + (BLOCK_MAX if header & EXT else 0)
        if length > limit:
            raise ProtocolError("too_large", f"a frame of {length} bytes is over the limit of {limit}")
        end = 6 + length
        if len(self._buffer) < end + 4:
            return None
        frame = bytes(self._buffer[: end + 4])
        if zlib.crc32(frame[:end]) != int.from_bytes(frame[end:], "big"):
            raise ProtocolError("bad_crc", "a frame's CRC is wrong: the stream is damaged")
        del self._buffer[: end + 4]
        return header, frame[6:end]


class Block(NamedTuple):
    """An extension block; the body begins behind its `size`."""

    size: int
    flags: int = 0
    status: int = 0
    correlation: Optional[int] = None
    deadline_ms: Optional[int] = None
    tags: tuple[tuple[int, bytes], ...] = ()

    def tag(self, number: int) -> Optional[int]:
        return next((int.from_bytes(value, "big") for tag, value in self.tags if tag == number), None)


def parse_tags(data: bytes, reason: str) -> tuple[tuple[int, bytes], ...]:
    found, at = [], 0
    while at < len(data):
        if data[at] == 0:  # padding
            at += 1
            continue
        end = at + 2 + data[at + 1] if at + 1 < len(data) else len(data) + 1
        if end > len(data):
            raise ProtocolError(reason, "a tag is cut")
        found.append((data[at], data[at + 2 : end]))
        at = end
    return tuple(found)


def parse_block(payload: bytes) -> Block:
    """The block at the front of a payload whose header has EXT."""
    size = 4 * payload[0] if payload else 0
    if not 4 <= size <= len(payload):
        raise ProtocolError("bad_extension", "an extension block is longer than its payload, or has no length")
    flags, status = payload[1], int.from_bytes(payload[2:4], "big")
    deadline_at = 4 + 8 * (flags & 1)
    fields_end = deadline_at + 4 * (flags >> 1 & 1) + 28 * (flags >> 2 & 1)
    if fields_end > size:
        raise ProtocolError("bad_extension", "an extension block is shorter than its fields")
    if flags & 4 and any(payload[fields_end - 3 : fields_end]):
        raise ProtocolError("bad_extension", "a trace does not end with three zeros")
    correlation = int.from_bytes(payload[4:12], "big") if flags & 1 else None
    deadline_ms = int.from_bytes(payload[deadline_at : deadline_at + 4], "big") if flags & 2 else None
    if flags & 0x70:  # reserved: what lies behind the known fields can't be read, the rest can
        return Block(size, flags, status, correlation, deadline_ms)
    if not flags & 0x80 and fields_end != size:
        raise ProtocolError("bad_extension", "bytes behind the last field of an extension block")
    tags = parse_tags(payload[fields_end:size], "bad_extension")
    if any(len(value) != {1: 4, 2: 2}.get(tag, len(value)) for tag, value in tags):
        raise ProtocolError("bad_extension", "a tag has the wrong size")
    return Block(size, flags, status, correlation, deadline_ms, tags)


class Welcome(NamedTuple):
    version: int
    max_payload: int
    heartbeat_ms: int
    server_id: str
    client_id: str


def text_of(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ProtocolError("bad_control", "a text is not UTF-8") from None


def parse_welcome(payload: bytes) -> Welcome:
    ids, at = [], 10
    for _ in range(2):
        end = at + 1 + payload[at] if at < len(payload) else len(payload) + 1
        name = payload[at + 1 : end]
        if end > len(payload) or not re.fullmatch(rb"[A-Za-z0-9_-]{1,64}", name):
            raise ProtocolError("bad_control", "WELCOME has an id that is none")
        ids.append(name.decode())
        at = end
    parse_tags(payload[at:], "bad_control")
    version, _flags, max_payload, heartbeat_ms = struct.unpack_from(">BBII", payload)
    return Welcome(version, max_payload, heartbeat_ms, *ids)


def parse_status_text(payload: bytes, fixed: str) -> tuple:
    """ERROR, GOAWAY and NOTICE: numbers, and a text behind them."""
    size = struct.calcsize(fixed)
    if len(payload) < size:
        raise ProtocolError("bad_control", "a control frame is too short")
    return (*struct.unpack_from(fixed, payload), text_of(payload[size:]))


class Pending:
    """A request that was sent, and its outcome once there is one."""

    def __init__(self, client: Client, header: int, end: int) -> None:
        self._client, self._header, self._end = client, header, end
        self._outcome: Optional[bytes | TidegateError] = None

    def done(self) -> bool:
        return self._outcome is not None

    def result(self, timeout: Optional[float] = None) -> bytes:
        """The reply's body. Raises what went wrong; after TimedOut it may be called again."""
        self._client._run(self.done, timeout)
        if isinstance(self._outcome, TidegateError):
            raise self._outcome
        assert self._outcome is not None
        return self._outcome


class Client:
    """A connection. `address` is HOST:PORT or unix:PATH; times are seconds, sizes bytes.

    `timeout` bounds each call (None in a call means this). `max_payload` bounds the body of a reply. With `token`,
    `client_id` or `hello` it says HELLO and waits for `welcome`; then the server looks for life, so call something at
    least once a heartbeat. With `ping_after` it sends a PING after so many seconds of the server's silence in a call,
    and ends the connection after twice that.
    """

    def __init__(self, address: str, *, timeout: float = 10.0, max_payload: int = 2 << 20, hello: bool = False,
                 token: bytes = b"", client_id: str = "", ping_after: Optional[float] = None) -> None:
        self.timeout, self.ping_after = timeout, ping_after
        self.goaway: Optional[Goaway] = None
        self.welcome: Optional[Welcome] = None
        self.notices: deque[tuple[int, int, str]] = deque(maxlen=16)  # status, header of what was refused, text
        self._decoder = Decoder(max_payload)
        self._out, self._queued, self._written = bytearray(), 0, 0
        self._slots: deque[Pending] = deque()
        self._correlated: dict[int, Pending] = {}
        self._serial, self._pongs = 0, 0
        self._end: Optional[TidegateError] = None
        if address.startswith("unix:"):
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(timeout)
            self._socket.connect(address[5:])
        else:
            host, _, port = address.rpartition(":")
            if not port.isdigit():
                raise ValueError(f"{address} is neither HOST:PORT nor unix:PATH")
            self._socket = socket.create_connection((host.strip("[]"), int(port)), timeout)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._heard = self._asked = time.monotonic()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        if hello or token or client_id:
            name = client_id.encode()
            self._put(HELLO, struct.pack(">BBB", 1, 0, len(name)) + name + struct.pack(">H", len(token)) + token
                      + struct.pack(">BBI", 1, 4, max_payload))
            try:
                self._run(lambda: self.welcome is not None or self._end is not None, timeout)
                if self._end is not None:
                    raise self._end
            except TidegateError:
                self.abort()
                raise

    def request(self, route: int, body: bytes, *, correlate: bool = False, deadline_ms: Optional[int] = None,
                timeout: Optional[float] = None) -> bytes:
        """Sends, waits, and gives the reply's body."""
        return self.send(route, body, correlate=correlate, deadline_ms=deadline_ms).result(timeout)

    def send(self, route: int, body: bytes, *, correlate: bool = False, deadline_ms: Optional[int] = None) -> Pending:
        """Sends without waiting for the reply; waits only while too much is queued or open.

        Replies come in order, but those to correlated requests when they are ready.
        """
        self._await_room()
        self._serial += 1
        header = self._put_request(route, body, self._serial if correlate else None, deadline_ms, False)
        pending = Pending(self, header, self._queued)
        if correlate:
            self._correlated[self._serial] = pending
        else:
            self._slots.append(pending)
        self._write()
        return pending

    def one_way(self, route: int, body: bytes) -> None:
        """Sends what is never answered. That it was taken is not known."""
        self._await_room()
        self._put_request(route, body, None, None, True)
        self._write()

    def ping(self, timeout: Optional[float] = None) -> float:
        """Seconds until the server's PONG came."""
        before, want = time.monotonic(), self._pongs + 1
        self._put(PING, b"ping")
        self._run(lambda: self._pongs >= want or self._end is not None, timeout)
        if self._pongs < want:
            assert self._end is not None
            raise self._end
        return time.monotonic() - before

    def poll(self, seconds: float = 0.0) -> None:
        """Reads what comes, and answers PING, for so long."""
        try:
            self._run(lambda: self._end is not None, seconds)
        except TimedOut:
            pass

    def close(self) -> None:
        """Ends in order: what was sent leaves, and the stream is read to its end, within the timeout."""
        try:
            self._run(lambda: not self._out or self._end is not None, self.timeout)
            self._socket.shutdown(socket.SHUT_WR)
            self._run(lambda: self._end is not None, self.timeout)
        except (OSError, TidegateError):
            pass
        self.abort()

    def abort(self) -> None:
        """Ends at once."""
        self._fail("the client closed the connection")
        self._selector.close()
        self._socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.abort() if kind else self.close()

    def _put_request(self, route: int, body: bytes, correlation: Optional[int], deadline_ms: Optional[int],
                     one_way: bool) -> int:
        if not 0 <= route <= ROUTE_MAX:
            raise ValueError(f"route {route} is not in 0..={ROUTE_MAX}")
        if self.welcome and len(body) > self.welcome.max_payload:
            raise ValueError(f"a body of {len(body)} bytes is over the server's limit of {self.welcome.max_payload}")
        if self.goaway and not self._end:
            raise Ended("the server is going away", self.goaway, True)
        flags = (correlation is not None) | (deadline_ms is not None) << 1 | one_way << 3
        if not flags:
            self._put(route, body)
            return route
        fields = b"" if correlation is None else struct.pack(">Q", correlation)
        fields += b"" if deadline_ms is None else struct.pack(">I", deadline_ms)
        self._put(EXT | route, struct.pack(">BBH", 1 + len(fields) // 4, flags, 0) + fields + body)
        return EXT | route

    def _put(self, header: int, payload: bytes) -> None:
        if self._end is not None:
            raise Ended("the connection has ended", self.goaway, True)
        frame = encode(header, payload)
        self._out += frame
        self._queued += len(frame)

    def _await_room(self) -> None:
        try:
            self._run(lambda: self._end is not None or (
                len(self._out) <= QUEUED_MAX and len(self._slots) + len(self._correlated) < OPEN_MAX), None)
        except TimedOut:
            raise TimedOut("the server took too little in time; the request was not sent", True) from None

    def _run(self, is_done, timeout: Optional[float]) -> None:
        """Moves bytes both ways until something is so."""
        until = time.monotonic() + (self.timeout if timeout is None else timeout)
        while not is_done():
            if self._end is not None:
                raise self._end
            now = time.monotonic()
            if now > until:
                raise TimedOut("no reply within the timeout; whether the request was processed is unknown")
            beat = self._beat(now)
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
            self._selector.modify(self._socket, events)
            for _key, ready in self._selector.select(max(0.0, min(until, beat) - now)):
                if ready & selectors.EVENT_WRITE:
                    self._write()
                if ready & selectors.EVENT_READ:
                    self._read()

    def _beat(self, now: float) -> float:
        """Asks a silent server for life, and gives up one that stays silent. When to look again."""
        if self.ping_after is None:
            return now + 3600
        self._asked = max(self._asked, self._heard)
        if now >= self._heard + 2 * self.ping_after:
            self._fail("the server is silent")
        elif now >= self._asked + self.ping_after:
            self._asked = now
            self._put(PING, b"life")
        return self._asked + self.ping_after

    def _write(self) -> None:
        try:
            while self._out:
                sent = self._socket.send(self._out[:READ_BYTES])
                del self._out[:sent]
                self._written += sent
        except BlockingIOError:
            pass
        except OSError:
            self._out.clear()  # the server's last words may still be there to be read

    def _read(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            return self._fail(f"the connection was lost: {error}")
        if not data:
            said = f"the server ended the connection: {status_name(self.goaway.status)}: {self.goaway.text}" \
                if self.goaway else "the server ended the connection without a word"
            return self._fail(said)
        self._decoder.feed(data)
        try:
            while (frame := self._decoder.next()) is not None:
                self._heard = time.monotonic()
                self._on_frame(*frame)
        except ProtocolError as error:
            self._fail(str(error), error)

    def _on_frame(self, header: int, payload: bytes) -> None:
        if header & CONTROL:
            return self._on_control(header, payload)
        if not header & EXT:
            return self._answer_slot(header, payload)
        block = parse_block(payload)
        body = payload[block.size :]
        outcome = body if block.status == 0 else StatusError(
            block.status, body.decode(errors="replace"), block.tag(1))
        if block.correlation is None:
            return self._answer_slot(header, outcome)
        pending = self._correlated.pop(block.correlation, None)
        if pending is None or pending._header != header:
            raise ProtocolError("bad_reply", "a reply came to no request of ours")
        pending._outcome = outcome

    def _answer_slot(self, header: Optional[int], outcome: bytes | StatusError) -> None:
        if not self._slots or header not in (None, self._slots[0]._header):
            raise ProtocolError("bad_reply", "a reply came to no request of ours")
        self._slots.popleft()._outcome = outcome

    def _on_control(self, header: int, payload: bytes) -> None:
        if header == PING:
            if len(self._out) <= 2 * QUEUED_MAX:
                self._put(PONG, payload)
        elif header == PONG:
            self._pongs += payload == b"ping"
        elif header == ERROR:
            self._answer_slot(None, StatusError(*parse_status_text(payload, ">H")))
        elif header == GOAWAY:
            self.goaway = Goaway(*parse_status_text(payload, ">HI"))
        elif header == WELCOME:
            self.welcome = parse_welcome(payload)
            self._decoder.max_control = max(CONTROL_MAX, self._decoder.max_payload + 512)
        elif header == NOTICE:
            self.notices.append(parse_status_text(payload, ">HH"))
        elif header in CLIENT_ONLY:
            raise ProtocolError("wrong_direction", f"the server sent {header:04x}, which only clients send")

    def _fail(self, why: str, error: Optional[ProtocolError] = None) -> None:
        """The end: every open request learns what is known of it."""
        if self._end is not None:
            return
        # A drain is told at once to who said HELLO, so there the replies come behind it, or not at all.
        status = self.goaway.status if self.goaway else None
        answered_first = status in ANSWERED_FIRST and not (status == DRAINING and self.welcome)
        self._end = error or Ended(why, self.goaway, answered_first)
        for pending in (*self._slots, *self._correlated.values()):
            is_unsent = pending._end > self._written
            pending._outcome = error or Ended(why, self.goaway, is_unsent or answered_first)
        self._slots.clear()
        self._correlated.clear()


def main() -> int:
    parser = argparse.ArgumentParser(description="Sends requests to a tidegate server and prints the replies.")
    parser.add_argument("address", help="HOST:PORT or unix:PATH")
    parser.add_argument("body", nargs="+", help="the body of a request; more than one are pipelined")
    parser.add_argument("--route", type=int, default=1, help="0 to 16383 (default: 1)")
    parser.add_argument("--deadline-ms", type=int, help="what the server may take for each, in milliseconds")
    parser.add_argument("--correlate", action="store_true", help="replies may come in any order")
    parser.add_argument("--one-way", action="store_true", help="no reply is wanted")
    parser.add_argument("--token", default="", help="say HELLO with this token")
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds for each call (default: 10)")
    asked = parser.parse_args()
    try:
        with Client(asked.address, timeout=asked.timeout, token=asked.token.encode()) as client:
            bodies = [body.encode() for body in asked.body]
            if asked.one_way:
                for body in bodies:
                    client.one_way(asked.route, body)
                return 0
            sent = [client.send(asked.route, body, correlate=asked.correlate, deadline_ms=asked.deadline_ms)
                    for body in bodies]
            for each in sent:
                sys.stdout.buffer.write(each.result() + b"\n")
    except (TidegateError, OSError, ValueError) as error:
        print(f"tidegate.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
