#include "storage/filestorage/scan.h"

#include "base/check.h"
#include "base/mem.h"

enum {
	WINDOW = 1 << 20,
	WINDOW_BACK = 64 << 10,
};

static int open_with(
	struct scan *s, struct disk_file *file, uint64_t size, size_t room, struct err *e)
{
	*s = (struct scan){ .file = file, .size = size, .room = room };
	s->window = mem_alloc(room);
	return s->window ? OK : err_set(e, ERR_NOMEM, "no memory to scan the data file");
}

int scan_open(struct scan *s, struct disk_file *file, uint64_t size, struct err *e)
{
	return open_with(s, file, size, WINDOW, e);
}

int scan_open_back(struct scan *s, struct disk_file *file, uint64_t size, struct err *e)
{
	return open_with(s, file, size, WINDOW_BACK, e);
}

/* What can be asked for at once: a window that is placed to go back has as much ahead. */
static size_t ask_max(const struct scan *s)
{
	return s->room / 4;
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
	uint64_t len = s->room;
	uint64_t behind = s->room - ask_max(s);
	int rc;

	if (s->len && off < s->start)
		start = off > behind ? off - behind : 0;
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

	CHECK(n <= ask_max(s));
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
