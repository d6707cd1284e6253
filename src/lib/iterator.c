/* Iterating over transactions. */
#include "base/bigendian.h"
#include "base/mem.h"
#include "codec/tid.h"
#include "lib/api.h"

enum { STARTS_MAX = 3 };

struct zkzeo_iterator {
	struct zkzeo_client *client;
	uint64_t generation; /* of the connection whose numbers these are */
	int64_t id;          /* the server's; -1: it has ended */
	int64_t change_id;   /* of the transaction's records; -1: not asked for, -2: ended */
	uint64_t tid;
	struct call transaction, change;
	struct value *extension;
};

static struct val tid_or_none(uint8_t bytes[8], uint64_t tid)
{
	return tid == TID_NONE ? (struct val){ .type = VAL_NONE } : api_id(bytes, tid);
}

static struct val number(int64_t i)
{
	return (struct val){ .type = VAL_INT, .i = i };
}

/* A server numbers iterators anew for each connection: those of another one are not to be taken for these. */
static int check_connection(const struct zkzeo_iterator *it, struct err *e)
{
	if (client_generation(it->client->client) == it->generation)
		return OK;
	return err_set(e, ERR_CLOSED, "the connection was lost in the middle of an iteration");
}

/* Ask for a number. */
static int start(struct zkzeo_client *c, const char *method, const struct val *args, int64_t *ret,
	struct err *e)
{
	struct call k = { 0 };
	int rc = api_call(c, &k, method, args, 2, e);

	if (rc == OK && k.result->type != VAL_INT)
		rc = err_set(e, ERR_FORMAT, "%s did not answer with a number", method);
	if (rc == OK)
		*ret = k.result->i;
	call_end(&k);
	return rc;
}

int zkzeo_client_iterate(struct zkzeo_client *c, uint64_t first, uint64_t last,
	struct zkzeo_iterator **ret, struct zkzeo_error *e)
{
	uint8_t bytes[2][8];
	const struct val args[] = { tid_or_none(bytes[0], first), tid_or_none(bytes[1], last) };
	struct zkzeo_iterator *it = mem_zalloc(1, sizeof(*it));
	int rc = OK;

	if (!it)
		return err_set(err_of(e), ERR_NOMEM, "no memory for an iterator");
	it->client = c;
	/* an answer of a connection that came or went meanwhile may be of either */
	for (int attempt = 0; attempt < STARTS_MAX; attempt++) {
		it->generation = client_generation(c->client);
		rc = start(c, "iterator_start", args, &it->id, err_of(e));
		if (rc)
			break;
		rc = check_connection(it, err_of(e));
		if (rc == OK)
			break;
	}
	if (rc) {
		mem_free(it);
		return rc;
	}
	*ret = it;
	return OK;
}

/* The next tuple of @n items, ERR_NOENT when there is none. */
static int next(struct zkzeo_iterator *it, struct call *k, const char *method, int64_t *id,
	uint32_t n, struct err *e)
{
	const struct val args[] = { number(*id) };
	int rc;

	call_end(k);
	*k = (struct call){ 0 };
	if (*id < 0)
		return err_set(e, ERR_NOENT, "no more");
	rc = check_connection(it, e);
	if (rc == OK)
		rc = api_call(it->client, k, method, args, 1, e);
	if (check_connection(it, e) != OK) /* whose answer is it? */
		rc = ERR_CLOSED;
	if (rc)
		return rc;
	if (val_is_none(k->result)) {
		*id = -2;
		return err_set(e, ERR_NOENT, "no more");
	}
	if ((k->result->type != VAL_TUPLE && k->result->type != VAL_LIST) || k->result->n != n)
		return err_set(e, ERR_FORMAT, "%s did not answer with %u values", method, n);
	return OK;
}

static bool is_id(const struct val *v)
{
	return v->type == VAL_BYTES && v->s.len == 8;
}

static bool is_text(const struct val *v)
{
	return v->type == VAL_BYTES || v->type == VAL_STR;
}

int zkzeo_iterator_next(
	struct zkzeo_iterator *it, struct zkzeo_transaction *ret, struct zkzeo_error *e)
{
	const struct val *v;
	int rc = next(it, &it->transaction, "iterator_next", &it->id, 5, err_of(e));

	value_free(it->extension);
	it->extension = NULL;
	it->change_id = -2;
	if (rc)
		return rc;
	v = it->transaction.result->items;
	if (!is_id(&v[0]) || !is_text(&v[1]) || v[1].s.len != 1 || !is_text(&v[2]) ||
		!is_text(&v[3]))
		return err_set(err_of(e), ERR_FORMAT, "no transaction: tid, status, user, text");
	rc = value_of_val(&v[4], false, &it->extension, err_of(e));
	if (rc)
		return rc;
	it->tid = get_be64(v[0].s.data);
	it->change_id = -1;
	*ret = (struct zkzeo_transaction){
		.tid = it->tid,
		.status = (char)v[1].s.data[0],
		.user = (const char *)v[2].s.data,
		.description = (const char *)v[3].s.data,
		.user_len = v[2].s.len,
		.description_len = v[3].s.len,
		.extension = api_value(it->extension),
	};
	return OK;
}

static int start_changes(struct zkzeo_iterator *it, struct err *e)
{
	uint8_t bytes[8];
	const struct val args[] = { number(it->id), api_id(bytes, it->tid) };

	int64_t id = -1;
	int rc = check_connection(it, e);

	if (rc == OK && it->tid == TID_NONE)
		rc = err_set(e, ERR_STATE, "no transaction: zkzeo_iterator_next() comes first");
	if (rc == OK)
		rc = start(it->client, "iterator_record_start", args, &id, e);
	if (rc == OK)
		rc = check_connection(it, e);
	if (rc == OK)
		it->change_id = id;
	return rc;
}

int zkzeo_iterator_change(
	struct zkzeo_iterator *it, struct zkzeo_change *ret, struct zkzeo_error *e)
{
	const struct val *v;
	int rc = it->change_id == -1 ? start_changes(it, err_of(e)) : OK;

	if (rc == OK)
		rc = next(it, &it->change, "iterator_record_next", &it->change_id, 4, err_of(e));
	if (rc)
		return rc;
	v = it->change.result->items;
	if (!is_id(&v[0]) || !is_id(&v[1]) || (v[2].type != VAL_BYTES && !val_is_none(&v[2])) ||
		(!is_id(&v[3]) && !val_is_none(&v[3])))
		return err_set(err_of(e), ERR_FORMAT, "no record: oid, tid, data, tid");
	*ret = (struct zkzeo_change){
		.oid = get_be64(v[0].s.data),
		.tid = get_be64(v[1].s.data),
		.data = val_is_none(&v[2]) ? NULL : v[2].s.data,
		.len = val_is_none(&v[2]) ? 0 : v[2].s.len,
		.data_tid = val_is_none(&v[3]) ? TID_NONE : get_be64(v[3].s.data),
	};
	return OK;
}

void zkzeo_iterator_close(struct zkzeo_iterator *it)
{
	struct val id;
	const struct val args[] = { { .type = VAL_LIST, .n = 1, .items = &id } };
	struct call k = { 0 };

	if (!it)
		return;
	if (it->id >= 0 && check_connection(it, NULL) == OK) {
		id = number(it->id);
		/* that it is forgotten a little later is all that a failure would mean */
		if (client_call(it->client->client, &k, "iterator_gc", args, 1, 1, NULL))
			it->id = -1;
		call_end(&k);
	}
	value_free(it->extension);
	call_end(&it->transaction);
	call_end(&it->change);
	mem_free(it);
}
