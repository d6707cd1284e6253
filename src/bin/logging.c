#include "bin/logging.h"

#include "base/logfile.h"
#include "base/mem.h"

int logging_open(const struct config_eventlog *c, struct logging *ret, struct err *e)
{
	struct logging l = { 0 };
	int rc = OK;

	if (!c->present) {
		*ret = l;
		return OK;
	}
	log_set_level(c->level);
	if (c->logfiles_n == 0) {
		l.to_nothing = true;
		log_add(&logfile_null);
	}
	l.files = mem_zalloc(c->logfiles_n, sizeof(l.files[0]));
	if (!l.files)
		rc = err_set(e, ERR_NOMEM, "no memory for the log");
	for (size_t i = 0; i < c->logfiles_n && rc == OK; i++) {
		rc = logfile_open(&c->logfiles[i], &l.files[i], e);
		l.n += rc == OK;
	}
	if (rc == OK)
		*ret = l;
	else
		logging_close(&l);
	return rc;
}

void logging_close(struct logging *l)
{
	for (size_t i = 0; i < l->n; i++)
		logfile_close(l->files[i]);
	if (l->to_nothing)
		log_remove(&logfile_null);
	mem_free(l->files);
	*l = (struct logging){ 0 };
}
