/* What clients are told of the storage: what the server tells us. */
#include <string.h>

#include "base/mem.h"
#include "codec/msgpack.h"
#include "codec/pickle.h"
#include "fanout/core.h"

enum { INFO_BYTES_MAX = 1 << 20 };

/* In ClientStorage's order (T57). */
static const char *const names[] = { "IStorageRestoreable", "IStorageIteration", "IStorageUndoable",
	"IStorageCurrentRecordIteration", "IBlobStorage", "IExternalGC" };

static unsigned feature_of(const struct val *name)
{
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (slice_is(val_text(name), names[i]))
			return 1u << i;
	return 0;
}

static unsigned interfaces_of(const struct val *list)
{
	unsigned found = 0;

	if (!list || (list->type != VAL_TUPLE && list->type != VAL_LIST))
		return 0;
	for (uint32_t i = 0; i < list->n; i++) {
		const struct val *pair = &list->items[i];

		if ((pair->type == VAL_TUPLE || pair->type == VAL_LIST) && pair->n == 2)
			found |= feature_of(&pair->items[1]);
	}
	return found;
}

static bool is_true(const struct val *v)
{
	return v && ((v->type == VAL_BOOL && v->b) || (v->type == VAL_INT && v->i));
}

static void take_number(const struct val *v, atomic_uint_fast64_t *ret)
{
	if (v && v->type == VAL_INT && v->i >= 0)
		atomic_store(ret, (uint64_t)v->i);
}

static void take(struct fanout *f, const struct val *dict)
{
	unsigned features = interfaces_of(val_get(dict, "interfaces"));

	if (!f->blobs)
		features &= ~(unsigned)FAN_BLOBS;
	if (is_true(val_get(dict, "supportsUndo")))
		features |= FAN_SUPPORTS_UNDO;
	if (is_true(val_get(dict, "supports_record_iternext")))
		features |= FAN_SUPPORTS_ITERNEXT;
	take_number(val_get(dict, "length"), &f->length);
	take_number(val_get(dict, "size"), &f->size);
	atomic_store(&f->features, features);
}

void info_update(struct fanout *f)
{
	struct arena arena = ARENA_INIT(INFO_BYTES_MAX);
	struct buf b = BUF_INIT(0);
	struct err e = ERR_INIT;
	enum encoding encoding;
	struct val dict;
	int rc = client_info(f->client, &b, &encoding, &e);

	if (rc == OK && encoding == ENC_PICKLE)
		rc = pickle_decode(
			buf_slice(&b), 0, &pickle_limits_message, &arena, &dict, NULL, &e);
	else if (rc == OK)
		rc = msgpack_decode(buf_slice(&b), &pickle_limits_message, &arena, &dict, &e);
	if (rc == OK && dict.type == VAL_DICT)
		take(f, &dict);
	arena_free(&arena);
	buf_free(&b);
}

/* Two for each interface, and the end. */
static const char **make_list(unsigned features)
{
	static const char *const own[] = { "ZODB.interfaces", "IMultiCommitStorage",
		"ZODB.interfaces", "IStorage", "zope.interface", "Interface" };
	const char **list = mem_zalloc(2 * ARRAY_LEN(names) + ARRAY_LEN(own) + 1, sizeof(list[0]));
	size_t n = 0;

	if (!list)
		return NULL;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (!(features & 1u << i))
			continue;
		list[n++] = "ZODB.interfaces";
		list[n++] = names[i];
	}
	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		list[n++] = own[i];
	return list;
}

static const char *const *interface_list(struct fanout *f, unsigned features)
{
	static const char *const none[] = { NULL };
	_Atomic(const char **) *place = &f->interfaces[features & FAN_INTERFACES];
	const char **list = atomic_load(place);
	const char **seen = NULL;

	if (list)
		return list;
	list = make_list(features);
	if (!list)
		return none;
	if (atomic_compare_exchange_strong(place, &seen, list))
		return list;
	mem_free(list);
	return seen;
}

void fan_info(struct storage *s, struct storage_info *ret)
{
	struct fanout *f = fanout_of(s);
	unsigned features = atomic_load(&f->features);

	*ret = (struct storage_info){
		.length = atomic_load(&f->length),
		.size = atomic_load(&f->size),
		.supports_undo = features & FAN_SUPPORTS_UNDO,
		.supports_record_iternext = features & FAN_SUPPORTS_ITERNEXT,
		.interfaces = interface_list(f, features),
	};
}

void info_free(struct fanout *f)
{
	for (size_t i = 0; i <= FAN_INTERFACES; i++)
		mem_free(atomic_load(&f->interfaces[i]));
}
