#include "monitor/program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"

extern char **environ;

static void set_attributes(posix_spawnattr_t *attr)
{
	sigset_t none, all;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawnattr_init(attr);
	posix_spawnattr_setsigmask(attr, &none);
	posix_spawnattr_setsigdefault(attr, &all);
	posix_spawnattr_setpgroup(attr, 0);
	posix_spawnattr_setflags(
		attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
}

/* Everything above the standard descriptors is closed: those of libraries, too, which do not
 * all set close-on-exec. */
static void set_files(posix_spawn_file_actions_t *files, int output)
{
	posix_spawn_file_actions_init(files);
	posix_spawn_file_actions_addopen(files, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(files, output, 1);
	posix_spawn_file_actions_adddup2(files, output, 2);
	posix_spawn_file_actions_addclosefrom_np(files, 3);
}

static int spawn(char *const *argv, int output, pid_t *ret_pid)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	int errnum;

	set_attributes(&attr);
	set_files(&files, output);
	errnum = posix_spawnp(ret_pid, argv[0], &files, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	return errnum;
}

int program_start(char *const *argv, uint64_t now_us, struct program *ret, struct err *e)
{
	struct program p = { .deadline_us = now_us + PROGRAM_TIMEOUT_US };
	int ends[2];
	int errnum;

	if (pipe2(ends, O_CLOEXEC) != 0)
		return err_sys(e, errno, "cannot run '%s'", argv[0]);
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	errnum = spawn(argv, ends[1], &p.pid);
	os_close(ends[1]);
	if (errnum) {
		os_close(ends[0]);
		return err_sys(e, errnum, "cannot run '%s'", argv[0]);
	}
	p.output = ends[0];
	p.exited = pidfd_open(p.pid, 0);
	*ret = p;
	return OK;
}

/* Returns false at the limit. */
static bool take_output(struct program *p, struct buf *out)
{
	while (p->output >= 0) {
		uint8_t *room = buf_reserve(out, 4096);
		ssize_t n = room ? read(p->output, room, 4096) : -1;

		if (!room || out->len > PROGRAM_OUTPUT_MAX)
			return false;
		if (n > 0) {
			buf_advance(out, (size_t)n);
		} else if (n < 0 && errno == EINTR) {
			continue;
		} else if (n < 0 && errno == EAGAIN) {
			return true;
		} else {
			os_close(p->output);
			p->output = -1;
		}
	}
	return true;
}

bool program_step(struct program *p, struct buf *out, uint64_t now_us)
{
	struct pollfd f = { .fd = p->exited, .events = POLLIN };
	/* asked before the output is read, so that none is missed */
	bool exited = p->exited >= 0 ? poll(&f, 1, 0) == 1 : p->output < 0;

	p->overlong = !take_output(p, out);
	if (!exited && now_us >= p->deadline_us)
		p->overdue = true;
	return exited || p->overdue || p->overlong;
}

void program_end(struct program *p, struct buf *out)
{
	int status = 0;

	/* before it is reaped: its number cannot be another group's yet */
	kill(-p->pid, SIGKILL);
	while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR)
		;
	os_close(p->output);
	os_close(p->exited);
	if (!out)
		return;
	if (p->overdue)
		buf_printf(out, "The program was stopped after %d seconds\n",
			PROGRAM_TIMEOUT_US / 1000000);
	else if (p->overlong)
		buf_printf(out, "\nThe program was stopped: more than %d bytes of output\n",
			PROGRAM_OUTPUT_MAX);
	else if (WIFSIGNALED(status))
		buf_printf(out, "The program was ended by signal %d\n", WTERMSIG(status));
	else if (WEXITSTATUS(status))
		buf_printf(out, "The program ended with status %d\n", WEXITSTATUS(status));
}
