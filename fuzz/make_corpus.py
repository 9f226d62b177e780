#!/usr/bin/env python3
"""Makes the committed seeds in fuzz/corpus from tests/data/vectors.txt and tests/data/config, under stable
names.

    python3 fuzz/make_corpus.py             writes the seeds; files of other names are left alone
    python3 fuzz/make_corpus.py --check     writes nothing; exits 1 if a seed is missing or not what would be written

Needs Python 3 and its standard library. What a target's input looks like is told at its top, in fuzz/fuzz_targets.
"""

import pathlib
import re
import struct
import sys
import zlib

HERE = pathlib.Path(__file__).resolve().parent
VECTORS = HERE.parent / "tests" / "data" / "vectors.txt"

CONFIGS = HERE.parent / "tests" / "data" / "config"

# Larger vectors say nothing that small ones don't, and the repository carries every byte.
SEED_BYTES_MAX = 1200

# Of many vectors that differ in a number only, the first is enough; so is one of each kind of status.
ALIKE = (
    r"(cut_at)_(?!1$)", r"flipped_bit_in_(crc_last|payload_last)", r"largest_length_(control|extension|both)",
    r"all_(ones|zero)", r"http_(2|post)", r"proxy_1_unknown", r"tls_record", r"unknown_control_(14|last)",
    r"ping_(empty|too_long)", r"small_limit_reached", r"crc_(little|of)", r"(error|goaway)_(?!line|with|without|half|text"
    r"|from|too_short|ok)", r"unsubscribe_(?!full)", r"ext_(application|unknown_flag_[56]|cut_at_(6|7|18))", r"goaway_(text|with)", r"line_(over_limit_|not_ended_|two_|empty_)", r"limit_0_empty",
)


# What only the inside of a payload decides says nothing to those who don't look there.
INSIDE = r"(bad_ext|ext|hello|welcome|subscribe|unsubscribe|publish|message|ack|missed|notice)_(?!correlation$|cut_at_17)"


# One of each kind that the inside of a payload decides, and of each fault.
READ = (
    r"ext_(every_field|nothing|one_way_with_id|deadline_0|unknown_flag_4|unknown_tag_128|mixed_with_plain|overloaded)$"
    r"|bad_ext_(no_words|over_payload|half_an_id|trace_rest_1|a_word_too_many|tag_cut|load_of_1|behind_good)$"
    r"|(hello|welcome|subscribe|unsubscribe|publish|message|ack|missed|notice|error|goaway)(_full|_with_id|_from_\w+)?$"
    r"|(hello|subscribe)_(bad_block|with_trace|with_deadline|version_0|unknown_tags|and_requests)$"
    r"|ack_without_(block|id)$|(welcome|message|notice)_with_(extension|block)$|server_ping$"
)


def frame(bits, payload=b""):
    body = struct.pack(">HI", bits, len(payload)) + payload
    return body + struct.pack(">I", zlib.crc32(body))


def cases():
    """Every vector as a dict of its lines; bytes and limit are read."""
    for paragraph in VECTORS.read_text().split("\n\n"):
        lines = [line for line in paragraph.splitlines() if line and not line.startswith("#")]
        if not lines:
            continue
        pairs = [line.split(" ", 1) for line in lines]
        case = dict(pairs)
        sent = " ".join(value for key, value in pairs if key in ("bytes", "send"))
        case["bytes"] = b"".join(word(text) for text in sent.split())
        yield case


def word(text):
    if text == "-":
        return b""
    digits, _, times = text.partition("*")
    return bytes.fromhex(digits) * int(times or 1)


def streams(kind):
    for case in cases():
        name = case["case"]
        if case["kind"] != kind or len(case["bytes"]) > SEED_BYTES_MAX:
            continue
        if any(re.match(pattern, name) for pattern in ALIKE):
            continue
        yield name, case["bytes"]


def outside(kind):
    """The streams for those who don't read blocks and control frames."""
    return ((name, stream) for name, stream in streams(kind) if not re.match(INSIDE, name))


def decode():
    yield from outside("frame")
    crc_wrong = bytearray(frame(1, b"hello"))
    crc_wrong[-1] ^= 1
    yield "crc_wrong", bytes(crc_wrong)
    yield "too_large", struct.pack(">HI", 1, (256 << 20) + 1)


def line():
    yield from streams("line")
    yield from streams("error_line")
    yield "over_every_small_limit", b"a" * 1001 + b"\n"


def payloads():
    """Streams of one frame as name, header and payload."""
    for name, stream in streams("frame"):
        if len(stream) >= 10 and len(stream) == 10 + struct.unpack(">I", stream[2:6])[0]:
            yield name, struct.unpack(">H", stream[:2])[0], stream[6:-4]


def extension():
    """A choice, then a payload, or flags, status, number, trace and tags."""
    for name, header, payload in payloads():
        if header & 0xC000 == 0x8000 and len(payload) < 1100:
            yield name, b"\0" + payload
    longest = b"\x09\xc8" + bytes(200)
    for name, fields in (
        ("nothing", bytes(7)), ("id", b"\1\0\0\0\0\0\7"), ("every_field", b"\x0f\0\5\1\2\3\4" + bytes(range(25))),
        ("tags", b"\x81" + bytes(31) + b"\3\3key\1\4\0\0\0\xfa"), ("critical", b"\x80" + bytes(31) + b"\x80\0"),
        ("tags_to_the_brim", b"\x8f" + bytes(31) + longest * 4 + b"\x09\xa6" + bytes(166)),
        ("tag_of_a_wrong_size", b"\x80" + bytes(31) + b"\1\1a"),
    ):
        yield f"built_{name}", b"\1" + fields


def hello():
    """A choice, then a payload, or choice, version, flags, two ids, number, tag, token."""
    for name, header, payload in payloads():
        if header in (0x4002, 0x4003):
            yield name, bytes((header - 0x4002,)) + payload
    for name, fields in (
        ("empty", b""), ("ids", b"\0\1\0\5abcde\3fgh"), ("tags", b"\1\1\1\0\0\0\0\0\0\0\x10\0\x85\3token"),
    ):
        yield f"built_{name}", b"\2" + fields


def control():
    """Header and payload, without length and sum."""
    for name, header, payload in payloads():
        if header & 0x4000:
            yield name, struct.pack(">H", header) + payload
    yield "text_over_what_is_sent", b"\x40\x04\x00\x0a" + "é".encode() * 400


def round_trip():
    """Header, place of the bit, payload."""
    for name, bits, payload in (
        ("empty", 0, b""),
        ("hello", 1, b"hello"),
        ("zeros", 2, bytes(64)),
        ("extension", 0x8001, b"\0\0\0\0body"),
        ("ping", 0x4000, b"ping"),
        ("control_over_its_limit", 0x4000, bytes(4097)),
        ("last_route", 0x3FFF, b"\xff" * 300),
        ("frame_in_a_frame", 1, frame(1, frame(1, b"inside"))),
    ):
        for place in (0, 77) if len(payload) < 100 else (0,):
            yield f"{name}_{place}", struct.pack(">HH", bits, place) + payload


def chunked():
    """Protocol, limit and side, three chunk sizes less one, stream."""
    lines, bare, welcomed, server = 1, 8, 16, 24
    limit = {"frame": 0, "line": 1 << 1}
    for kind, choice in (("frame", 0), ("line", lines)):
        for place, (name, stream) in enumerate(outside(kind)):
            if len(stream) < 600 and place % 2 == 0:
                sizes = ((0, 0, 0), (5, 0, 2), (200, 3, 0))[place % 3]
                yield f"{kind}_{name}", bytes((choice | limit[kind], *sizes)) + stream
    # What blocks and control frames say; a server's as one that we dialed, a few as from behind WELCOME.
    for place, case in enumerate(case for case in cases() if case["kind"] == "frame"):
        name, stream = case["case"], case["bytes"]
        if not re.match(READ, name) or len(stream) > 300:
            continue
        side = server if case["from"] == "server" else (0, 0, welcomed)[place % 3]
        yield f"read_{name}", bytes((side, *((40, 1, 7), (3, 0, 0), (255, 255, 255))[place % 3])) + stream
    many = b"".join(frame(place % 5, bytes(place)) for place in range(30))
    yield "many_frames", bytes((0, 6, 40, 0)) + many
    yield "many_lines", bytes((7, 6, 40, 0)) + b"".join(b"x" * place + b"\r\n" for place in range(30))
    headers = (0, 0x3FFF, 0x4000, 0x4005, 0x7FFF, 0x8000, 0x8001, 0xC00A, 0xFFFF)
    yield "bare_any_header", bytes((bare, 6, 40, 0)) + b"".join(frame(bits, b"route") for bits in headers)
    yield "bare_over_its_limit", bytes((bare | 1 << 1, 6, 40, 0)) + frame(0xC001, bytes(16)) + frame(0x8000, bytes(17))
    yield "welcomed_large_control", bytes((welcomed | 3 << 1, 90, 1, 0)) + frame(0x4008, b"\4news" + bytes(4603))
    yield "welcomed_plain", bytes((welcomed, 90, 1, 0)) + frame(1, b"hello") + frame(0x4000, b"ping")
    yield "welcomed_over_its_limit", bytes((welcomed | 1 << 1, 90, 1, 0)) + frame(0x4008, b"\4news" + bytes(524))


def outbox():
    """Protocol, then calls; see `Script::step`."""
    reply, gathered, forward, part, shared, failure, control_, farewell = range(8)
    elsewhere, compare, clear, many, whole, _whole, control_frame, most = range(8, 16)
    plain, extended, correlated, one_way = (bytes((shape, 7)) for shape in (0, 0x40, 0x80, 0xC0))
    large, larger = b"\x08\0\0", b"\x0b\1\0"  # ranges of an input

    def failures(to):
        return b"".join(bytes((failure, *status, text)) + to + bytes((again,))
                        for status, text, again in (((0, 5), 1, 1), ((1, 0), 0, 0), ((0, 10), 3, 3), ((0, 4), 4, 0)))

    for protocol, name in ((0, "frames"), (1, "lines"), (2, "bare")):
        start = bytes((protocol,))
        calls = {
            "reply": bytes((reply,)) + plain + b"\5hello" + bytes((compare, 0, 3)),
            "forward_small_and_large": bytes((forward, 4, forward, 8, forward, 9, forward, 11, compare, 1, 99)),
            "forward_neighbours": bytes((forward, 0, forward, 2, forward, 4, forward, 6, forward, 8, compare, 2, 9)),
            "gathered": bytes((gathered,)) + plain + b"\3\0abcde\1\x08\0\x40\2\x09\1\0" + bytes((compare, 3, 3)),
            "gathered_in_a_slice": bytes((gathered,)) + plain + b"\x83\0abcde\1\x08\0\x40\2\x09\1\0" + bytes((compare, 3, 3)),
            "gathered_few": b"".join(bytes((gathered,)) + plain + bytes((count,)) + b"\0abcde" * count for count in range(6)),
            "parts": bytes((part,)) + plain + large + bytes((part,)) + plain + larger,
            "shared": bytes((shared,)) + plain + large + bytes((shared,)) + plain + b"\2\0\0",
            "failures": failures(plain) + bytes((elsewhere, 0)),
            "control_and_farewell": bytes((control_, 0)) + b"123456789" + bytes((farewell, 3, 1, farewell, 9, 0)),
            "beyond_the_pieces": bytes((many, 47)) + bytes(place % 6 for place in range(47)) + bytes((many, 47)) + bytes(place % 6 for place in range(47)) + bytes((compare,)),
            "shared_beyond_the_pieces": bytes((many, 45)) + b"\x04\x05\0" * 15
            + (bytes((shared,)) + plain + large) * 12,
            "two_batches": bytes((forward, 8, clear, (protocol + 1) % 3, forward, 8, compare, 0, 0)),
            "whole": bytes((whole, 0)) + large + bytes((whole, 0)) + b"\4\0\0" + bytes((whole, 1)) + larger
            + bytes((reply,)) + plain + b"\1x" + bytes((compare, 40, 9)),
            "whole_beyond_the_pieces": bytes((many, 45)) + b"\x04\x05\0" * 15 + (bytes((whole, 0)) + large) * 12,
            "elsewhere": bytes((elsewhere, 0, elsewhere, 1, elsewhere, 2, elsewhere, 3, elsewhere, 4, 0, 9)) + plain,
            "too_large_for_the_peer": bytes((most, 2, reply)) + plain + b"\1x" + bytes((most, 3, part)) + plain + large
            + bytes((shared,)) + plain + larger + bytes((most, 1, forward, 4, forward, 6)),
        }
        if protocol == 0:
            for shape, to in (("extended", extended), ("correlated", correlated), ("one_way", one_way)):
                calls |= {
                    f"{shape}_reply": bytes((reply,)) + to + b"\5hello" + bytes((reply,)) + plain + b"\1x",
                    f"{shape}_gathered": bytes((gathered,)) + to + b"\3\0abcde\1\x08\0\x40\2\x09\1\0",
                    f"{shape}_shared": bytes((shared,)) + to + large + bytes((part,)) + to + larger,
                    f"{shape}_failures": failures(to),
                    f"{shape}_too_large": bytes((most, 2, reply)) + to + b"\1x",
                }
            calls |= {
                "forward_with_blocks": bytes(byte for choice in range(12, 36) for byte in (forward, choice)),
                "ack": bytes((control_frame, 0, 15, 0, 7)) + b"abcd" + bytes((control_frame, 1, 0, 9, 9)),
                "farewell_of_the_service": b"".join(bytes((farewell, reason, 1, 1, 2, 1)) for reason in range(32)),
            }
        for call, script in calls.items():
            yield f"{name}_{call}", start + script


def turn():
    """Six choices, then what happens; see `Run::step`."""
    raw, many, ping, broken, arrive, all_arrives = 0, 1, 5, 6, 7, 10
    take, take_all, end, reset, time, drain = 11, 14, 15, 16, 17, 19
    interrupt, accept_fault, connect, spurious = 20, 21, 22, 23
    extended_, hello_, ask_, pong, any_frame = 24, 26, 27, 28, 29
    now, held = 0x80, 0x20

    def messages(route, size, scale=0, times=0, first=0x41):
        """1 << times messages of size << scale bytes."""
        return bytes((route, scale | times << 4, size, first))

    def block(flags=0, choice=0, deadline=0):
        """Bit 0 correlation, 1 deadline, 2 trace, 3 one-way, 6 what nobody knows, 7 tags; a choice of 255 is broken."""
        return bytes((flags, choice)) + bytes((9,)) * (flags & 1) + bytes((deadline,)) * (flags >> 1 & 1)

    def extended(route, flags=0, choice=0, deadline=0, size=9, scale=0, times=0):
        return bytes((extended_ | now, route)) + block(flags, choice, deadline) + bytes((size, scale | times << 4))

    def greeting(tags=0, with_block=b"", name=0, version=None):
        choice = tags << 4 | (1 if with_block else 0) | (0 if version is None else 2)
        end = b"" if version is None else bytes((version,))
        return bytes((hello_ | now, choice)) + with_block + bytes((name,)) + end

    def ask(code, with_block=b"", size=None, scale=0):
        body = b"" if size is None else bytes((size, scale))
        choice = next(c for c in range(8) if c % 3 == code and (c & 4 == 4) == bool(with_block))
        return bytes((ask_ | now, choice)) + with_block + body

    hello_first = bytes((2, 0, 0, 0, 0, 0))
    bare = bytes((4, 0, 0, 0, 0, 0))
    frames = bytes((0, 0, 0, 0, 0, 0))
    full = bytes((0, 0, 0, 0, 0, 1))  # a socket that takes nothing
    lines = bytes((3, 0, 0, 0, 0, 0))
    yield "echo", frames + bytes((many | now,)) + messages(1, 20) + bytes((end,))
    for route, name in enumerate(("ack", "echo", "discard", "flip", "nobody")):
        yield f"each_{name}", frames + bytes((many | now,)) + messages(route, 20, times=2)
    yield "extension", frames + bytes((many | now,)) + messages(241, 9)
    yield "two_peers", bytes((0, 0, 0, 0, 0, 2)) + bytes((many | now,)) + messages(1, 9) + bytes((many | now | 64,)) \
        + messages(3, 9) + bytes((end, reset | 64))
    yield "a_batch_and_more", frames + bytes((many | now,)) + messages(1, 1, times=7) \
        + (bytes((many | held,)) + messages(3, 2, times=7)) * 3 + bytes((all_arrives,))
    yield "in_pieces", frames + bytes((many,)) + messages(1, 50, times=1) + bytes((arrive, 3, 0, arrive, 4, 0)) \
        + bytes((arrive, 40, 0, all_arrives))
    yield "large_in_pieces", frames + bytes((many,)) + messages(1, 200, scale=10) \
        + bytes((arrive, 9, 12, arrive, 200, 7, arrive, 200, 9, all_arrives, end))
    yield "full_socket", full + bytes((many | now,)) + messages(1, 200, scale=4, times=5) \
        + bytes((take, 9, 9, take, 200, 8, take_all, end))
    yield "never_read", full + bytes((many | now,)) + messages(1, 200, scale=8, times=4) + bytes((time, 6, time, 7))
    yield "low_watermark", bytes((0, 0, 2, 0, 0, 1)) + bytes((many | now,)) + messages(1, 100, scale=3, times=6) \
        + (bytes((take, 90, 4))) * 9
    yield "ping", frames + bytes((ping | now, 9, ping | now, 65))
    yield "bad_crc", frames + bytes((many | held,)) + messages(1, 9) + bytes((broken | now, 9))
    yield "truncated", frames + bytes((many,)) + messages(1, 90) + bytes((arrive, 50, 0, end | held, arrive, 9, 0, end))
    yield "idle", bytes((0, 0, 0, 0, 1, 0)) + bytes((many | now,)) + messages(1, 9) + bytes((time, 3, time, 4))
    yield "frame_deadline", frames + bytes((many,)) + messages(1, 90) + bytes((arrive, 20, 0, time, 6, time, 4))
    yield "drained", frames + bytes((many | now | held,)) + messages(1, 9, times=3) + bytes((drain, 2))
    yield "drained_full", full + bytes((many | now,)) + messages(1, 200, scale=6, times=3) + bytes((drain, 1, time, 2))
    yield "short_of_memory", bytes((0, 0, 0, 0, 0, 0xF2)) + bytes((many,)) + messages(1, 240, scale=12) \
        + bytes((many | 64,)) + messages(1, 240, scale=12) + bytes((arrive, 99, 11, arrive | 64, 99, 11)) \
        + bytes((time, 2, time, 2, all_arrives, all_arrives | 64))
    yield "interrupted", frames + bytes((many | now | held,)) + messages(1, 9) + bytes((interrupt, 3, spurious, 1))
    for fault in range(4):
        yield f"accept_fault_{fault}", frames + bytes((accept_fault | held, fault, connect, 0, time, 1, time, 3))
    yield "one_too_many", bytes((0, 0, 0, 0, 0, 2)) + bytes((connect, 0, many | now)) + messages(1, 9)
    for route, name in enumerate(("ack", "echo", "discard", "flip")):
        yield f"lines_{name}", bytes((1 + 2 * route, 0, 0, 0, 0, 0)) + bytes((many | now,)) + messages(2, 9, times=2) \
            + bytes((raw, 5)) + b"a\r\nbc" + bytes((all_arrives, end))
    yield "line_too_long", bytes((3, 1, 0, 0, 0, 0)) + bytes((raw | now, 20)) + b"a" * 20
    for name in ("tls_1_2_on_frames", "http_1_1_on_frames", "resp_on_frames", "proxy_2_on_frames"):
        stream = dict(streams("frame"))[name][:63]
        yield name, frames + bytes((raw | now, len(stream))) + stream
    kinds = {"bare": 0, "id": 1, "trace": 4, "one_way": 8, "one_way_id": 9, "unknown_flag": 0x41, "tags": 0x81}
    for name, flags in kinds.items():
        for route in (1, 2, 3, 5):
            yield f"ext_{name}_{route}", frames + extended(route, flags) + bytes((many | now,)) + messages(1, 3)
    yield "ext_critical", frames + extended(1, 0x81, 3) + extended(2, 0x80, 3) + extended(2, 0x81, 3)
    yield "ext_broken", frames + extended(1, 1) + extended(1, 1, 255)
    yield "ext_deadlines", frames + b"".join(extended(route, 3, 0, deadline) for deadline in range(6) for route in (1, 2))
    yield "ext_deadlines_without_id", frames + extended(1, 2) + extended(2, 2) + extended(1, 10) + extended(1, 2, 0, 5)
    yield "ext_deadline_in_the_ring", bytes((0, 0, 1, 0, 0, 9)) + bytes((many | now | held,)) + messages(1, 99, times=6) \
        + extended(1, 3, 0, 2) + bytes((time, 2, take_all, take_all))
    yield "ext_large", frames + extended(1, 1, size=90, scale=9, times=3) + extended(3, 1, size=200, scale=12)
    yield "greeted", frames + greeting() + bytes((many | now,)) + messages(1, 9) + extended(1, 1) + bytes((end,))
    yield "greeted_twice", frames + greeting() + greeting()
    yield "greeted_late", frames + bytes((many | now,)) + messages(2, 9) + greeting()
    yield "greeted_with_block", frames + greeting(with_block=block(5)) + ask(0, block(1))
    for name, flags, choice in (("unknown_flag", 0x41, 0), ("broken", 1, 255), ("deadline", 2, 0)):
        yield f"greeted_with_{name}", frames + greeting(with_block=block(flags, choice)) + bytes((ping, 3))
    for tags, name in enumerate(("none", "0", "5", "4096", "1_mib", "unknown", "critical", "short")):
        yield f"greeted_takes_{name}", frames + greeting(tags) + bytes((many | now,)) + messages(1, 20, times=1) \
            + extended(1, 1) + extended(1, 9) + extended(2, 1)
    yield "greeted_version_0", frames + greeting(version=0)
    yield "greeted_version_9", frames + greeting(version=9)
    yield "greeted_refused", hello_first + greeting(name=2) + bytes((many | now,)) + messages(1, 9)
    yield "greeted_bad_name", frames + greeting(name=3)
    yield "hello_wanted", hello_first + greeting() + bytes((many | now,)) + messages(1, 9)
    yield "hello_wanted_and_request", hello_first + bytes((many | now,)) + messages(1, 9)
    yield "hello_wanted_and_ping", hello_first + bytes((ping | now, 9))
    yield "hello_wanted_and_nonsense", hello_first + bytes((any_frame | now, 0x7F, 0, 0))
    for code, name in enumerate(("subscribe", "unsubscribe", "publish")):
        size = 9 if code == 2 else None
        yield f"ask_{name}", frames + ask(code, size=size) + ask(code, block(1), size) + ask(code, block(4), size)
        yield f"ask_{name}_greeted", frames + greeting() + ask(code, size=size) + ask(code, block(5), size) \
            + bytes((time, 4)) + ask(code, block(4), size) + bytes((many | now,)) + messages(1, 9)
    yield "ask_of_9_kib", bytes((0, 3, 0, 0, 0, 0)) + greeting() + ask(2, size=9, scale=10) + ask(2, block(1), 255, 11)
    yield "ask_of_9_kib_ungreeted", frames + ask(2, size=9, scale=10)
    yield "notices", frames + greeting() + extended(1, 0x48) + extended(5, 8) + extended(2, 2) + bytes((time, 3)) \
        + extended(1, 10) + bytes((time, 3)) + ask(0)
    for bits in (0x4002, 0x4003, 0x4004, 0x4005, 0x4009, 0xC00A, 0x400B, 0x400C, 0x400D, 0xC000, 0xC002):
        yield f"control_{bits:04x}", frames + bytes((many | now,)) + messages(1, 9) \
            + bytes((any_frame | now, bits >> 8, bits & 0xFF, 14)) + b"\3\1\0\0\0\0\0\0\0\0\0\x07\0\0"
    # Who connects is accepted in the first turn and read in the second.
    greeted = frames + greeting() + bytes((time, 0))
    yield "heartbeat", greeted + bytes((time, 6, pong | now, time, 6, many | now)) + messages(1, 9) \
        + bytes((time, 6, time, 6, time, 6))
    yield "heartbeat_wrong_pong", greeted + bytes((time, 6, any_frame | now, 0x40, 1, 2)) + b"no" + bytes((time, 6))
    yield "heartbeat_paused", full + greeting() + bytes((time, 0, many | now)) + messages(1, 200, scale=8, times=4) \
        + bytes((time, 6, take_all, time, 6))
    yield "drained_greeted", greeted + bytes((drain | held, 2, many | now)) + messages(1, 9, times=2) \
        + extended(1, 1) + extended(2, 1) + extended(2) + bytes((many | now,)) + messages(2, 9) + ask(0, block(1)) \
        + bytes((end,))
    yield "drained_greeted_stays", greeted + bytes((many | now,)) + messages(1, 9) + bytes((drain, 3, time, 6, time, 6))
    yield "greeted_in_the_drain", frames + bytes((drain | held, 2)) + greeting() + bytes((many | now,)) + messages(1, 9)
    for name, route in (("echo", 1), ("discard", 2), ("high", 255)):
        yield f"bare_{name}", bare + bytes((many | now,)) + messages(1, 9, times=1) + bytes((many | now,)) \
            + messages(route, 9) + bytes((many | now,)) + messages(1, 9) + bytes((end,))
    yield "bare_any_header", bare + b"".join(
        bytes((any_frame | now, bits >> 8, bits & 0xFF, 5)) + b"route" for bits in (1, 0x4000, 0x8001, 0xC001))
    yield "bare_large", bare + bytes((many,)) + messages(1, 150, scale=12) + bytes((arrive, 9, 12, all_arrives, end))
    yield "bare_one_too_many", bytes((4, 0, 0, 0, 0, 2)) + bytes((connect, 0, many | now)) + messages(1, 9)
    yield "bare_drained", bare + bytes((many | now | held,)) + messages(1, 9, times=3) + bytes((drain, 2))
    yield "bare_no_descriptors", bare + bytes((accept_fault | held, 1, connect, 0, time, 1, time, 3))
    yield "http_on_lines", lines + bytes((raw | now, 18)) + b"GET / HTTP/1.1\r\n\r\n"


def session():
    """Six choices, then what happens; see `Run::step` and `Answering::handle` of the target."""
    hello, ping, subscribe, broken = 6, 7, 8, 9
    take, take_all, answer, in_order, backwards, time = 13, 15, 16, 21, 22, 23
    drain, end, reset, connect = 25, 26, 27, 29
    later, forward, share, gathered, fail, silent, dropped, other, fail_other, close, within, now = (
        0, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
    plain, bare_block, correlated, deadline, one_way, unsupported, many = 0, 1, 2, 4, 0x18, 0x9c, 0x40

    def ask(shape, what, size=9, scale=0, place=0):
        return bytes((0x80 | place, shape, what, size, scale))

    def start(speech=0, payload=0, high=0, budget=0, choice=0, deadlines=0):
        return bytes((speech, payload, high, budget, choice, deadlines))

    kinds = {"later": later, "forward": forward, "share": share, "gathered": gathered, "fail": fail, "silent": silent,
             "dropped": dropped, "other": other, "fail_other": fail_other, "close": close, "within": within, "now": now}
    for name, what in kinds.items():
        yield f"each_{name}", start() + b"".join(ask(shape, what) for shape in (plain, bare_block, correlated)) \
            + bytes((in_order,))
        yield f"behind_{name}", start() + ask(plain, later) + b"".join(
            ask(shape, what) for shape in (plain, bare_block, correlated, correlated | one_way)) + bytes((backwards,))
        yield f"on_bare_{name}", start(speech=3) + ask(plain, later) + ask(plain, what) + ask(plain, later) \
            + ask(plain, now) + bytes((backwards,))
    for name, shape in (("deadline", correlated | deadline), ("unsupported", correlated | unsupported),
                        ("deadline_bare", bare_block | deadline)):
        yield name, start() + ask(plain, later) + ask(shape, later) + ask(shape, now) + bytes((time, 1, time, 5))
    for limit in range(3):
        yield f"few_may_be_open_{limit}", start(choice=0x10 + 0x10 * limit) + ask(many | plain, later) \
            + ask(many | correlated, later) + ask(many | plain, now) + bytes((backwards, in_order, backwards))
    yield "forgotten", start(deadlines=1) + ask(many, later) + bytes((answer, 1, 7, time, 2, answer, 0, 7, in_order))
    yield "in_any_order", start() + ask(0x60, later) + ask(0x60 | correlated, later) \
        + b"".join(bytes((answer, pick, how)) for pick, how in ((9, 8), (3, 3), (0, 12), (5, 5), (2, 6), (1, 0)))
    yield "full_socket", start(choice=1) + ask(many, now, 200, 8) + ask(many, later) + bytes((in_order, take, 9, 9)) \
        + bytes((take, 200, 8, take_all))
    yield "large_behind", start() + ask(plain, later) + ask(0x60, now, 200, 12) + bytes((in_order,))
    yield "large_later_behind", start() + ask(plain, later) + ask(0x60, later) + b"".join(
        bytes((answer, 1, 0xFC)) for _ in range(7)) + bytes((in_order,))
    yield "too_large_for_a_small_listener", start(payload=1, high=1) + ask(many, later) \
        + b"".join(bytes((answer, 1, 0xFC)) for _ in range(3)) + bytes((in_order,))
    for budget in (1, 2, 3):
        yield f"short_of_memory_{budget}", start(budget=budget, choice=3) + ask(plain, later) + ask(0x60, now, 200, 10) \
            + ask(plain, later, place=64) + ask(0x60, now, 200, 10, place=64) + bytes((time, 2, time, 2, in_order))
    # One holds all but two leases of 4 KiB, the other these, and the first waits for memory until it is ended for it.
    yield "ended_for_memory", start(budget=3, choice=3) + ask(plain, later) + ask(plain, now, 200, 6) \
        + ask(correlated, now, place=64) + ask(plain, later, place=64) + ask(plain, now, place=64) + ask(plain, now) \
        + bytes((time, 2, time, 2, time, 2, in_order))
    greeted = start() + bytes((hello | 0x80, 0))
    yield "greeted", greeted + bytes((ping | 0x80, 3, subscribe | 0x80, 1, subscribe | 0x80, 0)) + ask(many | 2, later) \
        + bytes((time, 3, time, 5, in_order))
    yield "greeted_takes_little", start() + bytes((hello | 0x80, 1)) + ask(plain, later) + ask(plain, now, 100) \
        + ask(correlated, now, 100) + ask(bare_block, later) + bytes((answer, 1, 0xF8, in_order))
    yield "greeted_in_a_drain", greeted + ask(many, later) + bytes((drain, 2)) + ask(plain, now) + ask(correlated, later) \
        + bytes((backwards, end))
    yield "late_hello", start() + ask(plain, later) + bytes((hello | 0x80, 0, in_order))
    yield "no_hello", start(choice=0xC0) + ask(plain, later)
    yield "drained", start() + ask(many, later) + ask(many, now) + bytes((drain, 1, in_order))
    yield "drain_runs_out", start(choice=1) + ask(many, later) + bytes((drain, 0, time, 3))
    yield "broken_behind", start() + ask(many, later) + ask(correlated, later) + bytes((broken | 0x80, in_order))
    yield "ended_with_open", start() + ask(many, later) + bytes((end, in_order))
    yield "reset_with_open", start() + ask(many, later) + ask(plain, now) + bytes((reset, in_order))
    yield "ended_and_stalled", start(choice=1) + ask(many, later) + bytes((end, in_order, time, 5, time, 5))
    yield "two_peers", start(choice=2) + ask(many, later) + ask(many | 2, later, place=64) + ask(plain, other, 3) \
        + ask(plain, fail_other, 1, place=64) + bytes((reset, backwards, connect, 0)) + ask(plain, later)


def config():
    """A file, a line of %, variables."""
    for path in sorted(CONFIGS.glob("*.txt")):
        yield path.stem, path.read_bytes().split(b"\n--------\n")[0]
    everything = """config_version = 1
[server]
shards = 2
pin = true
memory = "512MiB"
drain = { grace = "1500ms" }
[[listener]]
address = "unix:/tmp/a\\u0007b"
header_space = "full"
max_payload = "0B"
kernel_buffer = "auto"
[[listener]]
address = "localhost:7"
protocol = "line"
route = 0x10
[[route]]
headers = "0x0100-0x01ff"
service = "flip"
[limits]
max_connections = 500
output_high = "33KiB"
output_low = "0B"
[timeouts]
frame = "1ms"
idle = "24d"
heartbeat = "off"
[keepalive]
idle = "off"
[log]
format = "json"
level = "off"
stall = "7us"
"""
    yield "right", everything.encode()
    yield "right_and_variables", (everything + """
%
TIDEGATE_SERVER__SHARDS=auto
TIDEGATE_LISTENER__1__MAX_PAYLOAD=1KiB
TIDEGATE_LISTENER__2__ADDRESS=[::1]:9
TIDEGATE_ROUTE__1__HEADERS=7
TIDEGATE_ROUTE__1__SERVICE=ack
""").encode()
    yield "variables_alone", b"\n%\nTIDEGATE_TIMEOUTS__IDLE=5m\nTIDEGATE_SERVER__DRAIN__GRACE=2s\n"
    yield "variables_with_a_gap", b"\n%\nTIDEGATE_ROUTE__9__HEADERS=5\nTIDEGATE_SHARDS=2\nTIDEGATE_SERVER__PIN=maybe\n"
    yield "nothing", b""


def proxy():
    """A choice of what stands before it, the sizes of three chunks less one, stream."""
    def seed(stream, start=0, sizes=(255, 255, 255)):
        return bytes((start, *sizes)) + stream

    def binary(command, family, body):
        return b"\r\n\r\n\0\r\nQUIT\n" + bytes((command, family)) + struct.pack(">H", len(body)) + body

    v4 = bytes((203, 0, 113, 7, 192, 0, 2, 1)) + struct.pack(">HH", 56324, 7411)
    v6 = bytes.fromhex("20010db8" + "00" * 11 + "07") + bytes(16) + struct.pack(">HH", 443, 7411)
    lines = {
        "tcp4": b"TCP4 203.0.113.7 192.0.2.1 56324 7411",
        "tcp6": b"TCP6 2001:db8::7 ::1 443 7411",
        "tcp6_mapped": b"TCP6 ::ffff:10.0.0.1 ::1 443 7411",
        "unknown": b"UNKNOWN",
        "unknown_with_more": b"UNKNOWN ffff:: 1.2.3.4 x",
        "wrong_family": b"UDP4 1.2.3.4 5.6.7.8 1 2",
        "leading_zero": b"TCP4 1.2.3.4 5.6.7.8 01 2",
        "mixed": b"TCP4 ::1 1.2.3.4 1 2",
        "port_missing": b"TCP6 ::1 ::1 1",
    }
    for name, line in lines.items():
        yield f"line_{name}", seed(b"PROXY " + line + b"\r\nrest")
    yield "line_by_byte", seed(b"TCP4 203.0.113.7 192.0.2.1 56324 7411\r\n", 1, (0, 0, 0))
    yield "line_not_ended", seed(b"PROXY TCP4 1.2.3.4 5.6")
    yield "line_too_long", seed(b"PROXY UNKNOWN " + b"x" * 120)
    binaries = {
        "tcp4": (0x21, 0x11, v4),
        "tcp4_with_tlvs": (0x21, 0x11, v4 + b"\x03\0\x04crc!\x01\0\x02h2"),
        "tcp6": (0x21, 0x21, v6),
        "unix": (0x21, 0x31, b"/" * 216),
        "unspec": (0x21, 0x00, b""),
        "udp4": (0x21, 0x12, v4),
        "local": (0x20, 0x00, b""),
        "local_odd": (0x20, 0x77, b"what"),
        "bad_command": (0x22, 0x11, v4),
        "bad_family": (0x21, 0x41, v4),
        "too_short": (0x21, 0x21, v4),
    }
    for name, (command, family, body) in binaries.items():
        yield f"binary_{name}", seed(binary(command, family, body) + b"rest", 0, (0, 7, 20))
    yield "binary_too_long", seed(b"\x21\x11\x10\x01", 2)
    yield "binary_as_long_as_may_be", seed(b"\x21\x11\x10\x00" + v4, 2)
    yield "binary_cut", seed(v4[:7], 3, (0, 0, 0))
    yield "http", seed(b"GET / HTTP/1.1\r\n\r\n")
    yield "a_frame", seed(frame(1, b"hello"))
    yield "nothing", b""


TARGETS = (decode, round_trip, chunked, line, proxy, control, extension, hello, outbox, turn, session, config)


def main():
    check, stale = "--check" in sys.argv[1:], []
    for target in TARGETS:
        folder = HERE / "corpus" / target.__name__
        folder.mkdir(parents=True, exist_ok=True)
        names = set()
        for name, seed in target():
            assert name not in names, f"{target.__name__}/{name} stands twice"
            names.add(name)
            file = folder / name
            if check:
                if not file.exists() or file.read_bytes() != seed:
                    stale.append(file)
            else:
                file.write_bytes(seed)
        if not check:
            print(f"{target.__name__:<10} {len(names):>3} seeds")
    for file in stale:
        print(f"{file} is not what this script makes", file=sys.stderr)
    return bool(stale)


if __name__ == "__main__":
    sys.exit(main())
