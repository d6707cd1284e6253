/* Methods that walk through a storage: docs/protocol.md#iteration */
#include <stdio.h>
#include <string.h>

#include "base/bigendian.h"
#include "base/mem.h"
#include "codec/pickle.h"
#include "server/dispatch.h"
#include "server/hub.h"
#include "server/iterators.h"
#include "server/load_op.h"
#include "server/server.h"

/* A request to an iterator: under way, or waiting for the one before it. */
struct iter_op {
	struct iter_req req;
	struct request request;
	struct iterator *iterator;
	struct iter_op *next;
};

static struct storage *storage_of(const struct request *r)
{
	return r->session->hs->ss->storage;
}

static bool is_offered(const struct request *r)
{
	if (storage_of(r)->ops->iter_open)
		return true;
	reply_error_text(
		r, EXC_UNSUPPORTED, "%s(): the storage cannot be iterated over", r->method->name);
	return false;
}

/* KeyError(id) */
static void reply_no_iterator(const struct request *r, int64_t id)
{
	struct reply rep;

	if (!reply_begin_error(&rep, r, "no such iterator"))
		return;
	enc_tuple(&rep.w.enc, 2);
	enc_str(&rep.w.enc, slice_str(EXC_KEY_ERROR));
	enc_tuple(&rep.w.enc, 1);
	enc_int(&rep.w.enc, id);
	enc_end(&rep.w.enc);
	enc_end(&rep.w.enc);
	reply_send(&rep);
}

static void reply_int(const struct request *r, int64_t v)
{
	struct reply rep;

	if (!reply_begin(&rep, r))
		return;
	enc_int(&rep.w.enc, v);
	reply_send(&rep);
}

/* --- opening, forgetting --- */

/* None is an open end, and so are no bytes at all. */
static bool arg_end(
	const struct request *r, const struct args *a, uint32_t i, uint64_t open, uint64_t *ret)
{
	const struct val *v = &a->v[i];

	*ret = open;
	if (val_is_none(v) || (v->type == VAL_BYTES && v->s.len == 0))
		return true;
	return arg_id(r, a, i, ret);
}

/* Keep a new iterator and tell its id, or close it and tell why. */
static void answer_opened(const struct request *r, int64_t id, struct storage_iter *it,
	bool of_records, int rc, struct err *e)
{
	struct storage *st = storage_of(r);

	if (rc == OK)
		rc = iterators_add(r->session->iterators, id, it, of_records, e);
	if (rc == OK) {
		reply_int(r, id);
		return;
	}
	st->ops->iter_close(st, it);
	if (rc == ERR_LIMIT)
		reply_error_text(r, EXC_STORAGE, "%s", e->text);
	else
		reply_failure(r, rc, e, OID_ROOT);
}

void handle_iterator_start(const struct request *r, const struct args *a)
{
	struct storage *st = storage_of(r);
	struct storage_iter *it = NULL;
	struct err e = ERR_INIT;
	uint64_t start, stop;
	int64_t id = 0;
	int rc;

	if (!is_offered(r) || !arg_end(r, a, 0, 0, &start) || !arg_end(r, a, 1, TID_MAX, &stop))
		return;
	if (stop > r->session->hs->applied)
		stop = r->session->hs->applied; /* what is committed later is not its */
	rc = iterators_next_id(&r->session->iterators, &id, &e);
	if (rc == OK)
		rc = st->ops->iter_open(st, start, stop, &it, &e);
	answer_opened(r, id, it, false, rc, &e);
}

/* As Python shows bytes. */
static const char *show_tid(uint64_t tid, char out[48])
{
	static const char special[] = "\t\n\r\\";
	static const char letters[] = "tnr\\";
	uint8_t bytes[8];
	char *p = out;
	char quote;

	put_be64(bytes, tid);
	quote = memchr(bytes, '\'', 8) && !memchr(bytes, '"', 8) ? '"' : '\'';
	p += sprintf(p, "b%c", quote);
	for (size_t i = 0; i < sizeof(bytes); i++) {
		const char *at = bytes[i] ? strchr(special, bytes[i]) : NULL;

		if (at)
			p += sprintf(p, "\\%c", letters[at - special]);
		else if (bytes[i] == (uint8_t)quote)
			p += sprintf(p, "\\%c", quote);
		else if (bytes[i] < 0x20 || bytes[i] > 0x7e)
			p += sprintf(p, "\\x%02x", bytes[i]);
		else
			*p++ = (char)bytes[i];
	}
	sprintf(p, "%c", quote);
	return out;
}

void handle_iterator_record_start(const struct request *r, const struct args *a)
{
	struct session *s = r->session;
	struct storage_iter *it = NULL;
	struct iterator *txns;
	struct err e = ERR_INIT;
	int64_t txns_id;
	int64_t id = 0;
	uint64_t tid;
	char shown[48];
	int rc;

	if (!is_offered(r) || !arg_int(r, a, 0, &txns_id) || !arg_id(r, a, 1, &tid))
		return;
	rc = iterators_next_id(&s->iterators, &id, &e);
	txns = iterators_find(s->iterators, txns_id);
	if (rc == OK && (!txns || txns->of_records || txns->given_tid == TID_NONE)) {
		reply_no_iterator(r, txns_id);
		return;
	}
	if (rc == OK && (txns->given_tid != tid || txns->op)) {
		reply_error_text(r, "builtins.Exception",
			"Out-of-order request for record iterator for transaction %s",
			show_tid(tid, shown));
		return;
	}
	if (rc == OK)
		rc = storage_of(r)->ops->iter_records(txns->it, &it, &e);
	answer_opened(r, id, it, true, rc, &e);
}

static void forget(struct session *s, const struct val *id)
{
	struct iterator *i = id->type == VAL_INT ? iterators_find(s->iterators, id->i) : NULL;

	if (!i)
		return; /* ended, or forgotten before */
	iterators_remove(s->iterators, i);
	if (!i->op)
		iterator_free(i, s->hs->ss->storage);
}

void handle_iterator_gc(const struct request *r, const struct args *a)
{
	const struct val *ids = &a->v[0];

	if (ids->type != VAL_LIST && ids->type != VAL_TUPLE && ids->type != VAL_SET) {
		reply_error_text(r, EXC_TYPE_ERROR, "iterator_gc(): a list of ids was expected");
		return;
	}
	for (uint32_t i = 0; i < ids->n; i++)
		forget(r->session, &ids->items[i]);
	reply_none(r);
}

/* --- the next item --- */

enum { EXT_ARENA_MAX = 16 << 20 };

/* msgpack has no sets and no keys but strings: pairs that cannot be written are left out. */
static void drop_unwritable(struct val *dict, enum encoding encoding)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i + 1 < dict->n; i += 2) {
		struct buf b = BUF_INIT(0);
		struct enc en;

		enc_begin(&en, &b, encoding);
		enc_val(&en, &dict->items[i]);
		enc_val(&en, &dict->items[i + 1]);
		if (buf_ok(&b)) {
			dict->items[n] = dict->items[i];
			dict->items[n + 1] = dict->items[i + 1];
			n += 2;
		}
		buf_free(&b);
	}
	dict->n = n;
}

/* A dictionary; what is of other classes goes to the client as it stands in the file, which Python's
 * server would load and pickle again, but only pickle can carry it. */
static void write_ext(struct enc *en, struct slice ext)
{
	struct arena arena = ARENA_INIT(EXT_ARENA_MAX);
	const struct pickle_limits *limits = &pickle_limits_message;
	struct val v = { .type = VAL_NONE };

	if (ext.len && pickle_decode(ext, 0, limits, &arena, &v, NULL, NULL) == OK &&
		v.type == VAL_DICT) {
		if (en->encoding == ENC_MSGPACK)
			drop_unwritable(&v, en->encoding);
		enc_val(en, &v);
	} else if (en->encoding == ENC_PICKLE && ext.len > 3 && ext.data[0] == 0x80 &&
		   pickle_decode(ext, PICKLE_KEEP_GLOBALS, limits, &arena, &v, NULL, NULL) == OK) {
		enc_raw(en, slice_of(ext.data + 2, ext.len - 3));
	} else {
		enc_dict(en, 0);
		enc_end(en);
	}
	arena_free(&arena);
}

static void write_txn(struct enc *en, const struct txn_info *t)
{
	char status = (char)t->status;

	enc_tuple(en, 5);
	enc_id(en, t->tid);
	enc_str(en, slice_of((const uint8_t *)&status, 1));
	enc_bytes(en, t->user);
	enc_bytes(en, t->desc);
	write_ext(en, t->ext);
	enc_end(en);
}

static void write_record(struct enc *en, const struct iter_req *q)
{
	enc_tuple(en, 4);
	enc_id(en, q->oid);
	enc_id(en, q->tid);
	if (q->has_data)
		enc_bytes(en, q->data);
	else
		enc_none(en);
	if (q->data_txn == TID_NONE)
		enc_none(en);
	else
		enc_id(en, q->data_txn);
	enc_end(en);
}

static void answer(struct iter_op *op)
{
	const struct iter_req *q = &op->req;
	struct reply rep;

	if (q->rc != OK) {
		reply_failed(&op->request, q->rc, &q->err, q->oid, q->raised);
	} else if (q->end) {
		reply_none(&op->request);
	} else if (reply_begin(&rep, &op->request)) {
		if (op->iterator->of_records)
			write_record(&rep.w.enc, q);
		else
			write_txn(&rep.w.enc, &q->txn);
		reply_send(&rep);
	}
}

static void ask(struct iter_op *op)
{
	struct hub_storage *hs = op->request.session->hs;

	op->req.applied = hs->applied;
	op->req.err.code = OK;
	op->req.err.text[0] = 0;
	hs->ss->storage->ops->iter_next(&op->req);
}

static void end_op(struct iter_op *op)
{
	struct session *s = op->request.session;

	mem_free(op);
	session_load_ended(s);
}

/* The first of the queue is answered: the next one's turn. */
static void go_on(struct session *s, struct iterator *i)
{
	while (i->op && (i->gone || !session_alive(s))) {
		struct iter_op *op = i->op;

		i->op = op->next;
		if (session_alive(s))
			reply_no_iterator(&op->request, i->id);
		end_op(op);
	}
	if (i->op)
		ask(i->op);
	else if (i->gone)
		iterator_free(i, s->hs->ss->storage);
}

static void next_done(struct iter_req *q)
{
	struct iter_op *op = CONTAINER_OF(q, struct iter_op, req);
	struct iterator *i = op->iterator;
	struct session *s = op->request.session;

	if (q->rc == OK && !q->end && !i->of_records)
		i->given_tid = q->txn.tid;
	if (session_alive(s))
		answer(op);
	if (q->rc == OK && q->end && !i->gone)
		iterators_remove(s->iterators, i); /* T58 */
	i->op = op->next;
	go_on(s, i);
	end_op(op); /* the last: the session may go with it */
}

static void next(const struct request *r, const struct args *a, bool of_records)
{
	struct session *s = r->session;
	struct iterator *i;
	struct iter_op **end;
	struct iter_op *op;
	int64_t id;

	if (!is_offered(r) || !arg_int(r, a, 0, &id))
		return;
	i = iterators_find(s->iterators, id);
	if (!i || i->of_records != of_records) {
		reply_no_iterator(r, id);
		return;
	}
	op = mem_zalloc(1, sizeof(*op));
	if (!op) {
		session_fail(s, "no memory for a request");
		return;
	}
	op->request = *r;
	op->iterator = i;
	op->req.exec = s->hub->exec;
	op->req.done = next_done;
	op->req.it = i->it;
	session_load_started(s);
	for (end = &i->op; *end; end = &(*end)->next)
		;
	*end = op;
	if (i->op == op)
		ask(op);
}

void handle_iterator_next(const struct request *r, const struct args *a)
{
	next(r, a, false);
}

void handle_iterator_record_next(const struct request *r, const struct args *a)
{
	next(r, a, true);
}

/* --- objects in the order of their oids --- */

void handle_record_iternext(const struct request *r, const struct args *a)
{
	struct storage_info info;
	uint64_t oid = 0;

	storage_of(r)->ops->info(storage_of(r), &info);
	if (!info.supports_record_iternext)
		reply_error_text(
			r, EXC_UNSUPPORTED, "record_iternext(): the storage does not offer it");
	else if (a->n == 0 || val_is_none(&a->v[0]) || arg_id(r, a, 0, &oid))
		load_op_start(r, LOAD_NEXT, oid, TID_NONE);
}
