/* Any bytes as a saved index: what can be loaded can be saved, and is loaded again the same. */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
#include "fuzz.h"
#include "storage/filestorage/index_file.h"

static void check_again(const struct index *ix, uint64_t pos)
{
	static char path[64];
	struct index *again = NULL;
	struct index_iter *it;
	uint64_t oid, off, again_pos;

	if (!path[0])
		snprintf(path, sizeof(path), "/tmp/zkzeo-fuzz-%ld.index", (long)getpid());
	if (index_file_save(path, ix, pos, NULL) != OK)
		return; /* a folder that cannot be written */
	CHECK(index_file_load(path, &again, &again_pos, NULL) == OK);
	CHECK(again_pos == pos && index_count(again) == index_count(ix));
	it = index_iter_open(ix);
	CHECK(it);
	while (index_iter_next(it, &oid, &off))
		CHECK(index_get(again, oid) == off);
	index_iter_close(it);
	index_free(again);
	unlink(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	int fd = memfd_create("index", MFD_CLOEXEC);
	struct index *ix = NULL;
	struct err e = ERR_INIT;
	uint64_t pos = 0;
	char path[40];

	CHECK(fd >= 0 && write(fd, data, n) == (ssize_t)n);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (index_file_load(path, &ix, &pos, &e) == OK)
		check_again(ix, pos);
	else
		CHECK(e.code == ERR_FORMAT && e.text[0]);
	index_free(ix);
	close(fd);
	return 0;
}
