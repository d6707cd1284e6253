#include "resolver/btrees.h"

#include "codec/pickle.h"
#include "codec/record.h"
#include "resolver/merge.h"
#include "resolver/pyvalue.h"
#include "resolver/state.h"

enum { OLD, COMMITTED, CHANGED, STATES };

/* A record, its values and the merged ones take some times its size. */
static const size_t memory_bytes_max = (size_t)256 << 20;

/* The bucket in a tree that has no other, or nothing (None); what is no state of a tree at all is
 * one of a bucket neither. */
static int unwrap_tree(const struct val *tree, const struct val **ret, struct err *e)
{
	const struct val *inner = tree;

	if (val_is_none(tree)) {
		*ret = tree;
		return OK;
	}
	if (tree->type == VAL_TUPLE && tree->n == 2)
		return merge_conflict(11, e);
	for (int i = 0; i < 2; i++) {
		if (inner->type != VAL_TUPLE || inner->n != 1)
			return err_set(e, ERR_CONFLICT, "BTrees conflict: not the state of a tree");
		inner = inner->items;
	}
	if (inner->type != VAL_TUPLE)
		return err_set(e, ERR_CONFLICT, "BTrees conflict: not the state of a tree");
	*ret = inner;
	return OK;
}

static struct val tuple_of(struct val *items, uint32_t n)
{
	struct val v = { .type = VAL_TUPLE, .n = n };

	v.items = items;
	return v;
}

static void write_bucket(const struct btrees_class *class, const struct val *record_class,
	const struct bucket *b, struct buf *ret)
{
	bool tree = class->kind == BTREES_TREE || class->kind == BTREES_TREE_SET;
	struct val state[2] = { tuple_of(b->items, bucket_has_values(class) ? b->n * 2 : b->n) };
	struct val whole = tuple_of(state, b->next ? 2 : 1);
	struct val node;
	struct val top;

	if (b->next)
		state[1] = *b->next;
	if (tree) { /* ((bucket,),) */
		node = whole;
		top = tuple_of(&node, 1);
		whole = tuple_of(&top, 1);
	}
	record_write(record_class, &whole, ret);
}

static int resolve_bucket(const struct btrees_class *class, const struct state s[STATES],
	struct arena *arena, struct buf *ret, struct err *e)
{
	bool tree = class->kind == BTREES_TREE || class->kind == BTREES_TREE_SET;
	struct bucket b[STATES];
	struct bucket out;
	const struct val *v[STATES];
	int rc = OK;

	for (int i = 0; i < STATES && rc == OK; i++) {
		v[i] = &s[i].value;
		if (tree)
			rc = unwrap_tree(v[i], &v[i], e);
	}
	for (int i = 0; i < STATES && rc == OK; i++)
		rc = bucket_read(class, v[i], arena, &b[i], e);
	if (rc == OK)
		rc = merge_buckets(class, &b[OLD], &b[COMMITTED], &b[CHANGED], arena, &out, e);
	if (rc == OK)
		write_bucket(class, &s[CHANGED].class, &out, ret);
	return rc;
}

static double as_double(const struct val *v)
{
	return v->type == VAL_FLOAT ? v->f : (double)(v->type == VAL_BOOL ? v->b : v->i);
}

/* committed + changed - old, in this order: doubles round. */
static bool sum(const struct val *committed, const struct val *changed, const struct val *old,
	struct val *ret)
{
	const struct val *all[] = { committed, changed, old };
	bool floats[] = { committed->type == VAL_FLOAT, changed->type == VAL_FLOAT,
		old->type == VAL_FLOAT };
	int64_t i[3];
	int64_t total = 0;

	for (int k = 0; k < 3; k++)
		i[k] = floats[k] ? 0 : all[k]->type == VAL_BOOL ? all[k]->b : all[k]->i;
	if (!floats[0] && !floats[1] && __builtin_add_overflow(i[0], i[1], &total))
		return false;
	if (!floats[0] && !floats[1] && !floats[2]) {
		ret->type = VAL_INT;
		return !__builtin_sub_overflow(total, i[2], &ret->i);
	}
	ret->type = VAL_FLOAT;
	ret->f = floats[0] || floats[1] ? as_double(committed) + as_double(changed) : (double)total;
	ret->f -= as_double(old);
	return true;
}

static int resolve_length(const struct state s[STATES], struct buf *ret, struct err *e)
{
	struct val v = { .type = VAL_NONE };

	for (int i = 0; i < STATES; i++) {
		enum val_type type = s[i].value.type;

		if (type != VAL_INT && type != VAL_BOOL && type != VAL_FLOAT)
			return err_set(e, ERR_UNSUPPORTED, "a length that is no plain number");
	}
	if (!sum(&s[COMMITTED].value, &s[CHANGED].value, &s[OLD].value, &v))
		return err_set(e, ERR_UNSUPPORTED, "a length above 64 bits");
	record_write(&s[CHANGED].class, &v, ret);
	return OK;
}

static int resolve(const struct resolve_req *q, struct arena *arena, struct buf *ret, struct err *e)
{
	const struct slice records[STATES] = { q->old, q->committed, q->changed };
	struct btrees_class class;
	struct state s[STATES];
	struct slice name;
	int rc = OK;

	for (int i = 0; i < STATES && rc == OK; i++)
		rc = state_read(records[i], arena, &s[i], e);
	if (rc)
		return rc;
	if (!state_class_name(&s[CHANGED], arena, &name) || !btrees_class_parse(name, &class))
		return err_set(e, ERR_UNSUPPORTED, "not a class of BTrees");
	if (class.kind == BTREES_LENGTH)
		rc = resolve_length(s, ret, e);
	else
		rc = resolve_bucket(&class, s, arena, ret, e);
	if (rc == OK && !buf_ok(ret))
		return err_set(e, ERR_NOMEM, "no memory for the merged record");
	return rc;
}

int btrees_resolve(const struct resolve_req *q, struct buf *ret, struct err *e)
{
	struct arena arena = ARENA_INIT(memory_bytes_max);
	char name[16]; /* enough to pass most others over without reading them */
	int rc;

	pickle_class_name(q->changed, name, sizeof(name));
	if (strncmp(name, "BTrees.", 7) != 0)
		return err_set(e, ERR_UNSUPPORTED, "not a class of BTrees");
	rc = resolve(q, &arena, ret, e);
	arena_free(&arena);
	return rc;
}
