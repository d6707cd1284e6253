/* The quick way through the two shapes that a client meets all the time; what looks different in any way is left
 * to message_decode(). */
#include <string.h>

#include "base/bigendian.h"
#include "codec/tid.h"
#include "zeo/message.h"

/* What is left to read. */
struct cursor {
	const uint8_t *p, *end;
};

static size_t left(const struct cursor *c)
{
	return (size_t)(c->end - c->p);
}

/* Pass over @n bytes that have to be those of @text. */
static bool expect(struct cursor *c, const void *text, size_t n)
{
	if (left(c) < n || memcmp(c->p, text, n) != 0)
		return false;
	c->p += n;
	return true;
}

static uint64_t number(const uint8_t *p, int bytes, bool little)
{
	uint64_t v = 0;

	for (int i = 0; i < bytes; i++)
		v = v << 8 | p[little ? bytes - 1 - i : i];
	return v;
}

/* A number that is not negative, of @bytes bytes behind the opcode. */
static bool take_number(struct cursor *c, int bytes, bool little, uint64_t *ret)
{
	if (left(c) < (size_t)bytes + 1)
		return false;
	*ret = number(c->p + 1, bytes, little);
	c->p += bytes + 1;
	return true;
}

static bool pickle_number(struct cursor *c, uint64_t *ret)
{
	switch (left(c) ? *c->p : 0) {
	case 'K':
		return take_number(c, 1, true, ret);
	case 'M':
		return take_number(c, 2, true, ret);
	case 'J':
		return take_number(c, 4, true, ret) && *ret <= INT32_MAX;
	case 0x8a: /* LONG1 */
		if (left(c) < 2 || c->p[1] > 8 || c->p[1] == 0)
			return false;
		c->p++;
		return take_number(c, *c->p, true, ret) && *ret <= INT64_MAX;
	default:
		return false;
	}
}

static bool msgpack_number(struct cursor *c, uint64_t *ret)
{
	if (!left(c))
		return false;
	switch (*c->p) {
	case 0xcc:
		return take_number(c, 1, false, ret);
	case 0xcd:
		return take_number(c, 2, false, ret);
	case 0xce:
		return take_number(c, 4, false, ret);
	case 0xcf:
		return take_number(c, 8, false, ret);
	default:
		*ret = *c->p;
		return *c->p++ < 0x80;
	}
}

static bool take_flag(uint64_t flag, enum message_flag *ret)
{
	*ret = flag ? MESSAGE_ERROR : MESSAGE_REPLY;
	return flag == MESSAGE_REPLY || flag == MESSAGE_ERROR;
}

static bool pickle_head(struct slice content, struct reply_head *ret)
{
	static const char name[] = "X\6\0\0\0.reply";
	struct cursor c = { content.data, content.data + content.len };
	struct reply_head h = { 0 };
	uint64_t flag;

	if (!expect(&c, "\x80\3(", 3) || !pickle_number(&c, &h.id) || !pickle_number(&c, &flag) ||
		!expect(&c, name, sizeof(name) - 1) || left(&c) < 3 ||
		memcmp(c.end - 2, "t.", 2) != 0)
		return false;
	h.value = slice_of(c.p, left(&c) - 2);
	*ret = h;
	return take_flag(flag, &ret->flag);
}

static bool msgpack_head(struct slice content, struct reply_head *ret)
{
	struct cursor c = { content.data, content.data + content.len };
	struct reply_head h = { 0 };
	uint64_t flag;

	if (!expect(&c, "\x94", 1) || !msgpack_number(&c, &h.id) || !msgpack_number(&c, &flag) ||
		!expect(&c, "\xa6.reply", 7) || left(&c) < 1)
		return false;
	h.value = slice_of(c.p, left(&c));
	*ret = h;
	return take_flag(flag, &ret->flag);
}

bool reply_head_parse(struct slice content, enum encoding encoding, struct reply_head *ret)
{
	return encoding == ENC_MSGPACK ? msgpack_head(content, ret) : pickle_head(content, ret);
}

/* --- a record --- */

static bool take_bytes(struct cursor *c, int bytes, bool little, struct slice *ret)
{
	uint64_t n;

	if (!take_number(c, bytes, little, &n) || left(c) < n)
		return false;
	*ret = slice_of(c->p, (size_t)n);
	c->p += n;
	return true;
}

static bool pickle_bytes(struct cursor *c, struct slice *ret)
{
	switch (left(c) ? *c->p : 0) {
	case 'C':
		return take_bytes(c, 1, true, ret);
	case 'B':
		return take_bytes(c, 4, true, ret);
	default:
		return false;
	}
}

static bool msgpack_bytes(struct cursor *c, struct slice *ret)
{
	switch (left(c) ? *c->p : 0) {
	case 0xc4:
		return take_bytes(c, 1, false, ret);
	case 0xc5:
		return take_bytes(c, 2, false, ret);
	case 0xc6:
		return take_bytes(c, 4, false, ret);
	default:
		return false;
	}
}

/* A tid, or None as TID_NONE. */
static bool take_tid(
	struct cursor *c, bool (*bytes)(struct cursor *, struct slice *), char none, uint64_t *ret)
{
	struct slice s;

	if (expect(c, &none, 1)) {
		*ret = TID_NONE;
		return true;
	}
	if (!bytes(c, &s) || s.len != 8)
		return false;
	*ret = get_be64(s.data);
	return true;
}

bool reply_record_parse(struct slice value, enum encoding encoding, struct reply_record *ret)
{
	struct cursor c = { value.data, value.data + value.len };
	bool m = encoding == ENC_MSGPACK;
	bool (*bytes)(struct cursor *, struct slice *) = m ? msgpack_bytes : pickle_bytes;
	char none = m ? (char)0xc0 : 'N';
	struct reply_record r = { 0 };

	if (m && !expect(&c, "\x93", 1))
		return false;
	if (!bytes(&c, &r.data) || !take_tid(&c, bytes, none, &r.serial) ||
		!take_tid(&c, bytes, none, &r.end_tid) || r.serial == TID_NONE)
		return false;
	if (!m && !expect(&c, "\x87", 1))
		return false;
	*ret = r;
	return left(&c) == 0;
}
