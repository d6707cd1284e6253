#include "message.h"

enum encoding encoding_of(uint8_t letter)
{
	if (letter != 'Z' && letter != 'M')
		die("an encoding is called Z or M, not %c", letter);
	return letter == 'M' ? ENCODING_MSGPACK : ENCODING_PICKLE;
}

static uint32_t le32(const uint8_t *p)
{
	return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

static uint32_t be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Pickle operations that carry no value of ours: the head, frames and the memo. */
static const uint8_t *skip_noise(const uint8_t *p, const uint8_t *end)
{
	for (;;) {
		if (p >= end)
			die("a message ends too early");
		switch (*p) {
		case 0x80: /* PROTO */
		case 'q':  /* BINPUT */
			p += 2;
			break;
		case 'r': /* LONG_BINPUT */
			p += 5;
			break;
		case 0x94: /* MEMOIZE */
			p += 1;
			break;
		case 0x95: /* FRAME */
			p += 9;
			break;
		default:
			return p;
		}
	}
}

static const uint8_t *pickle_number(const uint8_t *p, uint32_t *ret)
{
	switch (*p) {
	case 'K': /* BININT1 */
		*ret = p[1];
		return p + 2;
	case 'M': /* BININT2 */
		*ret = (uint32_t)(p[1] | p[2] << 8);
		return p + 3;
	case 'J': /* BININT */
		*ret = le32(p + 1);
		return p + 5;
	case 0x88: /* NEWTRUE */
		*ret = 1;
		return p + 1;
	case 0x89: /* NEWFALSE */
		*ret = 0;
		return p + 1;
	default:
		die("pickle operation 0x%02x where a number was expected", *p);
	}
}

static void pickle_parse(const uint8_t *p, const uint8_t *end, struct message *m)
{
	uint32_t flag;

	p = skip_noise(p, end);
	if (*p++ != '(')
		die("a message is not a tuple of four");
	p = skip_noise(p, end);
	m->id = p;
	p = pickle_number(p, &m->number);
	m->id_n = (size_t)(p - m->id);
	p = pickle_number(skip_noise(p, end), &flag);
	m->flag = (uint8_t)flag;
	p = skip_noise(p, end);
	if (*p == 'X') { /* BINUNICODE */
		m->name_n = le32(p + 1);
		p += 5;
	} else if (*p == 0x8c || *p == 'U') { /* SHORT_BINUNICODE, SHORT_BINSTRING */
		m->name_n = p[1];
		p += 2;
	} else {
		die("pickle operation 0x%02x where a name was expected", *p);
	}
	m->name = (const char *)p;
}

static const uint8_t *msgpack_number(const uint8_t *p, uint32_t *ret)
{
	if (*p < 0x80) { /* positive fixint */
		*ret = *p;
		return p + 1;
	}
	switch (*p) {
	case 0xcc: /* uint 8 */
		*ret = p[1];
		return p + 2;
	case 0xcd: /* uint 16 */
		*ret = (uint32_t)(p[1] << 8 | p[2]);
		return p + 3;
	case 0xce: /* uint 32 */
		*ret = be32(p + 1);
		return p + 5;
	case 0xc2: /* false */
	case 0xc3: /* true */
		*ret = *p & 1;
		return p + 1;
	default:
		die("msgpack type 0x%02x where a number was expected", *p);
	}
}

static void msgpack_parse(const uint8_t *p, struct message *m)
{
	uint32_t flag;

	if (*p++ != 0x94) /* array of 4 */
		die("a message is not an array of four");
	m->id = p;
	p = msgpack_number(p, &m->number);
	m->id_n = (size_t)(p - m->id);
	p = msgpack_number(p, &flag);
	m->flag = (uint8_t)flag;
	if ((*p & 0xe0) == 0xa0) { /* fixstr */
		m->name_n = *p & 0x1f;
		p += 1;
	} else if (*p == 0xd9) { /* str 8 */
		m->name_n = p[1];
		p += 2;
	} else {
		die("msgpack type 0x%02x where a name was expected", *p);
	}
	m->name = (const char *)p;
}

void message_parse(enum encoding enc, const uint8_t *p, size_t n, struct message *m)
{
	const uint8_t *end = p + n;

	/* the shortest message has more; what its parse looks at is there */
	if (n < 10)
		die("a message of %zu bytes", n);
	if (enc == ENCODING_MSGPACK)
		msgpack_parse(p, m);
	else
		pickle_parse(p, end, m);
	if ((size_t)(end - (const uint8_t *)m->name) < m->name_n)
		die("a message ends in its name");
	m->args = (const uint8_t *)m->name + m->name_n;
	m->end = end;
}

static const uint8_t *pickle_bytes(const uint8_t *p, const uint8_t *end, size_t *ret_n)
{
	p = skip_noise(p, end);
	if (*p == '(')
		p = skip_noise(p + 1, end);
	if (*p == 'C' || *p == 'U') { /* SHORT_BINBYTES, SHORT_BINSTRING */
		*ret_n = p[1];
		return p + 2;
	}
	if (*p == 'B' || *p == 'T') { /* BINBYTES, BINSTRING */
		*ret_n = le32(p + 1);
		return p + 5;
	}
	die("pickle operation 0x%02x where bytes were expected", *p);
}

static const uint8_t *msgpack_bytes(const uint8_t *p, size_t *ret_n)
{
	if ((*p & 0xf0) == 0x90) /* fixarray */
		p++;
	switch (*p) {
	case 0xc4: /* bin 8 */
		*ret_n = p[1];
		return p + 2;
	case 0xc5: /* bin 16 */
		*ret_n = (size_t)(p[1] << 8 | p[2]);
		return p + 3;
	case 0xc6: /* bin 32 */
		*ret_n = be32(p + 1);
		return p + 5;
	default:
		die("msgpack type 0x%02x where bytes were expected", *p);
	}
}

const uint8_t *message_bytes(
	enum encoding enc, const uint8_t **p, const uint8_t *end, size_t *ret_n)
{
	const uint8_t *start =
		enc == ENCODING_MSGPACK ? msgpack_bytes(*p, ret_n) : pickle_bytes(*p, end, ret_n);

	if ((size_t)(end - start) < *ret_n)
		die("a message ends in its bytes");
	*p = start + *ret_n;
	return start;
}

static void put_op(struct bytes *b, enum encoding enc, uint8_t pickle, uint8_t msgpack)
{
	bytes_append(b, enc == ENCODING_MSGPACK ? &msgpack : &pickle, 1);
}

static void put_le32(struct bytes *b, uint8_t op, uint32_t n)
{
	uint8_t p[5] = { op, (uint8_t)n, (uint8_t)(n >> 8), (uint8_t)(n >> 16),
		(uint8_t)(n >> 24) };

	bytes_append(b, p, sizeof(p));
}

static void put_be32(struct bytes *b, uint8_t op, uint32_t n)
{
	put_le32(b, op, __builtin_bswap32(n));
}

void put_number(struct bytes *b, enum encoding enc, uint32_t n)
{
	bool msgpack = enc == ENCODING_MSGPACK;
	uint8_t small[2] = { msgpack ? 0xcc : 'K', (uint8_t)n };

	if (n <= 0x7f && msgpack)
		bytes_append(b, small + 1, 1);
	else if (n <= 0xff)
		bytes_append(b, small, sizeof(small));
	else if (msgpack)
		put_be32(b, 0xce, n);
	else
		put_le32(b, 'J', n);
}

void put_text(struct bytes *b, enum encoding enc, const char *text)
{
	size_t n = strlen(text);

	if (enc == ENCODING_MSGPACK) {
		uint8_t head[2] = { 0xd9, (uint8_t)n };

		if (n <= 31)
			put_op(b, enc, 0, (uint8_t)(0xa0 | n));
		else
			bytes_append(b, head, sizeof(head));
	} else {
		put_le32(b, 'X', (uint32_t)n);
	}
	bytes_append(b, text, n);
}

void put_bytes(struct bytes *b, enum encoding enc, const void *p, size_t n)
{
	if (n < 256) {
		put_op(b, enc, 'C', 0xc4);
		bytes_append(b, &(uint8_t){ (uint8_t)n }, 1);
	} else if (enc == ENCODING_MSGPACK) {
		put_be32(b, 0xc6, (uint32_t)n);
	} else {
		put_le32(b, 'B', (uint32_t)n);
	}
	bytes_append(b, p, n);
}

void put_false(struct bytes *b, enum encoding enc)
{
	put_op(b, enc, 0x89, 0xc2);
}

void put_none(struct bytes *b, enum encoding enc)
{
	put_op(b, enc, 'N', 0xc0);
}

void put_empty_list(struct bytes *b, enum encoding enc)
{
	put_op(b, enc, ']', 0x90);
}

void put_empty_dict(struct bytes *b, enum encoding enc)
{
	put_op(b, enc, '}', 0x80);
}

void put_call(struct bytes *b, enum encoding enc, uint32_t id, bool is_async, const char *method,
	unsigned args_n)
{
	if (enc == ENCODING_MSGPACK)
		bytes_append(b, "\x94", 1);
	else
		bytes_append(b, "\x80\x03(", 3);
	put_number(b, enc, id);
	if (is_async)
		put_op(b, enc, 0x88, 0xc3);
	else
		put_false(b, enc);
	put_text(b, enc, method);
	if (enc == ENCODING_MSGPACK || args_n > 3)
		put_op(b, enc, '(', (uint8_t)(0x90 | args_n));
}

/* A pickled tuple of up to three items has no mark, but an operation of its own. */
void put_call_end(struct bytes *b, enum encoding enc, unsigned args_n)
{
	uint8_t end[3] = { args_n > 3 ? 't' : (uint8_t)(0x84 + args_n), 't', '.' };

	if (enc == ENCODING_PICKLE)
		bytes_append(b, end, sizeof(end));
}

void put_reply(struct bytes *b, enum encoding enc, const uint8_t *id, size_t id_n)
{
	if (enc == ENCODING_MSGPACK) {
		bytes_append(b, "\x94", 1);
		bytes_append(b, id, id_n);
		bytes_append(b, "\0\xa6.reply", 8);
	} else {
		bytes_append(b, "\x80\x03(", 3);
		bytes_append(b, id, id_n);
		bytes_append(b, "K\0X\6\0\0\0.reply", 13);
	}
}

void put_reply_end(struct bytes *b, enum encoding enc)
{
	if (enc == ENCODING_PICKLE)
		bytes_append(b, "t.", 2);
}
