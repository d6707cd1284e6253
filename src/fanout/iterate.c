/* Iterators. The server's are lost with a connection: ours go on behind what they have given. */
#include "base/mem.h"
#include "codec/enc.h"
#include "codec/tid.h"
#include "fanout/core.h"

enum { ID_NONE = -1 };

struct storage_iter {
	struct fanout *f;
	bool of_records;
	uint64_t start, stop; /* of transactions; of records: both the transaction's tid */
	uint64_t last;        /* given; TID_NONE: none */
	uint64_t generation;  /* of the connection that the ids are of */
	int64_t txns;         /* the server's iterator of transactions, or ID_NONE */
	int64_t records;      /* of records */
	uint64_t given;       /* records */
	uint64_t skipped; /* of those, what the present iterator of the server has passed over */
	struct buf ext;   /* of the transaction given */
};

static int new_iter(struct fanout *f, bool of_records, uint64_t start, uint64_t stop,
	struct storage_iter **ret, struct err *e)
{
	struct storage_iter *it = mem_zalloc(1, sizeof(*it));

	if (!it)
		return err_set(e, ERR_NOMEM, "no memory for an iterator");
	it->f = f;
	it->of_records = of_records;
	it->start = start;
	it->stop = stop;
	it->txns = it->records = ID_NONE;
	*ret = it;
	return OK;
}

int fan_iter_open(
	struct storage *s, uint64_t start, uint64_t stop, struct storage_iter **ret, struct err *e)
{
	return new_iter(fanout_of(s), false, start, stop, ret, e);
}

int fan_iter_records(struct storage_iter *txns, struct storage_iter **ret, struct err *e)
{
	if (txns->last == TID_NONE)
		return err_set(e, ERR_STATE, "the iterator has given no transaction");
	return new_iter(txns->f, true, txns->last, txns->last, ret, e);
}

/* Tell the server that it may forget what we have of it. */
static void forget(struct storage_iter *it)
{
	struct val ids[2];
	struct val list = { .type = VAL_LIST, .items = ids };
	struct err e = ERR_INIT;
	int rc = OK;

	if (it->txns != ID_NONE)
		ids[list.n++] = int_val(it->txns);
	if (it->records != ID_NONE)
		ids[list.n++] = int_val(it->records);
	it->txns = it->records = ID_NONE;
	if (list.n && it->generation == client_generation(it->f->client))
		rc = client_cast_at_once(it->f->client, "iterator_gc", &list, 1, &e);
	(void)rc; /* without a connection there is nothing to forget */
}

void fan_iter_close(struct storage *s, struct storage_iter *it)
{
	(void)s;
	if (!it)
		return;
	forget(it);
	buf_free(&it->ext);
	mem_free(it);
}

/* --- steps: each asks for what is missing --- */

static void check_generation(struct storage_iter *it)
{
	uint64_t now = client_generation(it->f->client);

	if (it->generation == now)
		return;
	it->generation = now;
	it->txns = it->records = ID_NONE;
	it->skipped = 0;
}

static int start_step(struct op *op, struct err *e)
{
	struct storage_iter *it = ((struct iter_req *)op->req)->it;
	uint64_t from = it->last == TID_NONE || it->of_records ? it->start : it->last + 1;
	struct fan_id ids[2];
	struct val args[2] = { { .type = VAL_NONE }, { .type = VAL_NONE } };

	check_generation(it);
	if (it->records != ID_NONE) {
		args[0] = int_val(it->records);
		return op_call(op, "iterator_record_next", args, 1, e);
	}
	if (it->txns != ID_NONE && it->of_records && it->last != TID_NONE) {
		args[0] = int_val(it->txns);
		args[1] = id_val(it->start, &ids[0]);
		return op_call(op, "iterator_record_start", args, 2, e);
	}
	if (it->txns != ID_NONE) {
		args[0] = int_val(it->txns);
		return op_call(op, "iterator_next", args, 1, e);
	}
	if (it->of_records)
		it->last = TID_NONE;
	if (from != 0)
		args[0] = id_val(from, &ids[0]);
	if (it->stop < FAN_TID_MAX)
		args[1] = id_val(it->stop, &ids[1]);
	return op_call(op, "iterator_start", args, 2, e);
}

static void step_answered(struct op *op);

static void next_step(struct op *op)
{
	op_again(op);
	op_start(op, op->f, op->exec);
}

static void complete(struct op *op)
{
	struct iter_req *r = op->req;

	r->rc = op->rc;
	if (r->rc != OK) {
		r->err = op->err;
		r->raised = raised_val(&op->raised);
	}
	r->done(r);
	op_free(op);
}

static void end(struct op *op)
{
	struct iter_req *r = op->req;

	r->end = true;
	complete(op);
}

static bool is_sequence(const struct val *v, uint32_t n)
{
	return (v->type == VAL_TUPLE || v->type == VAL_LIST) && v->n == n;
}

/* (tid, status, user, description, extension) */
static void take_txn(struct op *op, const struct val *v)
{
	struct iter_req *r = op->req;
	struct storage_iter *it = r->it;
	struct enc en;

	buf_reset(&it->ext);
	if (v->items[4].type == VAL_DICT && v->items[4].n) {
		enc_begin(&en, &it->ext, ENC_PICKLE);
		enc_val(&en, &v->items[4]);
		enc_finish(&en);
	} else if (v->items[4].type == VAL_BYTES) {
		buf_put_slice(&it->ext, v->items[4].s);
	}
	if (!buf_ok(&it->ext))
		op->rc = err_set(&op->err, ERR_NOMEM, "no memory for a transaction");
	it->last = val_id(&v->items[0]);
	r->txn = (struct txn_info){
		.tid = it->last,
		.status = val_text(&v->items[1]).len ? val_text(&v->items[1]).data[0] : ' ',
		.user = val_text(&v->items[2]),
		.desc = val_text(&v->items[3]),
		.ext = buf_slice(&it->ext),
	};
}

/* (oid, tid, data, data_txn) */
static void take_record(struct op *op, const struct val *v)
{
	struct iter_req *r = op->req;

	r->it->given++;
	r->it->skipped++;
	r->oid = val_id(&v->items[0]);
	r->tid = val_id(&v->items[1]);
	r->has_data = v->items[2].type == VAL_BYTES;
	r->data = val_text(&v->items[2]);
	r->data_txn = val_id_or_none(&v->items[3]);
}

static void record_came(struct op *op, const struct val *v)
{
	struct storage_iter *it = ((struct iter_req *)op->req)->it;

	if (val_is_none(v)) {
		it->records = ID_NONE;
		forget(it);
		end(op);
	} else if (!is_sequence(v, 4) || !val_is_id(&v->items[0]) || !val_is_id(&v->items[1])) {
		op_bad_answer(op, "a record");
		complete(op);
	} else if (it->skipped < it->given) {
		it->skipped++;
		next_step(op);
	} else {
		take_record(op, v);
		complete(op);
	}
}

static void txn_came(struct op *op, const struct val *v)
{
	struct iter_req *r = op->req;
	struct storage_iter *it = r->it;

	if (val_is_none(v)) {
		it->txns = ID_NONE;
		end(op);
	} else if (!is_sequence(v, 5) || !val_is_id(&v->items[0])) {
		op_bad_answer(op, "a transaction");
		complete(op);
	} else if (it->of_records) {
		it->last = val_id(&v->items[0]);
		next_step(op);
	} else if (val_id(&v->items[0]) > r->applied) {
		forget(it); /* it is asked for again when it exists for who asks (R1) */
		end(op);
	} else {
		take_txn(op, v);
		complete(op);
	}
}

static void id_came(struct op *op, const struct val *v, int64_t *ret)
{
	if (v->type != VAL_INT || v->i < 0) {
		op_bad_answer(op, "an iterator");
		complete(op);
		return;
	}
	*ret = v->i;
	next_step(op);
}

static void step_answered(struct op *op)
{
	struct storage_iter *it = ((struct iter_req *)op->req)->it;
	const struct val *v = op_decode(op) ? op->call.result : NULL;

	if (!v)
		complete(op);
	else if (it->records != ID_NONE)
		record_came(op, v);
	else if (it->txns == ID_NONE)
		id_came(op, v, &it->txns);
	else if (it->of_records && it->last != TID_NONE)
		id_came(op, v, &it->records);
	else
		txn_came(op, v);
}

void fan_iter_next(struct iter_req *r)
{
	struct op *op = mem_zalloc(1, sizeof(*op));

	r->raised = NULL;
	r->end = false;
	if (!op) {
		r->rc = err_set(&r->err, ERR_NOMEM, "no memory for a request");
		r->done(r);
		return;
	}
	op->req = r;
	op->again = true;
	op->start = start_step;
	op->answered = step_answered;
	op_start(op, r->it->f, r->exec);
}
