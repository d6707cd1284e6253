/* Reading: revisions, and what the server says of them. */
#include "base/bigendian.h"
#include "base/mem.h"
#include "client/remote.h"
#include "codec/msgpack.h"
#include "codec/pickle.h"
#include "lib/api.h"

/* ZODB's maxtid: before it is everything. */
static const uint64_t everything = INT64_MAX;

/* What zkzeo_record.memory points to. */
struct held {
	struct client_record record;
	struct call *call; /* of loadSerial: the data is in its answer; or NULL */
};

struct val api_id(uint8_t bytes[8], uint64_t id)
{
	put_be64(bytes, id);
	return (struct val){ .type = VAL_BYTES, .s = slice_of(bytes, 8) };
}

int api_call(struct zkzeo_client *c, struct call *k, const char *method, const struct val *args,
	uint32_t n_args, struct err *e)
{
	int rc = client_call(c->client, k, method, args, n_args, 0, e);

	return rc ? rc : call_decode(k, e);
}

void zkzeo_record_end(struct zkzeo_record *r)
{
	struct held *h = r->memory;

	if (h) {
		client_record_end(&h->record);
		if (h->call)
			call_end(h->call);
		mem_free(h->call);
	}
	mem_free(h);
	*r = (struct zkzeo_record){ 0 };
}

static struct held *hold(struct err *e)
{
	struct held *h = mem_alloc(sizeof(*h));

	if (h)
		*h = (struct held){ .call = NULL };
	else
		err_set(e, ERR_NOMEM, "no memory for a record");
	return h;
}

/* With room for an answer that the data is in. */
static struct held *hold_call(struct err *e)
{
	struct held *h = hold(e);

	if (h)
		h->call = mem_zalloc(1, sizeof(*h->call));
	if (!h || h->call)
		return h;
	mem_free(h);
	err_set(e, ERR_NOMEM, "no memory for a record");
	return NULL;
}

int zkzeo_client_load_before(struct zkzeo_client *c, uint64_t oid, uint64_t tid,
	struct zkzeo_record *ret, struct zkzeo_error *e)
{
	struct held *h = hold(err_of(e));
	int rc;

	if (!h)
		return ERR_NOMEM;
	rc = client_load_before(c->client, oid, tid, &h->record, err_of(e));
	if (rc) {
		mem_free(h);
		return rc;
	}
	*ret = (struct zkzeo_record){ h->record.data.data, h->record.data.len, h->record.serial,
		h->record.end_tid, h };
	return OK;
}

int zkzeo_client_load(
	struct zkzeo_client *c, uint64_t oid, struct zkzeo_record *ret, struct zkzeo_error *e)
{
	return zkzeo_client_load_before(c, oid, everything, ret, e);
}

int zkzeo_client_load_serial(struct zkzeo_client *c, uint64_t oid, uint64_t serial,
	struct zkzeo_record *ret, struct zkzeo_error *e)
{
	struct held *h = hold_call(err_of(e));
	struct zkzeo_record r = { .memory = h, .serial = serial };
	uint8_t bytes[2][8];
	const struct val args[] = { api_id(bytes[0], oid), api_id(bytes[1], serial) };
	const struct val *v;
	int rc;

	if (!h)
		return ERR_NOMEM;
	rc = api_call(c, h->call, "loadSerial", args, 2, err_of(e));
	v = h->call->result;
	if (rc == OK && v->type != VAL_BYTES)
		rc = err_set(err_of(e), ERR_FORMAT, "loadSerial did not answer with a record");
	if (rc) {
		zkzeo_record_end(&r);
		return rc;
	}
	r.data = v->s.data;
	r.len = v->s.len;
	*ret = r;
	return OK;
}

static bool is_id(const struct val *v)
{
	return v->type == VAL_BYTES && v->s.len == 8;
}

/* (oid, serial, data, next oid or None) */
static int take_next(struct call *k, uint64_t *ret_oid, struct zkzeo_record *ret,
	uint64_t *ret_next, struct err *e)
{
	const struct val *v = k->result->items;

	if ((k->result->type != VAL_TUPLE && k->result->type != VAL_LIST) || k->result->n != 4 ||
		!is_id(&v[0]) || !is_id(&v[1]) || v[2].type != VAL_BYTES ||
		(!is_id(&v[3]) && !val_is_none(&v[3])))
		return err_set(e, ERR_FORMAT, "record_iternext did not answer with a record");
	ret->serial = get_be64(v[1].s.data);
	ret->data = v[2].s.data;
	ret->len = v[2].s.len;
	*ret_oid = get_be64(v[0].s.data);
	*ret_next = is_id(&v[3]) ? get_be64(v[3].s.data) : ZKZEO_NO_OID;
	return OK;
}

/* What servers say behind the last object. */
static bool is_end(struct call *k)
{
	char name[64];

	if (!k->remote || call_decode(k, NULL) != OK)
		return false;
	remote_class(k->result, name, sizeof(name));
	return strcmp(name, "builtins.ValueError") == 0;
}

int zkzeo_client_load_next(struct zkzeo_client *c, uint64_t oid, uint64_t *ret_oid,
	struct zkzeo_record *ret, uint64_t *ret_next, struct zkzeo_error *e)
{
	struct held *h = hold_call(err_of(e));
	struct zkzeo_record r = { .memory = h };
	uint8_t bytes[8];
	const struct val arg = api_id(bytes, oid);
	int rc;

	if (!h)
		return ERR_NOMEM;
	rc = api_call(c, h->call, "record_iternext", &arg, 1, err_of(e));
	if (rc == ERR_REMOTE && is_end(h->call))
		rc = err_set(
			err_of(e), ERR_NOENT, "no object from 0x%llx on", (unsigned long long)oid);
	if (rc == OK)
		rc = take_next(h->call, ret_oid, &r, ret_next, err_of(e));
	if (rc == OK)
		*ret = r;
	else
		zkzeo_record_end(&r);
	return rc;
}

int zkzeo_client_prefetch(struct zkzeo_client *c, const uint64_t *oids, size_t n,
	uint64_t before_tid, struct zkzeo_error *e)
{
	return client_prefetch(c->client, oids, n, before_tid ? before_tid : everything, err_of(e));
}

int zkzeo_client_new_oid(struct zkzeo_client *c, uint64_t *ret, struct zkzeo_error *e)
{
	return client_new_oid(c->client, ret, err_of(e));
}

/* --- answers that are values --- */

static int ask_for_value(struct zkzeo_client *c, const char *method, const struct val *args,
	uint32_t n_args, struct zkzeo_value **ret, struct err *e)
{
	struct call k = { 0 };
	struct value *v;
	int rc = api_call(c, &k, method, args, n_args, e);

	if (rc == OK)
		rc = value_of_val(k.result, false, &v, e);
	call_end(&k);
	if (rc == OK)
		*ret = api_value(v);
	return rc;
}

int zkzeo_client_history(struct zkzeo_client *c, uint64_t oid, size_t n, struct zkzeo_value **ret,
	struct zkzeo_error *e)
{
	uint8_t bytes[8];
	const struct val args[] = { api_id(bytes, oid),
		{ .type = VAL_INT, .i = n > INT32_MAX ? INT32_MAX : (int64_t)n } };

	return ask_for_value(c, "history", args, 2, ret, err_of(e));
}

int zkzeo_client_undo_log(struct zkzeo_client *c, int64_t first, int64_t last,
	struct zkzeo_value **ret, struct zkzeo_error *e)
{
	const struct val args[] = { { .type = VAL_INT, .i = first },
		{ .type = VAL_INT, .i = last } };

	return ask_for_value(c, "undoLog", args, 2, ret, err_of(e));
}

int zkzeo_client_undo_info(struct zkzeo_client *c, int64_t first, int64_t last,
	const struct zkzeo_value *filter, struct zkzeo_value **ret, struct zkzeo_error *e)
{
	struct arena arena = ARENA_INIT(0);
	struct buf pickle = BUF_INIT(0);
	struct val args[] = { { .type = VAL_INT, .i = first }, { .type = VAL_INT, .i = last },
		{ .type = VAL_NONE } };
	int rc = OK;

	if (!filter || value_kind(const_value_of(filter)) != VALUE_DICT)
		rc = err_set(err_of(e), ERR_INVAL, "a filter of an undo log is a dict");
	if (rc == OK)
		rc = value_to_val(const_value_of(filter), &arena, &pickle, &args[2], err_of(e));
	if (rc == OK)
		rc = ask_for_value(c, "undoInfo", args, 3, ret, err_of(e));
	arena_free(&arena);
	buf_free(&pickle);
	return rc;
}

int zkzeo_client_pack(struct zkzeo_client *c, double time, struct zkzeo_error *e)
{
	const struct val args[] = { { .type = VAL_FLOAT, .f = time },
		{ .type = VAL_BOOL, .b = true } };
	struct call k = { 0 };
	int rc = client_call(c->client, &k, "pack", args, 2, 0, err_of(e));

	call_end(&k);
	return rc;
}

int zkzeo_client_info(struct zkzeo_client *c, struct zkzeo_value **ret, struct zkzeo_error *e)
{
	struct buf encoded = BUF_INIT(0);
	struct arena arena = ARENA_INIT(1 << 20);
	struct value *v = NULL;
	enum encoding encoding;
	struct val info;
	int rc = client_info(c->client, &encoded, &encoding, err_of(e));

	if (rc == OK && encoding == ENC_MSGPACK)
		rc = msgpack_decode(
			buf_slice(&encoded), &pickle_limits_message, &arena, &info, err_of(e));
	else if (rc == OK)
		rc = pickle_decode(buf_slice(&encoded), 0, &pickle_limits_message, &arena, &info,
			NULL, err_of(e));
	if (rc == OK)
		rc = value_of_val(&info, false, &v, err_of(e));
	if (rc == OK)
		*ret = api_value(v);
	arena_free(&arena);
	buf_free(&encoded);
	return rc;
}
