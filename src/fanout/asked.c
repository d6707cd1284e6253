/* What is asked now and then: histories, undo logs, what changed, packs, new oids, and whether all is known. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "codec/enc.h"
#include "codec/tid.h"
#include "fanout/core.h"

enum {
	LOG_STEP = 50,      /* transactions of an undo log that are asked for at a time */
	HISTORY_EXTRA = 20, /* revisions of a history that may be newer than who asks may see */
	OWN_KEYS = 5,
};

static struct op *new_op(void *req, int (*start)(struct op *, struct err *),
	void (*answered)(struct op *), struct err *e)
{
	struct op *op = mem_zalloc(1, sizeof(*op));

	if (!op) {
		err_set(e, ERR_NOMEM, "no memory for a request");
		return NULL;
	}
	op->req = req;
	op->again = true;
	op->start = start;
	op->answered = answered;
	return op;
}

static bool is_sequence(const struct val *v)
{
	return v->type == VAL_LIST || v->type == VAL_TUPLE;
}

/* --- descriptions of transactions --- */

static bool is_own_key(const struct val *key)
{
	static const char *const own[] = { "id", "tid", "time", "user_name", "description",
		"size" };

	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		if (slice_is(val_text(key), own[i]))
			return true;
	return false;
}

/* What is not the server's own came from the extension: a pickle, empty when there is nothing. */
static void put_extension(const struct val *dict, struct buf *out)
{
	uint32_t pairs = 0;
	struct enc en;

	buf_reset(out);
	for (uint32_t i = 0; i + 1 < dict->n; i += 2)
		pairs += !is_own_key(&dict->items[i]);
	if (pairs == 0)
		return;
	enc_begin(&en, out, ENC_PICKLE);
	enc_dict(&en, pairs);
	for (uint32_t i = 0; i + 1 < dict->n; i += 2) {
		if (is_own_key(&dict->items[i]))
			continue;
		enc_val(&en, &dict->items[i]);
		enc_val(&en, &dict->items[i + 1]);
	}
	enc_end(&en);
	enc_finish(&en);
}

static struct slice text_of(const struct val *dict, const char *key)
{
	const struct val *v = val_get(dict, key);

	return v ? val_text(v) : slice_of(NULL, 0);
}

static uint64_t size_of(const struct val *dict)
{
	const struct val *v = val_get(dict, "size");

	return v && v->type == VAL_INT && v->i > 0 ? (uint64_t)v->i : 0;
}

/* --- history --- */

static int start_history(struct op *op, struct err *e)
{
	const struct history_req *r = op->req;
	struct fan_id id;
	struct val args[2] = { id_val(r->oid, &id), int_val((int64_t)r->size + HISTORY_EXTRA) };

	return op_call(op, "history", args, 2, e);
}

static bool copy(struct arena *a, struct slice s, struct slice *ret)
{
	uint8_t *p = arena_alloc(a, s.len ? s.len : 1);

	if (!p)
		return false;
	if (s.len)
		memcpy(p, s.data, s.len);
	*ret = slice_of(p, s.len);
	return true;
}

static bool take_revision(struct history_req *r, const struct val *dict, uint64_t tid)
{
	struct history_item *it = &r->items[r->n_items];
	struct buf ext = BUF_INIT(0);
	bool ok;

	*it = (struct history_item){ .tid = tid, .size = size_of(dict) };
	put_extension(dict, &ext);
	ok = buf_ok(&ext) && copy(r->arena, text_of(dict, "user_name"), &it->user) &&
	     copy(r->arena, text_of(dict, "description"), &it->desc) &&
	     copy(r->arena, buf_slice(&ext), &it->ext);
	buf_free(&ext);
	r->n_items += ok;
	return ok;
}

/* Revisions that who asks must not see yet are passed over (R1). */
static int take_history(struct history_req *r, const struct val *list, struct err *e)
{
	r->items = arena_alloc(r->arena, ((size_t)r->size + 1) * sizeof(r->items[0]));
	for (uint32_t i = 0; i < list->n && r->n_items < r->size; i++) {
		const struct val *dict = &list->items[i];
		const struct val *tid = dict->type == VAL_DICT ? val_get(dict, "tid") : NULL;

		if (!tid || !val_is_id(tid))
			return err_set(
				e, ERR_FORMAT, "the server has answered a history without tids");
		if (val_id(tid) > r->applied)
			continue;
		if (!r->items || !take_revision(r, dict, val_id(tid)))
			return err_set(e, ERR_NOMEM, "no memory for a history");
	}
	return OK;
}

static void history_answered(struct op *op)
{
	struct history_req *r = op->req;

	if (op_decode(op) && !is_sequence(op->call.result))
		op_bad_answer(op, "a list of revisions");
	if (op->rc == OK)
		op->rc = take_history(r, op->call.result, &op->err);
	r->rc = op->rc;
	if (r->rc != OK) {
		r->err = op->err;
		r->raised = raised_val(&op->raised);
	}
	r->done(r);
	op_free(op);
}

void fan_history(struct storage *s, struct history_req *r)
{
	struct op *op = new_op(r, start_history, history_answered, &r->err);

	r->raised = NULL;
	r->n_items = 0;
	if (op) {
		op_start(op, fanout_of(s), r->exec);
		return;
	}
	r->rc = ERR_NOMEM;
	r->done(r);
}

/* --- undo log: on the pool, where who asks looks at it --- */

static int base64_digit(uint8_t c)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* undoLog's name of a transaction: its tid in base64. TID_NONE when it is none. */
static uint64_t tid_of_name(struct slice s)
{
	uint64_t tid = 0;

	if (s.len != 12)
		return TID_NONE;
	for (size_t i = 0; i < 11; i++) {
		int d = base64_digit(s.data[i]);

		if (d < 0)
			return TID_NONE;
		tid = i < 10 ? tid << 6 | (uint64_t)d : tid << 4 | (uint64_t)d >> 2;
	}
	return tid;
}

static int describe(const struct val *dict, struct buf *ext, struct txn_info *ret, struct err *e)
{
	*ret = (struct txn_info){
		.tid = dict->type == VAL_DICT ? tid_of_name(text_of(dict, "id")) : TID_NONE,
		.status = ' ',
	};
	if (ret->tid == TID_NONE)
		return err_set(e, ERR_FORMAT, "the server has answered an undo log without ids");
	put_extension(dict, ext);
	if (!buf_ok(ext))
		return err_set(e, ERR_NOMEM, "no memory for an undo log");
	ret->size_bytes = size_of(dict);
	ret->user = text_of(dict, "user_name");
	ret->desc = text_of(dict, "description");
	ret->ext = buf_slice(ext);
	return OK;
}

/* @ret_more: the list may go on, and is wanted. */
static int take_log(struct undo_log_req *r, const struct val *list, bool *ret_more, struct err *e)
{
	struct buf ext = BUF_INIT(0);
	int rc = OK;

	*ret_more = list->n == LOG_STEP;
	for (uint32_t i = 0; i < list->n && rc == OK; i++) {
		struct txn_info t;

		rc = describe(&list->items[i], &ext, &t, e);
		if (rc == OK && t.tid <= r->applied && !r->take(r, &t)) {
			*ret_more = false;
			break;
		}
	}
	buf_free(&ext);
	return rc;
}

static int ask_log(struct op *op, int64_t first, bool *ret_more)
{
	struct val args[2] = { int_val(first), int_val(first + LOG_STEP) };
	struct call *k = &op->call;
	int rc;

	call_end(k);
	*k = (struct call){ 0 };
	op_bind(op, k);
	rc = client_call(op->f->client, k, "undoLog", args, 2, op->f->wait_ms, &op->err);
	if (rc == OK)
		rc = call_decode(k, &op->err);
	else if (k->err.code == rc)
		op->err = k->err;
	if (rc == OK && !is_sequence(k->result))
		rc = err_set(&op->err, ERR_FORMAT,
			"the server has answered something else than an undo log");
	return rc == OK ? take_log(op->req, k->result, ret_more, &op->err) : rc;
}

static void log_work(struct job *j)
{
	struct op *op = CONTAINER_OF(j, struct op, job);
	bool more = true;

	for (int64_t first = 0; more && op->rc == OK; first += LOG_STEP)
		op->rc = ask_log(op, first, &more);
}

static int start_log(struct op *op, struct err *e)
{
	(void)e;
	op->rc = OK;
	op->job.work = log_work;
	op->job.done = op_worked;
	op->exec->submit(op->exec, &op->job);
	return OK;
}

static void log_answered(struct op *op)
{
	struct undo_log_req *r = op->req;

	r->rc = op->rc;
	if (r->rc != OK) {
		r->err = op->err;
		r->raised = raised_val(&op->raised);
	}
	r->done(r);
	op_free(op);
}

void fan_undo_log(struct storage *s, struct undo_log_req *r)
{
	struct op *op = new_op(r, start_log, log_answered, &r->err);

	r->raised = NULL;
	if (op) {
		op->again = false; /* who asks has looked at some of it */
		op_start(op, fanout_of(s), r->exec);
		return;
	}
	r->rc = ERR_NOMEM;
	r->done(r);
}

/* --- what changed behind a tid --- */

static int start_changes(struct op *op, struct err *e)
{
	const struct changes_req *r = op->req;
	struct fan_id id;
	struct val arg = id_val(r->tid, &id);

	return op_call(op, "getInvalidations", &arg, 1, e);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int take_changes(struct changes_req *r, const struct val *v, struct err *e)
{
	const struct val *list = is_sequence(v) && v->n == 2 ? &v->items[1] : NULL;

	if (val_is_none(v))
		return err_set(
			e, ERR_NOENT, "the storage's server does not know what changed since");
	if (!list || !is_sequence(list))
		return err_set(e, ERR_FORMAT, "the server has answered something else than oids");
	r->oids = mem_alloc((list->n ? list->n : 1) * sizeof(r->oids[0]));
	if (!r->oids)
		return err_set(e, ERR_NOMEM, "no memory for a list of objects");
	for (uint32_t i = 0; i < list->n; i++)
		if (val_is_id(&list->items[i]))
			r->oids[r->n_oids++] = val_id(&list->items[i]);
	qsort(r->oids, r->n_oids, sizeof(r->oids[0]), by_value);
	return OK;
}

/* Oids of transactions behind the applied one may be among them: they are asked for once more. */
static void changes_answered(struct op *op)
{
	struct changes_req *r = op->req;

	if (op_decode(op))
		op->rc = take_changes(r, op->call.result, &op->err);
	r->rc = op->rc;
	if (r->rc != OK)
		r->err = op->err;
	r->done(r);
	op_free(op);
}

void fan_changes(struct storage *s, struct changes_req *r)
{
	struct op *op = new_op(r, start_changes, changes_answered, &r->err);

	r->oids = NULL;
	r->n_oids = 0;
	if (op) {
		op_start(op, fanout_of(s), r->exec);
		return;
	}
	r->rc = ERR_NOMEM;
	r->done(r);
}

/* --- pack --- */

static int start_pack(struct op *op, struct err *e)
{
	const struct pack_req *r = op->req;
	struct val args[2] = { { .type = VAL_FLOAT, .f = r->time_s },
		{ .type = VAL_BOOL, .b = true } };

	return op_call(op, "pack", args, 2, e);
}

static void free_op(void *kept)
{
	op_free(kept);
}

/* Whoever asked answers later, on another thread perhaps. */
static void pack_answered(struct op *op)
{
	struct pack_req *r = op->req;

	r->rc = op->rc;
	if (r->rc != OK) {
		r->err = op->err;
		r->raised = raised_val(&op->raised);
	}
	r->kept = op;
	r->free_kept = free_op;
	r->done(r);
}

void fan_pack(struct storage *s, struct pack_req *r)
{
	struct op *op = new_op(r, start_pack, pack_answered, &r->err);

	r->raised = NULL;
	if (op) {
		op->again = false; /* it may have been packed */
		op_start(op, fanout_of(s), r->exec);
		return;
	}
	r->rc = ERR_NOMEM;
	r->done(r);
}

/* --- new oids --- */

static int start_oids(struct op *op, struct err *e)
{
	const struct oids_req *r = op->req;
	struct val arg = int_val(r->n);

	return op_call(op, "new_oids", &arg, 1, e);
}

static bool take_oids(struct oids_req *r, const struct val *list)
{
	uint32_t n = is_sequence(list) && list->n < r->n ? list->n : r->n;

	if (!is_sequence(list) || n == 0)
		return false;
	for (uint32_t i = 0; i < n; i++) {
		if (!val_is_id(&list->items[i]))
			return false;
		r->oids[i] = val_id(&list->items[i]);
	}
	r->n = n;
	return true;
}

static void oids_answered(struct op *op)
{
	struct oids_req *r = op->req;

	if (op_decode(op) && !take_oids(r, op->call.result))
		op_bad_answer(op, "a list of oids");
	r->rc = op->rc;
	if (r->rc != OK) {
		r->err = op->err;
		r->raised = raised_val(&op->raised);
	}
	r->done(r);
	op_free(op);
}

void fan_ask_oids(struct storage *s, struct oids_req *r)
{
	struct op *op = new_op(r, start_oids, oids_answered, &r->err);

	r->raised = NULL;
	if (op) {
		op_start(op, fanout_of(s), r->exec);
		return;
	}
	r->rc = ERR_NOMEM;
	r->done(r);
}

/* --- all that was committed: T65, of the server's own commits, too --- */

static int start_ping(struct op *op, struct err *e)
{
	return op_call(op, "ping", NULL, 0, e);
}

static void ping_answered(struct op *op)
{
	struct sync_req *r = op->req;

	r->rc = op->rc;
	if (r->rc != OK) {
		r->err = op->err;
		r->raised = raised_val(&op->raised);
	}
	r->done(r);
	op_free(op);
}

void fan_sync(struct storage *s, struct sync_req *r)
{
	struct op *op = new_op(r, start_ping, ping_answered, &r->err);

	r->raised = NULL;
	if (op) {
		op_start(op, fanout_of(s), r->exec);
		return;
	}
	r->rc = ERR_NOMEM;
	r->done(r);
}
