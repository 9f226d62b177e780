/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A client of tidegate servers, to be copied with tidegate.c: C99 and POSIX sockets, nothing else.
 *
 *     tg_reply reply;
 *     tg_client *client = tg_connect("127.0.0.1:7411", NULL, &reply);
 *     if (client && tg_request(client, 1, "hello", 5, &reply) == TG_OK)
 *         fwrite(reply.body, 1, reply.bytes, stdout);
 *     else
 *         fprintf(stderr, "%s\n", reply.text);
 *     tg_reply_free(&reply);
 *     tg_close(client);
 *
 * It blocks, and a client belongs to one thread. It reads while it sends, so pipelining never locks up; it checks every
 * length before it takes memory and every CRC before it believes a byte; it answers PING while one of its calls runs
 * (tg_poll is one that does nothing else). Every failure says whether the same request may safely be sent again.
 *
 * It never reconnects or retries by itself, starts no thread, touches no signal, and has no TLS, topics, or text lines.
 * Texts are handed over as they came: they are not checked for UTF-8. The protocol: docs/PROTOCOL.md.
 */
#ifndef TIDEGATE_H
#define TIDEGATE_H

#include <stddef.h>
#include <stdint.h>

typedef enum {
    TG_OK,       /* the reply is there */
    TG_STATUS,   /* the server answered this request with a failure; the connection stays */
    TG_TIMEOUT,  /* no reply in time; it may still be waited for; the connection stays */
    TG_ENDED,    /* the connection ended before the reply came */
    TG_PROTOCOL, /* what came is damaged, over a limit, or from no tidegate server; the connection is unusable */
    TG_REFUSED,  /* refused here, before anything was sent: an argument, a limit, no memory */
    TG_SYSTEM    /* not connected */
} tg_result;

typedef struct {
    tg_result result;
    int not_processed;       /* surely nothing was done, so the same request may be sent again */
    int status;              /* TG_STATUS: that of the reply; TG_ENDED: that of the server's GOAWAY, or -1 */
    uint32_t retry_after_ms; /* TG_STATUS: when to try again; TG_ENDED: when to connect again; 0: nothing was said */
    const char *reason;      /* TG_PROTOCOL: as in "Why a connection ends" in docs/PROTOCOL.md, or "bad_reply" */
    unsigned char *body;     /* TG_OK: to be freed by tg_reply_free */
    size_t bytes;
    char text[256];          /* what went wrong, for people; cut to fit */
} tg_reply;

typedef struct {
    int timeout_ms;        /* of each call; 0: 10,000 */
    uint32_t max_payload;  /* bytes of a reply's body that are taken; 0: 2 MiB */
    int hello;             /* say HELLO and wait for WELCOME; so does a token or a client_id */
    const char *token;     /* NULL: none */
    const char *client_id; /* NULL: the server chooses */
    int ping_after_ms;     /* of the server's silence in a call; after twice that the connection ends; 0: never */
} tg_options;

typedef struct {
    int version;
    uint32_t max_payload, heartbeat_ms;
    char server_id[65], client_id[65];
} tg_welcome;

/* How a request is sent; all zero: in order, without a deadline. */
typedef struct {
    int correlate;    /* its reply may overtake others */
    int one_way;      /* no reply is wanted */
    int has_deadline; /* what the server may take for it is: */
    uint32_t deadline_ms;
} tg_how;

typedef struct tg_client tg_client;
typedef uint64_t tg_ticket;

/* Connects to HOST:PORT or unix:PATH. NULL if that failed; `why` says how. Options may be NULL. */
tg_client *tg_connect(const char *address, const tg_options *options, tg_reply *why);

/* Sends a request and waits. Whatever comes of it, `reply` is filled, and is freed by tg_reply_free. */
tg_result tg_request(tg_client *client, unsigned route, const void *body, size_t bytes, tg_reply *reply);

/* Sends without waiting for the reply; waits only while too much is queued. 0 if it was not sent; `why` says how. A
 * one-way request's ticket is never used.
 * At most 65,536 tickets are held: each is waited for or forgotten. `how` may be NULL. */
tg_ticket tg_send(tg_client *client, unsigned route, const void *body, size_t bytes, const tg_how *how, tg_reply *why);

/* Waits for the reply to a ticket. After TG_TIMEOUT it may be called again; after all else the ticket is gone. */
tg_result tg_wait(tg_client *client, tg_ticket ticket, tg_reply *reply);

/* Drops the reply to a ticket when it comes. */
void tg_forget(tg_client *client, tg_ticket ticket);

/* Sends a PING and waits for its PONG. */
tg_result tg_ping(tg_client *client, tg_reply *why);

/* Reads what comes, and answers PING, for so many milliseconds, or until the connection ends. */
void tg_poll(tg_client *client, int ms);

/* What the server said of itself; NULL for a client that said no HELLO. */
const tg_welcome *tg_welcomed(const tg_client *client);

/* The status of the server's GOAWAY; -1 until it says that it goes. */
int tg_goaway(const tg_client *client);

/* Ends in order: what was sent leaves, and the stream is read to its end, within the timeout. NULL is nothing. */
void tg_close(tg_client *client);

void tg_reply_free(tg_reply *reply);

/* ---- The parts, for tests and for tools ---- */

uint32_t tg_crc32(uint32_t crc, const void *data, size_t bytes); /* begins with 0 */

typedef struct {
    uint32_t max_payload, max_control;
    unsigned char *data;
    size_t start, end, room;
} tg_decoder;

typedef struct {
    unsigned header;
    const unsigned char *payload; /* until the decoder is used again */
    size_t bytes;
} tg_frame;

/* Takes bytes of a stream; how it was split does not matter. 0 if there is no memory. */
int tg_feed(tg_decoder *decoder, const void *data, size_t bytes);
/* 1: a checked frame; 0: more is needed; -1: a fault, which is final, and its reason. */
int tg_next(tg_decoder *decoder, tg_frame *frame, const char **reason);
/* Bytes of the frame that is incomplete, as far as they are known; 0: there is none. */
uint64_t tg_needs(const tg_decoder *decoder);

typedef struct {
    size_t bytes; /* of the block; the body begins behind it */
    int status, has_correlation;
    uint64_t correlation;
    const unsigned char *tags; /* checked */
    size_t tags_bytes;
} tg_block;

/* Reads the extension block at the front of a payload. NULL, or the fault's reason. */
const char *tg_parse_block(const unsigned char *payload, size_t bytes, tg_block *block);
/* The next tag; its number, or 0 behind the last one. */
int tg_next_tag(const unsigned char **tags, size_t *tags_bytes, const unsigned char **value, size_t *bytes);
const char *tg_parse_welcome(const unsigned char *payload, size_t bytes, tg_welcome *welcome);

#endif
