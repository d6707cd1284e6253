#include "zookeeper/session_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"

/* "zkzeo session 1 " + 16 digits + " " + 32 digits + newline */
#define HEADER "zkzeo session 1 "
enum { PASSWORD_AT = sizeof(HEADER) - 1 + 16 + 1, FILE_LEN = PASSWORD_AT + 32 + 1 };

static void encode(const struct session_id *id, char out[FILE_LEN + 1])
{
	int n = snprintf(out, FILE_LEN + 1, HEADER "%016" PRIx64 " ", (uint64_t)id->id);

	for (size_t i = 0; i < sizeof(id->password); i++)
		n += snprintf(out + n, (size_t)(FILE_LEN + 1 - n), "%02x", id->password[i]);
	memcpy(out + n, "\n", 2);
}

static int write_new(const char *path, const char *text, struct err *e)
{
	int fd = -1;
	int rc = os_open(path, O_WRONLY | O_CREAT | O_EXCL, &fd, e);

	if (rc)
		return rc;
	/* before the secret is in it */
	if (fchmod(fd, 0600) != 0)
		rc = err_sys(e, errno, "cannot set the mode");
	if (rc == OK)
		rc = os_pwrite(fd, text, strlen(text), 0, e);
	os_close(fd);
	if (rc)
		unlink(path);
	return rc;
}

int session_file_save(const char *path, const struct session_id *id, struct err *e)
{
	char text[FILE_LEN + 1];
	char temporary[PATH_MAX];
	int rc;

	if ((size_t)snprintf(temporary, sizeof(temporary), "%s.new", path) >= sizeof(temporary))
		return err_set(e, ERR_LIMIT, "session file: the path is too long: %.64s...", path);
	encode(id, text);
	unlink(temporary); /* left by a crash */
	rc = write_new(temporary, text, e);
	if (rc == OK)
		rc = os_rename(temporary, path, e);
	if (rc)
		err_wrap(e, "session file '%s'", path);
	return rc;
}

static int parse(const char *text, size_t n, struct session_id *ret)
{
	struct session_id id;
	uint64_t number;

	if (n != FILE_LEN || sscanf(text, HEADER "%16" SCNx64 " ", &number) != 1 || !number)
		return ERR_FORMAT;
	id.id = (int64_t)number;
	for (size_t i = 0; i < sizeof(id.password); i++)
		if (sscanf(text + PASSWORD_AT + 2 * i, "%2hhx", &id.password[i]) != 1)
			return ERR_FORMAT;
	*ret = id;
	return OK;
}

int session_file_load(const char *path, struct session_id *ret, struct err *e)
{
	char text[FILE_LEN + 2];
	size_t n = 0;
	int fd = -1;
	int rc = os_open(path, O_RDONLY, &fd, e);

	if (rc)
		return rc;
	rc = os_pread(fd, text, FILE_LEN + 1, 0, &n, e);
	os_close(fd);
	if (rc)
		return err_wrap(e, "session file '%s'", path);
	text[n] = 0;
	if (parse(text, n, ret))
		return err_set(e, ERR_FORMAT, "'%s' is not a file with a ZooKeeper session", path);
	return OK;
}
