#include "base/disk.h"

#include <stdatomic.h>

#include "base/file_map.h"
#include "base/mem.h"
#include "base/os.h"

enum { MUCH = 128 << 10 }; /* bytes that take a disk longer to write than to begin with */

struct real_file {
	struct disk_file base;
	int fd;
	struct file_map *map; /* NULL: no memory for one */
	/* Bytes that are known to be in the file: behind its end a mapped page has zeros. */
	atomic_uint_fast64_t size;
	atomic_bool no_nowait; /* its file system cannot; found by the first read */
};

static int fd_of(struct disk_file *f)
{
	return CONTAINER_OF(f, struct real_file, base)->fd;
}

static void raise_size(struct real_file *r, uint64_t to)
{
	uint64_t size = atomic_load_explicit(&r->size, memory_order_relaxed);

	while (size < to && !atomic_compare_exchange_weak(&r->size, &size, to))
		;
}

static int read_file(struct real_file *r, void *p, size_t n, uint64_t off, bool may_block,
	size_t *ret_n, struct err *e)
{
	int rc;

	if (may_block || atomic_load_explicit(&r->no_nowait, memory_order_relaxed))
		return os_pread(r->fd, p, n, off, ret_n, e);
	rc = os_pread_nowait(r->fd, p, n, off, ret_n, e);
	if (rc != ERR_UNSUPPORTED)
		return rc;
	atomic_store_explicit(&r->no_nowait, true, memory_order_relaxed);
	return os_pread(r->fd, p, n, off, ret_n, e); /* and may wait */
}

static bool real_copy(struct disk_file *f, void *p, size_t n, uint64_t off)
{
	struct real_file *r = CONTAINER_OF(f, struct real_file, base);

	return r->map && off + n <= atomic_load_explicit(&r->size, memory_order_relaxed) &&
	       file_map_read(r->map, p, n, off);
}

static void real_prefetch(struct disk_file *f, size_t n, const uint64_t *offs, size_t n_offs)
{
	struct real_file *r = CONTAINER_OF(f, struct real_file, base);

	if (r->map)
		file_map_prefetch(r->map, n, offs, n_offs);
}

/* One call that tells of many pages in place of one that reads from one or two. */
static bool copy_asking(struct real_file *r, void *p, size_t n, uint64_t off)
{
	return r->map && off + n <= atomic_load_explicit(&r->size, memory_order_relaxed) &&
	       file_map_ask(r->map, off) && file_map_read(r->map, p, n, off);
}

static int real_pread(struct disk_file *f, void *p, size_t n, uint64_t off, bool may_block,
	size_t *ret_n, struct err *e)
{
	struct real_file *r = CONTAINER_OF(f, struct real_file, base);
	int rc;

	if (real_copy(f, p, n, off) || copy_asking(r, p, n, off)) {
		*ret_n = n;
		return OK;
	}
	rc = read_file(r, p, n, off, may_block, ret_n, e);
	if (rc == OK && r->map) {
		file_map_seen(r->map, off, *ret_n);
		raise_size(r, off + *ret_n);
	}
	return rc;
}

static int real_pwrite(struct disk_file *f, const void *p, size_t n, uint64_t off, struct err *e)
{
	struct real_file *r = CONTAINER_OF(f, struct real_file, base);
	int rc = os_pwrite(r->fd, p, n, off, e);

	if (rc == OK && r->map) {
		file_map_seen(r->map, off, n);
		raise_size(r, off + n);
	}
	if (rc == OK && n >= MUCH)
		os_begin_sync(r->fd, off, n);
	return rc;
}

static int real_pwrite_dsync(
	struct disk_file *f, const void *p, size_t n, uint64_t off, struct err *e)
{
	return os_pwrite_dsync(fd_of(f), p, n, off, e);
}

static int real_fdatasync(struct disk_file *f, struct err *e)
{
	return os_fdatasync(fd_of(f), e);
}

static int real_ftruncate(struct disk_file *f, uint64_t size, struct err *e)
{
	atomic_store(&CONTAINER_OF(f, struct real_file, base)->size, 0); /* found anew */
	return os_ftruncate(fd_of(f), size, e);
}

static int real_reserve(struct disk_file *f, uint64_t off, uint64_t n, struct err *e)
{
	return os_reserve(fd_of(f), off, n, e);
}

static int real_size(struct disk_file *f, uint64_t *ret_size, struct err *e)
{
	return os_size(fd_of(f), ret_size, e);
}

static void real_close(struct disk_file *f)
{
	file_map_free(CONTAINER_OF(f, struct real_file, base)->map);
	os_close(fd_of(f));
	mem_free(CONTAINER_OF(f, struct real_file, base));
}

static const struct disk_ops real_ops = {
	.pread = real_pread,
	.copy = real_copy,
	.prefetch = real_prefetch,
	.pwrite = real_pwrite,
	.pwrite_dsync = real_pwrite_dsync,
	.fdatasync = real_fdatasync,
	.ftruncate = real_ftruncate,
	.reserve = real_reserve,
	.size = real_size,
	.close = real_close,
};

int disk_open(const char *path, int flags, struct disk_file **ret, struct err *e)
{
	struct real_file *f = mem_zalloc(1, sizeof(*f));
	struct err ignored = ERR_INIT;
	uint64_t size;
	int rc;

	if (!f)
		return err_set(e, ERR_NOMEM, "no memory to open '%s'", path);
	f->base.ops = &real_ops;
	rc = os_open(path, flags, &f->fd, e);
	if (rc != OK) {
		mem_free(f);
		return rc;
	}
	f->map = file_map_new(f->fd);
	if (os_size(f->fd, &size, &ignored) == OK)
		raise_size(f, size);
	*ret = &f->base;
	return OK;
}
