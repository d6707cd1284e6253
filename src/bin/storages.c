#include "bin/storages.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "bin/client_storage.h"
#include "storage/blob/blob_storage.h"
#include "storage/demo/demo.h"
#include "storage/filestorage/filestorage.h"
#include "storage/mapping/mapping.h"
#include "storage/zlib/zlib_storage.h"

static void log_filestorage(void *ctx, int level, const char *text)
{
	(void)ctx;
	log_emit(level, "ZODB.FileStorage", "%s", text);
}

static int open_filestorage(const struct server_config *c, const struct config_storage *cs, bool gc,
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

static int open_one(const struct server_config *c, const struct config_storage *cs, bool gc,
	struct storage **ret, struct err *e);

static int open_mapping(const struct server_config *c, const char *name, bool gc,
	struct storage **ret, struct err *e)
{
	int rc = mapping_open(name, &clock_system, c->invalidation_queue_size, ret, e);

	if (rc == OK && !gc)
		mapping_keep_garbage(*ret);
	return rc;
}

/* From 1 to 2^62, as ZODB's DemoStorage. */
static int random_oid(uint64_t *ret, struct err *e)
{
	uint64_t n;

	if (getrandom(&n, sizeof(n), 0) != sizeof(n))
		return err_sys(e, errno, "no random numbers");
	*ret = (n >> 2) + 1;
	return OK;
}

static void close_one(struct storage *s)
{
	if (s)
		s->ops->close(s);
}

/* A folder of its own below TMPDIR. */
static int make_temporary_dir(char *out, size_t room, struct err *e)
{
	const char *dir = getenv("TMPDIR");
	int n = snprintf(out, room, "%s/zkzeo-demoblobs-XXXXXX", dir && *dir ? dir : "/tmp");

	if (n < 0 || (size_t)n >= room)
		return err_set(e, ERR_LIMIT, "TMPDIR is too long");
	if (!mkdtemp(out))
		return err_sys(e, errno, "cannot make '%s'", out);
	return OK;
}

/* Changes in memory, and their blobs in @dir. */
static int open_temporary(const struct server_config *c, const char *dir, bool gc,
	struct storage **ret, struct err *e)
{
	struct blob_dir_options o = { .path = dir, .log = log_filestorage };
	struct storage *inner = NULL;
	struct blob_dir *blobs = NULL;
	int rc = open_mapping(c, NULL, gc, &inner, e);

	if (rc == OK)
		rc = blob_dir_open(&o, &blobs, e);
	if (rc == OK)
		rc = blob_storage_open(inner, blobs, ret, e);
	if (rc != OK) {
		blob_dir_close(blobs);
		close_one(inner);
	}
	return rc;
}

static bool is_empty(struct storage *s)
{
	struct storage_info info;

	s->ops->info(s, &info);
	return info.length == 0;
}

static int open_changes(const struct server_config *c, const struct config_storage *cs, char *dir,
	size_t room, struct demo_options *o, struct err *e)
{
	int rc;

	if (cs->demo.changes)
		return open_one(c, cs->demo.changes, false, &o->changes, e);
	rc = make_temporary_dir(dir, room, e);
	if (rc != OK)
		return rc;
	o->temporary_dir = dir;
	return open_temporary(c, dir, is_empty(o->base), &o->changes, e);
}

static void remove_temporary_dir(const char *dir)
{
	struct err e = ERR_INIT;

	if (dir && blob_dir_remove_tree(dir, &e) != OK)
		log_emit(LOG_WARNING, "zkrunzeo", "%s", e.text);
}

/* What only the base refers to is not garbage of the changes. */
static int open_demo(const struct server_config *c, const struct config_storage *cs,
	struct storage **ret, struct err *e)
{
	struct demo_options o = { .name = cs->demo.name };
	char dir[PATH_MAX];
	int rc = random_oid(&o.first_oid, e);

	if (rc == OK && cs->demo.base)
		rc = open_one(c, cs->demo.base, true, &o.base, e);
	else if (rc == OK)
		rc = open_mapping(c, NULL, true, &o.base, e);
	if (rc == OK)
		rc = open_changes(c, cs, dir, sizeof(dir), &o, e);
	if (rc == OK && o.changes->one_at_a_time)
		rc = err_set(e, ERR_UNSUPPORTED,
			"%s:%d: the changes of a <demostorage> cannot be another server's",
			cs->file, cs->line);
	if (rc == OK)
		rc = demo_open(&o, ret, e);
	if (rc != OK) {
		close_one(o.changes);
		close_one(o.base);
		remove_temporary_dir(o.temporary_dir);
	}
	return rc;
}

static int open_zlib(const struct server_config *c, const struct config_storage *cs, bool gc,
	struct storage **ret, struct err *e)
{
	bool is_server = cs->kind == CONFIG_SERVERZLIBSTORAGE;
	struct zlib_storage_options o = {
		.inflate = !is_server,
		.deflate = !is_server && cs->zlib.compress,
	};
	struct storage *inner = NULL;
	int rc = open_one(c, cs->zlib.base, gc, &inner, e);

	if (rc == OK)
		rc = zlib_storage_open(inner, &o, ret, e);
	if (rc != OK)
		close_one(inner);
	return rc;
}

/* A FileStorage keeps its blobs by itself, also behind compression: it knows what undo and pack do to them. */
static int open_with_blobs(const struct server_config *c, const struct config_storage *base,
	const char *blob_dir, bool gc, struct storage **ret, struct err *e)
{
	struct config_storage file = *base;
	struct config_storage zlib = *base;

	if (base->kind == CONFIG_FILESTORAGE) {
		file.filestorage.blob_dir = blob_dir;
		return open_one(c, &file, gc, ret, e);
	}
	file = *base->zlib.base;
	file.filestorage.blob_dir = blob_dir;
	zlib.zlib.base = &file;
	return open_one(c, &zlib, gc, ret, e);
}

static int open_around(const struct server_config *c, const struct config_storage *cs, bool gc,
	struct storage **ret, struct err *e)
{
	struct blob_dir_options o = { .path = cs->blob.blob_dir, .log = log_filestorage };
	struct storage *inner = NULL;
	struct blob_dir *dir = NULL;
	int rc = open_one(c, cs->blob.base, gc, &inner, e);

	if (rc == OK && inner->blobs)
		rc = err_set(e, ERR_INVAL,
			"%s:%d: the storage in <blobstorage> has blobs of its own", cs->file,
			cs->line);
	if (rc == OK)
		rc = blob_dir_open(&o, &dir, e);
	if (rc == OK)
		rc = blob_storage_open(inner, dir, ret, e);
	if (rc != OK) {
		blob_dir_close(dir);
		close_one(inner);
	}
	return rc;
}

static int open_blobstorage(const struct server_config *c, const struct config_storage *cs, bool gc,
	struct storage **ret, struct err *e)
{
	const struct config_storage *at = cs->blob.base;

	if (at->kind == CONFIG_ZLIBSTORAGE || at->kind == CONFIG_SERVERZLIBSTORAGE)
		at = at->zlib.base;
	if (at->kind == CONFIG_FILESTORAGE && !at->filestorage.blob_dir)
		return open_with_blobs(c, cs->blob.base, cs->blob.blob_dir, gc, ret, e);
	return open_around(c, cs, gc, ret, e);
}

/* @gc: may a pack remove what nothing in the storage itself refers to? */
static int open_one(const struct server_config *c, const struct config_storage *cs, bool gc,
	struct storage **ret, struct err *e)
{
	switch (cs->kind) {
	case CONFIG_FILESTORAGE:
		return open_filestorage(c, cs, gc, ret, e);
	case CONFIG_MAPPINGSTORAGE:
		return open_mapping(c, cs->mapping.name, gc, ret, e);
	case CONFIG_BLOBSTORAGE:
		return open_blobstorage(c, cs, gc, ret, e);
	case CONFIG_DEMOSTORAGE:
		return open_demo(c, cs, ret, e);
	case CONFIG_ZLIBSTORAGE:
	case CONFIG_SERVERZLIBSTORAGE:
		return open_zlib(c, cs, gc, ret, e);
	case CONFIG_ZEOCLIENT:
	case CONFIG_ZKZEOCLIENT:
		return client_storage_open(c, cs, ret, e);
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
		rc = open_one(c, &c->storages[i], true, &s.list[i], e);
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
