/* Blobs of a transaction: taken, sent, and put into the cache when it is finished. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/bigendian.h"
#include "base/copy_file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/os.h"
#include "client/blobs_core.h"
#include "client/state.h"

enum { CHUNK_BYTES = 59000 }; /* as ZEO's */

struct blobs_stored {
	struct blobs_stored *next;
	uint64_t oid;
	char file[];
};

/* --- taking --- */

/* Rename, or copy and remove where that is another file system. */
static int move(const char *from, const char *to, struct err *e)
{
	int rc = os_rename(from, to, e);

	if (rc == OK || rc == ERR_NOENT)
		return rc;
	rc = copy_file(from, to, e);
	if (rc == OK)
		(void)!os_unlink(from, NULL);
	return rc;
}

/* As ZEO's client names them, so that its server takes them, too (storeBlobShared). */
static int temporary_name(
	struct blobs *b, uint64_t oid, uint64_t serial, char *out, size_t room, struct err *e)
{
	int rc = blobs_make_folder(b, oid, out, room, e);
	size_t n = strlen(out);
	uint64_t number;

	if (rc != OK)
		return rc;
	pthread_mutex_lock(&b->lock);
	number = ++b->names;
	pthread_mutex_unlock(&b->lock);
	if (snprintf(out + n, room - n, "/0x%02llx%d-%llx-%llx.tmp-", (unsigned long long)serial,
		    (int)getpid(), (unsigned long long)time(NULL),
		    (unsigned long long)number) >= (int)(room - n))
		rc = err_set(e, ERR_LIMIT, "the name of a blob file is too long");
	return rc;
}

static int take(struct blobs *b, struct blobs_txn *t, uint64_t oid, uint64_t serial,
	const char *path, struct err *e)
{
	char name[PATH_MAX];
	struct blobs_stored *s;
	int rc = temporary_name(b, oid, serial, name, sizeof(name), e);

	if (rc != OK)
		return rc;
	s = mem_alloc(sizeof(*s) + strlen(name) + 1);
	if (!s)
		return err_set(e, ERR_NOMEM, "no memory for a blob");
	rc = move(path, name, e);
	if (rc != OK) {
		mem_free(s);
		return rc;
	}
	*s = (struct blobs_stored){ .oid = oid, .next = t->first };
	strcpy(s->file, name);
	t->first = s;
	return OK;
}

/* --- sending --- */

static struct val id_of(uint8_t room[8], uint64_t id)
{
	put_be64(room, id);
	return (struct val){ .type = VAL_BYTES, .s = { room, 8 } };
}

static int send_chunks(struct client_txn *txn, int fd, struct err *e)
{
	uint8_t *p = mem_alloc(CHUNK_BYTES);
	uint64_t off = 0;
	size_t n = 1;
	int rc = p ? OK : err_set(e, ERR_NOMEM, "no memory to send a blob");

	while (rc == OK && n) {
		rc = os_pread(fd, p, CHUNK_BYTES, off, &n, e);
		if (rc == OK && n) {
			struct val chunk = { .type = VAL_BYTES, .s = { p, n } };

			rc = client_txn_cast(txn, "storeBlobChunk", &chunk, 1, false, e);
		}
		off += n;
	}
	mem_free(p);
	return rc;
}

/* One after the other (T14): a transaction is one thread's at a time. */
static int send_blob(
	struct client_txn *txn, const char *file, const struct val *args, struct err *e)
{
	int fd = -1;
	int rc = os_open(file, O_RDONLY, &fd, e);

	if (rc == OK)
		rc = client_txn_cast(txn, "storeBlobStart", NULL, 0, false, e);
	if (rc == OK)
		rc = send_chunks(txn, fd, e);
	if (rc == OK)
		rc = client_txn_cast(txn, "storeBlobEnd", args, 3, true, e);
	os_close(fd);
	return rc;
}

int blobs_store(struct blobs *b, struct blobs_txn *t, struct client_txn *txn, uint64_t oid,
	uint64_t serial, struct slice data, const char *path, struct err *e)
{
	uint8_t ids[2][8];
	struct val args[4] = { id_of(ids[0], oid), id_of(ids[1], serial),
		{ .type = VAL_BYTES, .s = data }, { .type = VAL_STR } };
	int rc = client_check_fork(b->client, e);

	if (rc == OK)
		rc = take(b, t, oid, serial, path, e);
	if (rc == OK)
		rc = client_txn_store(txn, oid, serial, data, e);
	if (rc != OK)
		return rc;
	args[3].s = slice_str(strrchr(t->first->file, '/') + 1);
	if (b->shared)
		return client_txn_cast(txn, "storeBlobShared", args, 4, true, e);
	return send_blob(txn, t->first->file, args, e);
}

/* --- the end --- */

static struct blobs_stored *pop(struct blobs_txn *t)
{
	struct blobs_stored *s = t->first;

	if (s)
		t->first = s->next;
	return s;
}

void blobs_aborted(struct blobs *b, struct blobs_txn *t)
{
	struct blobs_stored *s;
	bool ours = b->owner == getpid(); /* in a child they are its parent's */

	while ((s = pop(t))) {
		if (ours)
			(void)!os_unlink(s->file, NULL);
		mem_free(s);
	}
}

/* As ZODB's set_not_writable(): who may read the folder may read the file. */
static int seal(const char *file, const char *folder, uint64_t *ret_size, struct err *e)
{
	struct stat st, above;
	int fd = -1;
	int rc = os_open(file, O_RDONLY, &fd, e);

	if (rc == OK && (fstat(fd, &st) != 0 || stat(folder, &above) != 0))
		rc = err_set(e, ERR_IO, "cannot look at '%s'", file);
	if (rc == OK)
		rc = os_fdatasync(fd, e);
	if (rc == OK)
		rc = os_fchmod(fd, (st.st_mode & 0555) | (above.st_mode & 0444), e);
	if (rc == OK)
		*ret_size = (uint64_t)st.st_size;
	os_close(fd);
	return rc;
}

static int keep(struct blobs *b, const struct blobs_stored *s, uint64_t tid, struct err *e)
{
	char path[PATH_MAX], folder[PATH_MAX];
	struct folder_lock l;
	uint64_t size = 0;
	int rc = blobs_path(b, s->oid, tid, path, sizeof(path), e);

	if (rc == OK)
		rc = blobs_make_folder(b, s->oid, folder, sizeof(folder), e);
	if (rc == OK)
		rc = seal(s->file, folder, &size, e);
	if (rc == OK)
		rc = blobs_lock_folder(b, folder, &l, e);
	if (rc != OK)
		return rc;
	rc = os_rename(s->file, path, e);
	blobs_unlock_folder(b, &l);
	if (rc == OK)
		blobs_grown(b, size);
	return rc;
}

void blobs_finished(struct blobs *b, struct blobs_txn *t, uint64_t tid)
{
	struct blobs_stored *s;
	struct err e = ERR_INIT;

	while ((s = pop(t))) {
		if (!b->shared && keep(b, s, tid, &e) != OK) {
			blobs_log(b, LOG_WARNING, CLIENT_LOGGER,
				"a blob that was committed is not in the cache: %s", e.text);
			(void)!os_unlink(s->file, NULL);
		}
		mem_free(s);
	}
}
