/* undoLog and undoInfo: docs/protocol.md#undo */
#include "base/arena.h"
#include "base/mem.h"
#include "codec/pickle.h"
#include "server/dispatch.h"
#include "server/hub.h"
#include "server/server.h"
#include "server/undo_filter.h"
#include "zeo/exception.h"

enum {
	LOG_BYTES_MAX = 16 << 20,   /* of one answer (R9); what is older is left out */
	SPEC_BYTES_MAX = 1 << 20,   /* of a specification's values */
	DESCRIPTION_MAX = 16 << 20, /* of one transaction's values */
};

/* A list being made. */
struct undo_log_op {
	struct undo_log_req req;
	struct request request;
	enum encoding encoding;
	int64_t first; /* numbers of those that match, newest first */
	int64_t last;
	int64_t n_found;
	bool has_spec;
	struct val spec;
	struct arena spec_arena;
	struct buf spec_bytes;
	struct arena arena; /* of the transaction at hand */
	struct buf items;   /* encoded */
	uint32_t n_items;
};

static void op_free(struct undo_log_op *op)
{
	arena_free(&op->spec_arena);
	arena_free(&op->arena);
	buf_free(&op->spec_bytes);
	buf_free(&op->items);
	mem_free(op);
}

static bool fail(struct undo_log_op *op)
{
	op->items.failed = true;
	return false;
}

/* On the pool. */
static bool take(struct undo_log_req *r, const struct txn_info *t)
{
	struct undo_log_op *op = CONTAINER_OF(r, struct undo_log_op, req);
	struct enc en = { .out = &op->items, .encoding = op->encoding };
	struct val desc;

	if (op->n_found >= op->last)
		return false;
	arena_reset(&op->arena);
	if (!undo_describe(t, op->encoding, &op->arena, &desc))
		return fail(op);
	if (op->has_spec && !undo_matches(&desc, &op->spec))
		return true;
	if (op->n_found >= op->first) {
		enc_val(&en, &desc);
		op->n_items++;
	}
	op->n_found++;
	return buf_ok(&op->items) && op->items.len < LOG_BYTES_MAX;
}

static void answer_failure(const struct undo_log_op *op)
{
	const struct undo_log_req *r = &op->req;
	struct reply rep;

	if (r->rc != ERR_UNDO || r->raised) {
		reply_failed(&op->request, r->rc, &r->err, OID_ROOT, r->raised);
		return;
	}
	if (!reply_begin_error(&rep, &op->request, r->err.text))
		return;
	exception_undo(&rep.w.enc, r->err.text);
	reply_send(&rep);
}

static void answer(struct undo_log_op *op)
{
	struct undo_log_req *r = &op->req;
	struct reply rep;

	if (r->rc == OK && !buf_ok(&op->items))
		r->rc = err_set(&r->err, ERR_NOMEM, "no memory for an undo log");
	if (r->rc != OK) {
		answer_failure(op);
		return;
	}
	if (!reply_begin(&rep, &op->request))
		return;
	enc_list(&rep.w.enc, op->n_items);
	enc_raw(&rep.w.enc, buf_slice(&op->items));
	enc_end(&rep.w.enc);
	reply_send(&rep);
}

/* As of the tid it was asked for, as a history. */
static void undo_log_done(struct undo_log_req *r)
{
	struct undo_log_op *op = CONTAINER_OF(r, struct undo_log_op, req);
	struct session *s = op->request.session;

	if (session_alive(s))
		answer(op);
	op_free(op);
	session_load_ended(s);
}

/* Python's notion of an empty specification. */
static bool is_nothing(const struct val *v)
{
	switch (v->type) {
	case VAL_NONE:
		return true;
	case VAL_BOOL:
		return !v->b;
	case VAL_INT:
		return v->i == 0;
	case VAL_STR:
	case VAL_BYTES:
		return v->s.len == 0;
	case VAL_TUPLE:
	case VAL_LIST:
	case VAL_DICT:
		return v->n == 0;
	default:
		return false;
	}
}

/* A copy that outlives the message: written and read again. */
static bool set_spec(struct undo_log_op *op, const struct val *v)
{
	const struct request *r = &op->request;
	struct err e = ERR_INIT;
	struct enc en;

	if (is_nothing(v))
		return true;
	if (v->type != VAL_DICT) {
		reply_error_text(
			r, EXC_TYPE_ERROR, "undoInfo(): the specification is not a dictionary");
		return false;
	}
	enc_begin(&en, &op->spec_bytes, ENC_PICKLE);
	enc_val(&en, v);
	enc_finish(&en);
	if (!buf_ok(&op->spec_bytes) ||
		pickle_decode(buf_slice(&op->spec_bytes), 0, &pickle_limits_message,
			&op->spec_arena, &op->spec, NULL, &e) != OK) {
		reply_error_text(r, EXC_VALUE_ERROR, "undoInfo(): the specification is too large");
		return false;
	}
	op->has_spec = true;
	return true;
}

/* A negative `last` is a number of transactions. */
static bool set_range(struct undo_log_op *op, const struct args *a)
{
	if (!arg_int(&op->request, a, 0, &op->first) || !arg_int(&op->request, a, 1, &op->last))
		return false;
	if (op->last < 0 && __builtin_sub_overflow(op->first, op->last, &op->last))
		op->last = INT64_MAX;
	return true;
}

static struct undo_log_op *op_new(const struct request *r)
{
	struct undo_log_op *op = mem_zalloc(1, sizeof(*op));

	if (!op)
		return NULL;
	op->request = *r;
	op->encoding = r->session->encoding;
	op->spec_arena = (struct arena)ARENA_INIT(DESCRIPTION_MAX);
	op->arena = (struct arena)ARENA_INIT(DESCRIPTION_MAX);
	op->spec_bytes = (struct buf)BUF_INIT(SPEC_BYTES_MAX);
	op->req.exec = r->session->hub->exec;
	op->req.done = undo_log_done;
	op->req.applied = r->session->hs->applied;
	op->req.take = take;
	return op;
}

static void reply_empty(const struct request *r)
{
	struct reply rep;

	if (!reply_begin(&rep, r))
		return;
	enc_tuple(&rep.w.enc, 0);
	enc_end(&rep.w.enc);
	reply_send(&rep);
}

/* undoLog(first, last), undoInfo(first, last, specification) */
void handle_undo_log(const struct request *r, const struct args *a)
{
	struct session *s = r->session;
	struct storage *st = s->hs->ss->storage;
	struct undo_log_op *op;

	if (!st->ops->undo_log) { /* as ZEO answers for a storage that cannot undo */
		reply_empty(r);
		return;
	}
	op = op_new(r);
	if (!op) {
		session_fail(s, "no memory for a request");
		return;
	}
	if (!set_range(op, a) || (a->n > 2 && !set_spec(op, &a->v[2]))) {
		op_free(op);
		return;
	}
	session_load_started(s);
	st->ops->undo_log(st, &op->req);
}
