/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * See tidegate.h. As a command:
 *
 *     cc -std=c99 -O2 -DTIDEGATE_MAIN -o tidegate-client tidegate.c
 *     ./tidegate-client 127.0.0.1:7411 --route 1 hello
 *
 * Everything goes through move_bytes(), which polls the socket once and moves what it can both ways. Requests wait in
 * `places`, in the order in which they were sent; a ticket is a place's number since the beginning.
 */
#define _POSIX_C_SOURCE 200809L

#include "tidegate.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { EXT = 0x8000, CONTROL = 0x4000, ROUTE_MAX = 0x3fff };
enum {
    PING = 0x4000, PONG, HELLO, WELCOME, ERROR_FRAME, GOAWAY, SUBSCRIBE, UNSUBSCRIBE, PUBLISH,
    NOTICE = 0x400c
};
enum { PROTOCOL = 1, UNAUTHENTICATED = 2, DRAINING = 9, IDLE = 13, TOO_LARGE = 14, UNSUPPORTED = 15 };
enum {
    BLOCK_MAX = 1020,        /* bytes that a payload with a block may have beyond the limit on bodies */
    CONTROL_MAX = 4096,      /* bytes of a control frame's payload in front of WELCOME */
    QUEUED_MAX = 256 * 1024, /* bytes: while more wait to be sent, tg_send waits */
    OPEN_MAX = 65536,        /* places */
    READ_BYTES = 64 * 1024,
    ID_MAX = 64,
    TOKEN_MAX = 0xffff
};

typedef struct {
    unsigned header;
    int in_order, is_answered, is_taken;
    uint64_t correlation, end; /* end: of its frame in the stream, in bytes */
    tg_reply reply;
} place;

struct tg_client {
    int socket, timeout_ms, ping_after_ms;
    tg_decoder decoder;
    unsigned char *out;
    size_t out_start, out_end, out_room;
    uint64_t queued, written; /* bytes since the beginning */
    place *places;
    size_t count, room, oldest; /* oldest: no place in front of it is an open slot */
    tg_ticket first;            /* the ticket of places[0] */
    uint64_t pongs;
    int64_t heard_ms, asked_ms;
    tg_welcome welcome;
    int has_welcome, has_ended, goaway;
    uint32_t reconnect_ms;
    char goaway_text[128];
    tg_reply end;
};

static unsigned get16(const unsigned char *at) { return (unsigned)at[0] << 8 | at[1]; }

static uint32_t get32(const unsigned char *at) { return (uint32_t)get16(at) << 16 | get16(at + 2); }

static uint64_t get64(const unsigned char *at) { return (uint64_t)get32(at) << 32 | get32(at + 4); }

static unsigned char *put(unsigned char *at, uint64_t value, int bytes) {
    for (int byte = bytes; byte-- > 0;) *at++ = (unsigned char)(value >> 8 * byte);
    return at;
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static const char *status_name(int status) {
    static const char *const names[] = {
        "OK", "PROTOCOL", "UNAUTHENTICATED", "FORBIDDEN", "NO_ROUTE", "OVERLOADED", "UNAVAILABLE", "OUTCOME_UNKNOWN",
        "DEADLINE_EXCEEDED", "DRAINING", "INTERNAL", "SLOW_CONSUMER", "REPLACED", "IDLE", "TOO_LARGE", "UNSUPPORTED"};
    return status < 16 ? names[status] : status < 256 ? "INTERNAL" : "APPLICATION";
}

static tg_result say(tg_reply *reply, tg_result result, int not_processed, const char *format, ...) {
    va_list arguments;
    if (!reply) return result;
    memset(reply, 0, sizeof *reply);
    reply->result = result;
    reply->not_processed = not_processed;
    reply->status = -1;
    va_start(arguments, format);
    vsnprintf(reply->text, sizeof reply->text, format, arguments);
    va_end(arguments);
    return result;
}

uint32_t tg_crc32(uint32_t crc, const void *data, size_t bytes) {
    static uint32_t table[256];
    const unsigned char *at = data;
    if (!table[1]) {
        for (uint32_t byte = 256; byte-- > 0;) { /* entry 1 is written last but one: who sees it sees the rest */
            uint32_t sum = byte;
            for (int bit = 0; bit < 8; bit++) sum = sum & 1 ? sum >> 1 ^ 0xedb88320u : sum >> 1;
            table[byte] = sum;
        }
    }
    crc = ~crc;
    while (bytes-- > 0) crc = table[(crc ^ *at++) & 0xff] ^ crc >> 8;
    return ~crc;
}

/* Room for so many bytes more behind `*end`; what was used in front of `*start` is given up first. */
static int make_room(unsigned char **data, size_t *start, size_t *end, size_t *room, size_t bytes) {
    if (*start > 0 && (*start == *end || *room - *end < bytes)) {
        memmove(*data, *data + *start, *end - *start);
        *end -= *start;
        *start = 0;
    }
    if (*room - *end < bytes) {
        size_t wanted = *end + bytes > 2 * *room ? *end + bytes : 2 * *room;
        unsigned char *more = realloc(*data, wanted);
        if (!more) return 0;
        *data = more;
        *room = wanted;
    }
    return 1;
}

int tg_feed(tg_decoder *decoder, const void *data, size_t bytes) {
    if (!make_room(&decoder->data, &decoder->start, &decoder->end, &decoder->room, bytes)) return 0;
    if (bytes > 0) memcpy(decoder->data + decoder->end, data, bytes);
    decoder->end += bytes;
    return 1;
}

uint64_t tg_needs(const tg_decoder *decoder) {
    size_t there = decoder->end - decoder->start;
    return there == 0 ? 0 : there < 6 ? 6 : 10 + (uint64_t)get32(decoder->data + decoder->start + 2);
}

int tg_next(tg_decoder *decoder, tg_frame *frame, const char **reason) {
    const unsigned char *at = decoder->data + decoder->start;
    size_t there = decoder->end - decoder->start;
    if (there < 6) return 0;
    unsigned header = get16(at);
    uint64_t length = get32(at + 2);
    uint64_t limit = decoder->max_control;
    if (!(header & CONTROL)) limit = (uint64_t)decoder->max_payload + (header & EXT ? BLOCK_MAX : 0);
    if (length > limit) return *reason = "too_large", -1;
    if (there < length + 10) return 0;
    if (tg_crc32(0, at, (size_t)length + 6) != get32(at + 6 + length)) return *reason = "bad_crc", -1;
    frame->header = header;
    frame->payload = at + 6;
    frame->bytes = (size_t)length;
    decoder->start += (size_t)length + 10;
    return 1;
}

int tg_next_tag(const unsigned char **tags, size_t *tags_bytes, const unsigned char **value, size_t *bytes) {
    while (*tags_bytes > 0 && **tags == 0) ++*tags, --*tags_bytes; /* padding */
    if (*tags_bytes == 0) return 0;
    if (*tags_bytes < 2 || *tags_bytes < 2u + (*tags)[1]) return -1;
    int number = **tags;
    *bytes = (*tags)[1];
    *value = *tags + 2;
    *tags += 2 + *bytes;
    *tags_bytes -= 2 + *bytes;
    return number;
}

static int are_tags(const unsigned char *tags, size_t tags_bytes, int are_of_block) {
    const unsigned char *value;
    size_t bytes;
    int number;
    while ((number = tg_next_tag(&tags, &tags_bytes, &value, &bytes)) > 0) {
        if (are_of_block && ((number == 1 && bytes != 4) || (number == 2 && bytes != 2))) return 0;
    }
    return number == 0;
}

const char *tg_parse_block(const unsigned char *payload, size_t bytes, tg_block *block) {
    static const char bad[] = "bad_extension";
    memset(block, 0, sizeof *block);
    if (bytes < 4 || payload[0] == 0 || 4u * payload[0] > bytes) return bad;
    unsigned flags = payload[1];
    size_t fields_end = 4u + (flags & 1 ? 8 : 0) + (flags & 2 ? 4 : 0) + (flags & 4 ? 28 : 0);
    block->bytes = 4u * payload[0];
    block->status = (int)get16(payload + 2);
    if (fields_end > block->bytes) return bad;
    block->has_correlation = flags & 1;
    if (flags & 1) block->correlation = get64(payload + 4);
    if (flags & 4 && get32(payload + fields_end - 4) & 0xffffff) return bad;
    if (flags & 0x70) return NULL; /* reserved: what lies behind the known fields can't be read, the rest can */
    if (!(flags & 0x80)) return fields_end == block->bytes ? NULL : bad;
    block->tags = payload + fields_end;
    block->tags_bytes = block->bytes - fields_end;
    return are_tags(block->tags, block->tags_bytes, 1) ? NULL : bad;
}

static const unsigned char *read_id(const unsigned char *at, const unsigned char *end, char id[ID_MAX + 1]) {
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    if (!at || at >= end || *at == 0 || *at > ID_MAX || *at >= end - at) return NULL;
    memcpy(id, at + 1, *at);
    id[*at] = 0;
    return strspn(id, allowed) == *at ? at + 1 + *at : NULL;
}

const char *tg_parse_welcome(const unsigned char *payload, size_t bytes, tg_welcome *welcome) {
    const unsigned char *end = payload + bytes;
    if (bytes < 12) return "bad_control";
    welcome->version = payload[0];
    welcome->max_payload = get32(payload + 2);
    welcome->heartbeat_ms = get32(payload + 6);
    const unsigned char *at = read_id(read_id(payload + 10, end, welcome->server_id), end, welcome->client_id);
    return at && are_tags(at, (size_t)(end - at), 0) ? NULL : "bad_control";
}

/* Whether a last GOAWAY with this status stands behind the replies to all that was processed. */
static int answered_first(const tg_client *client) {
    switch (client->goaway) {
    case PROTOCOL: case UNAUTHENTICATED: case IDLE: case TOO_LARGE: case UNSUPPORTED: return 1;
    case DRAINING: return !client->has_welcome; /* told early to who said HELLO: the replies come behind it */
    default: return 0;
    }
}

static void answer(place *place, const tg_reply *reply) {
    place->is_answered = 1;
    if (place->is_taken) free(reply->body); /* nobody waits for it any more */
    else place->reply = *reply;
}

static void ended(const tg_client *client, const char *why, int not_processed, tg_reply *reply) {
    const char *fate = not_processed ? "the request was not processed" : "whether the request was processed is unknown";
    if (client->goaway >= 0) why = client->goaway_text;
    say(reply, TG_ENDED, not_processed, "the connection ended: %s; %s", why, fate);
    reply->status = client->goaway;
    reply->retry_after_ms = client->reconnect_ms;
}

/* The end: every open request learns what is known of it. */
static void fail(tg_client *client, const char *why, const char *reason) {
    if (client->has_ended) return;
    client->has_ended = 1;
    ended(client, why, answered_first(client), &client->end);
    if (reason) {
        say(&client->end, TG_PROTOCOL, 0, "%s: %s", reason, why);
        client->end.reason = reason;
    }
    for (size_t index = 0; index < client->count; index++) {
        place *place = &client->places[index];
        tg_reply reply = client->end;
        if (place->is_answered) continue;
        if (!reason) ended(client, why, answered_first(client) || place->end > client->written, &reply);
        answer(place, &reply);
    }
}

static void fault(tg_client *client, const char *reason) {
    fail(client, "what the server sent is no protocol", reason);
}

static int queue(tg_client *client, unsigned header, const void *front, size_t front_bytes, const void *body,
                 size_t bytes) {
    size_t all = front_bytes + bytes + 10;
    if (!make_room(&client->out, &client->out_start, &client->out_end, &client->out_room, all)) return 0;
    unsigned char *frame = client->out + client->out_end, *at = put(put(frame, header, 2), all - 10, 4);
    if (front_bytes > 0) memcpy(at, front, front_bytes);
    if (bytes > 0) memcpy(at + front_bytes, body, bytes);
    put(frame + all - 4, tg_crc32(0, frame, all - 4), 4);
    client->out_end += all;
    client->queued += all;
    return 1;
}

static void answer_status(place *place, int status, const unsigned char *text, size_t bytes, uint32_t retry_after_ms) {
    int nothing_done = status == 5 || status == 6 || status == 8 || status == DRAINING;
    tg_reply reply;
    say(&reply, TG_STATUS, nothing_done, "%s (%d): %.*s", status_name(status), status, (int)(bytes < 200 ? bytes : 200),
        bytes > 0 ? (const char *)text : "");
    reply.status = status;
    reply.retry_after_ms = retry_after_ms;
    answer(place, &reply);
}

static void answer_body(place *place, const unsigned char *body, size_t bytes) {
    tg_reply reply = {0};
    reply.body = malloc(bytes + 1);
    if (!reply.body) {
        say(&reply, TG_REFUSED, 0, "no memory for a reply of %zu bytes", bytes);
    } else {
        if (bytes > 0) memcpy(reply.body, body, bytes);
        reply.body[bytes] = 0; /* a convenience for texts */
        reply.bytes = bytes;
    }
    answer(place, &reply);
}

static place *oldest_slot(tg_client *client) {
    for (; client->oldest < client->count; client->oldest++) {
        place *place = &client->places[client->oldest];
        if (place->in_order && !place->is_answered) return place;
    }
    return NULL;
}

static place *correlated(tg_client *client, uint64_t correlation) {
    if (correlation < client->first || correlation - client->first >= client->count) return NULL;
    place *place = &client->places[correlation - client->first];
    return place->in_order || place->is_answered ? NULL : place;
}

static void on_reply(tg_client *client, const tg_frame *frame) {
    tg_block block = {0};
    const char *reason = frame->header & EXT ? tg_parse_block(frame->payload, frame->bytes, &block) : NULL;
    if (reason) {
        fault(client, reason);
        return;
    }
    place *place = block.has_correlation ? correlated(client, block.correlation) : oldest_slot(client);
    const unsigned char *body = frame->payload + block.bytes, *value;
    size_t bytes = frame->bytes - block.bytes, value_bytes;
    if (!place || place->header != frame->header) {
        fault(client, "bad_reply");
    } else if (block.status == 0) {
        answer_body(place, body, bytes);
    } else {
        uint32_t retry_after_ms = 0;
        for (int tag; (tag = tg_next_tag(&block.tags, &block.tags_bytes, &value, &value_bytes)) > 0;) {
            if (tag == 1 && retry_after_ms == 0) retry_after_ms = get32(value);
        }
        answer_status(place, block.status, body, bytes, retry_after_ms);
    }
}

static void on_control(tg_client *client, const tg_frame *frame) {
    const unsigned char *payload = frame->payload;
    place *place;
    switch (frame->header) {
    case PING: /* where much is queued, the frames in front of a PONG are life enough */
        if (client->out_end - client->out_start <= 2 * QUEUED_MAX) queue(client, PONG, NULL, 0, payload, frame->bytes);
        break;
    case PONG:
        client->pongs += frame->bytes == 4 && memcmp(payload, "ping", 4) == 0;
        break;
    case ERROR_FRAME:
        place = oldest_slot(client);
        if (frame->bytes < 2) fault(client, "bad_control");
        else if (!place) fault(client, "bad_reply");
        else answer_status(place, (int)get16(payload), payload + 2, frame->bytes - 2, 0);
        break;
    case GOAWAY:
        if (frame->bytes < 6) {
            fault(client, "bad_control");
            break;
        }
        client->goaway = (int)get16(payload);
        client->reconnect_ms = get32(payload + 2);
        snprintf(client->goaway_text, sizeof client->goaway_text, "%s: %.*s", status_name(client->goaway),
                 (int)(frame->bytes - 6 < 90 ? frame->bytes - 6 : 90), (const char *)payload + 6);
        break;
    case WELCOME:
        if (tg_parse_welcome(payload, frame->bytes, &client->welcome)) fault(client, "bad_control");
        client->has_welcome = 1;
        if (client->decoder.max_payload > CONTROL_MAX - 512)
            client->decoder.max_control = client->decoder.max_payload + 512;
        break;
    case HELLO: case SUBSCRIBE: case UNSUBSCRIBE: case PUBLISH:
        fault(client, "wrong_direction");
        break;
    default: /* what is not known is skipped */
        break;
    }
}

static void read_socket(tg_client *client) {
    unsigned char data[READ_BYTES];
    ssize_t bytes = recv(client->socket, data, sizeof data, 0);
    if (bytes < 0) {
        if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) fail(client, strerror(errno), NULL);
        return;
    }
    if (bytes == 0) {
        fail(client, "the server said nothing", NULL);
        return;
    }
    if (!tg_feed(&client->decoder, data, (size_t)bytes)) {
        fail(client, "no memory for what the server sent", NULL);
        return;
    }
    tg_frame frame;
    const char *reason = NULL;
    int found = 0;
    while (!client->has_ended && (found = tg_next(&client->decoder, &frame, &reason)) > 0) {
        client->heard_ms = now_ms();
        if (frame.header & CONTROL) on_control(client, &frame);
        else on_reply(client, &frame);
    }
    if (found < 0) fault(client, reason);
}

static void write_socket(tg_client *client) {
    while (client->out_start < client->out_end) {
        size_t left = client->out_end - client->out_start;
        ssize_t bytes = send(client->socket, client->out + client->out_start, left, MSG_NOSIGNAL);
        if (bytes < 0 && errno == EINTR) continue;
        if (bytes < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
        if (bytes < 0) { /* the server's last words may still be there to be read */
            client->out_start = client->out_end;
            return;
        }
        client->out_start += (size_t)bytes;
        client->written += (uint64_t)bytes;
    }
}

/* Asks a silent server for life, and gives up one that stays silent. When to look again. */
static int64_t beat(tg_client *client, int64_t now) {
    if (client->ping_after_ms <= 0) return now + 3600 * 1000;
    if (client->asked_ms < client->heard_ms) client->asked_ms = client->heard_ms;
    if (now >= client->heard_ms + 2 * (int64_t)client->ping_after_ms) {
        fail(client, "the server is silent", NULL);
    } else if (now >= client->asked_ms + client->ping_after_ms) {
        client->asked_ms = now;
        queue(client, PING, NULL, 0, "life", 4);
    }
    return client->asked_ms + client->ping_after_ms;
}

/* Polls once and moves what can be moved. 0 when `until` is over. */
static int move_bytes(tg_client *client, int64_t until) {
    int64_t now = now_ms();
    if (now >= until) return 0;
    int64_t next = beat(client, now);
    if (client->has_ended) return 1;
    struct pollfd it = {client->socket, POLLIN, 0};
    if (client->out_start < client->out_end) it.events |= POLLOUT;
    int64_t wait = (until < next ? until : next) - now;
    if (poll(&it, 1, wait > 60000 ? 60000 : wait < 0 ? 0 : (int)wait) <= 0) return 1;
    if (it.revents & POLLOUT) write_socket(client);
    if (it.revents & (POLLIN | POLLHUP | POLLERR)) read_socket(client);
    return 1;
}

static int open_socket(const char *address, int timeout_ms, tg_reply *why) {
    struct addrinfo *found = NULL, hints = {0};
    struct sockaddr_un path = {0};
    int made = -1, one = 1, error = 0;
    socklen_t length = sizeof error;
    if (strncmp(address, "unix:", 5) == 0) {
        if (strlen(address + 5) >= sizeof path.sun_path)
            return say(why, TG_REFUSED, 1, "%s: the path is too long", address), -1;
        path.sun_family = AF_UNIX;
        strcpy(path.sun_path, address + 5);
        hints.ai_family = AF_UNIX;
        hints.ai_addr = (struct sockaddr *)&path;
        hints.ai_addrlen = sizeof path;
    } else {
        const char *colon = strrchr(address, ':');
        char host[256];
        size_t bytes = colon ? (size_t)(colon - address) : 0;
        int brackets = bytes > 2 && address[0] == '[' && address[bytes - 1] == ']';
        if (!colon || bytes >= sizeof host)
            return say(why, TG_REFUSED, 1, "%s is neither HOST:PORT nor unix:PATH", address), -1;
        memcpy(host, address + brackets, bytes - 2 * (size_t)brackets);
        host[bytes - 2 * (size_t)brackets] = 0;
        hints.ai_socktype = SOCK_STREAM;
        if ((error = getaddrinfo(host, colon + 1, &hints, &found)) != 0)
            return say(why, TG_SYSTEM, 1, "%s: %s", address, gai_strerror(error)), -1;
    }
    errno = 0;
    for (struct addrinfo *one_of = found ? found : &hints; one_of && made < 0; one_of = one_of->ai_next) {
        made = socket(one_of->ai_family, SOCK_STREAM, 0);
        if (made < 0) continue;
        fcntl(made, F_SETFL, O_NONBLOCK);
        if (one_of->ai_family != AF_UNIX) setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        error = connect(made, one_of->ai_addr, one_of->ai_addrlen) == 0 ? 0 : errno;
        struct pollfd it = {made, POLLOUT, 0};
        if (error == EINPROGRESS) {
            error = ETIMEDOUT;
            if (poll(&it, 1, timeout_ms) > 0) getsockopt(made, SOL_SOCKET, SO_ERROR, &error, &length);
        }
        if (error == 0) break;
        errno = error;
        close(made);
        made = -1;
    }
    if (made < 0) say(why, TG_SYSTEM, 1, "%s: %s", address, strerror(errno));
    if (found) freeaddrinfo(found);
    return made;
}

static void discard(tg_client *client) {
    close(client->socket);
    for (size_t index = 0; index < client->count; index++) tg_reply_free(&client->places[index].reply);
    free(client->places);
    free(client->decoder.data);
    free(client->out);
    free(client);
}

tg_client *tg_connect(const char *address, const tg_options *options, tg_reply *why) {
    static const tg_options none;
    tg_reply ignored;
    if (!options) options = &none;
    if (!why) why = &ignored;
    memset(why, 0, sizeof *why);
    const char *token = options->token ? options->token : "", *id = options->client_id ? options->client_id : "";
    if (strlen(token) > TOKEN_MAX || strlen(id) > ID_MAX)
        return say(why, TG_REFUSED, 1, "the token or the client_id is too long"), NULL;
    int timeout_ms = options->timeout_ms > 0 ? options->timeout_ms : 10000;
    int made = open_socket(address, timeout_ms, why);
    tg_client *client = made < 0 ? NULL : calloc(1, sizeof *client);
    if (!client) {
        if (made >= 0) say(why, TG_REFUSED, 1, "no memory for a client"), close(made);
        return NULL;
    }
    client->socket = made;
    client->timeout_ms = timeout_ms;
    client->ping_after_ms = options->ping_after_ms;
    client->decoder.max_payload = options->max_payload ? options->max_payload : 2u << 20;
    client->decoder.max_control = CONTROL_MAX;
    client->first = 1;
    client->goaway = -1;
    client->heard_ms = now_ms();
    if (!options->hello && !*token && !*id) return client;
    unsigned char hello[3 + ID_MAX + 2] = {1, 0, (unsigned char)strlen(id)}, *behind = malloc(strlen(token) + 6);
    memcpy(hello + 3, id, strlen(id));
    put(hello + 3 + strlen(id), strlen(token), 2);
    if (behind) {
        memcpy(behind, token, strlen(token));
        put(put(behind + strlen(token), 0x0104, 2), client->decoder.max_payload, 4); /* the tag max_receive */
    }
    int is_queued = behind && queue(client, HELLO, hello, 5 + strlen(id), behind, strlen(token) + 6);
    free(behind);
    if (!is_queued) return say(why, TG_REFUSED, 1, "no memory for HELLO"), discard(client), NULL;
    for (int64_t until = now_ms() + timeout_ms; !client->has_welcome && !client->has_ended;) {
        if (!move_bytes(client, until))
            return say(why, TG_TIMEOUT, 1, "no WELCOME within %d ms", timeout_ms), discard(client), NULL;
    }
    if (client->has_ended) return *why = client->end, discard(client), NULL;
    return client;
}

static place *new_place(tg_client *client) {
    size_t gone = 0;
    while (gone < client->count && client->places[gone].is_taken && client->places[gone].is_answered) gone++;
    if (gone > 0 && (gone == client->count || gone >= client->room / 2)) {
        memmove(client->places, client->places + gone, (client->count - gone) * sizeof *client->places);
        client->count -= gone;
        client->first += gone;
        client->oldest -= gone < client->oldest ? gone : client->oldest;
    }
    if (client->count == client->room) {
        size_t room = client->room ? 2 * client->room : 16;
        place *more = room > OPEN_MAX ? NULL : realloc(client->places, room * sizeof *more);
        if (!more) return NULL;
        client->places = more;
        client->room = room;
    }
    return memset(&client->places[client->count], 0, sizeof *client->places);
}

tg_ticket tg_send(tg_client *client, unsigned route, const void *body, size_t bytes, const tg_how *how, tg_reply *why) {
    static const tg_how plain;
    tg_reply ignored;
    if (!how) how = &plain;
    if (!why) why = &ignored;
    if (route > ROUTE_MAX) return say(why, TG_REFUSED, 1, "route %u is over the limit of %d", route, ROUTE_MAX), 0;
    if (bytes > UINT32_MAX - 1024 || (client->has_welcome && bytes > client->welcome.max_payload))
        return say(why, TG_REFUSED, 1, "a body of %zu bytes is over the server's limit", bytes), 0;
    int64_t until = now_ms() + client->timeout_ms;
    while (client->out_end - client->out_start > QUEUED_MAX && !client->has_ended) {
        if (!move_bytes(client, until)) return say(why, TG_TIMEOUT, 1, "the server took too little in time"), 0;
    }
    if (client->has_ended || client->goaway >= 0) return ended(client, "before the request was sent", 1, why), 0;
    place *place = new_place(client);
    if (!place) return say(why, TG_REFUSED, 1, "no memory, or over the limit of %d open requests", OPEN_MAX), 0;
    tg_ticket ticket = client->first + client->count;
    unsigned flags = (how->correlate ? 1u : 0) | (how->has_deadline ? 2u : 0) | (how->one_way ? 8u : 0);
    unsigned char block[16], *at = block + 4;
    if (how->correlate) at = put(at, ticket, 8);
    if (how->has_deadline) at = put(at, how->deadline_ms, 4);
    put(block, (uint64_t)(at - block) / 4 << 24 | (uint64_t)flags << 16, 4);
    place->header = flags ? EXT | route : route;
    place->in_order = !how->correlate;
    place->is_answered = place->is_taken = how->one_way;
    if (!queue(client, place->header, block, flags ? (size_t)(at - block) : 0, body, bytes))
        return say(why, TG_REFUSED, 1, "no memory for a frame of %zu bytes", bytes), 0;
    place->end = client->queued;
    client->count++;
    write_socket(client);
    return ticket;
}

tg_result tg_wait(tg_client *client, tg_ticket ticket, tg_reply *reply) {
    int64_t until = now_ms() + client->timeout_ms;
    size_t index = (size_t)(ticket - client->first);
    if (ticket < client->first || index >= client->count || client->places[index].is_taken)
        return say(reply, TG_REFUSED, 0, "there is no such ticket");
    while (!client->places[index].is_answered) {
        if (!move_bytes(client, until))
            return say(reply, TG_TIMEOUT, 0, "no reply within %d ms; whether the request was processed is unknown",
                       client->timeout_ms);
    }
    *reply = client->places[index].reply;
    memset(&client->places[index].reply, 0, sizeof *reply);
    client->places[index].is_taken = 1;
    return reply->result;
}

void tg_forget(tg_client *client, tg_ticket ticket) {
    size_t index = (size_t)(ticket - client->first);
    if (ticket < client->first || index >= client->count) return;
    tg_reply_free(&client->places[index].reply);
    client->places[index].is_taken = 1;
}

tg_result tg_request(tg_client *client, unsigned route, const void *body, size_t bytes, tg_reply *reply) {
    tg_ticket ticket = tg_send(client, route, body, bytes, NULL, reply);
    if (!ticket) return reply->result;
    tg_result result = tg_wait(client, ticket, reply);
    if (result == TG_TIMEOUT) tg_forget(client, ticket);
    return result;
}

tg_result tg_ping(tg_client *client, tg_reply *why) {
    uint64_t want = client->pongs + 1;
    int64_t until = now_ms() + client->timeout_ms;
    if (!queue(client, PING, NULL, 0, "ping", 4)) return say(why, TG_REFUSED, 1, "no memory for a PING");
    while (client->pongs < want) {
        if (client->has_ended) return *why = client->end, why->result;
        if (!move_bytes(client, until)) return say(why, TG_TIMEOUT, 0, "no PONG within %d ms", client->timeout_ms);
    }
    return say(why, TG_OK, 0, "PONG");
}

void tg_poll(tg_client *client, int ms) {
    int64_t until = now_ms() + ms;
    while (!client->has_ended && move_bytes(client, until)) {}
}

const tg_welcome *tg_welcomed(const tg_client *client) { return client->has_welcome ? &client->welcome : NULL; }

int tg_goaway(const tg_client *client) { return client->goaway; }

void tg_close(tg_client *client) {
    if (!client) return;
    int64_t until = now_ms() + client->timeout_ms;
    while (!client->has_ended && client->out_start < client->out_end && move_bytes(client, until)) {}
    shutdown(client->socket, SHUT_WR);
    while (!client->has_ended && move_bytes(client, until)) {}
    discard(client);
}

void tg_reply_free(tg_reply *reply) {
    free(reply->body);
    reply->body = NULL;
    reply->bytes = 0;
}

#ifdef TIDEGATE_MAIN

static int usage(void) {
    fprintf(stderr, "Usage: tidegate-client HOST:PORT|unix:PATH [OPTIONS] BODY...\n"
                    "  --route N         0 to 16383 (default: 1)\n"
                    "  --deadline-ms N   what the server may take for each, in milliseconds\n"
                    "  --correlate       replies may come in any order\n"
                    "  --one-way         no reply is wanted\n"
                    "  --token TOKEN     say HELLO with this token\n"
                    "  --timeout N       seconds for each call (default: 10)\n");
    return 2;
}

int main(int count, char **words) {
    tg_options options = {0};
    tg_how how = {0};
    tg_reply reply = {0};
    unsigned route = 1;
    int at = 2, failed = 0;
    for (; at < count && strncmp(words[at], "--", 2) == 0; at++) {
        const char *value = at + 1 < count ? words[at + 1] : "";
        if (strcmp(words[at], "--correlate") == 0) how.correlate = 1;
        else if (strcmp(words[at], "--one-way") == 0) how.one_way = 1;
        else if (strcmp(words[at], "--route") == 0) route = (unsigned)strtoul(value, NULL, 10), at++;
        else if (strcmp(words[at], "--token") == 0) options.token = value, at++;
        else if (strcmp(words[at], "--timeout") == 0) options.timeout_ms = (int)(1000 * strtod(value, NULL)), at++;
        else if (strcmp(words[at], "--deadline-ms") == 0)
            how.has_deadline = 1, how.deadline_ms = (uint32_t)strtoul(value, NULL, 10), at++;
        else return usage();
    }
    if (at >= count) return usage();
    tg_client *client = tg_connect(words[1], &options, &reply);
    tg_ticket *tickets = calloc((size_t)count, sizeof *tickets);
    failed = !client || !tickets;
    for (int body = at; body < count && !failed; body++) {
        tickets[body] = tg_send(client, route, words[body], strlen(words[body]), &how, &reply);
        failed = !tickets[body];
    }
    for (int body = at; body < count && !failed && !how.one_way; body++) {
        failed = tg_wait(client, tickets[body], &reply) != TG_OK;
        if (!failed) printf("%s\n", (const char *)reply.body);
        tg_reply_free(&reply);
    }
    if (failed) fprintf(stderr, "tidegate-client: %s\n", reply.text);
    free(tickets);
    tg_close(client);
    return failed;
}

#endif
