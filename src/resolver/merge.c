#include "resolver/merge.h"

#include "resolver/reference.h"

/* By the number of the reason. */
static const char *const reasons[] = { "the bucket was split", "both changed a value",
	"a value changed here and deleted there", "a value changed there and deleted here",
	"both inserted or deleted the same key", "both deleted the same key",
	"both inserted the same key", "both deleted the same key, or one changed its value",
	"both deleted the same key, or one changed its value", "both deleted the same key",
	"nothing is left", "an inner node of the tree changed", "one emptied the bucket",
	"the first key was deleted" };

enum { OLD, COMMITTED, CHANGED };

struct cursor {
	const struct bucket *bucket;
	int position; /* of the current key, counted from 1; -1 behind the end */
};

struct merge {
	const struct btrees_class *class;
	uint32_t step; /* items a key takes */
	struct cursor at[3];
	struct bucket *out;
	struct err *e;
};

static int fail(int p1, int p2, int p3, int reason, struct err *e)
{
	return err_set(e, ERR_CONFLICT, "BTrees conflict error at %d/%d/%d: %s (reason %d)", p1, p2,
		p3, reasons[reason], reason);
}

int merge_conflict(int reason, struct err *e)
{
	return fail(-1, -1, -1, reason, e);
}

static int conflict(struct merge *m, int reason)
{
	return fail(m->at[OLD].position, m->at[COMMITTED].position, m->at[CHANGED].position, reason,
		m->e);
}

static bool active(const struct merge *m, int which)
{
	return m->at[which].position >= 0;
}

static void advance(struct merge *m, int which)
{
	struct cursor *c = &m->at[which];

	if (c->position >= 0)
		c->position = (uint32_t)c->position < c->bucket->n ? c->position + 1 : -1;
}

static const struct val *key(const struct merge *m, int which)
{
	const struct cursor *c = &m->at[which];

	return &c->bucket->items[((uint32_t)c->position - 1) * m->step];
}

static int order(struct merge *m, int a, int b, int *ret)
{
	return bucket_key_order(m->class, key(m, a), key(m, b), ret, m->e);
}

/* The values under two current keys; sets have none that could differ. */
static int same_value(struct merge *m, int a, int b, bool *ret)
{
	*ret = true;
	if (m->step == 1)
		return OK;
	return bucket_value_same(m->class, key(m, a) + 1, key(m, b) + 1, ret, m->e);
}

static void put(struct merge *m, int which)
{
	struct val *to = &m->out->items[m->out->n++ * m->step];

	for (uint32_t i = 0; i < m->step; i++)
		to[i] = key(m, which)[i];
}

static void take(struct merge *m, int which)
{
	put(m, which);
	advance(m, which);
}

/* A class in Python assigns here, by the old key, where it appends everywhere else. */
static int put_unchanged_key(struct merge *m, int which)
{
	struct val *to = &m->out->items[m->out->n * m->step];
	int rc;

	if (!m->class->python || m->step == 1) {
		put(m, m->class->python ? OLD : which);
		return OK;
	}
	rc = bucket_convert(m->class->key, key(m, OLD), &to[0], m->e);
	if (rc == OK)
		rc = bucket_convert(m->class->value, key(m, which) + 1, &to[1], m->e);
	if (rc == OK)
		m->out->n++;
	return rc;
}

/* The key is in all three. */
static int merge_value(struct merge *m)
{
	bool same = false;
	int winner = CHANGED;
	int rc = same_value(m, OLD, COMMITTED, &same);

	if (rc == OK && !same) {
		winner = COMMITTED;
		rc = same_value(m, OLD, CHANGED, &same);
		if (rc == OK && !same)
			return conflict(m, 1);
	}
	if (rc == OK)
		rc = put_unchanged_key(m, winner);
	advance(m, OLD);
	advance(m, COMMITTED);
	advance(m, CHANGED);
	return rc;
}

/* @deleter no longer has the old key, @keeper has it. */
static int merge_deletion(struct merge *m, int deleter, int keeper, int reason)
{
	bool same = false;
	int rc = same_value(m, OLD, keeper, &same);

	if (rc)
		return rc;
	if (!same)
		return conflict(m, reason);
	if (m->at[deleter].position == 1) /* the parent node changes, too */
		return conflict(m, 13);
	advance(m, OLD);
	advance(m, keeper);
	return OK;
}

/* Neither has the old key here. */
static int merge_both_differ(struct merge *m, int old_committed, int old_changed)
{
	int committed_changed = 0;
	int rc = order(m, COMMITTED, CHANGED, &committed_changed);

	if (rc)
		return rc;
	if (committed_changed == 0)
		return conflict(m, 4);
	if (old_committed > 0)
		take(m, committed_changed > 0 ? CHANGED : COMMITTED);
	else if (old_changed > 0)
		take(m, CHANGED);
	else
		return conflict(m, 5);
	return OK;
}

static int merge_step(struct merge *m)
{
	int old_committed = 0;
	int old_changed = 0;
	int rc = order(m, OLD, COMMITTED, &old_committed);

	if (rc == OK)
		rc = order(m, OLD, CHANGED, &old_changed);
	if (rc)
		return rc;
	if (old_committed == 0 && old_changed == 0)
		return merge_value(m);
	if (old_committed != 0 && old_changed != 0)
		return merge_both_differ(m, old_committed, old_changed);
	if (old_changed > 0)
		take(m, CHANGED);
	else if (old_committed > 0)
		take(m, COMMITTED);
	else if (old_committed == 0)
		return merge_deletion(m, CHANGED, COMMITTED, 2);
	else
		return merge_deletion(m, COMMITTED, CHANGED, 3);
	return OK;
}

/* Behind the last old key. */
static int merge_insertions(struct merge *m)
{
	int c = 0;
	int rc = order(m, COMMITTED, CHANGED, &c);

	if (rc)
		return rc;
	if (c == 0)
		return conflict(m, 6);
	take(m, c > 0 ? CHANGED : COMMITTED);
	return OK;
}

/* The other one has ended: it deleted the old keys that are left. */
static int merge_rest(struct merge *m, int which, int reason)
{
	bool same = false;
	int c = 0;
	int rc = order(m, OLD, which, &c);

	if (rc == OK && c > 0) {
		take(m, which);
		return OK;
	}
	if (rc == OK && c == 0)
		rc = same_value(m, OLD, which, &same);
	if (rc)
		return rc;
	if (!same)
		return conflict(m, reason);
	advance(m, OLD);
	advance(m, which);
	return OK;
}

static int merge_all(struct merge *m)
{
	int rc = OK;

	while (rc == OK && active(m, OLD) && active(m, COMMITTED) && active(m, CHANGED))
		rc = merge_step(m);
	while (rc == OK && active(m, COMMITTED) && active(m, CHANGED))
		rc = merge_insertions(m);
	while (rc == OK && active(m, OLD) && active(m, COMMITTED))
		rc = merge_rest(m, COMMITTED, 7);
	while (rc == OK && active(m, OLD) && active(m, CHANGED))
		rc = merge_rest(m, CHANGED, 8);
	if (rc)
		return rc;
	if (active(m, OLD))
		return conflict(m, 9);
	while (active(m, COMMITTED))
		take(m, COMMITTED);
	while (active(m, CHANGED))
		take(m, CHANGED);
	return m->out->n ? OK : merge_conflict(10, m->e);
}

/* The classes in C look whether it is one object, those in Python whether it is equal. */
static int check_next(const struct btrees_class *class, const struct bucket *a,
	const struct bucket *b, struct err *e)
{
	bool same = false;

	if (!a->next || !b->next)
		return a->next == b->next ? OK : merge_conflict(0, e);
	if (val_is_none(a->next) && val_is_none(b->next))
		return OK;
	if (a->next->type != VAL_PERSID || b->next->type != VAL_PERSID)
		return err_set(e, ERR_UNSUPPORTED, "a next bucket that is none");
	if (class->python)
		same = reference_equal(a->next, b->next);
	else if (reference_same(a->next, b->next, &same) != OK)
		return err_set(e, ERR_UNSUPPORTED, "two names of the next bucket's class");
	return same ? OK : merge_conflict(0, e);
}

int merge_buckets(const struct btrees_class *class, const struct bucket *old,
	const struct bucket *committed, const struct bucket *changed, struct arena *arena,
	struct bucket *ret, struct err *e)
{
	uint32_t step = bucket_has_values(class) ? 2 : 1;
	struct bucket out = { .next = old->next };
	struct merge m = { .class = class,
		.step = step,
		.at = { { old }, { committed }, { changed } },
		.out = &out,
		.e = e };
	size_t room = (size_t)old->n + committed->n + changed->n;
	int rc = check_next(class, old, committed, e);

	if (rc == OK)
		rc = check_next(class, old, changed, e);
	if (rc)
		return rc;
	if (committed->n == 0 || changed->n == 0)
		return merge_conflict(12, e);
	out.items = arena_alloc(arena, room * step * sizeof(*out.items));
	if (!out.items)
		return err_set(e, ERR_NOMEM, "no memory");
	for (int i = 0; i < 3; i++)
		advance(&m, i);
	rc = merge_all(&m);
	if (rc)
		return rc;
	*ret = out;
	return OK;
}
