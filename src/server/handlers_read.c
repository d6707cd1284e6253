/* Methods that read objects: docs/protocol.md#loads */
#include "base/arena.h"
#include "base/mem.h"
#include "codec/pickle.h"
#include "server/dispatch.h"
#include "server/hub.h"
#include "server/load_op.h"
#include "server/server.h"

void load_before(const struct request *r, uint64_t oid, uint64_t tid)
{
	r->session->hs->uncounted_loads++;
	load_op_start(r, LOAD_BEFORE, oid, tid);
}

void handle_load_before(const struct request *r, const struct args *a)
{
	uint64_t oid;
	uint64_t tid;

	if (arg_id(r, a, 0, &oid) && arg_id(r, a, 1, &tid))
		load_before(r, oid, tid);
}

void handle_load_serial(const struct request *r, const struct args *a)
{
	uint64_t oid;
	uint64_t tid;

	if (arg_id(r, a, 0, &oid) && arg_id(r, a, 1, &tid))
		load_op_start(r, LOAD_SERIAL, oid, tid);
}

void handle_get_tid(const struct request *r, const struct args *a)
{
	uint64_t oid;

	if (arg_id(r, a, 0, &oid))
		load_op_start(r, LOAD_TID, oid, TID_NONE);
}

/* A history under way. */
struct history_op {
	struct history_req req;
	struct request request;
	struct arena arena;
};

enum {
	HISTORY_MAX = 1 << 20,         /* revisions in one reply */
	HISTORY_ARENA_MAX = 256 << 20, /* bytes of their metadata */
};

/* The keys a history item has of its own: they win over the extension's. */
static const char *const own_keys[] = { "time", "user_name", "description", "tid", "size" };

static bool is_own_key(const struct val *k)
{
	for (size_t i = 0; k->type == VAL_STR && i < ARRAY_LEN(own_keys); i++)
		if (slice_is(k->s, own_keys[i]))
			return true;
	return false;
}

/* msgpack has no sets and no keys but strings, which an extension may have. */
static bool can_be_written(enum encoding encoding, const struct val *pair)
{
	struct buf b = BUF_INIT(0);
	struct enc en;
	bool ok;

	enc_begin(&en, &b, encoding);
	enc_val(&en, &pair[0]);
	enc_val(&en, &pair[1]);
	enc_finish(&en);
	ok = buf_ok(&b);
	buf_free(&b);
	return ok;
}

/* Leave only the pairs that the item gets from the extension. */
static void filter_ext(struct val *ext, enum encoding encoding)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i + 1 < ext->n; i += 2) {
		if (is_own_key(&ext->items[i]) || !can_be_written(encoding, &ext->items[i]))
			continue;
		ext->items[n] = ext->items[i];
		ext->items[n + 1] = ext->items[i + 1];
		n += 2;
	}
	ext->n = n;
}

/* What cannot be read is left out. */
static const struct val *decode_ext(
	const struct history_item *it, enum encoding encoding, struct arena *arena)
{
	struct val *v = arena_alloc(arena, sizeof(*v));
	struct err e = ERR_INIT;

	if (!v || it->ext.len == 0)
		return NULL;
	if (pickle_decode(it->ext, 0, &pickle_limits_message, arena, v, NULL, &e) != OK)
		return NULL;
	if (v->type != VAL_DICT)
		return NULL;
	filter_ext(v, encoding);
	return v;
}

static void put_key(struct enc *en, const char *key)
{
	enc_str(en, slice_str(key));
}

static void write_item(struct enc *en, const struct history_item *it, struct arena *arena)
{
	const struct val *ext = decode_ext(it, en->encoding, arena);

	enc_dict(en, (uint32_t)ARRAY_LEN(own_keys) + (ext ? ext->n / 2 : 0));
	for (uint32_t i = 0; ext && i < ext->n; i++)
		enc_val(en, &ext->items[i]);
	put_key(en, "time");
	enc_float(en, tid_to_time(it->tid));
	put_key(en, "user_name");
	enc_bytes(en, it->user);
	put_key(en, "description");
	enc_bytes(en, it->desc);
	put_key(en, "tid");
	enc_id(en, it->tid);
	put_key(en, "size");
	enc_int(en, (int64_t)it->size);
	enc_end(en);
}

static void answer_history(struct history_op *op)
{
	struct history_req *h = &op->req;
	struct reply rep;

	if (h->rc != OK) {
		reply_failed(&op->request, h->rc, &h->err, h->oid, h->raised);
		return;
	}
	if (!reply_begin(&rep, &op->request))
		return;
	enc_list(&rep.w.enc, h->n_items);
	for (uint32_t i = 0; i < h->n_items; i++)
		write_item(&rep.w.enc, &h->items[i], &op->arena);
	enc_end(&rep.w.enc);
	reply_send(&rep);
}

/* As of the tid it was asked for: no client keeps a history, and a walk over many revisions that
 * began anew with each commit would never end. */
static void history_done(struct history_req *h)
{
	struct history_op *op = CONTAINER_OF(h, struct history_op, req);
	struct session *s = op->request.session;

	if (session_alive(s))
		answer_history(op);
	arena_free(&op->arena);
	mem_free(op);
	session_load_ended(s);
}

/* None is an oid that no object has, as for ZODB's MappingStorage: not an error of the client. */
static void reply_no_such_oid(const struct request *r)
{
	struct reply rep;

	if (!reply_begin_error(&rep, r, "no such object"))
		return;
	enc_tuple(&rep.w.enc, 2);
	enc_str(&rep.w.enc, slice_str(EXC_POS_KEY));
	enc_tuple(&rep.w.enc, 1);
	enc_none(&rep.w.enc);
	enc_end(&rep.w.enc);
	enc_end(&rep.w.enc);
	reply_send(&rep);
}

void handle_history(const struct request *r, const struct args *a)
{
	struct session *s = r->session;
	struct storage *st = s->hs->ss->storage;
	struct history_op *op;
	int64_t size = 1;
	uint64_t oid;

	if (val_is_none(&a->v[0])) {
		reply_no_such_oid(r);
		return;
	}
	if (!arg_id(r, a, 0, &oid) || (a->n > 1 && !arg_int(r, a, 1, &size)))
		return;
	op = mem_zalloc(1, sizeof(*op));
	if (!op) {
		session_fail(s, "no memory for a request");
		return;
	}
	op->request = *r;
	op->arena = (struct arena)ARENA_INIT(HISTORY_ARENA_MAX);
	op->req.exec = s->hub->exec;
	op->req.done = history_done;
	op->req.oid = oid;
	op->req.applied = s->hs->applied;
	op->req.size = size < 0 ? 0 : size > HISTORY_MAX ? HISTORY_MAX : (uint32_t)size;
	op->req.arena = &op->arena;
	session_load_started(s);
	st->ops->history(st, &op->req);
}
