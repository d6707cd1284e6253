/* Storages as a configuration names them. */
#ifndef BIN_STORAGES_H
#define BIN_STORAGES_H

#include <stddef.h>

#include "base/err.h"
#include "config/server_config.h"
#include "storage/storage.h"

struct storages {
	struct storage **list;
	const char **ids;
	size_t n;
};

/** Open all, or none. @c must outlive it. */
int storages_open(const struct server_config *c, struct storages *ret, struct err *e);
/** Save what is to be saved and release. */
void storages_close(struct storages *s);

#endif
