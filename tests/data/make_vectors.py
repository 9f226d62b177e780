#!/usr/bin/env python3
"""Makes vectors.txt: what the bytes of the protocol in docs/PROTOCOL.md must be taken for.

This is a second implementation, on purpose: it shares no code with the server, only the document. It needs Python 3
and its standard library (struct, zlib).

    python3 tests/data/make_vectors.py             writes vectors.txt beside this script
    python3 tests/data/make_vectors.py --check     writes nothing; exits 1 if vectors.txt is not what would be written

The head of vectors.txt explains the format.
"""

import pathlib
import struct
import sys
import zlib

HEAD = """\
# Golden vectors of the tidegate protocol, version 1. Made by make_vectors.py; do not edit.
#
# Cases are separated by an empty line. A line is a key, a space, a value; a line that begins with # is a comment.
#
#   case    its name, once in this file
#   kind    crc         the CRC of the bytes is wanted
#           frame       the bytes are the beginning of a connection that speaks frames
#           line        the same for text lines
#           error_line  the line that tells of a failure with this status and text
#           tls_alert   what is sent to a TLS client before the close
#   from    client or server: who sends (frame, line)
#   limit   the listener's max_payload in bytes (frame, line)
#   bytes   in hex, see below
#   want    what they are, one thing a line, in order (see below); nothing else may follow, except that bytes behind
#           a close don't matter
#
# Bytes are hex words, to be joined; `61*1048576` is the byte 61 that many times; `-` is no bytes at all.
# Headers are four hex digits; statuses, sizes and times are decimal; texts are UTF-8 as bytes.
#
#   want crc SUM                    eight hex digits
#   want frame HEADER PAYLOAD       a whole frame on a route
#   want unsupported HEADER PAYLOAD a whole frame whose extension block is not served yet: ERROR 15, connection stays
#   want ping PAYLOAD               a PING; a PONG with the same bytes is due
#   want pong PAYLOAD               a PONG
#   want error STATUS TEXT          an ERROR of the server
#   want goaway STATUS MS TEXT      a GOAWAY of the server
#   want line PAYLOAD               a whole line
#   want need_more SIZE             an incomplete frame, which has SIZE bytes (6 while its length is not known)
#   want need_more                  an incomplete line
#   want error_line STATUS TEXT     the case's bytes are the line for this status and this text
#   want tls_alert                  the case's bytes are that alert
#   want close REASON STATUS        nothing more is taken from this connection, and its close has this reason and this
#                                   status; `-` where the protocol promises no status
#   want eof line PAYLOAD           if the stream ends here, this is the last line
#   want eof nothing                if the stream ends here, it ends well
#   want eof truncated              if the stream ends here, it ends within a frame
"""

EXT, CONTROL = 0x8000, 0x4000
PING, PONG, HELLO, ERROR, GOAWAY = 0, 1, 2, 4, 5
MAX = 1 << 20
CONTROL_MAX = 4096
EXTENSION_MAX = 1020
STATUS = {
    "OK": 0, "PROTOCOL": 1, "UNAUTHENTICATED": 2, "FORBIDDEN": 3, "NO_ROUTE": 4, "OVERLOADED": 5, "UNAVAILABLE": 6,
    "OUTCOME_UNKNOWN": 7, "DEADLINE_EXCEEDED": 8, "DRAINING": 9, "INTERNAL": 10, "SLOW_CONSUMER": 11, "REPLACED": 12,
    "IDLE": 13, "TOO_LARGE": 14, "UNSUPPORTED": 15,
}
REASON_STATUS = {
    "too_large": 14, "line_too_long": 14, "bad_crc": 1, "unknown_control": 1, "bad_control": 1, "wrong_direction": 1,
    "tls": "-", "http": "-", "resp": "-", "proxy": "-",
}


class Run:
    """One byte many times, written as `61*1048576`."""

    def __init__(self, byte, count):
        self.byte, self.count = byte, count

    def __bytes__(self):
        return bytes([self.byte]) * self.count


def raw(*parts):
    """All parts as bytes."""
    return b"".join(bytes(part) for part in parts)


def words(*parts):
    """All parts in the notation of the file."""
    shown = [f"{p.byte:02x}*{p.count}" if isinstance(p, Run) else p.hex() for p in parts if len(bytes(p))]
    return " ".join(shown) or "-"


def prefix(header, length):
    return struct.pack(">HI", header, length)


def frame(header, *payload):
    """The parts of a frame: header and length, payload, CRC."""
    head = prefix(header, len(raw(*payload)))
    return [head, *payload, struct.pack(">I", zlib.crc32(raw(head, *payload)))]


def flip(data, at, bit):
    """`data` with one bit of byte `at` turned over."""
    return data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]


def close(reason):
    return f"close {reason} {REASON_STATUS[reason]}"


class Book:
    """The cases in the order in which they are written."""

    def __init__(self):
        self.names, self.text = set(), [HEAD]

    def add(self, name, kind, parts, wants, limit=None, sender=None):
        assert name not in self.names, name
        self.names.add(name)
        lines = [f"case {name}", f"kind {kind}"]
        lines += [f"from {sender}"] if sender else []
        lines += [f"limit {limit}"] if limit is not None else []
        lines += [f"bytes {words(*parts)}", *(f"want {want}" for want in wants)]
        self.text.append("\n".join(lines) + "\n")

    def frames(self, name, parts, *wants, limit=MAX, sender="client"):
        self.add(name, "frame", parts, wants, limit, sender)

    def lines(self, name, parts, *wants, limit=16):
        self.add(name, "line", parts, wants, limit, "client")


def crc_cases(book):
    book.add("crc_check_value", "crc", [b"123456789"], ["crc cbf43926"])
    for name, parts in [
        ("crc_of_nothing", []),
        ("crc_of_six_zeros", [bytes(6)]),
        ("crc_of_a_mebibyte", [Run(0xA5, MAX)]),
    ]:
        book.add(name, "crc", parts, [f"crc {zlib.crc32(raw(*parts)):08x}"])


def plain_frames(book):
    """Frames on routes, as any client sends them."""
    book.frames("empty_payload", frame(1), "frame 0001 -", "eof nothing")
    book.frames("worked_example", frame(1, b"hello"), f"frame 0001 {b'hello'.hex()}")
    book.frames("route_0", frame(0, b"a"), "frame 0000 61")
    book.frames("last_route", frame(0x3FFF, b"a"), "frame 3fff 61")
    book.frames("all_byte_values", frame(2, bytes(range(256))), f"frame 0002 {bytes(range(256)).hex()}")
    book.frames("two_frames_in_one", frame(1, b"a") + frame(2, b"bc"), "frame 0001 61", "frame 0002 6263")
    many = [part for i in range(20) for part in frame(i, bytes([i]) * i)]
    book.frames("twenty_frames_in_one", many, *(f"frame {i:04x} {words(bytes([i]) * i)}" for i in range(20)))
    inner = raw(*frame(9, b"inner"))
    book.frames("frame_within_a_payload", frame(1, inner), f"frame 0001 {inner.hex()}")
    # Headers that are also the first bytes of other protocols, with lengths that are ours.
    book.frames("route_like_ssl3", frame(0x1603, Run(0x61, 0xF401)), f"frame 1603 61*{0xF401}")
    book.frames("route_like_resp", frame(0x2A31, b"\r\n$4"), "frame 2a31 0d0a2434")


def sizes(book):
    """Around every limit."""
    a = 0x61
    book.frames("payload_at_limit", frame(1, Run(a, MAX)), f"frame 0001 61*{MAX}")
    book.frames("payload_under_limit", frame(1, Run(a, MAX - 1)), f"frame 0001 61*{MAX - 1}")
    book.frames("payload_over_limit", frame(1, Run(a, MAX + 1)), close("too_large"))
    book.frames("length_over_limit_alone", [prefix(1, MAX + 1)], close("too_large"))
    book.frames("small_limit_reached", frame(1, b"abcd"), "frame 0001 61626364", limit=4)
    book.frames("small_limit_passed", [prefix(1, 5)], close("too_large"), limit=4)
    book.frames("limit_0_empty", frame(1), "frame 0001 -", limit=0)
    book.frames("limit_0_one_byte", [prefix(1, 1)], close("too_large"), limit=0)
    ext = MAX + EXTENSION_MAX
    book.frames("extension_at_limit", frame(EXT | 1, Run(a, ext)), f"unsupported 8001 61*{ext}")
    book.frames("extension_over_limit", [prefix(EXT | 1, ext + 1)], close("too_large"))
    book.frames("control_over_limit", [prefix(CONTROL | PING, CONTROL_MAX + 1)], close("too_large"))
    book.frames("control_length_at_limit", [prefix(CONTROL | PING, CONTROL_MAX)], f"need_more {CONTROL_MAX + 10}")
    book.frames("control_limit_is_not_max_payload", frame(CONTROL | PING, b"abc"), "ping 616263", limit=0)
    for name, header in [("route", 1), ("control", CONTROL), ("extension", EXT), ("both_bits", EXT | CONTROL)]:
        book.frames(f"largest_length_{name}", [prefix(header, 0xFFFFFFFF)], close("too_large"))
    book.frames("all_ones", [Run(0xFF, 64)], close("too_large"))
    book.frames("second_frame_too_large", frame(1, b"a") + [prefix(1, MAX + 1)], "frame 0001 61", close("too_large"))


def broken(book):
    """Frames that arrive damaged, or not at all."""
    good = raw(*frame(1, b"hello"))
    for name, at in [("header", 1), ("payload_first", 6), ("payload_last", 10), ("crc_first", 11), ("crc_last", 14)]:
        book.frames(f"flipped_bit_in_{name}", [flip(good, at, 0)], close("bad_crc"))
    book.frames("flipped_extension_bit", [flip(good, 0, 7)], close("bad_crc"))
    book.frames("flipped_control_bit", [flip(good, 0, 6)], close("bad_crc"))
    book.frames("flipped_length_bit_down", [flip(good, 5, 0)], close("bad_crc"))
    book.frames("flipped_length_bit_up", [flip(good, 5, 1)], "need_more 17", "eof truncated")
    book.frames("flipped_length_bit_far_up", [flip(good, 2, 7)], close("too_large"))
    book.frames("length_bit_eats_the_next", [flip(good, 5, 4), good], "need_more 31", "eof truncated")
    book.frames("all_zero", [Run(0, 10)], close("bad_crc"))
    swapped = good[:-4] + good[:-5:-1]
    book.frames("crc_little_endian", [swapped], close("bad_crc"))
    payload_only = good[:-4] + struct.pack(">I", zlib.crc32(b"hello"))
    book.frames("crc_of_payload_only", [payload_only], close("bad_crc"))
    book.frames("good_behind_bad", [flip(good, 6, 0), good], close("bad_crc"))
    book.frames("bad_behind_good", [good, flip(good, 6, 0)], "frame 0001 68656c6c6f", close("bad_crc"))
    book.frames("nothing", [], "need_more 6", "eof nothing")
    for cut in range(1, len(good)):
        size = 6 if cut < 6 else len(good)
        book.frames(f"cut_at_{cut}", [good[:cut]], f"need_more {size}", "eof truncated")
    wants = ["frame 0001 68656c6c6f", "need_more 15", "eof truncated"]
    book.frames("cut_in_second_frame", [good, good[:9]], *wants)


def control_frames(book):
    c = CONTROL
    longest = bytes(range(64))
    book.frames("ping_empty", frame(c | PING), "ping -")
    book.frames("ping", frame(c | PING, b"abc"), "ping 616263")
    book.frames("ping_longest", frame(c | PING, longest), f"ping {longest.hex()}")
    book.frames("ping_too_long", frame(c | PING, longest, b"!"), close("bad_control"))
    book.frames("pong", frame(c | PONG, b"abc"), "pong 616263")
    book.frames("pong_too_long", frame(c | PONG, longest, b"!"), close("bad_control"))
    between = frame(1, b"a") + frame(c | PING, b"p") + frame(2, b"b")
    book.frames("ping_between_requests", between, "frame 0001 61", "ping 70", "frame 0002 62")
    book.frames("ping_with_extension", frame(EXT | c | PING), close("bad_control"))
    for name, code in [("13", 13), ("14", 14), ("last", 0x3FFF)]:
        book.frames(f"unknown_control_{name}", frame(c | code), close("unknown_control"))
    book.frames("unknown_control_with_extension", frame(EXT | c | 13), close("unknown_control"))
    book.frames("unknown_control_behind_request", frame(1, b"a") + frame(c | 99), "frame 0001 61", close("unknown_control"))
    error, goaway = struct.pack(">H", 5), struct.pack(">HI", 9, 250)
    book.frames("error_from_client", frame(c | ERROR, error), close("wrong_direction"))
    book.frames("goaway_from_client", frame(c | GOAWAY, goaway), close("wrong_direction"))


def server_frames(book):
    """What a client must be able to read."""

    def server(name, parts, *wants):
        book.frames(name, parts, *wants, sender="server")

    def error(status, text):
        return frame(CONTROL | ERROR, struct.pack(">H", status), text)

    def goaway(status, ms, text):
        return frame(CONTROL | GOAWAY, struct.pack(">HI", status, ms), text)

    server("reply", frame(1, b"hello"), "frame 0001 68656c6c6f")
    server("server_ping", frame(CONTROL | PING, b"beat"), "ping 62656174")
    for name, status in STATUS.items():
        server(f"error_{name.lower()}", error(status, b""), f"error {status} -")
        server(f"goaway_{name.lower()}", goaway(status, 0, b""), f"goaway {status} 0 -")
    utf8 = "zu groß: 水 😀".encode()
    server("error_with_text", error(5, b"try later"), f"error 5 {b'try later'.hex()}")
    server("error_with_utf8", error(14, utf8), f"error 14 {utf8.hex()}")
    server("error_application", error(256, b"mine"), f"error 256 {b'mine'.hex()}")
    server("error_last_application", error(65535, b""), "error 65535 -")
    server("error_unknown_status", error(99, b""), "error 99 -")
    server("goaway_with_text", goaway(9, 250, b"bye"), "goaway 9 250 627965")
    server("goaway_longest_wait", goaway(9, 0xFFFFFFFF, b""), "goaway 9 4294967295 -")
    server("error_longest_text_sent", error(10, Run(0x61, 512)), "error 10 61*512")
    server("error_longest_text_read", error(10, Run(0x61, CONTROL_MAX - 2)), f"error 10 61*{CONTROL_MAX - 2}")
    server("reply_error_reply_goaway", frame(1, b"a") + error(4, b"") + frame(1, b"c") + goaway(9, 0, b""),
           "frame 0001 61", "error 4 -", "frame 0001 63", "goaway 9 0 -")
    server("error_without_status", frame(CONTROL | ERROR), close("bad_control"))
    server("error_half_a_status", frame(CONTROL | ERROR, b"\0"), close("bad_control"))
    server("error_text_not_utf8", error(10, b"a\xff"), close("bad_control"))
    server("goaway_too_short", frame(CONTROL | GOAWAY, struct.pack(">HI", 9, 0)[:5]), close("bad_control"))
    server("goaway_text_not_utf8", goaway(9, 0, b"\xc3"), close("bad_control"))
    server("error_with_extension", frame(EXT | CONTROL | ERROR, b"\0\5"), close("bad_control"))


def text_lines(book):
    book.lines("line_unix", [b"hello\n"], "line 68656c6c6f", "eof nothing")
    book.lines("line_dos", [b"hello\r\n"], "line 68656c6c6f", "eof nothing")
    book.lines("line_empty", [b"\n"], "line -")
    book.lines("line_empty_dos", [b"\r\n"], "line -")
    book.lines("line_two_returns", [b"a\r\r\n"], "line 610d")
    book.lines("line_return_inside", [b"a\rb\n"], "line 610d62")
    book.lines("line_any_bytes", [b"\0\xff\x80\n"], "line 00ff80")
    book.lines("lines_mixed", [b"a\n\nbc\r\nd\n"], "line 61", "line -", "line 6263", "line 64", "eof nothing")
    book.lines("line_not_ended", [b"abc"], "need_more", "eof line 616263")
    book.lines("line_not_ended_return", [b"abc\r"], "need_more", "eof line 616263")
    book.lines("line_only_return", [b"\r"], "need_more", "eof line -")
    book.lines("line_nothing", [], "need_more", "eof nothing")
    book.lines("line_second_not_ended", [b"a\nb"], "line 61", "need_more", "eof line 62")
    book.lines("line_at_limit", [Run(0x61, 16), b"\n"], "line 61*16")
    book.lines("line_at_limit_dos", [Run(0x61, 16), b"\r\n"], "line 61*16")
    book.lines("line_at_limit_waits", [Run(0x61, 16), b"\r"], "need_more", "eof line 61*16")
    book.lines("line_over_limit", [Run(0x61, 17), b"\n"], close("line_too_long"))
    book.lines("line_over_limit_dos", [Run(0x61, 17), b"\r\n"], close("line_too_long"))
    book.lines("line_over_limit_no_end", [Run(0x61, 17)], close("line_too_long"))
    book.lines("line_far_over_limit", [Run(0x61, 100000)], close("line_too_long"))
    book.lines("line_over_limit_second", [b"ok\n", Run(0x61, 17)], "line 6f6b", close("line_too_long"))
    book.lines("line_default_limit", [Run(0x61, 65536), b"\n"], "line 61*65536", limit=65536)
    book.lines("line_default_limit_over", [Run(0x61, 65537)], close("line_too_long"), limit=65536)
    for name, status, text, shown in [
        ("error_line", 5, "try later", b"ERR 5 OVERLOADED try later\n"),
        ("error_line_no_text", 10, "", b"ERR 10 INTERNAL\n"),
        ("error_line_stays_one_line", 10, "a\r\nb\tc", b"ERR 10 INTERNAL a  b c\n"),
        ("error_line_application", 300, "é", "ERR 300 APPLICATION é\n".encode()),
        ("error_line_unknown_status", 99, "x", b"ERR 99 INTERNAL x\n"),
    ]:
        book.add(name, "error_line", [shown], [f"error_line {status} {words(text.encode())}"])


def foreign(book):
    """First bytes of other protocols, as they come."""
    tls12 = bytes.fromhex("16030100c8010000c40303") + bytes(range(32))
    ssl3 = bytes.fromhex("1603000041010000 3d0300") + bytes(range(32))
    http = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
    proxy1 = b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"
    proxy2 = b"\r\n\r\n\0\r\nQUIT\n" + bytes.fromhex("2111000cc0000201c0000202dc0401bb")
    resp = b"*1\r\n$4\r\nPING\r\n"
    for name, data, reason in [
        ("tls_1_2", tls12, "tls"), ("tls_record_3_3", flip(tls12, 2, 1), "tls"), ("ssl_3", ssl3, "tls"),
        ("http_1_1", http, "http"), ("http_post", b"POST / HTTP/1.0\r\n\r\n", "http"),
        ("http_2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "http"), ("resp", resp, "resp"),
        ("proxy_1", proxy1, "proxy"), ("proxy_1_unknown", b"PROXY UNKNOWN\r\n", "proxy"), ("proxy_2", proxy2, "proxy"),
    ]:
        book.frames(f"{name}_on_frames", [data], close(reason))
        if reason != "resp":
            book.lines(f"{name}_on_lines", [data], close(reason), limit=65536)
    book.frames("http_behind_a_frame", frame(1, b"a") + [http], "frame 0001 61", close("too_large"))
    book.lines("resp_on_lines_is_text", [resp], "line 2a31", "line 2434", "line 50494e47")
    book.lines("get_without_version_is_text", [b"GET well soon\n"], "line " + b"GET well soon".hex())
    book.lines("http_behind_a_line", [b"a\nGET / HTTP/1.1\r\n"], "line 61", "line " + b"GET / HTTP/1.1".hex())
    book.add("tls_alert", "tls_alert", [bytes.fromhex("15030100020246")], ["tls_alert"])


def make():
    book = Book()
    for section in [crc_cases, plain_frames, sizes, broken, control_frames, server_frames, text_lines, foreign]:
        section(book)
    return "\n".join(book.text)


def main(arguments):
    path = pathlib.Path(__file__).resolve().parent / "vectors.txt"
    want = make().encode()
    if not arguments:
        path.write_bytes(want)
        return 0
    if arguments != ["--check"]:
        print(__doc__, file=sys.stderr)
        return 2
    if not path.is_file() or path.read_bytes() != want:
        print(f"{path} is not what {pathlib.Path(__file__).name} makes; run it without --check", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
