#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""A backend for tidegate servers in one file, to be copied together with tidegate.py: Python 3.9 or later.

    async def handle(request: Request) -> bytes:
        return request.body.upper()

    asyncio.run(serve("127.0.0.1:9000", {7: handle}, one_way={8: note}))

Every request gets exactly one reply: what the handler returns, what it raises as StatusError, or INTERNAL for any other
exception. Replies without a correlation leave in the order of the requests, others when they are ready. Deadlines are
kept, lengths and CRCs checked, and SIGTERM and SIGINT drain: what was received is answered, then each connection ends.
At most OPEN_MAX requests of a connection are open; it is not read while that many are, or while its replies wait.

It checks no tokens, knows no topics, and speaks no TLS. `tidegate conform` shows that it keeps the protocol.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import signal
import struct
from typing import Awaitable, Callable, Mapping, NamedTuple, Optional

from tidegate import (
    CONTROL, CONTROL_MAX, DRAINING, ERROR, EXT, GOAWAY, HELLO, NOTICE, PING, PONG, READ_BYTES, ROUTE_MAX, WELCOME,
    Block, Decoder, ProtocolError, StatusError, encode, parse_block, parse_tags, text_of)

OPEN_MAX = 128  # requests of a connection that may be open
FRAME_SECONDS = 30.0  # a frame begun must be whole, and output be taken, after so long
ANSWER_SECONDS = 30.0  # for a handler, if the request has no deadline of its own
GRACE_SECONDS = 30.0  # for all answers in a drain
LINGER_SECONDS, LINGER_BYTES = 2.0, 1 << 20  # what is still read behind our last words

PROTOCOL, NO_ROUTE, OUTCOME_UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, TOO_LARGE, UNSUPPORTED = 1, 4, 7, 8, 10, 14, 15
SUBSCRIBE, UNSUBSCRIBE, PUBLISH, ACK = 0x4006, 0x4007, 0x4008, 0x400A
SERVER_ONLY = (WELCOME, ERROR, GOAWAY, 0x4009, 0x400A, 0x400B, NOTICE)
TOPIC_MAX, PING_MAX = 200, 64  # bytes
MAX_RECEIVE = 1  # a tag of HELLO
ID = re.compile(rb"[A-Za-z0-9_-]{1,64}")


class Request(NamedTuple):
    route: int
    body: bytes
    #: Seconds until the requester gives up.
    time_left: float


Handler = Callable[[Request], Awaitable[bytes]]


class Refusal(Exception):
    """The connection ends with GOAWAY of this status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


def bad(text: str) -> ProtocolError:
    return ProtocolError("bad_control", text)


def short(payload: bytes, at: int, width: int = 1) -> tuple[bytes, int]:
    """Bytes with their length in front, and where they end."""
    start = at + width
    end = start + int.from_bytes(payload[at:start], "big")
    if start > len(payload) or end > len(payload):
        raise bad("a control frame is too short")
    return payload[start:end], end


class Connection:
    """One peer. Frames are handled in order; each request becomes a task."""

    def __init__(self, backend: Backend, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.backend, self.reader, self.writer = backend, reader, writer
        self.decoder = Decoder(backend.max_payload)
        self.is_first, self.is_known, self.is_draining = True, False, False
        self.open = asyncio.Semaphore(OPEN_MAX)
        self.tasks: set[asyncio.Task[None]] = set()
        self.last_in_order: Optional[asyncio.Task[None]] = None
        self.max_receive = 1 << 32  # bytes of a reply's body
        self.noticed = float("-inf")
        self.reading: Optional[asyncio.Task[None]] = None

    async def run(self) -> None:
        """To the end of the connection, in order: what is open is answered, then the last words."""
        words: Optional[tuple[int, str]] = None
        self.reading = asyncio.ensure_future(self.read())
        try:
            await self.reading
        except ProtocolError as error:
            words = (TOO_LARGE if error.reason == "too_large" else PROTOCOL, str(error))
        except Refusal as refusal:
            words = (refusal.status, refusal.text)
        except asyncio.CancelledError:  # drain() stops the reading of a plain client
            words = (DRAINING, "the backend is going away")
        except OSError:
            return self.abort()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=GRACE_SECONDS + ANSWER_SECONDS)
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            if words:
                await self.put(GOAWAY, struct.pack(">HI", words[0], 0) + words[1].encode()[:512])
            if self.writer.can_write_eof():
                self.writer.write_eof()
            if words:  # else its end was already read
                await asyncio.wait_for(self.linger(), LINGER_SECONDS)
        self.abort()

    def abort(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.writer.close()

    async def linger(self) -> None:
        """Closing with unread input would make the kernel throw away what is on its way."""
        thrown_away = 0
        while thrown_away < LINGER_BYTES and (data := await self.reader.read(READ_BYTES)):
            thrown_away += len(data)

    def drain(self) -> None:
        """A client that said HELLO is told now and ends by itself; a plain one is answered and ended."""
        self.is_draining = True
        if self.is_known:
            self.writer.write(encode(GOAWAY, struct.pack(">HI", DRAINING, 0) + b"the backend is going away"))
        elif self.reading:
            self.reading.cancel()

    async def read(self) -> None:
        while True:
            patience = FRAME_SECONDS if self.decoder.needs() else None
            try:
                data = await asyncio.wait_for(self.reader.read(READ_BYTES), patience)
            except asyncio.TimeoutError:
                raise ProtocolError("frame_deadline", f"a frame was not whole after {FRAME_SECONDS:g} s") from None
            if not data:
                return
            self.decoder.feed(data)
            while (frame := self.decoder.next()) is not None:
                await self.on_frame(*frame)
                self.is_first = False

    async def put(self, header: int, payload: bytes) -> None:
        self.writer.write(encode(header, payload))
        await asyncio.wait_for(self.writer.drain(), FRAME_SECONDS)

    async def on_frame(self, header: int, payload: bytes) -> None:
        block = parse_block(payload) if header & EXT else None
        if header & CONTROL:
            return await self.on_control(header & ~EXT, block, payload[block.size if block else 0 :])
        route, body = header & ROUTE_MAX, payload[block.size if block else 0 :]
        is_one_way = route in self.backend.one_way
        handler = self.backend.routes.get(route) or self.backend.one_way.get(route)
        correlation = block.correlation if block else None
        is_silent = block is not None and bool(block.flags & 8) or is_one_way and correlation is None
        in_order = not is_silent and correlation is None
        await self.open.acquire()
        task = asyncio.ensure_future(self.answer(
            header, block, handler, body, is_one_way, is_silent, self.last_in_order if in_order else None))
        if in_order:
            self.last_in_order = task
        self.tasks.add(task)
        task.add_done_callback(self.forget)

    def forget(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        self.open.release()
        if not task.cancelled() and task.exception():
            self.writer.close()  # it could not be written: the peer is gone, or does not read

    async def answer(self, header: int, block: Optional[Block], handler: Optional[Handler], body: bytes,
                     is_one_way: bool, is_silent: bool, before: Optional[asyncio.Task[None]]) -> None:
        """A request's life: handled at once, replied to behind the one before it."""
        status, said = 0, b""
        try:
            said = await self.handle(header & ROUTE_MAX, block, handler, body)
            if len(said) > self.max_receive:
                raise StatusError(TOO_LARGE, f"the reply of {len(said)} bytes is over your {self.max_receive}")
        except StatusError as error:
            status, said = error.status, error.text.encode()[:512]
        if is_silent:
            if status in (NO_ROUTE, DRAINING, UNSUPPORTED):
                await self.notice(status, header, said)
            return
        if before:
            await asyncio.wait([before])
        if is_one_way and status == 0:
            said = b""
        if block is None and status:
            return await self.put(ERROR, struct.pack(">H", status) + said)
        if block is None:
            return await self.put(header, said)
        await self.put(header, reply_block(status, block.correlation) + said)

    async def handle(self, route: int, block: Optional[Block], handler: Optional[Handler], body: bytes) -> bytes:
        """The handler's answer, or StatusError for every way in which there is none."""
        if block and (block.flags & 0x70 or any(tag >= 128 for tag, _ in block.tags)):
            raise StatusError(UNSUPPORTED, "a reserved flag or an unknown critical tag")
        if handler is None:
            raise StatusError(NO_ROUTE, f"nobody serves route {route}")
        if self.is_draining:
            raise StatusError(DRAINING, "the backend is going away")
        time_left = ANSWER_SECONDS
        if block and block.deadline_ms is not None:
            time_left = min(time_left, block.deadline_ms / 1000)
        if time_left <= 0:
            raise StatusError(DEADLINE_EXCEEDED, "its deadline is over")
        try:
            return await asyncio.wait_for(handler(Request(route, body, time_left)), time_left)
        except StatusError:
            raise
        except asyncio.TimeoutError:
            raise StatusError(OUTCOME_UNKNOWN, "no answer in time") from None
        except Exception as error:  # whatever a handler raises costs its requester an INTERNAL, and nobody else
            raise StatusError(INTERNAL, f"the handler failed: {type(error).__name__}") from error

    async def notice(self, status: int, header: int, text: bytes) -> None:
        now = asyncio.get_running_loop().time()
        if self.is_known and now - self.noticed >= 1:
            self.noticed = now
            await self.put(NOTICE, struct.pack(">HH", status, header) + text)

    async def on_control(self, code: int, block: Optional[Block], payload: bytes) -> None:
        if code in SERVER_ONLY:
            raise ProtocolError("wrong_direction", f"{code:04x} is sent by servers only")
        if code in (PING, PONG):
            if block or len(payload) > PING_MAX:
                raise bad(f"PING and PONG have at most {PING_MAX} bytes and no block")
            if code == PING:
                await self.put(PONG, payload)
            return
        if code not in (HELLO, SUBSCRIBE, UNSUBSCRIBE, PUBLISH):
            raise ProtocolError("unknown_control", f"there is no control frame {code:04x}")
        if block and block.flags & ~0x75:
            raise bad("a control frame's block has correlation and trace, nothing else")
        if code == HELLO:
            return await self.on_hello(block, payload)
        check_topics(code, payload)
        text = b"no topics here"
        if block and block.correlation is not None:
            return await self.put(ACK | EXT, reply_block(UNSUPPORTED, block.correlation))
        await self.notice(UNSUPPORTED, code | (EXT if block else 0), text)

    async def on_hello(self, block: Optional[Block], payload: bytes) -> None:
        if len(payload) < 2:
            raise bad("HELLO is too short")
        client_id, at = short(payload, 2)
        _token, at = short(payload, at, 2)
        tags = parse_tags(payload[at:], "bad_control")
        if client_id and not ID.fullmatch(client_id):
            raise bad("an id is 1 to 64 of A-Z a-z 0-9 _ -")
        if any(tag == MAX_RECEIVE and len(value) != 4 for tag, value in tags):
            raise bad("max_receive has 4 bytes")
        if not self.is_first:
            raise ProtocolError("late_hello", "HELLO is the first frame or none")
        if payload[0] == 0 or any(tag >= 128 for tag, _ in tags) or block and block.flags & 0x70:
            raise Refusal(UNSUPPORTED, "this is version 1, without critical tags and reserved flags")
        self.is_known = True
        self.max_receive = next((int.from_bytes(value, "big") for tag, value in tags if tag == MAX_RECEIVE), 1 << 32)
        self.decoder.max_control = max(CONTROL_MAX, self.backend.max_payload + 512)
        names = b"".join(bytes([len(name)]) + name for name in (b"backend", b"peer"))
        await self.put(WELCOME, struct.pack(">BBII", 1, 0, self.backend.max_payload, 0) + names)
        if self.is_draining:
            self.drain()


def reply_block(status: int, correlation: Optional[int]) -> bytes:
    if correlation is None:
        return struct.pack(">BBH", 1, 0, status)
    return struct.pack(">BBHQ", 3, 1, status, correlation)


def check_topics(code: int, payload: bytes) -> None:
    """SUBSCRIBE and the like are read and refused; what they are not ends the connection."""
    if code == PUBLISH:
        topic, _ = short(payload, 0)
    else:
        group, at = short(payload, 1)
        text_of(group)
        topic, at = short(payload, at)
        parse_tags(payload[at:], "bad_control")
    text_of(topic)
    if len(topic) > TOPIC_MAX:
        raise bad(f"a topic of {len(topic)} bytes is over the limit of {TOPIC_MAX}")


class Backend:
    """What all connections share. Routes are 0 to 16383; those in `one_way` never reply."""

    def __init__(self, routes: Mapping[int, Handler], one_way: Mapping[int, Handler], max_payload: int) -> None:
        self.routes, self.one_way, self.max_payload = routes, one_way, max_payload
        self.connections: dict[Connection, asyncio.Task[None]] = {}

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(self, reader, writer)
        task = asyncio.current_task()
        assert task is not None
        self.connections[connection] = task
        try:
            await connection.run()
        finally:
            del self.connections[connection]

    async def drain(self) -> None:
        for connection in self.connections:
            connection.drain()
        if self.connections:
            await asyncio.wait(self.connections.values(), timeout=GRACE_SECONDS)


async def serve(address: str, routes: Mapping[int, Handler], *, one_way: Optional[Mapping[int, Handler]] = None,
                max_payload: int = 1 << 20) -> None:
    """Serves on HOST:PORT until SIGTERM or SIGINT, then drains. `max_payload`: of a request's body, in bytes."""
    backend = Backend(routes, one_way or {}, max_payload)
    host, _, port = address.rpartition(":")
    server = await asyncio.start_server(backend.accept, host.strip("[]"), int(port))
    print("backend on", "%s:%d" % server.sockets[0].getsockname()[:2], flush=True)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    server.close()
    await backend.drain()


async def echo(request: Request) -> bytes:
    return request.body


async def slow(request: Request) -> bytes:
    """Takes as many milliseconds as its body says."""
    await asyncio.sleep(min(float(request.body or 0), 60_000) / 1000)
    return request.body


async def discard(_request: Request) -> bytes:
    return b""


def main() -> None:
    parser = argparse.ArgumentParser(description="A backend that echoes on route 1, discards on 2, and is slow on 3.")
    parser.add_argument("address", nargs="?", default="127.0.0.1:7421", help="HOST:PORT (default: 127.0.0.1:7421)")
    asyncio.run(serve(parser.parse_args().address, {1: echo, 3: slow}, one_way={2: discard}))


if __name__ == "__main__":
    main()
