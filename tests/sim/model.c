#include "model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bigendian.h"

void sim_fail(const char *file, int line, const char *cond, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s:%d: not true: %s: ", file, line, cond);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	abort();
}

uint32_t model_new_attempt(struct model *m)
{
	if (m->n_attempts == m->attempts_room) {
		m->attempts_room = m->attempts_room ? m->attempts_room * 2 : 64;
		m->attempts = realloc(m->attempts, m->attempts_room * sizeof(m->attempts[0]));
	}
	memset(&m->attempts[m->n_attempts], 0, sizeof(m->attempts[0]));
	return m->n_attempts++;
}

size_t model_data(uint32_t attempt, uint64_t oid, uint8_t out[600])
{
	size_t n = 16 + (attempt * 37u + (size_t)oid * 101u) % 500u;

	put_be32(out, attempt);
	put_be32(out + 4, (uint32_t)n);
	put_be64(out + 8, oid);
	memset(out + 16, (int)(attempt & 0xff), n - 16);
	return n;
}

uint32_t model_attempt_of(struct slice data)
{
	uint8_t want[600];
	uint32_t a;
	size_t n;

	SIM_CHECK(data.len >= 16, "a record of %zu bytes", data.len);
	a = get_be32(data.data);
	n = model_data(a, get_be64(data.data + 8), want);
	SIM_CHECK(
		n == data.len && memcmp(want, data.data, n) == 0, "a torn record of attempt %u", a);
	return a;
}

struct sync_load {
	struct load_req req;
	uint32_t attempt;
	bool done;
};

static void sync_done(struct load_req *r)
{
	struct sync_load *l = CONTAINER_OF(r, struct sync_load, req);

	SIM_CHECK(r->rc == OK, "load of oid %llu: %s", (unsigned long long)r->oid, r->err.text);
	SIM_CHECK(get_be64(r->data.data + 8) == r->oid, "another object's data");
	l->attempt = model_attempt_of(r->data);
	l->done = true;
}

static void run_at_once(struct exec *x, struct job *j)
{
	(void)x;
	j->work(j);
	j->done(j);
}

static uint32_t attempt_of_record(struct storage *s, uint64_t oid, uint64_t tid)
{
	struct exec at_once = { run_at_once };
	struct sync_load l = { .req = {
				       .exec = &at_once,
				       .done = sync_done,
				       .kind = LOAD_SERIAL,
				       .oid = oid,
				       .tid = tid,
				       .applied = tid,
			       } };

	s->ops->load(s, &l.req);
	SIM_CHECK(l.done, "a load that does not end");
	return l.attempt;
}

void model_revision(
	const struct model *m, uint64_t oid, uint64_t tid, uint64_t *ret_serial, uint64_t *ret_end)
{
	*ret_serial = *ret_end = TID_NONE;
	for (uint32_t i = 0; i < m->n_txns; i++) {
		const struct attempt *a = &m->attempts[m->txns[i].attempt];

		for (uint32_t r = 0; r < a->n; r++) {
			if (a->oids[r] != oid || a->check_only[r])
				continue;
			if (m->txns[i].tid <= tid)
				*ret_serial = m->txns[i].tid;
			else if (*ret_end == TID_NONE)
				*ret_end = m->txns[i].tid;
		}
	}
}

/* Every written oid once, and no other. */
static void check_oids(const struct attempt *a, const uint64_t *oids, uint32_t n_oids)
{
	uint32_t written = 0;

	for (uint32_t r = 0; r < a->n; r++) {
		bool found = false;

		for (uint32_t i = 0; i < n_oids; i++)
			found |= oids[i] == a->oids[r];
		SIM_CHECK(found != a->check_only[r], "oid %llu of a transaction",
			(unsigned long long)a->oids[r]);
		written += !a->check_only[r];
	}
	SIM_CHECK(written == n_oids, "%u oids, %u were written", n_oids, written);
}

static void check_base(const struct model *m, const struct attempt *a)
{
	for (uint32_t r = 0; r < a->n; r++) {
		uint64_t serial, end;

		model_revision(m, a->oids[r], TID_MAX, &serial, &end);
		SIM_CHECK(serial == a->base[r],
			"a %s of oid %llu from %llx was committed over %llx",
			a->check_only[r] ? "check" : "store", (unsigned long long)a->oids[r],
			(unsigned long long)a->base[r], (unsigned long long)serial);
	}
}

void model_published(
	struct model *m, struct storage *s, uint64_t tid, const uint64_t *oids, uint32_t n_oids)
{
	uint32_t number = 0;
	struct attempt *a;

	SIM_CHECK(n_oids > 0, "an empty transaction");
	for (uint32_t i = 0; i < n_oids; i++) {
		uint32_t n = attempt_of_record(s, oids[i], tid);

		SIM_CHECK(i == 0 || n == number, "a transaction of two attempts");
		number = n;
	}
	SIM_CHECK(number < m->n_attempts, "attempt %u", number);
	a = &m->attempts[number];
	SIM_CHECK(a->tid == TID_NONE, "attempt %u was committed twice", number);
	SIM_CHECK(m->n_txns == 0 || tid > m->txns[m->n_txns - 1].tid, "R4: tids go back");
	check_oids(a, oids, n_oids);
	check_base(m, a);
	a->tid = tid;
	if (m->n_txns == m->txns_room) {
		m->txns_room = m->txns_room ? m->txns_room * 2 : 64;
		m->txns = realloc(m->txns, m->txns_room * sizeof(m->txns[0]));
	}
	m->txns[m->n_txns++] = (struct model_txn){ tid, number };
}

const struct model_txn *model_find(const struct model *m, uint64_t tid)
{
	uint32_t low = 0, high = m->n_txns;

	while (low < high) {
		uint32_t mid = (low + high) / 2;

		if (m->txns[mid].tid < tid)
			low = mid + 1;
		else
			high = mid;
	}
	return low < m->n_txns && m->txns[low].tid == tid ? &m->txns[low] : NULL;
}

/* R7. The storage was opened with room for all transactions in its chain of publications. */
void model_check_reopened(struct model *m, struct storage *s)
{
	struct publication *p = s->pubs->oldest;
	uint32_t known = 0;

	for (; p; p = atomic_load(&p->next)) {
		if (p->n_oids == 0)
			continue; /* the place-holder of an empty file */
		if (known < m->n_txns) {
			SIM_CHECK(p->tid == m->txns[known].tid,
				"published transaction %llx is lost, %llx is there",
				(unsigned long long)m->txns[known].tid, (unsigned long long)p->tid);
			for (uint32_t i = 0; i < p->n_oids; i++)
				SIM_CHECK(attempt_of_record(s, p->oids[i], p->tid) ==
						  m->txns[known].attempt,
					"transaction %llx has changed", (unsigned long long)p->tid);
			known++;
		} else {
			model_published(m, s, p->tid, p->oids, p->n_oids);
			known++;
		}
	}
	SIM_CHECK(
		known >= m->n_txns, "%u of %u published transactions are there", known, m->n_txns);
}

void model_free(struct model *m)
{
	free(m->attempts);
	free(m->txns);
	*m = (struct model){ 0 };
}
