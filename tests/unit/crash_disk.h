/* A data file in memory that can lose power: any subset of the pages written since the last sync is then
 * back at its last synced content. Calls can be made to fail. */
#ifndef TESTS_CRASH_DISK_H
#define TESTS_CRASH_DISK_H

#include <stdlib.h>
#include <string.h>

#include "base/disk.h"

enum {
	CRASH_PAGE = 512,
	CRASH_MAX = 4 << 20,
};

struct crash_disk {
	struct disk_file base;
	uint8_t *now;
	uint8_t *synced;
	uint64_t size;
	uint64_t synced_size;
	/* counted */
	int n_syncs;
	int n_dsyncs;
	int n_writes;
	int n_reserves;
	void (*on_write)(void *ctx);
	void *on_write_ctx;
	void (*on_sync)(void *ctx);
	void *on_sync_ctx;
	void (*on_reserve)(void *ctx);
	void *on_reserve_ctx;
	/* to fail: how many calls until then, -1 never */
	int fail_write;
	int fail_sync;
	int fail_dsync;
	int fail_truncate;
	int fail_code;
	int life; /* calls that change something until the power goes; -1: it stays */
};

static inline struct crash_disk *crash_of(struct disk_file *f)
{
	return CONTAINER_OF(f, struct crash_disk, base);
}

static inline int crash_fails(struct crash_disk *d, int *count, struct err *e)
{
	if (d->life == 0)
		return err_set(e, ERR_IO, "no power");
	if (d->life > 0)
		d->life--;
	if (*count < 0 || (*count)-- > 0)
		return OK;
	return err_set(e, d->fail_code, "made to fail");
}

static inline int crash_pread(struct disk_file *f, void *p, size_t n, uint64_t off, bool may_block,
	size_t *ret_n, struct err *e)
{
	struct crash_disk *d = crash_of(f);

	*ret_n = off >= d->size ? 0 : n < d->size - off ? n : (size_t)(d->size - off);
	memcpy(p, d->now + off, *ret_n);
	return OK;
}

static inline void crash_put(struct crash_disk *d, const void *p, size_t n, uint64_t off)
{
	memcpy(d->now + off, p, n);
	if (off + n > d->size)
		d->size = off + n;
}

static inline int crash_pwrite(
	struct disk_file *f, const void *p, size_t n, uint64_t off, struct err *e)
{
	struct crash_disk *d = crash_of(f);
	int rc = crash_fails(d, &d->fail_write, e);

	d->n_writes++;
	if (d->on_write)
		d->on_write(d->on_write_ctx);
	if (d->life != 0 || rc == OK)
		crash_put(d, p, rc == OK ? n : n / 2, off); /* a failure may come in the middle */
	return rc;
}

static inline int crash_pwrite_dsync(
	struct disk_file *f, const void *p, size_t n, uint64_t off, struct err *e)
{
	struct crash_disk *d = crash_of(f);
	int rc = crash_fails(d, &d->fail_dsync, e);

	d->n_dsyncs++;
	if (d->life != 0 || rc == OK)
		crash_put(d, p, n, off);
	if (rc == OK)
		memcpy(d->synced + off, p, n);
	return rc;
}

static inline int crash_fdatasync(struct disk_file *f, struct err *e)
{
	struct crash_disk *d = crash_of(f);
	int rc = crash_fails(d, &d->fail_sync, e);

	d->n_syncs++;
	if (d->on_sync)
		d->on_sync(d->on_sync_ctx);
	if (rc == OK) {
		memcpy(d->synced, d->now, CRASH_MAX);
		d->synced_size = d->size;
	}
	return rc;
}

static inline int crash_ftruncate(struct disk_file *f, uint64_t size, struct err *e)
{
	struct crash_disk *d = crash_of(f);
	int rc = crash_fails(d, &d->fail_truncate, e);

	if (rc == OK) {
		memset(d->now + size, 0, CRASH_MAX - size);
		d->size = size;
	}
	return rc;
}

static inline int crash_reserve(struct disk_file *f, uint64_t off, uint64_t n, struct err *e)
{
	struct crash_disk *d = crash_of(f);

	d->n_reserves++;
	if (d->on_reserve)
		d->on_reserve(d->on_reserve_ctx);
	return OK;
}

static inline int crash_size(struct disk_file *f, uint64_t *ret_size, struct err *e)
{
	*ret_size = crash_of(f)->size;
	return OK;
}

static inline void crash_close(struct disk_file *f)
{
	struct crash_disk *d = crash_of(f);

	free(d->now);
	free(d->synced);
	free(d);
}

static const struct disk_ops crash_ops = {
	.pread = crash_pread,
	.pwrite = crash_pwrite,
	.pwrite_dsync = crash_pwrite_dsync,
	.fdatasync = crash_fdatasync,
	.ftruncate = crash_ftruncate,
	.reserve = crash_reserve,
	.size = crash_size,
	.close = crash_close,
};

static inline struct crash_disk *crash_disk_new(void)
{
	struct crash_disk *d = calloc(1, sizeof(*d));

	d->base.ops = &crash_ops;
	d->now = calloc(1, CRASH_MAX);
	d->synced = calloc(1, CRASH_MAX);
	d->fail_write = d->fail_sync = d->fail_dsync = d->fail_truncate = -1;
	d->fail_code = ERR_IO;
	d->life = -1;
	return d;
}

/* The power is back. */
static inline void crash_disk_crash(struct crash_disk *d, unsigned *seed)
{
	uint64_t size = d->synced_size;

	d->life = -1;
	for (uint64_t off = 0; off < d->size; off += CRASH_PAGE) {
		uint64_t end = off + CRASH_PAGE < d->size ? off + CRASH_PAGE : d->size;

		if (rand_r(seed) % 2)
			memcpy(d->now + off, d->synced + off, CRASH_PAGE);
		else if (end > size)
			size = end;
	}
	if (d->size > size)
		memset(d->now + size, 0, d->size - size);
	d->size = size;
	memcpy(d->synced, d->now, CRASH_MAX);
	d->synced_size = size;
}

#endif
