/* Blobs that the server sends: who waits for one has its file open, the thread that reads the connection writes to it. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/bigendian.h"
#include "base/log.h"
#include "base/os.h"
#include "client/blobs_core.h"
#include "client/state.h"

static void enter(struct blobs *b, struct download *d)
{
	pthread_mutex_lock(&b->lock);
	d->next = b->downloads;
	b->downloads = d;
	pthread_mutex_unlock(&b->lock);
}

/* Nobody writes to it any more. */
static void leave(struct blobs *b, struct download *d)
{
	struct download **p = &b->downloads;

	pthread_mutex_lock(&b->lock);
	while (d->busy)
		pthread_cond_wait(&b->changed, &b->lock);
	while (*p != d)
		p = &(*p)->next;
	*p = d->next;
	pthread_mutex_unlock(&b->lock);
}

static struct val id_of(uint8_t room[8], uint64_t id)
{
	put_be64(room, id);
	return (struct val){ .type = VAL_BYTES, .s = { room, 8 } };
}

static int ask(struct blobs *b, struct download *d, struct err *e)
{
	struct call k = { 0 };
	uint8_t ids[2][8];
	struct val args[2] = { id_of(ids[0], d->oid), id_of(ids[1], d->serial) };
	int rc = client_call(b->client, &k, "sendBlob", args, 2, 0, e);

	call_end(&k);
	return rc;
}

/* What is whole gets its name when it is on the disk, and cannot be written any more: B1. */
static int publish(const struct download *d, const char *from, const char *to, struct err *e)
{
	int rc = os_fdatasync(d->fd, e);

	if (rc == OK)
		rc = os_fchmod(d->fd, 0400, e);
	return rc == OK ? os_rename(from, to, e) : rc;
}

int blobs_download(struct blobs *b, uint64_t oid, uint64_t serial, const char *path, struct err *e)
{
	struct download d = { .oid = oid, .serial = serial, .fd = -1 };
	char part[PATH_MAX];
	int rc;

	if (snprintf(part, sizeof(part), "%s.dl", path) >= (int)sizeof(part))
		return err_set(e, ERR_LIMIT, "the name of a blob file is too long");
	(void)!os_unlink(part, NULL); /* what somebody could not finish: its folder is ours now */
	rc = os_open(part, O_RDWR | O_CREAT | O_EXCL, &d.fd, e);
	if (rc != OK)
		return rc;
	enter(b, &d);
	rc = ask(b, &d, e);
	leave(b, &d);
	if (rc == OK && d.rc != OK) {
		rc = d.rc;
		if (e)
			*e = d.err;
	}
	if (rc == OK && !d.complete)
		rc = err_set(e, ERR_NOKEY, "No blob file at %s", path);
	if (rc == OK)
		rc = publish(&d, part, path, e);
	if (rc != OK)
		(void)!os_unlink(part, NULL);
	os_close(d.fd);
	if (rc == OK)
		blobs_grown(b, d.size);
	return rc;
}

/* --- on the thread that reads --- */

static struct download *find(struct blobs *b, uint64_t oid, uint64_t serial)
{
	struct download *d = b->downloads;

	while (d && (d->oid != oid || d->serial != serial))
		d = d->next;
	return d;
}

static void take_chunk(struct download *d, struct slice chunk)
{
	if (d->rc != OK)
		return;
	d->rc = os_pwrite(d->fd, chunk.data, chunk.len, d->size, &d->err);
	d->size += chunk.len;
}

static void start(struct download *d)
{
	d->rc = os_ftruncate(d->fd, 0, &d->err);
	d->size = 0;
	d->complete = false;
}

static bool is_id(const struct val *v)
{
	return v->type == VAL_BYTES && v->s.len == 8;
}

void blobs_receive(void *arg, struct slice name, const struct val *args, uint32_t n_args)
{
	struct blobs *b = arg;
	bool chunk = slice_is(name, "receiveBlobChunk");
	struct download *d = NULL;

	if (!chunk && !slice_is(name, "receiveBlobStart") && !slice_is(name, "receiveBlobStop")) {
		blobs_log(b, LOG_ERROR, CLIENT_IO_LOGGER,
			"the server calls '%.*s', which this client does not know", (int)name.len,
			name.data);
		return;
	}
	if (n_args != (chunk ? 3 : 2) || !is_id(&args[0]) || !is_id(&args[1]) ||
		(chunk && args[2].type != VAL_BYTES)) {
		client_drop(b->client, "it sends a blob that is none");
		return;
	}
	pthread_mutex_lock(&b->lock);
	d = find(b, get_be64(args[0].s.data), get_be64(args[1].s.data));
	if (d)
		d->busy = true;
	pthread_mutex_unlock(&b->lock);
	if (!d)
		return; /* who wanted it has given up */
	if (chunk)
		take_chunk(d, args[2].s);
	else if (slice_is(name, "receiveBlobStart"))
		start(d);
	else
		d->complete = true;
	pthread_mutex_lock(&b->lock);
	d->busy = false;
	pthread_cond_broadcast(&b->changed);
	pthread_mutex_unlock(&b->lock);
}
