/* Drives docs/clients/tidegate.c for tests/clients.rs; commands, options and outcomes as in driver.py. */
#define _POSIX_C_SOURCE 200809L

#include "tidegate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void hexed(const unsigned char *data, size_t bytes) {
    if (bytes == 0) putchar('-');
    for (size_t at = 0; at < bytes; at++) printf("%02x", data[at]);
}

static unsigned long number_at(const unsigned char *at, int bytes) {
    unsigned long value = 0;
    while (bytes-- > 0) value = value << 8 | *at++;
    return value;
}

static void print_block(const tg_frame *frame, tg_block *block) {
    const unsigned char *value;
    size_t bytes;
    printf("ext %04x", frame->header);
    if (block->status) printf(" status %d", block->status);
    if (block->has_correlation) printf(" id %016llx", (unsigned long long)block->correlation);
    for (int tag; (tag = tg_next_tag(&block->tags, &block->tags_bytes, &value, &bytes)) > 0;) {
        printf(" tag %d ", tag);
        hexed(value, bytes);
    }
    printf(" body ");
    hexed(frame->payload + block->bytes, frame->bytes - block->bytes);
}

/* Prints a frame in the words of vectors.txt; `other` for what this client skips. Or gives the fault's reason. */
static const char *meaning(const tg_frame *frame, const char *between) {
    const unsigned char *payload = frame->payload;
    size_t bytes = frame->bytes, numbers = frame->header == 0x4004 ? 2 : frame->header == 0x4005 ? 6 : 4;
    const char *reason = NULL;
    tg_block block;
    tg_welcome said;
    switch (frame->header) {
    case 0x4000: case 0x4001:
        printf("%s%s ", between, frame->header == 0x4000 ? "ping" : "pong");
        hexed(payload, bytes);
        return NULL;
    case 0x4004: case 0x4005: case 0x400c:
        if (bytes < numbers) return "bad_control";
        printf("%s%s %lu ", between, numbers == 2 ? "error" : numbers == 6 ? "goaway" : "notice", number_at(payload, 2));
        if (numbers == 6) printf("%lu ", number_at(payload + 2, 4));
        if (numbers == 4) printf("%04lx ", number_at(payload + 2, 2));
        hexed(payload + numbers, bytes - numbers);
        return NULL;
    case 0x4003:
        if ((reason = tg_parse_welcome(payload, bytes, &said)) != NULL) return reason;
        printf("%swelcome %d %lu %lu ", between, said.version, (unsigned long)said.max_payload, (unsigned long)said.heartbeat_ms);
        hexed((unsigned char *)said.server_id, strlen(said.server_id));
        putchar(' ');
        hexed((unsigned char *)said.client_id, strlen(said.client_id));
        return NULL;
    default: break;
    }
    if ((frame->header & 0xc000) == 0x8000) {
        if ((reason = tg_parse_block(payload, bytes, &block)) != NULL) return reason;
        fputs(between, stdout);
        print_block(frame, &block);
        return NULL;
    }
    printf("%s%s %04x ", between, frame->header & 0x4000 ? "other" : "frame", frame->header);
    hexed(payload, bytes);
    return NULL;
}

static void decode(const char *mode, unsigned long limit, size_t chunk, const unsigned char *stream, size_t bytes) {
    tg_decoder decoder = {(uint32_t)limit, 4096, NULL, 0, 0, 0};
    const char *between = "", *reason = NULL;
    for (size_t at = 0; at < bytes && !reason; at += chunk) {
        tg_frame frame;
        tg_feed(&decoder, stream + at, bytes - at < chunk ? bytes - at : chunk);
        while (!reason && tg_next(&decoder, &frame, &reason) > 0) {
            if (strcmp(mode, "meant") == 0) {
                reason = meaning(&frame, between);
            } else {
                printf("%s%04x ", between, frame.header);
                hexed(frame.payload, frame.bytes);
            }
            if (!reason) between = " | ";
        }
    }
    if (reason) printf("%sclose %s", between, reason);
    else if (tg_needs(&decoder)) printf("%sneed_more %llu", between, (unsigned long long)tg_needs(&decoder));
    free(decoder.data);
}

static void vectors(void) {
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, stdin) > 0) {
        const char *mode = strtok(line, " "), *limit = strtok(NULL, " "), *chunk = strtok(NULL, " ");
        const char *hex = strtok(NULL, " \n");
        size_t bytes = hex[0] == '-' ? 0 : strlen(hex) / 2;
        unsigned char *stream = malloc(bytes + 1);
        for (size_t at = 0; at < bytes; at++) {
            char digits[3] = {hex[2 * at], hex[2 * at + 1], 0};
            stream[at] = (unsigned char)strtoul(digits, NULL, 16);
        }
        if (strcmp(mode, "crc") == 0) printf("%08lx", (unsigned long)tg_crc32(0, stream, bytes));
        else decode(mode, strtoul(limit, NULL, 10), strtoul(chunk, NULL, 10), stream, bytes);
        putchar('\n');
        free(stream);
    }
    free(line);
}

static void print_outcome(tg_reply *reply) {
    const char *undone = reply->not_processed ? "undone" : "unsure", *text = strstr(reply->text, ": ");
    switch (reply->result) {
    case TG_OK: printf("ok %s\n", reply->body ? (const char *)reply->body : ""); break;
    case TG_STATUS: printf("status %d %s %s\n", reply->status, undone, text ? text + 2 : ""); break;
    case TG_TIMEOUT: puts("timeout"); break;
    case TG_ENDED:
        if (reply->status < 0) printf("ended eof %s\n", undone);
        else printf("ended goaway %d %s\n", reply->status, undone);
        break;
    case TG_PROTOCOL: printf("fault %s\n", reply->reason); break;
    case TG_REFUSED: puts("refused"); break;
    case TG_SYSTEM: printf("system %s\n", reply->text); break;
    }
    tg_reply_free(reply);
}

static void pipe_all(tg_client *client, unsigned route, int count, int size) {
    tg_ticket *tickets = calloc((size_t)count, sizeof *tickets);
    char *body = malloc((size_t)size + 16);
    tg_reply reply;
    int right = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int number = 0; number < count; number++) {
            memset(body, '.', (size_t)size);
            char begin[16];
            snprintf(begin, sizeof begin, "%d ", number);
            memcpy(body, begin, strlen(begin));
            if (pass == 0) {
                tickets[number] = tg_send(client, route, body, (size_t)size, NULL, &reply);
                continue;
            }
            int is_there = tickets[number] && tg_wait(client, tickets[number], &reply) == TG_OK;
            right += is_there && reply.bytes == (size_t)size && memcmp(reply.body, body, (size_t)size) == 0;
            tg_reply_free(&reply);
        }
    }
    printf("%d in order\n", right);
    free(tickets);
    free(body);
}

static void run_command(tg_client **at, char *word, tg_ticket *sent, int *sent_count) {
    tg_client *client = *at;
    char *first = strchr(word, ':'), *text = first ? strchr(first + 1, ':') : NULL, line[16];
    unsigned route = first ? (unsigned)strtoul(first + 1, NULL, 10) : 0;
    tg_how how = {0};
    tg_reply reply = {0};
    if (first) *first = 0;
    text = text ? text + 1 : "";
    if (strcmp(word, "ask") == 0) {
        tg_request(client, route, text, strlen(text), &reply);
        print_outcome(&reply);
    } else if (strcmp(word, "send") == 0 || strcmp(word, "csend") == 0 || strcmp(word, "dsend") == 0) {
        how.correlate = word[0] == 'c';
        how.has_deadline = word[0] == 'd';
        sent[*sent_count] = tg_send(client, route, text, strlen(text), &how, &reply);
        if (sent[*sent_count]) ++*sent_count;
        else printf("unsent "), print_outcome(&reply);
    } else if (strcmp(word, "fill") == 0) {
        size_t bytes = strtoul(text, NULL, 10);
        char *body = calloc(1, bytes);
        sent[(*sent_count)++] = tg_send(client, route, body, bytes, NULL, &reply);
        free(body);
    } else if (strcmp(word, "oneway") == 0) {
        how.one_way = 1;
        tg_send(client, route, text, strlen(text), &how, &reply);
    } else if (strcmp(word, "wait") == 0) {
        for (int index = 0; index < *sent_count; index++) {
            tg_wait(client, sent[index], &reply);
            print_outcome(&reply);
        }
        *sent_count = 0;
    } else if (strcmp(word, "pipe") == 0) {
        pipe_all(client, route, atoi(text), atoi(strchr(text, ':') + 1));
    } else if (strcmp(word, "big") == 0) {
        size_t bytes = strtoul(text, NULL, 10);
        char *body = malloc(bytes);
        memset(body, '.', bytes);
        if (tg_request(client, route, body, bytes, &reply) == TG_OK) printf("ok %zu\n", reply.bytes), tg_reply_free(&reply);
        else print_outcome(&reply);
        free(body);
    } else if (strcmp(word, "ping") == 0) {
        if (tg_ping(client, &reply) == TG_OK) puts("pong");
        else print_outcome(&reply);
    } else if (strcmp(word, "poll") == 0) {
        for (unsigned passed = 0; tg_goaway(client) < 0 && passed < route; passed += 50) tg_poll(client, 50);
    } else if (strcmp(word, "told") == 0) {
        printf("goaway %d\n", tg_goaway(client));
    } else if (strcmp(word, "stdin") == 0) {
        puts("ready");
        if (!fgets(line, sizeof line, stdin)) exit(1);
    } else if (strcmp(word, "close") == 0) {
        tg_close(client);
        *at = NULL;
        puts("closed");
    }
}

int main(int count, char **words) {
    tg_options options = {0};
    tg_ticket sent[16];
    tg_reply reply;
    int sent_count = 0;
    setvbuf(stdout, NULL, _IOLBF, 1 << 16);
    if (strcmp(words[1], "vectors") == 0) return vectors(), 0;
    options.timeout_ms = 20000;
    for (int at = 2; at < count; at++) {
        const char *value = strchr(words[at], '=');
        if (!value++) continue;
        if (words[at][0] == 't' && words[at][1] == 'i') options.timeout_ms = atoi(value);
        else if (words[at][0] == 't') options.token = value;
        else if (words[at][0] == 'l') options.max_payload = (uint32_t)atol(value);
        else if (words[at][0] == 'h') options.hello = 1;
        else if (words[at][0] == 'p') options.ping_after_ms = atoi(value);
    }
    tg_client *client = tg_connect(words[1], &options, &reply);
    if (!client) return print_outcome(&reply), 0;
    const tg_welcome *said = tg_welcomed(client);
    if (said) printf("welcome %d %lu %lu\n", said->version, (unsigned long)said->max_payload, (unsigned long)said->heartbeat_ms);
    for (int at = 2; at < count && client; at++) {
        if (!strchr(words[at], '=')) run_command(&client, words[at], sent, &sent_count);
    }
    tg_close(client);
    return 0;
}
