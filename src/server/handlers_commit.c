/* Methods of a transaction: docs/protocol.md#commit. They only buffer until vote. */
#include <string.h>

#include "base/log.h"
#include "server/commit.h"
#include "server/dispatch.h"
#include "server/extension.h"
#include "server/hub.h"
#include "server/server.h"
#include "zeo/exception.h"

/* StorageTransactionError(the current transaction's id, the given one), as ZEO raises it. */
static void reply_wrong_txn(const struct request *r, const struct val *id)
{
	struct reply rep;

	log_emit(LOG_WARNING, SERVER_LOGGER, "(%s) no such transaction: %s()", r->session->label,
		r->method->name);
	if (!reply_begin_error(&rep, r, "it is not for the current transaction"))
		return;
	enc_tuple(&rep.w.enc, 2);
	enc_str(&rep.w.enc, slice_str(EXC_STATE));
	enc_tuple(&rep.w.enc, 2);
	if (r->session->commit)
		enc_raw(&rep.w.enc, commit_id(r->session));
	else
		enc_none(&rep.w.enc);
	enc_val(&rep.w.enc, id);
	enc_end(&rep.w.enc);
	enc_end(&rep.w.enc);
	reply_send(&rep);
}

/* The session's transaction must be the one that the last argument names. */
static bool check_txn(const struct request *r, const struct args *a)
{
	const struct val *id = &a->v[a->n - 1];

	if (commit_is(r->session, id))
		return true;
	reply_wrong_txn(r, id);
	return false;
}

static bool set_text(const struct request *r, const struct args *a, uint32_t i, struct buf *out)
{
	struct slice s;

	if (!arg_str(r, a, i, &s))
		return false;
	buf_put_slice(out, s);
	return true;
}

/* Bytes are a pickle as it is; a dictionary is pickled here, an empty one is nothing. */
static bool set_extension(
	const struct request *r, const struct args *a, uint32_t i, struct buf *out)
{
	const struct val *v = &a->v[i];

	if (v->type == VAL_BYTES) {
		buf_put_slice(out, v->s);
	} else if (v->type == VAL_DICT) {
		if (v->n == 0)
			return true;
		extension_pickle(v, out);
	} else if (v->type != VAL_NONE) {
		reply_error_text(r, EXC_TYPE_ERROR,
			"tpc_begin(): the extension is neither a dictionary nor bytes");
		return false;
	}
	return true;
}

static bool set_status(const struct request *r, const struct args *a, uint32_t i, uint8_t *ret)
{
	struct slice s;

	if (!arg_str(r, a, i, &s))
		return false;
	if (s.len != 1 || (s.data[0] != ' ' && s.data[0] != 'p' && s.data[0] != 'u')) {
		reply_error_text(r, EXC_VALUE_ERROR,
			"tpc_begin(): a status that is none of ' ', 'p' and 'u'");
		return false;
	}
	*ret = s.data[0];
	return true;
}

/* Arguments: id, user, description, extension[, tid, status] */
static bool fill_txn(const struct request *r, const struct args *a, struct txn *t)
{
	if (!set_text(r, a, 1, &t->user) || !set_text(r, a, 2, &t->desc) ||
		!set_extension(r, a, 3, &t->ext))
		return false;
	if (a->n > 4 && !val_is_none(&a->v[4]) && !arg_id(r, a, 4, &t->given_tid))
		return false;
	return a->n <= 5 || set_status(r, a, 5, &t->status);
}

static bool metadata_ok(const struct txn *t)
{
	return buf_ok(&t->user) && buf_ok(&t->desc) && buf_ok(&t->ext);
}

void handle_tpc_begin(const struct request *r, const struct args *a)
{
	struct session *s = r->session;
	struct err e = ERR_INIT;

	if (commit_is(s, &a->v[0])) {
		log_emit(LOG_INFO, SERVER_LOGGER, "(%s) duplicate tpc_begin()", s->label);
		reply_none(r);
		return;
	}
	if (s->commit) {
		reply_error_text(
			r, EXC_STATE, "Multiple simultaneous tpc_begin requests from one client.");
		return;
	}
	if (commit_begin(s, &a->v[0], &e) != OK) {
		reply_failure(r, e.code, &e, OID_ROOT);
		return;
	}
	if (!fill_txn(r, a, commit_txn(s)))
		commit_discard(s); /* the request has its error already */
	else if (!metadata_ok(commit_txn(s)))
		session_fail(s, "no memory for a transaction's metadata");
	else
		reply_none(r);
}

static bool check_buffering(const struct request *r)
{
	if (commit_is_buffering(r->session->commit))
		return true;
	reply_error_text(r, EXC_STATE, "%s() after vote()", r->method->name);
	return false;
}

bool commit_accepts(const struct request *r, const struct args *a)
{
	return check_txn(r, a) && check_buffering(r);
}

static void add(const struct request *r, const struct txn_rec *rec, struct slice data)
{
	struct err e = ERR_INIT;

	if (rec->op == TXN_STORE)
		commit_replace(r->session, rec->oid);
	if (commit_add(r->session, rec, data, &e) != OK)
		reply_failure(r, e.code, &e, rec->oid);
	else
		reply_none(r);
}

bool arg_serial(const struct request *r, const struct args *a, uint32_t i, uint64_t *ret)
{
	if (!val_is_none(&a->v[i]) && a->v[i].type != VAL_STR)
		return arg_id(r, a, i, ret);
	*ret = 0;
	return true;
}

static void count_store(const struct request *r)
{
	atomic_fetch_add_explicit(&r->session->hs->ss->stats.stores, 1, memory_order_relaxed);
}

/* Arguments: oid, serial, data, id */
void handle_storea(const struct request *r, const struct args *a)
{
	struct txn_rec rec = { .op = TXN_STORE, .has_data = true };
	struct slice data;

	if (!check_txn(r, a) || !check_buffering(r))
		return;
	if (!arg_id(r, a, 0, &rec.oid) || !arg_serial(r, a, 1, &rec.serial) ||
		!arg_bytes(r, a, 2, &data))
		return;
	count_store(r);
	add(r, &rec, data);
}

/* Arguments: oid, serial, data, prev_txn, id. Data may be None: the object is not there any more. */
void handle_restorea(const struct request *r, const struct args *a)
{
	struct txn_rec rec = { .op = TXN_RESTORE, .has_data = !val_is_none(&a->v[2]) };
	struct slice data = { NULL, 0 };

	if (!check_txn(r, a) || !check_buffering(r))
		return;
	if (!arg_id(r, a, 0, &rec.oid) || !arg_id(r, a, 1, &rec.serial) ||
		(rec.has_data && !arg_bytes(r, a, 2, &data)) ||
		(!val_is_none(&a->v[3]) && !arg_id(r, a, 3, &rec.prev_txn)))
		return;
	count_store(r);
	add(r, &rec, data);
}

/* Arguments: oid, serial, id */
void handle_delete_object(const struct request *r, const struct args *a)
{
	struct txn_rec rec = { .op = TXN_DELETE };

	if (!check_txn(r, a) || !check_buffering(r))
		return;
	if (!arg_id(r, a, 0, &rec.oid) || !arg_id(r, a, 1, &rec.serial))
		return;
	count_store(r);
	add(r, &rec, slice_of(NULL, 0));
}

static int base64_digit(uint8_t c)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* undoLog's id of a transaction: its tid in base64, 11 digits and a '='. TID_NONE when it is none. */
static uint64_t decode_undo_id(struct slice s)
{
	uint64_t tid = 0;

	if (s.len != 12 || s.data[11] != '=')
		return TID_NONE;
	for (size_t i = 0; i < 11; i++) {
		int d = base64_digit(s.data[i]);

		if (d < 0)
			return TID_NONE;
		tid = i < 10 ? tid << 6 | (uint64_t)d : tid << 4 | (uint64_t)d >> 2;
	}
	return tid;
}

/* Arguments: the transaction to undo, id. What names none fails at vote, as one that does not exist. */
void handle_undoa(const struct request *r, const struct args *a)
{
	struct txn_rec rec = { .op = TXN_UNDO };
	struct slice id;

	if (!check_txn(r, a) || !check_buffering(r) || !arg_str(r, a, 0, &id))
		return;
	rec.serial = decode_undo_id(id);
	add(r, &rec, slice_of(NULL, 0));
}

/* Arguments: oid, serial, id */
void handle_check_current(const struct request *r, const struct args *a)
{
	struct txn_rec rec = { .op = TXN_CHECK };

	if (!check_txn(r, a) || !check_buffering(r))
		return;
	if (arg_id(r, a, 0, &rec.oid) && arg_id(r, a, 1, &rec.serial))
		add(r, &rec, slice_of(NULL, 0));
}

void handle_vote(const struct request *r, const struct args *a)
{
	if (check_txn(r, a))
		commit_vote(r);
}

/* finish and abort of an unknown transaction are silent (T12) */
void handle_tpc_finish(const struct request *r, const struct args *a)
{
	if (commit_is(r->session, &a->v[0]))
		commit_finish(r);
	else
		reply_none(r);
}

void handle_tpc_abort(const struct request *r, const struct args *a)
{
	if (commit_is(r->session, &a->v[0]))
		commit_abort(r);
	else
		reply_none(r);
}
