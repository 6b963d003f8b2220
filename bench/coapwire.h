/*
 * The few parts of a CoAP message that the load generator reads and writes.
 *
 * Source: RFC 7252, section 3 (messages), 3.1 (options), 12.2 (option numbers); RFC 7959, 2.2 (Block2); RFC 9175, 2.2 (Echo).
 */
#ifndef COAPWIRE_H
#define COAPWIRE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { GET = 1, POST = 2, PUT = 3, DELETE = 4, CREATED = 0x41 };
enum { TYPE_CON = 0x00, TYPE_NON = 0x10, TYPE_ACK = 0x20, TYPE_MASK = 0x30, VERSION = 0x40 };
enum { OBSERVE = 6, LOCATION_PATH = 8, URI_PATH = 11, CONTENT_FORMAT = 12, URI_QUERY = 15, BLOCK2 = 23, ECHO_OPTION = 252 };
enum { UNKNOWN_OPTION = 65000 }; /* of those for experiments, and elective: whoever does not know it passes it over */
enum { TOKEN_SIZE = 4, HEAD_SIZE = 8, ECHO_MAX = 40, LOCATION_MAX = 256 };

/* What one answer says; `location` is its Location-Path segments joined by slashes. */
struct answer {
    int type, code;
    uint16_t message_id, exchange, sequence;
    int more;                /* Block2 says that this is not all of it */
    uint8_t echo[ECHO_MAX];
    size_t echo_size, location_size;
    char location[LOCATION_MAX];
};

/* The token is the number of the exchange and how often it was used. */
static inline uint8_t *put_head(uint8_t *p, int type, int code, uint16_t message_id, uint16_t exchange, uint16_t sequence)
{
    const uint8_t head[HEAD_SIZE] = {
        (uint8_t)(VERSION | type | TOKEN_SIZE), (uint8_t)code, (uint8_t)(message_id >> 8), (uint8_t)message_id,
        (uint8_t)(exchange >> 8), (uint8_t)exchange, (uint8_t)(sequence >> 8), (uint8_t)sequence,
    };
    memcpy(p, head, HEAD_SIZE);
    return p + HEAD_SIZE;
}

/* Options come in the order of their numbers; `last` remembers the number before. */
static inline uint8_t *put_option(uint8_t *p, int *last, int number, const void *value, size_t size)
{
    int delta = number - *last;
    *last = number;
    *p++ = (uint8_t)((delta < 13 ? delta : delta < 269 ? 13 : 14) << 4 | (size < 13 ? (int)size : size < 269 ? 13 : 14));
    if (delta >= 269) {
        *p++ = (uint8_t)((delta - 269) >> 8);
        *p++ = (uint8_t)(delta - 269);
    } else if (delta >= 13) {
        *p++ = (uint8_t)(delta - 13);
    }
    if (size >= 269) {
        *p++ = (uint8_t)((size - 269) >> 8);
        *p++ = (uint8_t)(size - 269);
    } else if (size >= 13) {
        *p++ = (uint8_t)(size - 13);
    }
    memcpy(p, value, size);
    return p + size;
}

/* One extended delta or length; returns -1 past the end of the message. */
static inline long take_extended(const uint8_t **p, const uint8_t *end, int nibble)
{
    if (nibble < 13)
        return nibble;
    if (nibble == 13 && end - *p >= 1)
        return 13 + *(*p)++;
    if (nibble == 14 && end - *p >= 2) {
        *p += 2;
        return 269 + ((*p)[-2] << 8 | (*p)[-1]);
    }
    return -1;
}

static inline void read_option(struct answer *answer, long number, const uint8_t *value, size_t size)
{
    if (number == BLOCK2 && size) {
        answer->more = value[size - 1] >> 3 & 1;
    } else if (number == ECHO_OPTION && size <= ECHO_MAX) {
        memcpy(answer->echo, value, answer->echo_size = size);
    } else if (number == LOCATION_PATH && answer->location_size + size + 1 < LOCATION_MAX) {
        answer->location[answer->location_size++] = '/';
        memcpy(answer->location + answer->location_size, value, size);
        answer->location_size += size;
    }
}

/* Returns 0 for what is not an answer to one of our requests. */
static inline int read_answer(struct answer *answer, const uint8_t *data, size_t size)
{
    memset(answer, 0, sizeof *answer);
    if (size < HEAD_SIZE || (data[0] & 0x0f) != TOKEN_SIZE)
        return 0;
    answer->type = data[0] & TYPE_MASK;
    answer->code = data[1];
    answer->message_id = (uint16_t)(data[2] << 8 | data[3]);
    answer->exchange = (uint16_t)(data[4] << 8 | data[5]);
    answer->sequence = (uint16_t)(data[6] << 8 | data[7]);
    const uint8_t *p = data + HEAD_SIZE, *end = data + size;
    long number = 0;
    while (p < end && *p != 0xff) {
        int head = *p++;
        long delta = take_extended(&p, end, head >> 4), length = take_extended(&p, end, head & 15);
        if (delta < 0 || length < 0 || length > end - p)
            return 0;
        read_option(answer, number += delta, p, (size_t)length);
        p += length;
    }
    return 1;
}

#endif
