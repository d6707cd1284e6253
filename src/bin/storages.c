#include "bin/storages.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "storage/filestorage/filestorage.h"
#include "storage/mapping/mapping.h"

static void log_filestorage(void *ctx, int level, const char *text)
{
	(void)ctx;
	log_emit(level, "ZODB.FileStorage", "%s", text);
}

static int open_filestorage(const struct server_config *c, const struct config_storage *cs,
	struct storage **ret, struct err *e)
{
	struct filestorage_options o = {
		.path = cs->filestorage.path,
		.create = cs->filestorage.create,
		.read_only = cs->filestorage.read_only,
		.blob_dir = cs->filestorage.blob_dir,
		.quota_bytes = cs->filestorage.quota_bytes,
		.pack_gc = cs->filestorage.pack_gc && gc,
		.pack_keep_old = cs->filestorage.pack_keep_old,
		.pack_bandwidth = cs->filestorage.pack_bandwidth,
		.recent_txns = c->invalidation_queue_size,
		.clock = &clock_system,
		.log = log_filestorage,
	};

	return filestorage_open(&o, ret, e);
}

static int open_one(const struct server_config *c, const struct config_storage *cs,
	struct storage **ret, struct err *e)
{
	switch (cs->kind) {
	case CONFIG_FILESTORAGE:
		return open_filestorage(c, cs, ret, e);
	case CONFIG_MAPPINGSTORAGE:
		return mapping_open(
			cs->mapping.name, &clock_system, c->invalidation_queue_size, ret, e);
	default:
		return err_set(e, ERR_UNSUPPORTED, "%s:%d: this kind of storage is not offered",
			cs->file, cs->line);
	}
}

int storages_open(const struct server_config *c, struct storages *ret, struct err *e)
{
	struct storages s = { 0 };
	int rc = OK;

	s.list = mem_zalloc(c->storages_n, sizeof(s.list[0]));
	s.ids = mem_zalloc(c->storages_n, sizeof(s.ids[0]));
	if (!s.list || !s.ids)
		rc = err_set(e, ERR_NOMEM, "no memory for %zu storages", c->storages_n);
	for (size_t i = 0; i < c->storages_n && rc == OK; i++) {
		s.ids[i] = c->storages[i].name;
		rc = open_one(c, &c->storages[i], &s.list[i], e);
		if (rc == OK)
			s.n++;
		else
			err_wrap(e, "storage '%s'", s.ids[i]);
	}
	if (rc == OK)
		*ret = s;
	else
		storages_close(&s);
	return rc;
}

void storages_close(struct storages *s)
{
	for (size_t i = 0; i < s->n; i++)
		s->list[i]->ops->close(s->list[i]);
	mem_free(s->list);
	mem_free(s->ids);
	*s = (struct storages){ 0 };
}
