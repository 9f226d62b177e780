"""Drives docs/clients/tidegate.py for tests/clients.rs: commands as arguments, a line for each outcome.

    driver.py vectors                               streams on standard input, see vectors() below
    driver.py ADDRESS [OPTION=VALUE ...] COMMAND ...    see session() below; the other drivers do the same
"""

import os
import sys
import time
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "docs", "clients"))
import tidegate as tg  # noqa: E402


def hexed(data: bytes) -> str:
    return data.hex() or "-"


def meaning(header: int, payload: bytes) -> str:
    """A frame in the words of vectors.txt; `other` for what this client skips."""
    if not header & tg.CONTROL:
        if not header & tg.EXT:
            return f"frame {header:04x} {hexed(payload)}"
        block = tg.parse_block(payload)
        words = [f"ext {header:04x}"]
        words += [f"status {block.status}"] if block.status else []
        words += [f"id {block.correlation:016x}"] if block.correlation is not None else []
        words += [f"tag {number} {hexed(value)}" for number, value in block.tags]
        return " ".join([*words, "body", hexed(payload[block.size :])])
    if header in (tg.PING, tg.PONG):
        return f"{'ping' if header == tg.PING else 'pong'} {hexed(payload)}"
    if header == tg.ERROR:
        status, text = tg.parse_status_text(payload, ">H")
        return f"error {status} {hexed(text.encode())}"
    if header == tg.GOAWAY:
        status, after, text = tg.parse_status_text(payload, ">HI")
        return f"goaway {status} {after} {hexed(text.encode())}"
    if header == tg.NOTICE:
        status, about, text = tg.parse_status_text(payload, ">HH")
        return f"notice {status} {about:04x} {hexed(text.encode())}"
    if header == tg.WELCOME:
        said = tg.parse_welcome(payload)
        ids = f"{hexed(said.server_id.encode())} {hexed(said.client_id.encode())}"
        return f"welcome {said.version} {said.max_payload} {said.heartbeat_ms} {ids}"
    return f"other {header:04x} {hexed(payload)}"


def vectors() -> None:
    """Lines `crc|raw|meant LIMIT CHUNK HEX` in, one line each out: the CRC, or the frames of that stream, fed CHUNK
    bytes at a time."""
    for line in sys.stdin:
        mode, limit, chunk, data = line.split()
        stream = b"" if data == "-" else bytes.fromhex(data)
        if mode == "crc":
            print(f"{zlib.crc32(stream):08x}")
            continue
        decoder, found = tg.Decoder(int(limit)), []
        try:
            for at in range(0, len(stream), int(chunk)):
                decoder.feed(stream[at : at + int(chunk)])
                while (frame := decoder.next()) is not None:
                    header, payload = frame
                    found.append(meaning(header, payload) if mode == "meant" else f"{header:04x} {hexed(payload)}")
            if decoder.needs():
                found.append(f"need_more {decoder.needs()}")
        except tg.ProtocolError as error:
            found.append(f"close {error.reason}")
        print(" | ".join(found))


def outcome(act) -> str:
    try:
        return act()
    except tg.StatusError as error:
        return f"status {error.status} {'undone' if error.not_processed else 'unsure'} {error.text}"
    except tg.Ended as error:
        why = f"goaway {error.goaway.status}" if error.goaway else "eof"
        return f"ended {why} {'undone' if error.not_processed else 'unsure'}"
    except tg.TimedOut:
        return "timeout"
    except tg.ProtocolError as error:
        return f"fault {error.reason}"
    except ValueError:
        return "refused"


def session(address: str, words: list) -> None:
    """Options timeout, limit (ms, bytes), hello, token, ping (ms); then commands, each ROUTE:TEXT where one is needed:

    ask, send, csend, dsend (deadline 0 ms), fill:ROUTE:BYTES, oneway; wait: the outcomes of all that was sent; pipe:ROUTE:COUNT:BYTES;
    ping; poll:MS; told: whether the server said that it goes; stdin: waits for a line; big:ROUTE:BYTES; close
    """
    options = dict(word.split("=", 1) for word in words if "=" in word)
    say = lambda text: print(text, flush=True)  # noqa: E731
    try:
        client = tg.Client(
            address, timeout=int(options.get("timeout", 20_000)) / 1000, max_payload=int(options.get("limit", 2 << 20)),
            hello="hello" in options, token=options.get("token", "").encode(),
            ping_after=int(options["ping"]) / 1000 if "ping" in options else None)
    except tg.TidegateError as error:
        def again(error=error):
            raise error
        return say(outcome(again))
    if client.welcome:
        say(f"welcome {client.welcome.version} {client.welcome.max_payload} {client.welcome.heartbeat_ms}")
    sent = []
    for word in (word for word in words if "=" not in word):
        what, *rest = word.split(":", 2)
        route, text = int(rest[0]) if rest else 0, rest[1].encode() if len(rest) > 1 else b""
        more = {"csend": {"correlate": True}, "dsend": {"deadline_ms": 0}}.get(what, {})
        if what == "fill":
            what, text = "send", b"." * int(text)
        if what == "ask":
            say(outcome(lambda: "ok " + client.request(route, text).decode()))
        elif what in ("send", "csend", "dsend"):
            try:
                sent.append(client.send(route, text, **more))
            except tg.TidegateError as error:
                def failed(error=error):
                    raise error
                say("unsent " + outcome(failed))
        elif what == "oneway":
            client.one_way(route, text)
        elif what == "wait":
            for each in sent:
                say(outcome(lambda: "ok " + each.result().decode()))
            sent = []
        elif what == "pipe":
            count, size = (int(number) for number in rest[1].split(":"))
            bodies = [(b"%d " % number).ljust(size, b".") for number in range(count)]
            pending = [client.send(route, body) for body in bodies]
            say("%d in order" % sum(each.result() == body for each, body in zip(pending, bodies)))
        elif what == "big":
            say(outcome(lambda: "ok %d" % len(client.request(route, b"." * int(rest[1])))))
        elif what == "ping":
            say(outcome(lambda: "pong" if client.ping() >= 0 else "never"))
        elif what == "poll":
            until = time.monotonic() + route / 1000
            while client.goaway is None and time.monotonic() < until:
                outcome(lambda: client.poll(0.05) or "")
        elif what == "told":
            say(f"goaway {client.goaway.status}" if client.goaway else "nothing")
        elif what == "stdin":
            say("ready")
            sys.stdin.readline()
        elif what == "close":
            client.close()
            say("closed")


if __name__ == "__main__":
    if sys.argv[1] == "vectors":
        vectors()
    else:
        session(sys.argv[1], sys.argv[2:])
