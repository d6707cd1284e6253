#include "base/disk.h"

#include <stdatomic.h>

#include "base/mem.h"
#include "base/os.h"

struct real_file {
	struct disk_file base;
	int fd;
	atomic_bool no_nowait; /* its file system cannot; found by the first read */
};

static int fd_of(struct disk_file *f)
{
	return CONTAINER_OF(f, struct real_file, base)->fd;
}

static int real_pread(struct disk_file *f, void *p, size_t n, uint64_t off, bool may_block,
	size_t *ret_n, struct err *e)
{
	struct real_file *r = CONTAINER_OF(f, struct real_file, base);
	int rc;

	if (may_block || atomic_load_explicit(&r->no_nowait, memory_order_relaxed))
		return os_pread(r->fd, p, n, off, ret_n, e);
	rc = os_pread_nowait(r->fd, p, n, off, ret_n, e);
	if (rc != ERR_UNSUPPORTED)
		return rc;
	atomic_store_explicit(&r->no_nowait, true, memory_order_relaxed);
	return os_pread(r->fd, p, n, off, ret_n, e); /* and may wait */
}

static int real_pwrite(struct disk_file *f, const void *p, size_t n, uint64_t off, struct err *e)
{
	return os_pwrite(fd_of(f), p, n, off, e);
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
	os_close(fd_of(f));
	mem_free(CONTAINER_OF(f, struct real_file, base));
}

static const struct disk_ops real_ops = {
	.pread = real_pread,
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
	int rc;

	if (!f)
		return err_set(e, ERR_NOMEM, "no memory to open '%s'", path);
	f->base.ops = &real_ops;
	rc = os_open(path, flags, &f->fd, e);
	if (rc != OK) {
		mem_free(f);
		return rc;
	}
	*ret = &f->base;
	return OK;
}
