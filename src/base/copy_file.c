#include "base/copy_file.h"

#include <fcntl.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/os.h"

enum { COPY_BYTES = 1 << 18 };

static int copy_bytes(int from, int to, struct err *e)
{
	uint8_t *p = mem_alloc(COPY_BYTES);
	uint64_t off = 0;
	size_t n = 1;
	int rc = p ? OK : err_set(e, ERR_NOMEM, "no memory to copy a file");

	while (rc == OK && n) {
		rc = os_pread(from, p, COPY_BYTES, off, &n, e);
		if (rc == OK && n)
			rc = os_pwrite(to, p, n, off, e);
		off += n;
	}
	mem_free(p);
	return rc;
}

int copy_file(const char *from, const char *to, struct err *e)
{
	int in = -1;
	int out = -1;
	int rc = os_open(from, O_RDONLY, &in, e);

	if (rc == OK)
		rc = os_open(to, O_WRONLY | O_CREAT | O_EXCL, &out, e);
	if (rc == OK)
		rc = copy_bytes(in, out, e);
	os_close(in);
	os_close(out);
	if (rc != OK && out >= 0)
		(void)!os_unlink(to, NULL);
	return rc;
}
