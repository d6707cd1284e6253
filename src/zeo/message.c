#include "zeo/message.h"

#include <string.h>

#include "codec/msgpack.h"
#include "codec/pickle.h"
#include "zeo/frame.h"

static const struct pickle_limits limits_server = {
	.depth = 48,
	.memo = 1 << 20,
	.items = 64 << 20,
};

static int decode_val(struct slice content, enum encoding encoding, bool from_server,
	struct arena *arena, struct val *ret, struct err *e)
{
	const struct pickle_limits *limits = from_server ? &limits_server : &pickle_limits_message;
	unsigned flags = from_server ? PICKLE_KEEP_GLOBALS : 0;

	if (encoding == ENC_MSGPACK)
		return msgpack_decode(content, limits, arena, ret, e);
	return pickle_decode(content, flags, limits, arena, ret, NULL, e);
}

static int take_message(const struct val *v, bool from_server, struct message *ret, struct err *e)
{
	struct message m = { 0 };
	const struct val *f = v->items;

	if (v->type != VAL_TUPLE || v->n != 4)
		return err_set(e, ERR_FORMAT,
			"a message that is not a tuple of 4: (id, flag, name, args) was expected");
	m.id = &f[0];
	m.keep_alive = f[0].type == VAL_INT && f[0].i == -1;
	if (f[1].type != VAL_BOOL && f[1].type != VAL_INT)
		return err_set(e, ERR_FORMAT, "a message whose flag is not a number");
	m.async = f[1].type == VAL_BOOL ? f[1].b : f[1].i != 0;
	if (f[2].type != VAL_STR && f[2].type != VAL_BYTES)
		return err_set(e, ERR_FORMAT, "a message whose method name is not a string");
	m.name = f[2].s;
	if (from_server && slice_is(m.name, ".reply")) {
		m.args = &f[3]; /* the result, of any type */
		m.n_args = 1;
	} else if (!m.keep_alive) {
		if (f[3].type != VAL_TUPLE && f[3].type != VAL_LIST)
			return err_set(e, ERR_FORMAT, "a message whose arguments are not a tuple");
		m.args = f[3].items;
		m.n_args = f[3].n;
	}
	*ret = m;
	return OK;
}

int message_decode(struct slice content, enum encoding encoding, struct arena *arena,
	struct message *ret, struct err *e)
{
	struct val v;
	int rc = decode_val(content, encoding, false, arena, &v, e);

	return rc == OK ? take_message(&v, false, ret, e) : rc;
}

int message_decode_server(struct slice content, enum encoding encoding, struct arena *arena,
	struct message *ret, struct err *e)
{
	struct val v;
	int rc = decode_val(content, encoding, true, arena, &v, e);

	return rc == OK ? take_message(&v, true, ret, e) : rc;
}

/* The PROTO opcode that starts every pickle belongs to the message, not to the id in it. */
enum { PICKLE_PROTO_LEN = 2 };

int reply_id_set(struct reply_id *r, const struct val *id, enum encoding encoding, struct err *e)
{
	uint8_t room[sizeof(r->bytes) + 3];
	struct buf b = { room, 0, sizeof(room), sizeof(room), false }; /* on the stack */
	size_t skip = encoding == ENC_PICKLE ? PICKLE_PROTO_LEN : 0;
	size_t stop = encoding == ENC_PICKLE ? 1 : 0;
	struct enc en;
	int rc = OK;

	enc_begin(&en, &b, encoding);
	enc_val(&en, id);
	enc_finish(&en);
	if (!buf_ok(&b) || b.len - skip - stop > sizeof(r->bytes)) {
		rc = err_set(e, ERR_LIMIT,
			"a message id of more than %zu bytes: ids of ZEO clients are shorter",
			sizeof(r->bytes));
	} else {
		r->len = (uint8_t)(b.len - skip - stop);
		memcpy(r->bytes, b.data + skip, r->len);
	}
	return rc;
}

static void begin(struct message_writer *w, struct buf *out, enum encoding encoding)
{
	w->mark = frame_begin(out);
	enc_begin(&w->enc, out, encoding);
	enc_tuple(&w->enc, 4);
}

/* What nearly all replies have between the id and the result: MESSAGE_REPLY, ".reply". */
static const struct slice reply_middle[] = {
	[ENC_PICKLE] = SLICE_INIT("K\0X\6\0\0\0.reply"),
	[ENC_MSGPACK] = SLICE_INIT("\0\xa6.reply"),
};

void message_reply(struct message_writer *w, struct buf *out, enum encoding encoding,
	const struct reply_id *id, enum message_flag flag)
{
	begin(w, out, encoding);
	enc_raw(&w->enc, slice_of(id->bytes, id->len));
	if (flag == MESSAGE_REPLY) {
		enc_raw(&w->enc, reply_middle[encoding]);
		return;
	}
	enc_int(&w->enc, flag);
	enc_str(&w->enc, slice_str(".reply"));
}

void message_call(
	struct message_writer *w, struct buf *out, enum encoding encoding, const char *name)
{
	begin(w, out, encoding);
	enc_int(&w->enc, 0);
	enc_bool(&w->enc, true);
	enc_str(&w->enc, slice_str(name));
}

void message_request(struct message_writer *w, struct buf *out, enum encoding encoding, int64_t id,
	const char *name)
{
	begin(w, out, encoding);
	enc_int(&w->enc, id);
	enc_bool(&w->enc, false);
	enc_str(&w->enc, slice_str(name));
}

void message_heartbeat(struct buf *out, enum encoding encoding)
{
	struct message_writer w;

	begin(&w, out, encoding);
	enc_int(&w.enc, -1);
	enc_int(&w.enc, 0);
	enc_str(&w.enc, slice_str(".reply"));
	enc_none(&w.enc);
	message_end(&w);
}

void message_end(struct message_writer *w)
{
	enc_end(&w->enc);
	enc_finish(&w->enc);
	frame_end(w->enc.out, w->mark);
}
