/* A bare closed-loop load generator: how little a generator can cost that makes and checks real frames.
 *
 *   cc -O3 -march=native -Wall -Wextra -o generator generator.c
 *   ./generator --addr 127.0.0.1:7411 --conns 50 --depth 16 --size 64 --time 5 --warmup 1 --route 1
 *
 * One thread, epoll, edge-triggered. Every connection always has `depth` requests on their way; those that become due
 * in one read leave in one write. A request is
 *
 *   route u16 | length u32 | id u64, then a fixed pattern | crc u32
 *
 * big-endian, with CRC-32/ISO-HDLC over all before it. The id is the connection's number and the request's place, so
 * a reply that is missing, doubled, swapped or misdirected is seen. The server must echo: every byte of a reply is
 * compared, its CRC is computed anew, and the first that is wrong ends the run.
 *
 * It sleeps while nothing is ready. Times are from the write to the read. Prints one line of JSON; exit status 0 only
 * if every reply was right. Always ends: by --time, which starts after --warmup. Loopback only: it must never load
 * somebody else's host. Never: open loop, reconnects, more than one thread, replies of another size. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#if defined(__PCLMUL__) && defined(__SSE4_1__)
#include <immintrin.h>
#endif

enum {
    PREFIX_BYTES = 6,
    CRC_BYTES = 4,
    OVERHEAD_BYTES = PREFIX_BYTES + CRC_BYTES,
    ID_BYTES = 8,
    CONNS_MAX = 19000,
    DEPTH_MAX = 65536,
    SIZE_MAX_BYTES = 1 << 20,
    EVENTS = 1024,
    PLACE_BITS = 40,
};

/* Bounds what one connection has on its way, and so every buffer here. */
#define IN_FLIGHT_BYTES_MAX (16u << 20)

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...) {
    va_list values;
    va_start(values, format);
    fputs("generator: ", stderr);
    vfprintf(stderr, format, values);
    fputc('\n', stderr);
    va_end(values);
    exit(1);
}

/* CRC-32/ISO-HDLC, of a byte at each of eight places. */
static uint32_t crc_table[8][256];

static void crc_init(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (0xEDB88320u & -(crc & 1));
        crc_table[0][byte] = crc;
    }
    for (int slice = 1; slice < 8; slice++)
        for (int byte = 0; byte < 256; byte++) {
            uint32_t before = crc_table[slice - 1][byte];
            crc_table[slice][byte] = (before >> 8) ^ crc_table[0][before & 0xFF];
        }
}

/* Eight bytes a step. `crc` is the register, not yet inverted. */
static uint32_t crc_by_table(uint32_t crc, const uint8_t *bytes, size_t count) {
    for (; count >= 8; bytes += 8, count -= 8) {
        uint32_t low, high;
        memcpy(&low, bytes, 4);
        memcpy(&high, bytes + 4, 4);
        low = le32toh(low) ^ crc;
        high = le32toh(high);
        crc = crc_table[7][low & 0xFF] ^ crc_table[6][low >> 8 & 0xFF] ^ crc_table[5][low >> 16 & 0xFF] ^
              crc_table[4][low >> 24] ^ crc_table[3][high & 0xFF] ^ crc_table[2][high >> 8 & 0xFF] ^
              crc_table[1][high >> 16 & 0xFF] ^ crc_table[0][high >> 24];
    }
    for (; count > 0; bytes++, count--) crc = (crc >> 8) ^ crc_table[0][(crc ^ *bytes) & 0xFF];
    return crc;
}

#if defined(__PCLMUL__) && defined(__SSE4_1__)
static __m128i load(const uint8_t *bytes) { return _mm_loadu_si128((const __m128i *)bytes); }

/* Moves `sum` as many bits on as `keys` stand for, and adds what is there. */
static __m128i fold(__m128i sum, __m128i keys, __m128i there) {
    __m128i low = _mm_clmulepi64_si128(sum, keys, 0x00);
    __m128i high = _mm_clmulepi64_si128(sum, keys, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), there);
}

/* Whole 16 bytes by carry-less multiplication, at least 64; constants and steps as in Gopal et al., "Fast CRC
 * Computation for Generic Polynomials Using PCLMULQDQ Instruction", Intel 2009. */
static uint32_t crc_by_folding(uint32_t crc, const uint8_t *bytes, size_t count) {
    const __m128i by_512 = _mm_set_epi64x(0x1c6e41596, 0x154442bd4);
    const __m128i by_128 = _mm_set_epi64x(0x0ccaa009e, 0x1751997d0);
    __m128i a = _mm_xor_si128(load(bytes), _mm_cvtsi32_si128((int)crc));
    __m128i b = load(bytes + 16), c = load(bytes + 32), d = load(bytes + 48);
    for (bytes += 64, count -= 64; count >= 64; bytes += 64, count -= 64) {
        a = fold(a, by_512, load(bytes));
        b = fold(b, by_512, load(bytes + 16));
        c = fold(c, by_512, load(bytes + 32));
        d = fold(d, by_512, load(bytes + 48));
    }
    a = fold(fold(fold(a, by_128, b), by_128, c), by_128, d);
    for (; count >= 16; bytes += 16, count -= 16) a = fold(a, by_128, load(bytes));
    /* 128 bits to 64, to 32, and Barrett's reduction. */
    const __m128i low_32 = _mm_set_epi32(0, 0, 0, -1);
    a = _mm_xor_si128(_mm_clmulepi64_si128(a, by_128, 0x10), _mm_srli_si128(a, 8));
    __m128i rest = _mm_clmulepi64_si128(_mm_and_si128(a, low_32), _mm_set_epi64x(0, 0x163cd6124), 0x00);
    a = _mm_xor_si128(rest, _mm_srli_si128(a, 4));
    const __m128i polynomial = _mm_set_epi64x(0x1f7011641, 0x1db710641);
    rest = _mm_clmulepi64_si128(_mm_and_si128(a, low_32), polynomial, 0x10);
    rest = _mm_clmulepi64_si128(_mm_and_si128(rest, low_32), polynomial, 0x00);
    return (uint32_t)_mm_extract_epi32(_mm_xor_si128(a, rest), 1);
}
#endif

static uint32_t crc_of(const uint8_t *bytes, size_t count) {
    uint32_t crc = ~0u;
#if defined(__PCLMUL__) && defined(__SSE4_1__)
    if (count >= 64) {
        size_t whole = count & ~(size_t)15;
        crc = crc_by_folding(crc, bytes, whole);
        bytes += whole;
        count -= whole;
    }
#endif
    return ~crc_by_table(crc, bytes, count);
}

/* Against the catalogue's check value, and both ways against each other at every length that matters. */
static void crc_check(void) {
    uint8_t bytes[300];
    for (size_t at = 0; at < sizeof bytes; at++) bytes[at] = (uint8_t)(at * 151 + 3);
    bool is_right = crc_of((const uint8_t *)"123456789", 9) == 0xCBF43926u;
    for (size_t count = 0; count <= sizeof bytes; count++)
        is_right = is_right && crc_of(bytes, count) == ~crc_by_table(~0u, bytes, count);
    if (!is_right) fail("its own CRC is wrong on this processor");
}

static uint64_t clock_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Buckets of equal width within each power of two: 128 each, so a time is known to 0.8 %. */
enum { SUB_BITS = 7, SUB = 1 << SUB_BITS, BUCKETS = (64 - SUB_BITS + 1) * SUB };
static uint64_t buckets[BUCKETS];

static size_t bucket_of(uint64_t ns) {
    if (ns < SUB) return ns;
    unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - SUB_BITS;
    return (size_t)(shift + 1) * SUB + ((ns >> shift) - SUB);
}

/* The upper end of a bucket. */
static uint64_t bucket_end(size_t bucket) {
    if (bucket < SUB) return bucket;
    size_t shift = bucket / SUB - 1;
    return ((bucket % SUB + SUB + 1) << shift) - 1;
}

static uint64_t percentile(uint64_t count, double share) {
    uint64_t wanted = (uint64_t)((double)count * share), seen = 0;
    for (size_t bucket = 0; bucket < BUCKETS; bucket++) {
        seen += buckets[bucket];
        if (seen > wanted) return bucket_end(bucket);
    }
    return 0;
}

struct conn {
    int fd;
    uint32_t pending_from, pending_to; /* of `pending`: what the kernel did not take yet */
    uint32_t partial_bytes;            /* of `partial`: the beginning of a reply */
    uint64_t sent, answered;           /* requests so far */
    uint64_t *sent_at;                 /* by place modulo depth, in ns */
    uint8_t *pending, *partial;        /* made when first needed */
};

static struct sockaddr_in address;
static size_t conn_count = 1, depth = 1, size = 64, frame_bytes;
static uint64_t time_ns = 5000000000u, warmup_ns = 1000000000u;
static uint16_t route = 1;
static struct conn *conns;
static uint8_t *template, *in, *out;
static size_t in_bytes;
static uint64_t counted;
static bool is_counting;

static void *need(void *memory) {
    if (memory == NULL) fail("out of memory");
    return memory;
}

static uint64_t id_of(const struct conn *conn, uint64_t place) {
    return (uint64_t)(conn - conns) << PLACE_BITS | (place & ((1ull << PLACE_BITS) - 1));
}

static void make_template(void) {
    template = need(malloc(frame_bytes));
    uint16_t header = htobe16(route);
    uint32_t length = htobe32((uint32_t)size);
    memcpy(template, &header, sizeof header);
    memcpy(template + 2, &length, sizeof length);
    for (size_t at = 0; at < size; at++) template[PREFIX_BYTES + at] = (uint8_t)(at * 167 + 13);
}

static void make_frame(uint8_t *frame, uint64_t id) {
    id = htobe64(id);
    memcpy(frame, template, frame_bytes - CRC_BYTES);
    memcpy(frame + PREFIX_BYTES, &id, sizeof id);
    uint32_t crc = htobe32(crc_of(frame, frame_bytes - CRC_BYTES));
    memcpy(frame + frame_bytes - CRC_BYTES, &crc, sizeof crc);
}

static void check_frame(const struct conn *conn, const uint8_t *frame) {
    uint64_t id, wanted = id_of(conn, conn->answered);
    uint32_t crc;
    memcpy(&id, frame + PREFIX_BYTES, sizeof id);
    memcpy(&crc, frame + frame_bytes - CRC_BYTES, sizeof crc);
    const size_t body = PREFIX_BYTES + ID_BYTES;
    bool is_right = memcmp(frame, template, PREFIX_BYTES) == 0 && be64toh(id) == wanted &&
                    memcmp(frame + body, template + body, size - ID_BYTES) == 0 &&
                    be32toh(crc) == crc_of(frame, frame_bytes - CRC_BYTES) && conn->answered < conn->sent;
    if (!is_right) {
        uint32_t header;
        memcpy(&header, frame, sizeof header);
        fail("connection %zu: reply %" PRIu64 " is wrong: it begins with %08x and has id %016" PRIx64
             ", wanted %016" PRIx64,
             (size_t)(conn - conns), conn->answered, be32toh(header), be64toh(id), wanted);
    }
}

/* How much the kernel took. */
static size_t push(const struct conn *conn, const uint8_t *bytes, size_t count) {
    ssize_t taken = TEMP_FAILURE_RETRY(send(conn->fd, bytes, count, MSG_NOSIGNAL));
    if (taken >= 0) return (size_t)taken;
    if (errno == EAGAIN) return 0;
    fail("connection %zu: %s", (size_t)(conn - conns), strerror(errno));
}

/* Sends what was kept. After less than all, epoll tells when there is room. */
static void flush(struct conn *conn) {
    size_t kept = conn->pending_to - conn->pending_from;
    conn->pending_from += (uint32_t)push(conn, conn->pending + conn->pending_from, kept);
    if (conn->pending_from == conn->pending_to) conn->pending_from = conn->pending_to = 0;
}

/* Sends the next `count` requests in one write. */
static void request(struct conn *conn, size_t count) {
    size_t bytes = count * frame_bytes;
    for (size_t at = 0; at < count; at++) make_frame(out + at * frame_bytes, id_of(conn, conn->sent + at));
    uint64_t now = clock_ns(CLOCK_MONOTONIC);
    for (size_t at = 0; at < count; at++) conn->sent_at[conn->sent++ % depth] = now;
    size_t taken = conn->pending_to == 0 ? push(conn, out, bytes) : 0;
    if (taken == bytes) return;
    if (conn->pending == NULL) conn->pending = need(malloc(depth * frame_bytes));
    uint32_t kept = conn->pending_to - conn->pending_from;
    memmove(conn->pending, conn->pending + conn->pending_from, kept);
    memcpy(conn->pending + kept, out + taken, bytes - taken);
    conn->pending_from = 0;
    conn->pending_to = kept + (uint32_t)(bytes - taken);
}

/* Reads all that is there, checks it, and sends as many requests as were answered. */
static void answer(struct conn *conn) {
    size_t have = conn->partial_bytes;
    if (have > 0) memcpy(in, conn->partial, have);
    ssize_t got = TEMP_FAILURE_RETRY(recv(conn->fd, in + have, in_bytes - have, 0));
    if (got < 0 && errno == EAGAIN) return;
    if (got < 0) fail("connection %zu: %s", (size_t)(conn - conns), strerror(errno));
    if (got == 0) fail("connection %zu: closed by the server", (size_t)(conn - conns));
    have += (size_t)got;
    /* More than all that was asked for: a short read is what says that the socket is empty. */
    if (have == in_bytes) fail("connection %zu: more bytes than were asked for", (size_t)(conn - conns));
    uint64_t now = clock_ns(CLOCK_MONOTONIC);
    size_t count = have / frame_bytes;
    for (size_t at = 0; at < count; at++) {
        check_frame(conn, in + at * frame_bytes);
        uint64_t ns = now - conn->sent_at[conn->answered++ % depth];
        if (is_counting) buckets[bucket_of(ns)]++;
    }
    if (is_counting) counted += count;
    conn->partial_bytes = (uint32_t)(have - count * frame_bytes);
    if (conn->partial_bytes > 0) {
        if (conn->partial == NULL) conn->partial = need(malloc(frame_bytes));
        memcpy(conn->partial, in + count * frame_bytes, conn->partial_bytes);
    }
    if (count > 0) request(conn, count);
}

static void open_all(int poll) {
    const int one = 1;
    const struct timeval patience = {.tv_sec = 5};
    for (size_t at = 0; at < conn_count; at++) {
        struct conn *conn = &conns[at];
        conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (conn->fd < 0) fail("connection %zu: %s; raise ulimit -n", at, strerror(errno));
        setsockopt(conn->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        if (connect(conn->fd, (struct sockaddr *)&address, sizeof address) < 0)
            fail("connection %zu: %s", at, strerror(errno));
        if (fcntl(conn->fd, F_SETFL, O_NONBLOCK) < 0) fail("fcntl: %s", strerror(errno));
        conn->sent_at = need(calloc(depth, sizeof *conn->sent_at));
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = conn};
        if (epoll_ctl(poll, EPOLL_CTL_ADD, conn->fd, &event) < 0) fail("epoll_ctl: %s", strerror(errno));
    }
}

static void run(int poll) {
    static struct epoll_event events[EVENTS];
    for (size_t at = 0; at < conn_count; at++) request(&conns[at], depth);
    uint64_t began = clock_ns(CLOCK_MONOTONIC), cpu_began = 0, now;
    const uint64_t counts_from = began + warmup_ns;
    while ((now = clock_ns(CLOCK_MONOTONIC)) < counts_from + time_ns) {
        if (!is_counting && now >= counts_from) {
            is_counting = true;
            began = now;
            cpu_began = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        }
        int ready = epoll_wait(poll, events, EVENTS, 100);
        if (ready < 0 && errno != EINTR) fail("epoll_wait: %s", strerror(errno));
        for (int at = 0; at < ready; at++) {
            struct conn *conn = events[at].data.ptr;
            if (conn->pending_to > 0) flush(conn);
            if (events[at].events & ~(uint32_t)EPOLLOUT) answer(conn);
        }
    }
    double seconds = (double)(now - began) / 1e9;
    double cpu_ns = (double)(clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_began);
    if (counted == 0) fail("no reply in %.1f s", seconds);
    printf("{\"messages\": %" PRIu64 ", \"seconds\": %.3f, \"messages_per_s\": %.0f, \"p50_us\": %.2f, "
           "\"p99_us\": %.2f, \"cpu_ns_per_message\": %.1f, \"busy\": %.3f}\n",
           counted, seconds, (double)counted / seconds, (double)percentile(counted, 0.50) / 1e3,
           (double)percentile(counted, 0.99) / 1e3, cpu_ns / (double)counted, cpu_ns / 1e9 / seconds);
}

static double number(const char *name, const char *text, double least, double most) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= least && value <= most))
        fail("%s is %s; give it %g to %g", name, text, least, most);
    return value;
}

static void parse_address(const char *text) {
    char host[INET_ADDRSTRLEN] = "";
    const char *colon = strrchr(text, ':');
    if (colon == NULL || (size_t)(colon - text) >= sizeof host) fail("--addr is %s; give it IP:PORT", text);
    memcpy(host, text, (size_t)(colon - text));
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)number("the port of --addr", colon + 1, 1, 65535));
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) fail("--addr is %s; give it IP:PORT", text);
    if (ntohl(address.sin_addr.s_addr) >> 24 != 127) fail("%s is not a loopback address", host);
}

static const char USAGE[] =
    "usage: generator --addr IP:PORT [--conns N] [--depth N] [--size BYTES] [--time SECONDS] [--warmup SECONDS] "
    "[--route R]";

static void parse(int count, char **words) {
    if (count == 1 || strcmp(words[1], "--help") == 0) {
        puts(USAGE);
        exit(count == 1);
    }
    for (int at = 1; at < count; at += 2) {
        const char *name = words[at];
        if (at + 1 == count) fail("%s needs a value; %s", name, USAGE);
        const char *value = words[at + 1];
        if (strcmp(name, "--addr") == 0) parse_address(value);
        else if (strcmp(name, "--conns") == 0) conn_count = (size_t)number(name, value, 1, CONNS_MAX);
        else if (strcmp(name, "--depth") == 0) depth = (size_t)number(name, value, 1, DEPTH_MAX);
        else if (strcmp(name, "--size") == 0) size = (size_t)number(name, value, ID_BYTES, SIZE_MAX_BYTES);
        else if (strcmp(name, "--time") == 0) time_ns = (uint64_t)(number(name, value, 0.1, 3600) * 1e9);
        else if (strcmp(name, "--warmup") == 0) warmup_ns = (uint64_t)(number(name, value, 0, 3600) * 1e9);
        else if (strcmp(name, "--route") == 0) route = (uint16_t)number(name, value, 0, 0x3FFF);
        else fail("there is no %s; %s", name, USAGE);
    }
    frame_bytes = size + OVERHEAD_BYTES;
    if (address.sin_port == 0) fail("--addr IP:PORT is needed");
    if (depth * frame_bytes > IN_FLIGHT_BYTES_MAX)
        fail("%zu requests of %zu bytes are over the %u bytes that a connection may have in flight; give less --depth",
             depth, frame_bytes, IN_FLIGHT_BYTES_MAX);
}

int main(int count, char **words) {
    parse(count, words);
    crc_init();
    crc_check();
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    make_template();
    conns = need(calloc(conn_count, sizeof *conns));
    in_bytes = (depth + 2) * frame_bytes;
    in = need(malloc(in_bytes));
    out = need(malloc(depth * frame_bytes));
    int poll = epoll_create1(EPOLL_CLOEXEC);
    if (poll < 0) fail("epoll_create1: %s", strerror(errno));
    open_all(poll);
    run(poll);
    return 0;
}
