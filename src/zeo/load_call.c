#include "zeo/load_call.h"

#include <string.h>

#include "base/bigendian.h"
#include "base/compiler.h"

/* What surrounds the id, the oid and the tid. All ids are 8 bytes, and so is a pair of them in a fixed place. */
struct form {
	struct slice start;
	struct slice pair_start; /* of an id that is a pair */
	struct slice id8;        /* before 8 bytes */
	struct slice pair_end;
	struct slice call; /* behind the id */
	struct slice end;
};

static const struct form forms[] = {
	[ENC_PICKLE] = { SLICE_INIT("\x80\x03("), SLICE_INIT(""), SLICE_INIT("C\x08"),
		SLICE_INIT("\x86"), SLICE_INIT("\x89X\x0a\0\0\0loadBefore"), SLICE_INIT("\x86t.") },
	[ENC_MSGPACK] = { SLICE_INIT("\x94"), SLICE_INIT("\x92"), SLICE_INIT("\xc4\x08"),
		SLICE_INIT(""), SLICE_INIT("\xc2\xaaloadBefore\x92"), SLICE_INIT("") },
};

static ALWAYS_INLINE bool take(struct slice *in, struct slice expected)
{
	if (in->len < expected.len || memcmp(in->data, expected.data, expected.len) != 0)
		return false;
	*in = slice_of(in->data + expected.len, in->len - expected.len);
	return true;
}

static ALWAYS_INLINE bool take_id8(struct slice *in, const struct form *f, uint64_t *ret)
{
	if (!take(in, f->id8) || in->len < 8)
		return false;
	*ret = get_be64(in->data);
	*in = slice_of(in->data + 8, in->len - 8);
	return true;
}

/* Bytes of the number from 0 on that @in begins with; 0: none. */
static ALWAYS_INLINE size_t number_len(struct slice in, enum encoding encoding)
{
	uint8_t first = in.len ? in.data[0] : 0xff;

	if (encoding == ENC_MSGPACK)
		return first <= 0x7f                    ? 1
		       : first >= 0xcc && first <= 0xce ? 1 + (1 << (first - 0xcc))
							: 0;
	switch (first) {
	case 'K': /* BININT1 */
		return 2;
	case 'M': /* BININT2 */
		return 3;
	case 'J': /* BININT, which has a sign: -1 is the id of a message that is no call */
		return in.len >= 5 && in.data[4] < 0x80 ? 5 : 0;
	default:
		return 0;
	}
}

static ALWAYS_INLINE bool take_id(struct slice *in, const struct form *f, enum encoding encoding)
{
	size_t n = number_len(*in, encoding);
	uint64_t id;

	if (n == 0)
		return take(in, f->pair_start) && take_id8(in, f, &id) && take_id8(in, f, &id) &&
		       take(in, f->pair_end);
	if (in->len < n)
		return false;
	*in = slice_of(in->data + n, in->len - n);
	return true;
}

/* Inline, for each encoding: the form's bytes and lengths are constants then. */
static ALWAYS_INLINE bool take_call(
	struct slice content, enum encoding encoding, struct load_call *ret)
{
	const struct form *f = &forms[encoding];
	const uint8_t *id;

	if (!take(&content, f->start))
		return false;
	id = content.data;
	if (!take_id(&content, f, encoding))
		return false;
	ret->id = slice_of(id, (size_t)(content.data - id));
	return take(&content, f->call) && take_id8(&content, f, &ret->oid) &&
	       take_id8(&content, f, &ret->tid) && take(&content, f->end) && content.len == 0;
}

bool load_call_take(struct slice content, enum encoding encoding, struct load_call *ret)
{
	return encoding == ENC_PICKLE ? take_call(content, ENC_PICKLE, ret)
				      : take_call(content, ENC_MSGPACK, ret);
}

void load_call_reply_id(const struct load_call *c, struct reply_id *ret)
{
	ret->len = (uint8_t)c->id.len;
	memcpy(ret->bytes, c->id.data, c->id.len);
}
