/* Loads: from the client's cache on the spot, or from the server. What is asked for is what was current at the applied
 * tid (F2). */
#include "base/mem.h"
#include "codec/tid.h"
#include "fanout/core.h"

/* The first tid that does not exist for who asks. */
static uint64_t horizon(const struct load_req *r)
{
	return r->applied < FAN_TID_MAX ? r->applied + 1 : FAN_TID_MAX;
}

static uint64_t before_of(const struct load_req *r)
{
	if (r->kind == LOAD_TID || r->kind == LOAD_NEXT)
		return horizon(r);
	if (r->kind == LOAD_SERIAL)
		return r->tid < FAN_TID_MAX ? r->tid + 1 : FAN_TID_MAX;
	return r->tid < horizon(r) ? r->tid : horizon(r);
}

static void set_record(struct load_req *r, struct slice data, uint64_t serial, uint64_t end_tid)
{
	r->rc = OK;
	r->none = false;
	r->data = data;
	r->serial = serial;
	r->end_tid = end_tid > r->applied ? TID_NONE : end_tid;
}

/* There was no revision then. What there is behind the applied tid does not exist. */
static void set_missing(struct load_req *r)
{
	bool later = r->kind != LOAD_BEFORE || r->tid > r->applied;

	r->rc = later ? err_set(&r->err, ERR_NOKEY, "no such object") : OK;
	r->none = !later;
	r->data = slice_of(NULL, 0);
	r->serial = TID_NONE;
	r->end_tid = TID_NONE;
}

/* --- the cache --- */

struct copy {
	void *data;
	size_t len;
};

static void *copy_room(void *arg, size_t len)
{
	struct copy *c = arg;

	mem_free(c->data);
	c->data = mem_alloc(len);
	c->len = len;
	return c->data;
}

static bool load_cached(struct fanout *f, struct load_req *r)
{
	struct copy copy = { 0 };
	uint64_t serial;
	uint64_t end_tid;
	bool found;

	if (r->kind == LOAD_NEXT)
		return false;
	found = client_cached(f->client, r->oid, before_of(r), copy_room, &copy, &serial,
			&end_tid) == OK &&
		(r->kind != LOAD_SERIAL || serial == r->tid);
	if (found) {
		set_record(r, slice_of(copy.data, copy.len), serial, end_tid);
		r->done(r);
	}
	mem_free(copy.data);
	return found;
}

/* --- the server --- */

static void pass_failure(struct op *op, struct load_req *r)
{
	r->rc = op->rc;
	r->err = op->err;
	if (op->rc != ERR_NOKEY || r->kind == LOAD_NEXT)
		r->raised = raised_val(&op->raised);
	r->data = slice_of(NULL, 0);
}

static void complete(struct op *op, struct load_req *r)
{
	r->done(r);
	op_free(op);
}

static int start_record(struct op *op, struct err *e)
{
	const struct load_req *r = op->req;

	op->call.done = op_done;
	op->call.arg = op;
	op_bind(op, &op->call);
	return client_load_begin(op->f->client, &op->call,
		r->kind == LOAD_NEXT ? r->found_oid : r->oid, before_of(r), e);
}

/* Of a load before some tid. */
static void take_record(struct op *op, struct load_req *r)
{
	struct client_record rec;

	if (op->rc == ERR_NOENT) {
		set_missing(r);
	} else if (op->rc != OK) {
		pass_failure(op, r);
	} else {
		call_record(&op->call, &rec);
		set_record(r, rec.data, rec.serial, rec.end_tid);
	}
}

static void record_answered(struct op *op)
{
	struct load_req *r = op->req;

	take_record(op, r);
	complete(op, r);
}

static int start_serial(struct op *op, struct err *e)
{
	const struct load_req *r = op->req;
	struct fan_id ids[2];
	struct val args[2] = { id_val(r->oid, &ids[0]), id_val(r->tid, &ids[1]) };

	return op_call(op, "loadSerial", args, 2, e);
}

static void serial_answered(struct op *op)
{
	struct load_req *r = op->req;

	if (op_decode(op) && op->call.result->type != VAL_BYTES)
		op_bad_answer(op, "a record");
	if (op->rc == OK)
		set_record(r, op->call.result->s, r->tid, TID_NONE);
	else
		pass_failure(op, r);
	complete(op, r);
}

/* --- record_iternext: the next object may be one that does not exist yet for who asks --- */

static int start_next(struct op *op, struct err *e)
{
	const struct load_req *r = op->req;
	struct fan_id id;
	struct val arg = id_val(r->found_oid, &id);

	return op_call(op, "record_iternext", &arg, 1, e);
}

static void next_answered(struct op *op);

static void go_on(
	struct op *op, int (*start)(struct op *, struct err *), void (*answered)(struct op *))
{
	op_again(op);
	op->start = start;
	op->answered = answered;
	op_start(op, op->f, op->exec);
}

static void older_answered(struct op *op)
{
	struct load_req *r = op->req;

	if (op->rc != ERR_NOENT) {
		take_record(op, r);
		complete(op, r);
	} else if (r->next_oid == OID_NONE) {
		r->none = true;
		r->rc = OK;
		complete(op, r);
	} else {
		r->found_oid = r->next_oid;
		go_on(op, start_next, next_answered);
	}
}

static bool is_next(const struct val *v)
{
	return (v->type == VAL_TUPLE || v->type == VAL_LIST) && v->n == 4 &&
	       val_is_id(&v->items[0]) && val_is_id(&v->items[1]) && v->items[2].type == VAL_BYTES;
}

static bool is_end(const struct op *op)
{
	return op->raised.is_set &&
	       slice_is(val_text(&op->raised.pair.items[0]), "builtins.ValueError");
}

static void next_answered(struct op *op)
{
	struct load_req *r = op->req;
	const struct val *v = op_decode(op) ? op->call.result : NULL;

	if (v && !is_next(v))
		op_bad_answer(op, "a record and the next oid");
	if (op->rc != OK) {
		r->none = is_end(op);
		if (r->none)
			r->rc = OK;
		else
			pass_failure(op, r);
		complete(op, r);
		return;
	}
	r->found_oid = val_id(&v->items[0]);
	r->next_oid = val_is_id(&v->items[3]) ? val_id(&v->items[3]) : OID_NONE;
	if (val_id(&v->items[1]) > r->applied) {
		go_on(op, start_record, older_answered);
		return;
	}
	set_record(r, v->items[2].s, val_id(&v->items[1]), TID_NONE);
	complete(op, r);
}

/* --- all of them --- */

static void ask_server(struct fanout *f, struct load_req *r)
{
	struct op *op = mem_zalloc(1, sizeof(*op));

	if (!op) {
		r->rc = err_set(&r->err, ERR_NOMEM, "no memory for a request");
		r->done(r);
		return;
	}
	op->req = r;
	op->again = true;
	op->early = fan_is_probe(r->oid);
	op->start = r->kind == LOAD_SERIAL ? start_serial
		    : r->kind == LOAD_NEXT ? start_next
					   : start_record;
	op->answered = r->kind == LOAD_SERIAL ? serial_answered
		       : r->kind == LOAD_NEXT ? next_answered
					      : record_answered;
	op_start(op, f, r->exec);
}

void fan_load(struct storage *s, struct load_req *r)
{
	struct fanout *f = fanout_of(s);

	r->raised = NULL;
	r->none = false;
	if (r->kind == LOAD_BEFORE && r->oid == atomic_load(&f->probe)) {
		atomic_store(&f->probe_came, true); /* F5 */
		r->rc = err_set(&r->err, ERR_NOKEY, "no such object");
		r->done(r);
		return;
	}
	if (r->kind == LOAD_SERIAL && r->tid > r->applied) {
		r->rc = err_set(&r->err, ERR_NOKEY, "no such revision");
		r->done(r);
		return;
	}
	r->found_oid = r->oid;
	if (!load_cached(f, r))
		ask_server(f, r);
}
