/* New oids, of those that the server gives in advance. */
#include <string.h>

#include "base/bigendian.h"
#include "base/clock.h"
#include "base/mem.h"
#include "client/state.h"

/* A server that was lost forgets which oids were given but not used, and the next one gives them again (R10), when this
 * process may still hold them: the owner must not get one twice. How far back that is looked for: a server with an
 * older database is not asked for oids without end. */
enum { GIVEN_MAX = 1 << 20 };

/* Who needs more within a moment is adding many objects, and asks for many. Python's server answers a hundred. */
enum { MOMENT_US = 1000000, MANY = 1000 };

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

/* How many are asked for? 0: as many as the server likes to give. */
static int portion(struct client *c, int64_t *ret, struct err *e)
{
	uint64_t now = clock_mono_us(&clock_system);
	int rc = client_enter(c, e);

	if (rc != OK)
		return rc;
	*ret = c->oids_us && now - c->oids_us < MOMENT_US ? MANY : 0;
	c->oids_us = now;
	client_leave(c);
	return OK;
}

static int fetch(struct client *c, struct err *e)
{
	struct call k = { 0 };
	uint64_t generation = client_generation(c);
	struct val n = { .type = VAL_INT };
	int rc = portion(c, &n.i, e);

	if (rc != OK)
		return rc;
	rc = client_call(c, &k, "new_oids", &n, n.i ? 1 : 0, 0, e);
	if (rc == OK)
		rc = call_decode(&k, e);
	if (rc == OK && !are_oids(k.result))
		rc = err_set(e, ERR_FORMAT, "new_oids() has not answered oids");
	if (rc == OK)
		rc = keep(c, k.result, generation, e);
	call_end(&k);
	return rc;
}

static bool was_given(const struct client *c, uint64_t oid)
{
	return oid <= c->last_oid && c->last_oid - oid < GIVEN_MAX;
}

static bool next_oid(struct client *c, uint64_t *ret)
{
	while (c->n_oids) {
		uint64_t oid = c->oids[--c->n_oids];

		if (was_given(c, oid))
			continue;
		*ret = oid;
		if (oid > c->last_oid)
			c->last_oid = oid;
		return true;
	}
	return false;
}

static int take(struct client *c, uint64_t *ret, struct err *e)
{
	int rc = client_enter(c, e);

	if (rc != OK)
		return rc;
	if (c->read_only_now)
		rc = err_set(e, ERR_READONLY, "the storage is read-only");
	else if (!next_oid(c, ret))
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
