/* ZEO's messages (id, flag, name, args) in both encodings, as far as the benchmark needs them. */
#ifndef BENCH_MESSAGE_H
#define BENCH_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "wire.h"

enum encoding { ENCODING_PICKLE, ENCODING_MSGPACK };

/** 'Z' or 'M', as a handshake begins. */
enum encoding encoding_of(uint8_t letter);

/** All pointers are into the message. */
struct message {
	const uint8_t *id; /* as encoded */
	size_t id_n;
	uint32_t number; /* the id's value */
	uint8_t flag;    /* false, true or the number */
	const char *name;
	size_t name_n;
	const uint8_t *args; /* what follows the name */
	const uint8_t *end;
};

void message_parse(enum encoding enc, const uint8_t *p, size_t n, struct message *m);

static inline bool message_is(const struct message *m, const char *name)
{
	return m->name_n == strlen(name) && memcmp(m->name, name, m->name_n) == 0;
}

/** The next bytes object at *@p, which moves behind it; a tuple's beginning is skipped. */
const uint8_t *message_bytes(
	enum encoding enc, const uint8_t **p, const uint8_t *end, size_t *ret_n);

/** A call with @args_n arguments, one or more, which follow, and put_call_end(): byte by byte as a stock client writes it. */
void put_call(struct bytes *b, enum encoding enc, uint32_t id, bool is_async, const char *method,
	unsigned args_n);
void put_call_end(struct bytes *b, enum encoding enc, unsigned args_n);

/** A reply to the message with this id; its result follows, and put_reply_end(). */
void put_reply(struct bytes *b, enum encoding enc, const uint8_t *id, size_t id_n);
void put_reply_end(struct bytes *b, enum encoding enc);

void put_bytes(struct bytes *b, enum encoding enc, const void *p, size_t n);
void put_text(struct bytes *b, enum encoding enc, const char *text);
void put_number(struct bytes *b, enum encoding enc, uint32_t n);
void put_false(struct bytes *b, enum encoding enc);
void put_none(struct bytes *b, enum encoding enc);
void put_empty_list(struct bytes *b, enum encoding enc);
void put_empty_dict(struct bytes *b, enum encoding enc);

#endif
