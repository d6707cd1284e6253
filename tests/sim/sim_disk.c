#include "sim_disk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"

enum { DISK_MAX = 6 << 20 };

/* splitmix64 */
uint64_t sim_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

bool sim_once_in(uint64_t *state, unsigned n)
{
	return n && sim_random(state) % n == 0;
}

static struct sim_disk *disk_of(struct disk_file *f)
{
	return CONTAINER_OF(f, struct sim_disk, file);
}

static int sim_pread(struct disk_file *f, void *p, size_t n, uint64_t off, bool may_block,
	size_t *ret_n, struct err *e)
{
	struct sim_disk *d = disk_of(f);

	(void)e;
	if (!may_block && sim_once_in(d->random, d->cold))
		return ERR_AGAIN;
	*ret_n = off >= d->now_len ? 0 : d->now_len - off < n ? d->now_len - off : n;
	memcpy(p, d->now + off, *ret_n);
	return OK;
}

static int put(struct sim_disk *d, const void *p, size_t n, uint64_t off, struct err *e)
{
	if (off + n > DISK_MAX)
		return err_sys(e, ENOSPC, "simulated disk");
	if (off > d->now_len)
		memset(d->now + d->now_len, 0, off - d->now_len);
	memcpy(d->now + off, p, n);
	if (off + n > d->now_len)
		d->now_len = off + n;
	return OK;
}

static int sim_pwrite(struct disk_file *f, const void *p, size_t n, uint64_t off, struct err *e)
{
	struct sim_disk *d = disk_of(f);

	if (!sim_once_in(d->random, d->fail_write))
		return put(d, p, n, off, e);
	d->n_writes_failed++;
	if (put(d, p, sim_random(d->random) % (n + 1), off, e) != OK)
		return e->code;
	return err_sys(e, EIO, "simulated write");
}

static void make_durable(struct sim_disk *d, uint64_t from, uint64_t to)
{
	from -= from % SIM_PAGE;
	to += SIM_PAGE - 1;
	to -= to % SIM_PAGE;
	if (to > d->now_len)
		to = d->now_len;
	if (from > d->durable_len)
		memset(d->durable + d->durable_len, 0, from - d->durable_len);
	memcpy(d->durable + from, d->now + from, to - from);
	if (to > d->durable_len)
		d->durable_len = to;
}

static int sim_pwrite_dsync(
	struct disk_file *f, const void *p, size_t n, uint64_t off, struct err *e)
{
	struct sim_disk *d = disk_of(f);
	int rc;

	if (sim_once_in(d->random, d->fail_sync)) {
		d->n_syncs_failed++;
		return err_sys(e, EIO, "simulated write and sync");
	}
	rc = put(d, p, n, off, e);
	if (rc == OK)
		make_durable(d, off, off + n);
	return rc;
}

static int sim_fdatasync(struct disk_file *f, struct err *e)
{
	struct sim_disk *d = disk_of(f);

	if (sim_once_in(d->random, d->fail_sync)) {
		d->n_syncs_failed++;
		return err_sys(e, EIO, "simulated sync");
	}
	memcpy(d->durable, d->now, d->now_len);
	d->durable_len = d->now_len;
	return OK;
}

static int sim_ftruncate(struct disk_file *f, uint64_t size, struct err *e)
{
	struct sim_disk *d = disk_of(f);

	(void)e;
	if (size > d->now_len)
		memset(d->now + d->now_len, 0, size - d->now_len);
	d->now_len = size;
	return OK;
}

static int sim_reserve(struct disk_file *f, uint64_t off, uint64_t n, struct err *e)
{
	(void)f;
	return off + n > DISK_MAX ? err_sys(e, ENOSPC, "simulated disk") : OK;
}

static int sim_size(struct disk_file *f, uint64_t *ret_size, struct err *e)
{
	(void)e;
	*ret_size = disk_of(f)->now_len;
	return OK;
}

static void sim_close(struct disk_file *f)
{
	(void)f; /* the disk outlives the file */
}

static const struct disk_ops sim_ops = {
	.pread = sim_pread,
	.pwrite = sim_pwrite,
	.pwrite_dsync = sim_pwrite_dsync,
	.fdatasync = sim_fdatasync,
	.ftruncate = sim_ftruncate,
	.reserve = sim_reserve,
	.size = sim_size,
	.close = sim_close,
};

struct sim_disk *sim_disk_new(uint64_t *random)
{
	struct sim_disk *d = calloc(1, sizeof(*d));

	d->file.ops = &sim_ops;
	d->random = random;
	d->now = calloc(1, DISK_MAX);
	d->durable = calloc(1, DISK_MAX);
	return d;
}

void sim_disk_free(struct sim_disk *d)
{
	free(d->now);
	free(d->durable);
	free(d);
}

struct sim_disk *sim_disk_copy(const struct sim_disk *d)
{
	struct sim_disk *copy = sim_disk_new(d->random);

	memcpy(copy->now, d->now, d->now_len);
	memcpy(copy->durable, d->durable, d->durable_len);
	copy->now_len = d->now_len;
	copy->durable_len = d->durable_len;
	copy->fail_write = d->fail_write;
	copy->fail_sync = d->fail_sync;
	copy->cold = d->cold;
	return copy;
}

void sim_disk_crash(struct sim_disk *d)
{
	size_t low = d->now_len < d->durable_len ? d->now_len : d->durable_len;
	size_t high = d->now_len < d->durable_len ? d->durable_len : d->now_len;
	size_t len = low + (high > low ? sim_random(d->random) % (high - low + 1) : 0);

	if (d->durable_len < high)
		memset(d->durable + d->durable_len, 0, high - d->durable_len);
	if (d->now_len < high)
		memset(d->now + d->now_len, 0, high - d->now_len);
	for (size_t at = 0; at < len; at += SIM_PAGE) {
		size_t n = len - at < SIM_PAGE ? len - at : SIM_PAGE;

		if (sim_once_in(d->random, 2))
			memcpy(d->now + at, d->durable + at, n);
	}
	memcpy(d->durable, d->now, len);
	d->now_len = d->durable_len = len;
}
