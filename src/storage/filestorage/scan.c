#include "storage/filestorage/scan.h"

#include "base/check.h"
#include "base/mem.h"

enum {
	SCAN_WINDOW = 1 << 20,
	SCAN_MAX = 256 << 10,
};

int scan_open(struct scan *s, struct disk_file *file, uint64_t size, struct err *e)
{
	*s = (struct scan){ .file = file, .size = size };
	s->window = mem_alloc(SCAN_WINDOW);
	return s->window ? OK : err_set(e, ERR_NOMEM, "no memory to scan the data file");
}

void scan_close(struct scan *s)
{
	mem_free(s->window);
	s->window = NULL;
}

/* Place the window so that [off, off + n) is in it: ahead of it when the scan goes forward, a quarter
 * ahead and the rest behind when it goes back. */
static int fill(struct scan *s, uint64_t off, struct err *e)
{
	uint64_t start = off;
	uint64_t len = SCAN_WINDOW;
	int rc;

	if (s->len && off < s->start)
		start = off > SCAN_WINDOW - SCAN_MAX ? off - (SCAN_WINDOW - SCAN_MAX) : 0;
	if (len > s->size - start)
		len = s->size - start;
	s->len = 0;
	rc = s->file->ops->pread(s->file, s->window, len, start, true, &s->len, e);
	if (rc != OK)
		s->len = 0;
	s->start = start;
	return rc;
}

int scan_get(struct scan *s, uint64_t off, size_t n, const uint8_t **ret, struct err *e)
{
	int rc = OK;

	CHECK(n <= SCAN_MAX);
	if (off > s->size || n > s->size - off)
		return err_set(e, ERR_FORMAT,
			"the file ends at %llu, %zu bytes at %llu were expected",
			(unsigned long long)s->size, n, (unsigned long long)off);
	if (off < s->start || off + n > s->start + s->len)
		rc = fill(s, off, e);
	if (rc == OK && (off < s->start || off + n > s->start + s->len))
		rc = err_set(e, ERR_IO, "a read at %llu came back short", (unsigned long long)off);
	if (rc == OK)
		*ret = s->window + (off - s->start);
	return rc;
}
