/* What the files of the blob folder share. Nothing of it is for others. */
#ifndef CLIENT_BLOBS_CORE_H
#define CLIENT_BLOBS_CORE_H

#include <limits.h>
#include <pthread.h>
#include <sys/types.h>

#include "client/blobs.h"
#include "storage/blob/blob_dir.h"

enum {
	BLOBS_SHOWN = 256,     /* paths that were given out lately */
	BLOBS_SHOWN_MS = 2000, /* in which the caller opens them */
	BLOBS_FOLDERS = 997,
};

/* A blob that the server sends. */
struct download {
	struct download *next;
	uint64_t oid, serial;
	int fd;
	uint64_t size;
	bool busy; /* a chunk is being written */
	bool complete;
	bool given_up; /* before the answer came */
	int rc;
	struct err err;
};

/* A blob that somebody has given up waiting for, and that the server still sends. */
struct unwanted {
	struct unwanted *next;
	uint64_t oid, serial;
	uint64_t generation; /* of the client */
};

/* A folder that a thread of this process has locked. */
struct held {
	struct held *next;
	const char *folder;
};

struct blobs {
	struct client *client;
	struct client_events events; /* the client's: the cleaner may outlive it */
	const struct clock *clock;
	pid_t owner;
	char *path;
	char *tmp;
	bool shared;
	bool limited;
	uint64_t cache_bytes, check_bytes;
	struct blob_dir *dir; /* of a shared folder */
	pthread_t cleaner;
	bool has_cleaner;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under the lock */
	struct held *held;
	struct download *downloads;
	struct unwanted *unwanted;
	struct {
		uint64_t oid, serial, at_ms;
	} shown[BLOBS_SHOWN];
	unsigned next_shown;
	uint64_t names;  /* given to temporary files */
	uint64_t loaded; /* bytes since the last check */
	bool check_wanted;
	bool closing;
};

uint64_t blobs_now_ms(void);

/** The folder of an object, made where it is missing. */
MUST_CHECK int blobs_make_folder(
	struct blobs *b, uint64_t oid, char *out, size_t room, struct err *e);

struct folder_lock {
	struct held held;
	int fd;
};
/** Lock a folder of objects against other threads and processes. @folder is borrowed until it is unlocked. */
MUST_CHECK int blobs_lock_folder(
	struct blobs *b, const char *folder, struct folder_lock *ret, struct err *e);
void blobs_unlock_folder(struct blobs *b, struct folder_lock *l);

/** Ask the server for a blob, into the file @path; its folder is locked. */
MUST_CHECK int blobs_download(
	struct blobs *b, uint64_t oid, uint64_t serial, const char *path, struct err *e);
void blobs_end_unwanted(struct blobs *b);
/** client_set_push(): what the server sends. */
void blobs_receive(void *arg, struct slice name, const struct val *args, uint32_t n_args);

/** Say something to the client's log. */
void blobs_log(struct blobs *b, int level, const char *logger, const char *fmt, ...) PRINTF(4, 5);
/** The cache has grown. */
void blobs_grown(struct blobs *b, uint64_t bytes);
MUST_CHECK int blobs_start_cleaner(struct blobs *b, struct err *e);
void blobs_stop_cleaner(struct blobs *b);

#endif
