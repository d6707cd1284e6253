/* Dicts: pairs in the order in which they were put, and an index of their keys where there are many. */
#include <stdatomic.h>
#include <string.h>
#include <sys/random.h>

#include "base/mem.h"
#include "codec/number.h"
#include "object/tree.h"

enum {
	INDEX_FROM = 8, /* pairs; fewer are looked through */
};

void value_index_free(struct value_index *x)
{
	mem_free(x->slots);
	x->slots = NULL;
	x->room = 0;
}

/* So that who writes a record cannot know which keys share a place. */
static uint64_t seed(void)
{
	static _Atomic(uint64_t) made;
	uint64_t s = atomic_load_explicit(&made, memory_order_relaxed);
	uint64_t none = 0;

	if (s)
		return s;
	if (getrandom(&s, sizeof(s), GRND_NONBLOCK) != sizeof(s))
		s = (uintptr_t)&made; /* without randomness it is only slower */
	s |= 1;
	return atomic_compare_exchange_strong(&made, &none, s) ? s : none;
}

static uint64_t mix(uint64_t h)
{
	h ^= seed();
	h ^= h >> 32;
	h *= UINT64_C(0xd6e8feb86659fd93);
	h ^= h >> 29;
	h *= UINT64_C(0xbf58476d1ce4e5b9);
	return h ^ h >> 32;
}

static uint64_t hash_bytes(uint64_t h, const char *data, size_t len)
{
	h ^= UINT64_C(0xcbf29ce484222325) ^ seed();
	for (size_t i = 0; i < len; i++)
		h = (h ^ (uint8_t)data[i]) * UINT64_C(0x100000001b3);
	return mix(h);
}

static uint64_t hash(const struct value *v)
{
	uint64_t h = (uint64_t)v->kind << 56;
	struct val number;

	switch (v->kind) {
	case VALUE_BOOL:
	case VALUE_INT:
	case VALUE_BIGINT:
	case VALUE_FLOAT:
		number = value_number(v);
		return mix(number_hash(&number));
	case VALUE_STR:
	case VALUE_BYTES:
	case VALUE_OTHER:
		return hash_bytes(h, v->bytes.data, v->bytes.len);
	case VALUE_REFERENCE:
		return mix(h ^ v->ref.r.oid);
	case VALUE_TUPLE:
		for (size_t i = 0; i < v->seq.n; i++)
			h = mix(h * 31 + hash(v->seq.items[i]));
		return h;
	default:
		return mix(h);
	}
}

static bool is_hashable(const struct value *v)
{
	if (v->kind == VALUE_LIST || v->kind == VALUE_DICT)
		return false;
	for (size_t i = 0; v->kind == VALUE_TUPLE && i < v->seq.n; i++)
		if (!is_hashable(v->seq.items[i]))
			return false;
	return true;
}

static void index_put(struct value *d, size_t pair)
{
	struct value_index *x = &d->seq.index;
	size_t at = hash(d->seq.items[2 * pair]) & (x->room - 1);

	while (x->slots[at])
		at = (at + 1) & (x->room - 1);
	x->slots[at] = (uint32_t)pair + 1;
}

/* Without the pairs that were removed, and with room for one more. */
static void rebuild(struct value *d)
{
	size_t room = 32;
	size_t n = 0;

	for (size_t i = 0; i < d->seq.n; i += 2) {
		if (!d->seq.items[i])
			continue;
		d->seq.items[n] = d->seq.items[i];
		d->seq.items[n + 1] = d->seq.items[i + 1];
		n += 2;
	}
	d->seq.n = n;
	d->seq.n_removed = 0;
	value_index_free(&d->seq.index);
	if (n / 2 < INDEX_FROM)
		return;
	while (room < n) /* twice the pairs at least */
		room *= 2;
	room *= 2;
	d->seq.index.slots = mem_zalloc(room, sizeof(uint32_t));
	if (!d->seq.index.slots)
		return; /* then all are looked through */
	d->seq.index.room = room;
	for (size_t pair = 0; pair < n / 2; pair++)
		index_put(d, pair);
}

static bool is_key(const struct value *d, size_t pair, const struct value *key)
{
	const struct value *k = d->seq.items[2 * pair];

	return k && value_equal(k, key);
}

/* The pair, or SIZE_MAX. */
static size_t find(const struct value *d, const struct value *key)
{
	const struct value_index *x = &d->seq.index;
	size_t at;

	for (size_t pair = 0; !x->slots && pair < d->seq.n / 2; pair++)
		if (is_key(d, pair, key))
			return pair;
	if (!x->slots)
		return SIZE_MAX;
	at = hash(key) & (x->room - 1);
	for (; x->slots[at]; at = (at + 1) & (x->room - 1))
		if (is_key(d, x->slots[at] - 1, key))
			return x->slots[at] - 1;
	return SIZE_MAX;
}

struct value *value_get(const struct value *dict, const struct value *key)
{
	size_t pair = dict->kind == VALUE_DICT && key ? find(dict, key) : SIZE_MAX;

	return pair == SIZE_MAX ? NULL : dict->seq.items[2 * pair + 1];
}

struct value *value_get_str(const struct value *dict, struct slice key)
{
	struct value k = { .kind = VALUE_STR };

	k.bytes.data = (char *)key.data;
	k.bytes.len = key.len;
	return value_get(dict, &k);
}

static int check_pair(
	const struct value *dict, const struct value *key, const struct value *v, struct err *e)
{
	int rc = value_may_own(dict, key, e);

	if (rc == OK)
		rc = value_may_own(dict, v, e);
	if (rc)
		return rc;
	if (dict->kind != VALUE_DICT)
		return err_set(e, ERR_INVAL, "a key is for a dict");
	if (key == v)
		return err_set(e, ERR_INVAL, "one value as key and value: copy it");
	if (!is_hashable(key))
		return err_set(e, ERR_INVAL, "a list or dict cannot be a key");
	return OK;
}

static int append(struct value *d, struct value *key, struct value *v, struct err *e)
{
	int rc;

	if (d->seq.n / 2 + 1 >= INDEX_FROM && d->seq.n >= d->seq.index.room)
		rebuild(d);
	rc = value_reserve(d, 2, e);
	if (rc)
		return rc;
	d->seq.items[d->seq.n++] = key;
	d->seq.items[d->seq.n++] = v;
	value_own(d, key);
	value_own(d, v);
	if (d->seq.index.slots)
		index_put(d, d->seq.n / 2 - 1);
	return OK;
}

static void free_owned(struct value *v)
{
	v->owner = NULL;
	value_free(v);
}

int value_set(struct value *dict, struct value *key, struct value *v, struct err *e)
{
	int rc = check_pair(dict, key, v, e);
	size_t pair = rc == OK ? find(dict, key) : SIZE_MAX;

	if (pair != SIZE_MAX) { /* the key that is there stays */
		struct value **at = &dict->seq.items[2 * pair + 1];

		free_owned(*at);
		*at = v;
		value_own(dict, v);
		value_free(key);
		return OK;
	}
	if (rc == OK)
		rc = append(dict, key, v, e);
	if (rc) {
		value_refuse(dict, v);
		if (key != v)
			value_refuse(dict, key);
	}
	return rc;
}

bool value_remove(struct value *dict, const struct value *key)
{
	size_t pair = dict->kind == VALUE_DICT && key ? find(dict, key) : SIZE_MAX;

	if (pair == SIZE_MAX)
		return false;
	free_owned(dict->seq.items[2 * pair]);
	free_owned(dict->seq.items[2 * pair + 1]);
	dict->seq.items[2 * pair] = dict->seq.items[2 * pair + 1] = NULL;
	dict->seq.n_removed++;
	if (!value_len(dict))
		dict->height = 1;
	if (dict->seq.n_removed > dict->seq.n / 4)
		rebuild(dict);
	return true;
}

bool value_next(const struct value *dict, size_t *pos, struct value **ret_key, struct value **ret)
{
	if (dict->kind != VALUE_DICT)
		return false;
	while (*pos < dict->seq.n && !dict->seq.items[*pos])
		*pos += 2;
	if (*pos >= dict->seq.n)
		return false;
	*ret_key = dict->seq.items[*pos];
	*ret = dict->seq.items[*pos + 1];
	*pos += 2;
	return true;
}
