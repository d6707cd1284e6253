/* Run a fuzz target over files, or all files of folders: the corpora are replayed in every test run.
 * Each file is given whole and cut off at every length. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "fuzz.h"

enum { CUT_MAX = 512 }; /* longer files are cut off at these lengths only */

/* In memory of its own, so that a sanitizer sees a read behind it. */
static int run_bytes(const uint8_t *data, size_t n)
{
	uint8_t *copy = mem_alloc(n);

	if (!copy)
		return -1;
	if (n)
		memcpy(copy, data, n);
	LLVMFuzzerTestOneInput(copy, n);
	mem_free(copy);
	return 0;
}

static int read_file(const char *path, struct buf *ret)
{
	FILE *f = fopen(path, "rb");
	size_t n;

	if (!f)
		return -1;
	do {
		uint8_t *p = buf_reserve(ret, 4096);

		n = p ? fread(p, 1, 4096, f) : 0;
		buf_advance(ret, n);
	} while (n);
	return fclose(f) == 0 && buf_ok(ret) ? 0 : -1;
}

static int run_file(const char *path)
{
	struct buf b = BUF_INIT(0);
	int rc = read_file(path, &b);

	if (rc)
		perror(path);
	for (size_t n = 0; rc == 0 && n < b.len && n < CUT_MAX; n++)
		rc = run_bytes(b.data, n);
	if (rc == 0)
		rc = run_bytes(b.data, b.len);
	buf_free(&b);
	return rc;
}

static int run_folder(DIR *folder, const char *path, unsigned *files)
{
	const struct dirent *entry;
	char name[1024];
	int rc = 0;

	while (rc == 0 && (entry = readdir(folder))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		rc = run_file(name);
		++*files;
	}
	return rc;
}

static int run_path(const char *path, unsigned *files)
{
	DIR *folder = opendir(path);
	int rc;

	if (!folder) {
		++*files;
		return run_file(path);
	}
	rc = run_folder(folder, path, files);
	closedir(folder);
	return rc;
}

int main(int argc, char **argv)
{
	unsigned files = 0;

	for (int i = 1; i < argc; i++)
		if (run_path(argv[i], &files))
			return 1;
	printf("%u files\n", files);
	return files ? 0 : 1;
}
