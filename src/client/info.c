/* What the server says of its storage: a dict that is kept encoded, as clients ask for it as a whole. */
#include "base/mem.h"
#include "client/state.h"
#include "codec/msgpack.h"
#include "codec/pickle.h"

enum {
	INFO_MAX = 64 << 10,       /* of what is kept: a server's is some hundred bytes */
	INFO_ARENA_MAX = 16 << 20, /* what it may become decoded, at worst */
};

static int decode(const struct client *c, struct arena *arena, struct val *ret, struct err *e)
{
	struct slice s = buf_slice(&c->info);

	if (!s.len) {
		*ret = (struct val){ .type = VAL_DICT };
		return OK;
	}
	if (c->info_encoding == ENC_MSGPACK)
		return msgpack_decode(s, &pickle_limits_message, arena, ret, e);
	return pickle_decode(s, 0, &pickle_limits_message, arena, ret, NULL, e);
}

static bool has_key(const struct val *dict, const struct val *key)
{
	for (uint32_t i = 0; i < dict->n; i += 2)
		if (val_equal(&dict->items[i], key))
			return true;
	return false;
}

static int merge(const struct val *old, const struct val *new, enum encoding encoding,
	struct buf *out, struct err *e)
{
	uint32_t pairs = new->n / 2;
	struct enc en;

	for (uint32_t i = 0; i < old->n; i += 2)
		pairs += !has_key(new, &old->items[i]);
	enc_begin(&en, out, encoding);
	enc_dict(&en, pairs);
	for (uint32_t i = 0; i < old->n; i++)
		if (!has_key(new, &old->items[i & ~1u]))
			enc_val(&en, &old->items[i]);
	for (uint32_t i = 0; i < new->n; i++)
		enc_val(&en, &new->items[i]);
	enc_end(&en);
	enc_finish(&en);
	if (!buf_ok(out))
		return err_set(e, ERR_NOMEM, "no memory for the server's info");
	if (out->len > INFO_MAX)
		return err_set(e, ERR_LIMIT, "the server's info has %zu bytes", out->len);
	return OK;
}

int client_merge_info(
	struct client *c, const struct val *dict, enum encoding encoding, struct err *e)
{
	struct arena arena = ARENA_INIT(INFO_ARENA_MAX);
	struct buf merged = BUF_INIT(0);
	struct val old;
	int rc;

	pthread_mutex_lock(&c->lock);
	rc = decode(c, &arena, &old, e);
	if (rc == OK)
		rc = merge(&old, dict, encoding, &merged, e);
	if (rc == OK) {
		buf_free(&c->info);
		c->info = merged;
		c->info_encoding = encoding;
	} else {
		buf_free(&merged);
	}
	pthread_mutex_unlock(&c->lock);
	arena_free(&arena);
	return rc;
}

int client_info(const struct client *c, struct buf *out, enum encoding *ret, struct err *e)
{
	pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&c->lock; /* not part of the state */
	int rc = client_check_fork(c, e);

	if (rc != OK)
		return rc;
	pthread_mutex_lock(lock);
	buf_put_slice(out, buf_slice(&c->info));
	*ret = c->info_encoding;
	pthread_mutex_unlock(lock);
	return buf_ok(out) ? OK : err_set(e, ERR_NOMEM, "no memory for the server's info");
}

void client_cache_stats(const struct client *c, struct cache_stats *ret)
{
	*ret = (struct cache_stats){ 0 };
	if (c->cache && client_check_fork(c, NULL) == OK)
		cache_stats(c->cache, ret);
}
