#include "server/iterators.h"

#include <string.h>

#include "base/check.h"
#include "base/mem.h"

struct iterators {
	int64_t next_id;
	struct iterator **sorted; /* by id */
	size_t n;
	size_t room;
};

int iterators_next_id(struct iterators **its, int64_t *ret, struct err *e)
{
	if (!*its)
		*its = mem_zalloc(1, sizeof(**its));
	if (!*its)
		return err_set(e, ERR_NOMEM, "no memory for iterators");
	*ret = (*its)->next_id++;
	return OK;
}

int iterators_add(
	struct iterators *its, int64_t id, struct storage_iter *it, bool of_records, struct err *e)
{
	struct iterator *i;

	CHECK(its->n == 0 || its->sorted[its->n - 1]->id < id);
	if (its->n == ITERATORS_MAX)
		return err_set(e, ERR_LIMIT, "a client can have %d iterators, so many are open",
			ITERATORS_MAX);
	if (its->n == its->room) {
		size_t room = its->room ? its->room * 2 : 16;
		struct iterator **all = mem_realloc(its->sorted, room * sizeof(*all));

		if (!all)
			return err_set(e, ERR_NOMEM, "no memory for an iterator");
		its->sorted = all;
		its->room = room;
	}
	i = mem_zalloc(1, sizeof(*i));
	if (!i)
		return err_set(e, ERR_NOMEM, "no memory for an iterator");
	i->id = id;
	i->it = it;
	i->of_records = of_records;
	its->sorted[its->n++] = i;
	return OK;
}

/* Index of the first whose id is not smaller. */
static size_t place_of(const struct iterators *its, int64_t id)
{
	size_t low = 0;
	size_t high = its->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (its->sorted[mid]->id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct iterator *iterators_find(struct iterators *its, int64_t id)
{
	size_t at = its ? place_of(its, id) : 0;

	return its && at < its->n && its->sorted[at]->id == id ? its->sorted[at] : NULL;
}

void iterators_remove(struct iterators *its, struct iterator *i)
{
	size_t at = place_of(its, i->id);

	CHECK(at < its->n && its->sorted[at] == i);
	memmove(its->sorted + at, its->sorted + at + 1, (--its->n - at) * sizeof(its->sorted[0]));
	i->gone = true;
}

void iterator_free(struct iterator *i, struct storage *s)
{
	CHECK(!i->op);
	s->ops->iter_close(s, i->it);
	mem_free(i);
}

void iterators_free(struct iterators *its, struct storage *s)
{
	if (!its)
		return;
	for (size_t i = 0; i < its->n; i++)
		iterator_free(its->sorted[i], s);
	mem_free(its->sorted);
	mem_free(its);
}
