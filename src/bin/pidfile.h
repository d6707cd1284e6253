/* The file with the server's process id, as runzeo writes it. */
#ifndef BIN_PIDFILE_H
#define BIN_PIDFILE_H

#include "base/err.h"

/** What runzeo takes when none is configured: $INSTANCE_HOME/var/ZEO.pid, or NULL. @room of at
 * least PATH_MAX. */
const char *pidfile_default(char *room);
/** Replace @path by a new file with our id. */
int pidfile_write(const char *path, struct err *e);
/** Remove it when it still has our id. */
void pidfile_remove(const char *path);

#endif
