#!/usr/bin/env python3
"""Makes vectors.txt: what the bytes of the protocol in docs/PROTOCOL.md must be taken for.

This is a second implementation, on purpose: it shares no code with the server, only the document. It needs Python 3
and its standard library (struct, zlib).

    python3 tests/data/make_vectors.py             writes vectors.txt beside this script
    python3 tests/data/make_vectors.py --check     writes nothing; exits 1 if vectors.txt is not what would be written

The head of vectors.txt explains the format.
"""

import functools
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
#           session     a connection to a server: what the client sends, and what it must be sent
#   from    client or server: who sends (frame, line)
#   limit   the listener's max_payload in bytes (frame, line, and those sessions that depend on it)
#   bytes   in hex, see below
#   spare   the bytes are right, and nobody who need not would send them so: padding that could be left out
#   want    what they are, one thing a line, in order (see below); nothing else may follow, except that bytes behind
#           a close don't matter
#   on      frames or lines: the listener that a session is for
#   send    what the client sends next, in hex; `send -` is a pause
#   finish  the client ends its sending side; always `-`
#   expect  what it must be sent (see below), and nothing else
#
# Bytes are hex words, to be joined; `61*1048576` is the byte 61 that many times; `-` is no bytes at all.
# Headers are four hex digits; statuses, sizes and times are decimal; texts and names are UTF-8 as bytes.
#
#   want crc SUM                    eight hex digits
#   want frame HEADER PAYLOAD       a whole frame on a route, without an extension block
#   want ext HEADER BLOCK body BODY one with a block (see below)
#   want unsupported HEADER BLOCK body BODY     one whose block asks for what version 1 does not know: it is answered
#                                   UNSUPPORTED, and the connection stays
#   want ping PAYLOAD               a PING; a PONG with the same bytes is due
#   want pong PAYLOAD               a PONG
#   want hello VERSION FLAGS CLIENT TOKEN BLOCK             FLAGS in hex; its tags stand in BLOCK
#   want welcome VERSION FLAGS MAX HEARTBEAT SERVER CLIENT  and so do its
#   want error STATUS TEXT          an ERROR of the server
#   want goaway STATUS MS TEXT      a GOAWAY of the server
#   want subscribe FLAGS GROUP PATTERN BLOCK                and unsubscribe likewise; their tags stand in BLOCK
#   want publish TOPIC BODY BLOCK
#   want message TOPIC BODY
#   want ack PAYLOAD BLOCK
#   want missed COUNT PATTERN
#   want notice STATUS HEADER TEXT
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
#
# BLOCK is what an extension block says, each if it is there, in this order: `status STATUS` (if it is not 0),
# `id HEX` (16 digits), `deadline MS`, `trace HEX` (id 16 bytes, parent 8, flags 1), `one_way`, `flags HEX` (reserved
# ones), `tag NUMBER VALUE` for each tag, and `block` for a block that says nothing. Control frames without a block
# have none of it but tags.
#
# A session is for a server that echoes on route 1, takes without replying on route 2, and serves nothing on 3fff; a
# listener for lines answers each with a line. Sent frames of these routes may be moved to others.
#
#   expect frame HEADER PAYLOAD     a reply in its slot
#   expect error STATUS             an ERROR, which is one too, with any text
#   expect ext HEADER STATUS ID BODY            a reply with an extension block; ID `-`: without a correlation, in its
#                                   slot; BODY `*`: any UTF-8. Its other fields may be anything
#   expect pong PAYLOAD
#   expect welcome VERSION          with at most this version, and ids that are ids
#   expect ack STATUS ID            with a correlation
#   expect notice STATUS HEADER     with any text
#   expect goaway STATUS            behind all that was expected before it
#   expect line *                   one line, whatever it says, that does not begin with `ERR `
#   expect error_line STATUS        a line that tells of a failure
#   expect bytes BYTES              exactly these
#   expect end                      the end of the stream; what a server sends to bytes of another protocol in front of
#                                   it does not matter if nothing was expected
#
# Replies in slots come in the order in which they stand here; what has no slot may come earlier or later.
"""

EXT, CONTROL = 0x8000, 0x4000
PING, PONG, HELLO, WELCOME, ERROR, GOAWAY, SUBSCRIBE, UNSUBSCRIBE, PUBLISH, MESSAGE, ACK, MISSED, NOTICE = range(13)
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
    "bad_extension": 1, "tls": "-", "http": "-", "resp": "-", "proxy": "-",
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


def counted(data):
    """A length in one byte, and so many bytes."""
    return struct.pack(">B", len(data)) + data


def tag(number, value):
    return struct.pack(">B", number) + counted(value)


TRACE = bytes(range(0x10, 0x20)) + bytes(range(0x20, 0x28)) + b"\1"


class Block:
    """An extension block: its bytes, and what the file says of it."""

    def __init__(self, status=0, id=None, deadline=None, trace=None, one_way=False, tags=(), flags=0, behind=b""):
        bits, fields, said = flags, b"", []
        if status:
            said.append(f"status {status}")
        if id is not None:
            bits |= 1
            fields += struct.pack(">Q", id)
            said.append(f"id {id:016x}")
        if deadline is not None:
            bits |= 2
            fields += struct.pack(">I", deadline)
            said.append(f"deadline {deadline}")
        if trace is not None:
            bits |= 4
            fields += trace + bytes(3)
            said.append(f"trace {words(trace)}")
        if one_way:
            bits |= 8
            said.append("one_way")
        if flags & 0x70:
            said.append(f"flags {flags & 0x70:02x}")
        for number, value in tags:
            bits |= 0x80
            fields += tag(number, value)
            said.append(f"tag {number} {words(value)}")
        fields += behind
        fields += bytes(-len(fields) % 4)
        self.bytes = struct.pack(">BBH", 1 + len(fields) // 4, bits, status) + fields
        self.said = " ".join(said) or "block"

    def __bytes__(self):
        return self.bytes


def extended(header, block, *body):
    """The parts of a frame with a block in front of its body."""
    return frame(EXT | header, block.bytes if isinstance(block, Block) else block, *body)


def hello(version=1, flags=0, client=b"", token=b"", tags=b""):
    return struct.pack(">BB", version, flags) + counted(client) + struct.pack(">H", len(token)) + token + tags


def welcome(version=1, flags=0, most=MAX, heartbeat=25000, server=b"tg-1", client=b"c-7", tags=b""):
    return struct.pack(">BBII", version, flags, most, heartbeat) + counted(server) + counted(client) + tags


def subscription(pattern, group=b"", flags=0, tags=b""):
    return struct.pack(">B", flags) + counted(group) + counted(pattern) + tags


def flip(data, at, bit):
    """`data` with one bit of byte `at` turned over."""
    return data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]


def close(reason):
    return f"close {reason} {REASON_STATUS[reason]}"


class Book:
    """The cases in the order in which they are written."""

    def __init__(self):
        self.names, self.text = set(), [HEAD]

    def add(self, name, kind, parts, wants, limit=None, sender=None, spare=False):
        lines = [f"from {sender}"] if sender else []
        lines += [f"limit {limit}"] if limit is not None else []
        lines += ["spare padding"] if spare else []
        lines += [f"bytes {words(*parts)}", *(f"want {want}" for want in wants)]
        self.write(name, kind, lines)

    def write(self, name, kind, lines):
        assert name not in self.names, name
        self.names.add(name)
        self.text.append("\n".join([f"case {name}", f"kind {kind}", *lines]) + "\n")

    def session(self, name, *steps, on="frames", limit=None):
        """Steps are parts to send, or lines."""
        lines = [f"on {on}"] + ([f"limit {limit}"] if limit is not None else [])
        lines += [step if isinstance(step, str) else f"send {words(*step)}" for step in steps]
        self.write(f"session_{name}", "session", lines)

    def frames(self, name, parts, *wants, limit=MAX, sender="client", spare=False):
        self.add(name, "frame", parts, wants, limit, sender, spare)

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
    longest = Block(flags=0x80, behind=bytes(1016))
    at_limit = extended(1, longest, Run(a, MAX))
    book.frames("extension_at_limit", at_limit, f"ext 8001 block body 61*{MAX}", spare=True)
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


def extension_blocks(book):
    """What a message is, besides its body."""
    body = b"hello"
    seven = Block(id=7)
    book.frames("ext_correlation", extended(1, seven, body), f"ext 8001 {seven.said} body {body.hex()}")
    late = Block(id=8, deadline=500)
    book.frames("ext_deadline", extended(1, late, body), f"ext 8001 {late.said} body {body.hex()}")
    retry = (1, struct.pack(">I", 250))
    answers = [
        ("ext_no_route", extended(9, Block(status=4, id=7), b"no such route"), "8009 status 4 id 0000000000000007"),
        ("ext_overloaded", extended(1, Block(status=5, id=7, tags=[retry]), b"busy"),
         "8001 status 5 id 0000000000000007 tag 1 000000fa"),
        ("ext_application_status", extended(1, Block(status=65535), b"busy"), "8001 status 65535"),
        ("ext_load", extended(1, Block(id=1, tags=[(2, b"\3\xe7")])), "8001 id 0000000000000001 tag 2 03e7"),
    ]
    for name, parts, said in answers:
        book.frames(name, parts, f"ext {said} body {words(raw(*parts)[6 + raw(*parts)[6] * 4 : -4])}", sender="server")
    every = Block(id=0x0102030405060708, deadline=0xFFFFFFFF, trace=TRACE, one_way=True)
    for name, block in [
        ("nothing", Block()), ("deadline_0", Block(deadline=0)), ("trace", Block(trace=TRACE)),
        ("one_way", Block(one_way=True)), ("one_way_with_id", Block(id=1, one_way=True)), ("every_field", every),
        ("id_0", Block(id=0)), ("id_last", Block(id=2**64 - 1)),
        ("deadline_and_trace", Block(deadline=1, trace=TRACE)),
        ("affinity", Block(id=1, tags=[(3, b"user 7")])), ("affinity_empty", Block(tags=[(3, b"")])),
        ("affinity_longest", Block(tags=[(3, bytes(range(255)))])),
        ("unknown_tag", Block(id=1, tags=[(4, b"abc"), (127, b"")])),
        ("every_field_and_tags", Block(id=1, deadline=2, trace=TRACE, one_way=True, tags=[retry, (2, b"\0\1"), (3, b"k")])),
        ("the_same_tag_twice", Block(tags=[(3, b"a"), (3, b"b")])),
        ("tags_of_976_bytes", Block(tags=[(9, bytes(200))] * 4 + [(9, bytes(166))])),
    ]:
        for what, payload in [("", b"body"), ("_no_body", b"")]:
            if not what or name in ("nothing", "every_field"):
                said = f"ext 8001 {block.said} body {words(payload)}"
                book.frames(f"ext_{name}{what}", extended(1, block, payload), said)
    for name, block, said in [
        ("tags_announced_and_none", Block(flags=0x80), "block"),
        ("words_of_padding", Block(flags=0x80, behind=bytes(12)), "block"),
        ("longest", Block(id=1, flags=0x80, behind=bytes(1008)), "id 0000000000000001"),
        ("padding_between_tags", Block(flags=0x80, behind=b"\0\4\1a\0\0\5\1b\0"), "tag 4 61 tag 5 62"),
        ("a_word_of_padding_behind", Block(tags=[(4, b"ab")], behind=bytes(4)), "tag 4 6162"),
    ]:
        book.frames(f"ext_{name}", extended(1, block, b"b"), f"ext 8001 {said} body 62", spare=True)
    mixed = extended(1, seven, b"a") + frame(1, b"b") + extended(2, Block(), b"c") + frame(CONTROL | PING)
    book.frames("ext_mixed_with_plain", mixed, "ext 8001 id 0000000000000007 body 61", "frame 0001 62",
                "ext 8002 block body 63", "ping -")
    for name, block, said in [
        ("flag_4", Block(flags=0x10), "flags 10"), ("flag_5", Block(id=7, flags=0x20), "id 0000000000000007 flags 20"),
        ("flag_6", Block(flags=0x40), "flags 40"), ("flags_all", Block(id=7, flags=0x70), "id 0000000000000007 flags 70"),
        ("flags_and_their_fields", Block(deadline=9, flags=0xF0, behind=b"\xff" * 8), "deadline 9 flags 70"),
        ("tag_128", Block(id=7, tags=[(128, b"")]), "id 0000000000000007 tag 128 -"),
        ("tag_255", Block(tags=[(3, b"k"), (255, b"abc")]), "tag 3 6b tag 255 616263"),
    ]:
        book.frames(f"ext_unknown_{name}", extended(1, block, b"b") + frame(1, b"after"),
                    f"unsupported 8001 {said} body 62", f"frame 0001 {b'after'.hex()}", spare=True)


def broken_blocks(book):
    """Blocks that don't parse."""
    id7, ms = struct.pack(">Q", 7), struct.pack(">I", 500)
    trace = TRACE + bytes(3)
    for name, payload in [
        ("empty_payload", b""), ("no_words", bytes(4)), ("no_words_but_more", bytes(20)), ("only_words", b"\1"),
        ("three_bytes", b"\1\0\0"), ("over_payload", b"\2\0\0\0"), ("over_payload_by_one", b"\3\1\0\0" + id7[:7]),
        ("largest_over_payload", b"\xff\0\0\0" + bytes(1015)),
        ("no_room_for_id", b"\1\1\0\0" + id7), ("half_an_id", b"\2\1\0\0" + id7),
        ("no_room_for_deadline", b"\1\2\0\0" + ms), ("no_room_for_trace", b"\1\4\0\0" + trace),
        ("no_room_for_traces_end", b"\7\4\0\0" + trace), ("no_room_behind_id", b"\3\3\0\0" + id7 + ms),
        ("no_room_and_reserved_flags", b"\1\x71\0\0" + id7),
        ("trace_rest_1", b"\x08\4\0\0" + TRACE + b"\1\0\0"), ("trace_rest_2", b"\x08\4\0\0" + TRACE + b"\0\1\0"),
        ("trace_rest_3", b"\x08\4\0\0" + TRACE + b"\0\0\1"),
        ("a_word_too_many", b"\2\0\0\0\0\0\0\0"), ("a_full_word_too_many", b"\2\0\0\0abcd"),
        ("a_word_behind_id", b"\4\1\0\0" + id7 + bytes(4)), ("tag_without_flag", b"\2\0\0\0\3\2ab"),
        ("tag_without_length", b"\2\x80\0\0\0\0\0\7"), ("tag_without_value", b"\2\x80\0\0\0\0\7\2"),
        ("tag_cut", b"\2\x80\0\0\7\3ab"), ("tag_of_255_cut", b"\xff\x80\0\0" + bytes(1010) + b"\7\xffabcd"),
        ("second_tag_cut", b"\3\x80\0\0\7\2ab\7\3ab"), ("critical_tag_cut", b"\2\x80\0\0\x80\3ab"),
        ("retry_after_of_3", b"\3\x80\0\0" + tag(1, b"abc") + bytes(3)),
        ("retry_after_of_5", b"\3\x80\0\0" + tag(1, b"abcde") + bytes(1)),
        ("retry_after_empty", b"\2\x80\0\0" + tag(1, b"") + bytes(2)), ("load_of_1", b"\2\x80\0\0" + tag(2, b"a") + bytes(1)),
        ("load_of_4", b"\3\x80\0\0" + tag(2, b"abcd") + bytes(2)),
    ]:
        book.frames(f"bad_ext_{name}", frame(EXT | 1, payload), close("bad_extension"))
    good = extended(1, Block(id=7), b"good")
    bad = frame(EXT | 1, bytes(4))
    book.frames("bad_ext_behind_good", good + bad + good, "ext 8001 id 0000000000000007 body 676f6f64",
                close("bad_extension"))
    damaged = raw(*good)
    book.frames("ext_flipped_bit_in_id", [flip(damaged, 17, 0)], close("bad_crc"))
    book.frames("ext_flipped_bit_in_words", [flip(damaged, 6, 2)], close("bad_crc"))
    for cut in (6, 7, 10, 17, 18):
        book.frames(f"ext_cut_at_{cut}", [damaged[:cut]], f"need_more {len(damaged)}", "eof truncated")


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
    for name, code, payload in [
        ("welcome", WELCOME, welcome()), ("error", ERROR, struct.pack(">H", 5)),
        ("goaway", GOAWAY, struct.pack(">HI", 9, 250)), ("message", MESSAGE, counted(b"news")),
        ("missed", MISSED, struct.pack(">Q", 1) + counted(b"news")), ("notice", NOTICE, struct.pack(">HH", 4, 7)),
    ]:
        book.frames(f"{name}_from_client", frame(c | code, payload), close("wrong_direction"))
    book.frames("ack_from_client", extended(c | ACK, Block(id=7)), close("wrong_direction"))


def greetings(book):
    c = CONTROL
    longest = bytes(range(0x61, 0x7B)) + b"-_" + bytes(range(0x41, 0x5B)) + b"0123456789"
    assert len(longest) == 64
    book.frames("hello", frame(c | HELLO, hello()), "hello 1 00 - -")
    book.frames("hello_full", frame(c | HELLO, hello(1, 1, longest, b"secret\0\xff", tag(1, struct.pack(">I", 4096)))),
                f"hello 1 01 {longest.hex()} 73656372657400ff tag 1 00001000")
    book.frames("hello_version_0", frame(c | HELLO, hello(0)), "hello 0 00 - -")
    book.frames("hello_version_255", frame(c | HELLO, hello(255, 0xFF)), "hello 255 ff - -")
    book.frames("hello_unknown_tags", frame(c | HELLO, hello(tags=tag(9, b"x") + tag(128, b""))),
                "hello 1 00 - - tag 9 78 tag 128 -")
    book.frames("hello_padded_tags", frame(c | HELLO, hello(tags=bytes(2) + tag(9, b"x") + bytes(1))),
                "hello 1 00 - - tag 9 78", spare=True)
    largest = CONTROL_MAX - len(hello())
    book.frames("hello_largest", frame(c | HELLO, struct.pack(">BBBH", 1, 0, 0, largest), Run(0x74, largest)),
                f"hello 1 00 - 74*{largest}")
    book.frames("hello_with_id", extended(c | HELLO, Block(id=7), hello()), "hello 1 00 - - id 0000000000000007")
    book.frames("hello_with_trace", extended(c | HELLO, Block(trace=TRACE), hello()), f"hello 1 00 - - trace {TRACE.hex()}")
    book.frames("hello_and_requests", frame(c | HELLO, hello()) + extended(1, Block(id=7), b"a"), "hello 1 00 - -",
                "ext 8001 id 0000000000000007 body 61")
    for name, payload in [
        ("empty", b""), ("no_flags", b"\1"), ("no_id", b"\1\0"), ("cut_id", b"\1\0\3me"), ("no_token", b"\1\0\0"),
        ("half_a_token_length", b"\1\0\0\0"), ("cut_token", b"\1\0\0\0\5abcd"), ("id_too_long", hello(client=b"i" * 65)),
        ("id_with_dot", hello(client=b"a.b")), ("id_with_space", hello(client=b"a b")), ("id_not_utf8", hello(client=b"\xff")),
        ("id_not_ascii", hello(client="é".encode())), ("tag_cut", hello(tags=b"\7\2a")), ("tag_without_length", hello(tags=b"\7")),
        ("max_receive_of_2", hello(tags=tag(1, b"\0\0"))),
    ]:
        book.frames(f"hello_{name}", frame(c | HELLO, payload), close("bad_control"))
    book.frames("hello_bad_block", frame(EXT | c | HELLO, hello(0)), close("bad_extension"))
    book.frames("hello_over_limit", [prefix(c | HELLO, CONTROL_MAX + 1)], close("too_large"))
    for name, block in [("deadline", Block(deadline=1)), ("one_way", Block(one_way=True)), ("tags", Block(tags=[(3, b"k")]))]:
        book.frames(f"hello_with_{name}", extended(c | HELLO, block, hello()), close("bad_control"))


def topics(book):
    c = CONTROL
    pattern = b"news.>"
    said = pattern.hex()
    longest, over = Run(0x74, 200), Run(0x74, 201)
    for name, code in [("subscribe", SUBSCRIBE), ("unsubscribe", UNSUBSCRIBE)]:
        book.frames(name, frame(c | code, subscription(pattern)), f"{name} 00 - {said}")
        book.frames(f"{name}_with_id", extended(c | code, Block(id=9), subscription(b"news.de")),
                    f"{name} 00 - {b'news.de'.hex()} id 0000000000000009")
        full = subscription(pattern, "grüße".encode(), 0x81, tag(9, b"x") + tag(200, b""))
        block = Block(id=9, trace=TRACE)
        book.frames(f"{name}_full", extended(c | code, block, full),
                    f"{name} 81 {'grüße'.encode().hex()} {said} {block.said} tag 9 78 tag 200 -")
        book.frames(f"{name}_longest", frame(c | code, b"\0\xff", Run(0x67, 255), b"\xc8", longest),
                    f"{name} 00 67*255 74*200")
        for what, payload in [
            ("empty", b""), ("no_group", b"\0"), ("cut_group", b"\0\3ab"), ("no_pattern", b"\0\0"),
            ("cut_pattern", b"\0\0\3ab"), ("pattern_too_long", b"\0\0\xc9" + bytes(over)),
            ("pattern_not_utf8", subscription(b"a\xff")), ("group_not_utf8", subscription(b"a", b"\xc3")),
            ("tag_cut", subscription(b"a", tags=b"\7\1")),
        ]:
            book.frames(f"{name}_{what}", frame(c | code, payload), close("bad_control"))
        book.frames(f"{name}_bad_block", frame(EXT | c | code, subscription(b"a")), close("bad_extension"))
        book.frames(f"{name}_with_deadline", extended(c | code, Block(id=9, deadline=1), subscription(b"a")),
                    close("bad_control"))
    book.frames("publish", frame(c | PUBLISH, counted(b"news.de"), b"body"), f"publish {b'news.de'.hex()} 626f6479")
    book.frames("publish_no_body", frame(c | PUBLISH, counted(b"a")), "publish 61 -")
    book.frames("publish_longest_topic", frame(c | PUBLISH, b"\xc8", longest, b"b"), "publish 74*200 62")
    block = Block(id=9, trace=TRACE)
    book.frames("publish_with_id_and_trace", extended(c | PUBLISH, block, counted(b"a"), b"b"), f"publish 61 62 {block.said}")
    book.frames("publish_unknown_flag", extended(c | PUBLISH, Block(id=9, flags=0x10), counted(b"a"), b"b"),
                "publish 61 62 id 0000000000000009 flags 10", spare=True)
    for what, payload in [("empty", b""), ("cut_topic", b"\3ab"), ("topic_too_long", b"\xc9" + bytes(over)),
                          ("topic_not_utf8", counted(b"\xc3"))]:
        book.frames(f"publish_{what}", frame(c | PUBLISH, payload), close("bad_control"))
    book.frames("publish_bad_block", frame(EXT | c | PUBLISH, b"\xff"), close("bad_extension"))
    for what, block in [("deadline", Block(id=9, deadline=1)), ("one_way", Block(one_way=True)), ("tags", Block(tags=[(3, b"k")]))]:
        book.frames(f"publish_with_{what}", extended(c | PUBLISH, block, counted(b"a")), close("bad_control"))


def server_frames(book):
    """What a client must be able to read."""

    def server(name, parts, *wants, spare=False):
        book.frames(name, parts, *wants, sender="server", spare=spare)

    def error(status, text):
        return frame(CONTROL | ERROR, struct.pack(">H", status), text)

    def goaway(status, ms, text):
        return frame(CONTROL | GOAWAY, struct.pack(">HI", status, ms), text)

    c = CONTROL
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
    server("goaway_with_text", goaway(9, 1000, b"bye"), "goaway 9 1000 627965")
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
    server("error_no_such_route", error(4, b"no such route"), f"error 4 {b'no such route'.hex()}")
    server("server_ping_t1", frame(c | PING, b"t1"), "ping 7431")
    server("server_pong_t1", frame(c | PONG, b"t1"), "pong 7431")

    names = f"{b'tg-1'.hex()} {b'c-7'.hex()}"
    server("welcome", frame(c | WELCOME, welcome()), f"welcome 1 00 {MAX} 25000 {names}")
    server("welcome_no_heartbeat", frame(c | WELCOME, welcome(heartbeat=0, most=0)), f"welcome 1 00 0 0 {names}")
    server("welcome_tags", frame(c | WELCOME, welcome(flags=0x80, tags=tag(1, b"x"))), f"welcome 1 80 {MAX} 25000 {names} tag 1 78")
    for what, payload in [
        ("empty", b""), ("cut", welcome()[:9]), ("no_names", welcome()[:10]), ("no_server", welcome(server=b"")),
        ("no_client", welcome(client=b"")), ("client_too_long", welcome(client=b"c" * 65)),
        ("server_with_dot", welcome(server=b"a.b")), ("tag_cut", welcome(tags=b"\1\1")),
    ]:
        server(f"welcome_{what}", frame(c | WELCOME, payload), close("bad_control"))
    server("welcome_with_extension", extended(c | WELCOME, Block(id=7), welcome()), close("bad_control"))

    server("message", frame(c | MESSAGE, counted(b"news.de"), b"body"), f"message {b'news.de'.hex()} 626f6479")
    server("message_no_body", frame(c | MESSAGE, counted(b"a")), "message 61 -")
    server("message_cut", frame(c | MESSAGE, b"\2a"), close("bad_control"))
    server("message_with_extension", extended(c | MESSAGE, Block(), counted(b"a")), close("bad_control"))
    server("ack", extended(c | ACK, Block(id=9)), "ack - id 0000000000000009")
    server("ack_unsupported", extended(c | ACK, Block(status=15, id=9)), "ack - status 15 id 0000000000000009")
    server("ack_of_publish", extended(c | ACK, Block(id=9), struct.pack(">I", 3)), "ack 00000003 id 0000000000000009")
    server("ack_without_block", frame(c | ACK), close("bad_control"))
    server("ack_without_id", extended(c | ACK, Block(status=15)), close("bad_control"))
    server("ack_with_trace", extended(c | ACK, Block(id=9, trace=TRACE)), close("bad_control"))
    server("ack_bad_block", frame(EXT | c | ACK), close("bad_extension"))
    missed = struct.pack(">Q", 2**40 + 1)
    server("missed", frame(c | MISSED, missed, counted(b"news.>")), f"missed {2**40 + 1} {b'news.>'.hex()}")
    server("missed_cut", frame(c | MISSED, missed), close("bad_control"))
    server("missed_and_more", frame(c | MISSED, missed, counted(b"a"), b"x"), close("bad_control"))
    server("notice", frame(c | NOTICE, struct.pack(">HH", 15, 0x4008), b"no topics"), f"notice 15 4008 {b'no topics'.hex()}")
    server("notice_no_text", frame(c | NOTICE, struct.pack(">HH", 5, 7)), "notice 5 0007 -")
    server("notice_cut", frame(c | NOTICE, b"\0\5\0"), close("bad_control"))
    server("notice_not_utf8", frame(c | NOTICE, struct.pack(">HH", 5, 7), b"\xff"), close("bad_control"))
    for name, code, payload in [("hello", HELLO, hello()), ("subscribe", SUBSCRIBE, subscription(b"a")),
                                ("unsubscribe", UNSUBSCRIBE, subscription(b"a")), ("publish", PUBLISH, counted(b"a"))]:
        server(f"{name}_from_server", frame(c | code, payload), close("wrong_direction"))


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


ECHO, TAKEN, MISSING = 1, 2, 0x3FFF
PAUSE, FINISH, END = "send -", "finish -", "expect end"


def echoed(body, header=ECHO):
    """A plain reply."""
    return f"expect frame {header:04x} {words(body)}"


def replied(body, id=None, status=0, header=ECHO):
    """A reply with a block; any text if the body is None."""
    shown = "*" if body is None else words(body)
    return f"expect ext {EXT | header:04x} {status} {'-' if id is None else f'{id:016x}'} {shown}"


def goaway_and_end(status):
    return f"expect goaway {status}", END


def plain_sessions(book):
    """What every server owes to every client."""
    hi = frame(ECHO, b"hi")
    book.session("echo", frame(ECHO, b"hello"), echoed(b"hello"))
    book.session("echo_empty", frame(ECHO), echoed(b""))
    book.session("echo_all_bytes", frame(ECHO, bytes(range(256))), echoed(bytes(range(256))))
    book.session("nothing_at_all", FINISH, END)
    book.session("in_order", [part for i in range(50) for part in frame(ECHO, bytes([i]) * i)],
                 *(echoed(bytes([i]) * i) for i in range(50)))
    book.session("one_by_one", *(step for i in range(5) for step in (frame(ECHO, bytes([i])), echoed(bytes([i])))))
    whole = raw(*hi)
    book.session("in_two_pieces", [whole[:3]], PAUSE, [whole[3:]], echoed(b"hi"))
    book.session("one_and_a_half", [whole, whole[:8]], echoed(b"hi"), PAUSE, [whole[8:]], echoed(b"hi"))
    book.session("looks_like_a_frame_inside", frame(ECHO, whole), echoed(whole))
    book.session("half_close", hi + hi, FINISH, echoed(b"hi"), echoed(b"hi"), END)
    book.session("end_within_a_frame", [whole, whole[:9]], FINISH, echoed(b"hi"), END)
    book.session("one_way_route", frame(TAKEN, b"a") + frame(TAKEN, b"b") + hi, echoed(b"hi"))
    book.session("no_route", frame(MISSING, b"?"), "expect error 4", hi, echoed(b"hi"))
    book.session("error_in_its_slot", hi + frame(MISSING, b"?") + frame(ECHO, b"ho"), echoed(b"hi"), "expect error 4",
                 echoed(b"ho"))
    book.session("ping", frame(CONTROL | PING, b"abc"), "expect pong 616263")
    book.session("ping_empty", frame(CONTROL | PING), "expect pong -")
    book.session("ping_longest", frame(CONTROL | PING, bytes(range(64))), f"expect pong {bytes(range(64)).hex()}")
    book.session("pings_among_requests", hi + frame(CONTROL | PING, b"1") + hi + frame(CONTROL | PING, b"2"), echoed(b"hi"),
                 "expect pong 31", echoed(b"hi"), "expect pong 32")
    book.session("pong_is_ignored", frame(CONTROL | PONG, b"abc") + hi, echoed(b"hi"))
    book.session("largest_body", frame(ECHO, Run(0x61, MAX)), echoed(Run(0x61, MAX)), limit=MAX)
    book.session("replies_before_goaway", hi + [flip(whole, 7, 0)] + hi, echoed(b"hi"), *goaway_and_end(1))
    book.session("goaway_behind_a_stream_that_goes_on", [flip(whole, 7, 0), Run(0xAA, 5000)], *goaway_and_end(1))


def extended_sessions(book):
    """Correlation, order, flags and tags."""
    hi, seven = frame(ECHO, b"hi"), Block(id=7)
    book.session("ext_id", extended(ECHO, seven, b"hello"), replied(b"hello", 7))
    book.session("ext_id_empty_body", extended(ECHO, seven), replied(b"", 7))
    book.session("ext_ids_0_and_last", extended(ECHO, Block(id=0), b"a") + extended(ECHO, Block(id=2**64 - 1), b"b"),
                 replied(b"a", 0), replied(b"b", 2**64 - 1))
    book.session("ext_same_id_twice", extended(ECHO, seven, b"a") + extended(ECHO, seven, b"b"), replied(b"a", 7), replied(b"b", 7))
    book.session("ext_without_id_in_its_slot", hi + extended(ECHO, Block(), b"a") + frame(ECHO, b"ho"), echoed(b"hi"),
                 replied(b"a"), echoed(b"ho"))
    mixed, due = [], []
    for i in range(30):
        body = bytes([i]) * (i + 1)
        kind = i % 3
        mixed += frame(ECHO, body) if kind == 0 else extended(ECHO, Block(id=i) if kind == 1 else Block(), body)
        due.append(echoed(body) if kind == 0 else replied(body, i if kind == 1 else None))
    book.session("ext_and_plain_mixed", mixed, *due)
    every = Block(id=7, deadline=60000, trace=TRACE, tags=[(3, b"user 7"), (99, b"who knows")])
    book.session("ext_every_field", extended(ECHO, every, b"a"), replied(b"a", 7))
    book.session("ext_longest_block", extended(ECHO, Block(id=7, flags=0x80, behind=bytes(1008)), b"a"), replied(b"a", 7))
    book.session("ext_largest_body", extended(ECHO, Block(id=7, flags=0x80, behind=bytes(1008)), Run(0x61, MAX)),
                 replied(Run(0x61, MAX), 7), limit=MAX)
    book.session("ext_one_way", extended(ECHO, Block(one_way=True), b"a") + extended(ECHO, Block(id=7, one_way=True), b"b") + hi,
                 echoed(b"hi"))
    book.session("ext_one_way_route", extended(TAKEN, Block(), b"a") + extended(TAKEN, seven, b"b") + hi,
                 replied(b"", 7, header=TAKEN), echoed(b"hi"))
    book.session("ext_one_way_route_and_flag", extended(TAKEN, Block(id=7, one_way=True), b"a") + hi, echoed(b"hi"))
    book.session("ext_no_route", extended(MISSING, seven, b"?") + hi, replied(None, 7, 4, MISSING), echoed(b"hi"))
    book.session("ext_no_route_in_its_slot", hi + extended(MISSING, Block(), b"?") + hi, echoed(b"hi"),
                 replied(None, None, 4, MISSING), echoed(b"hi"))
    book.session("ext_no_route_one_way", extended(MISSING, Block(one_way=True), b"?") + hi, echoed(b"hi"))
    book.session("ext_expired", extended(ECHO, Block(id=7, deadline=0), b"a") + hi, replied(None, 7, 8), echoed(b"hi"))
    book.session("ext_expired_in_its_slot", hi + extended(ECHO, Block(deadline=0), b"a") + hi, echoed(b"hi"),
                 replied(None, None, 8), echoed(b"hi"))
    for bit in (4, 5, 6):
        book.session(f"ext_reserved_flag_{bit}", extended(ECHO, Block(id=7, flags=1 << bit), b"a") + hi, replied(None, 7, 15),
                     echoed(b"hi"))
    book.session("ext_reserved_flag_in_its_slot", hi + extended(ECHO, Block(flags=0x10), b"a") + hi, echoed(b"hi"),
                 replied(None, None, 15), echoed(b"hi"))
    book.session("ext_critical_tag", extended(ECHO, Block(id=7, tags=[(128, b"x")]), b"a") + hi, replied(None, 7, 15), echoed(b"hi"))
    book.session("ext_replies_before_goaway", extended(ECHO, seven, b"a") + hi + frame(EXT | ECHO, bytes(4)) + hi,
                 replied(b"a", 7), echoed(b"hi"), *goaway_and_end(1))


def known_sessions(book):
    """HELLO and what may follow it."""
    c = CONTROL
    hi, seven, greeting = frame(ECHO, b"hi"), Block(id=7), frame(c | HELLO, hello())
    welcomed = "expect welcome 1"
    book.session("hello", greeting, welcomed, hi, echoed(b"hi"))
    book.session("hello_and_requests_at_once", greeting + hi + extended(ECHO, seven, b"a"), welcomed, echoed(b"hi"), replied(b"a", 7))
    book.session("hello_from_the_future", frame(c | HELLO, hello(255)), "expect welcome 255")
    full = hello(1, 1, b"somebody", b"a token", tag(1, struct.pack(">I", MAX)) + tag(9, b"?"))
    book.session("hello_full", frame(c | HELLO, full), welcomed)
    book.session("hello_with_id", extended(c | HELLO, seven, hello()), welcomed)
    book.session("hello_version_0", frame(c | HELLO, hello(0)) + hi, *goaway_and_end(15))
    book.session("hello_critical_tag", frame(c | HELLO, hello(tags=tag(128, b""))) + hi, *goaway_and_end(15))
    book.session("hello_twice", greeting + hi + greeting + hi, welcomed, echoed(b"hi"), *goaway_and_end(1))
    book.session("hello_behind_a_request", hi + greeting + hi, echoed(b"hi"), *goaway_and_end(1))
    book.session("hello_behind_a_ping", frame(c | PING) + greeting, "expect pong -", *goaway_and_end(1))
    least = frame(c | HELLO, hello(tags=tag(1, struct.pack(">I", 4))))
    book.session("hello_max_receive", least + frame(ECHO, b"four") + frame(ECHO, b"fives") + extended(ECHO, seven, b"fives") + hi,
                 welcomed, echoed(b"four"), "expect error 14", replied(None, 7, 14), echoed(b"hi"))
    for name, code, payload in [
        ("subscribe", SUBSCRIBE, subscription(b"conform.a")), ("unsubscribe", UNSUBSCRIBE, subscription(b"conform.a")),
        ("publish", PUBLISH, counted(b"conform.a") + b"body"),
    ]:
        nine = extended(c | code, Block(id=9), payload)
        book.session(f"{name}_is_refused", nine + hi, "expect ack 15 0000000000000009", echoed(b"hi"))
        book.session(f"{name}_is_refused_behind_hello", greeting + nine + hi, welcomed, "expect ack 15 0000000000000009",
                     echoed(b"hi"))
        book.session(f"{name}_without_id_is_counted", frame(c | code, payload) + hi, echoed(b"hi"))
        book.session(f"{name}_without_id_is_noticed", greeting + frame(c | code, payload) + hi, welcomed,
                     f"expect notice 15 {c | code:04x}", echoed(b"hi"))


def line_sessions(book):
    one, two = "expect line *", "expect line *"
    lines = functools.partial(book.session, on="lines")
    lines("line", [b"hello\n"], one)
    lines("lines_in_order", [b"a\nb\r\n\n"], one, two, one)
    lines("line_in_two_pieces", [b"hel"], PAUSE, [b"lo\n"], one)
    lines("line_without_end", [b"a\nlast"], FINISH, one, two, END)
    lines("line_nothing_at_all", FINISH, END)
    lines("line_too_long", [b"a\n", Run(0x61, 200_000)], one, "expect error_line 14", END)
    lines("line_tls", [bytes.fromhex("16030100c8010000c40303") + bytes(range(32))], "expect bytes 15030100020246", END)


def make():
    book = Book()
    sections = [
        crc_cases, plain_frames, sizes, broken, extension_blocks, broken_blocks, control_frames, greetings, topics,
        server_frames, text_lines, foreign, plain_sessions, extended_sessions, known_sessions, line_sessions,
    ]
    for section in sections:
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
