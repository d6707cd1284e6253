/* New oids, of those that the server gives by the hundred. */
#include <string.h>

#include "base/bigendian.h"
#include "base/mem.h"
#include "client/state.h"

static bool are_oids(const struct val *v)
{
	if ((v->type != VAL_LIST && v->type != VAL_TUPLE) || !v->n)
		return false;
	for (uint32_t i = 0; i < v->n; i++)
		if (v->items[i].type != VAL_BYTES || v->items[i].s.len != 8)
			return false;
	return true;
}

/* Behind those that are there: the first ones are given out first, from the end. */
static int keep(struct client *c, const struct val *v, uint64_t generation, struct err *e)
{
	uint64_t *oids;
	int rc = client_enter(c, e);

	if (rc != OK)
		return rc;
	if (generation != client_generation(c)) { /* R10: another server may give them out, too */
		client_leave(c);
		return OK;
	}
	oids = mem_alloc((c->n_oids + v->n) * sizeof(*oids));
	if (oids) {
		for (uint32_t i = 0; i < v->n; i++)
			oids[i] = get_be64(v->items[v->n - 1 - i].s.data);
		if (c->n_oids)
			memcpy(oids + v->n, c->oids, c->n_oids * sizeof(*oids));
		mem_free(c->oids);
		c->oids = oids;
		c->n_oids += v->n;
	} else {
		rc = err_set(e, ERR_NOMEM, "no memory for new oids");
	}
	client_leave(c);
	return rc;
}

static int fetch(struct client *c, struct err *e)
{
	struct call k = { 0 };
	uint64_t generation = client_generation(c);
	int rc = client_call(c, &k, "new_oids", NULL, 0, 0, e);

	if (rc == OK)
		rc = call_decode(&k, e);
	if (rc == OK && !are_oids(k.result))
		rc = err_set(e, ERR_FORMAT, "new_oids() has not answered oids");
	if (rc == OK)
		rc = keep(c, k.result, generation, e);
	call_end(&k);
	return rc;
}

static int take(struct client *c, uint64_t *ret, struct err *e)
{
	int rc = client_enter(c, e);

	if (rc != OK)
		return rc;
	if (c->read_only_now)
		rc = err_set(e, ERR_READONLY, "the storage is read-only");
	else if (c->n_oids)
		*ret = c->oids[--c->n_oids];
	else
		rc = ERR_AGAIN;
	client_leave(c);
	return rc;
}

int client_new_oid(struct client *c, uint64_t *ret, struct err *e)
{
	int rc;

	while ((rc = take(c, ret, e)) == ERR_AGAIN) {
		rc = fetch(c, e);
		if (rc != OK)
			return rc;
	}
	return rc;
}
