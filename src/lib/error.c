#include "base/mem.h"
#include "lib/api.h"
#include "version.h"

const char *zkzeo_code_name(int code)
{
	return err_name(code);
}

const char *zkzeo_version(void)
{
	return ZKZEO_VERSION;
}

void zkzeo_free(void *p)
{
	mem_free(p);
}

int api_take(struct buf *b, uint8_t **ret, size_t *ret_len, struct err *e)
{
	buf_put_u8(b, 0); /* a text ends */
	if (!buf_ok(b)) {
		buf_free(b);
		return err_set(e, ERR_NOMEM, "no memory for a result");
	}
	*ret = b->data;
	*ret_len = b->len - 1;
	*b = (struct buf)BUF_INIT(0);
	return OK;
}

int api_class(const char *dotted, char **ret, struct err *e)
{
	char *class;

	if (!dotted || !strrchr(dotted, '.'))
		return err_set(e, ERR_INVAL, "'%.100s' is no class: MODULE.NAME was expected",
			dotted ? dotted : "");
	class = object_class(dotted);
	if (!class)
		return err_set(e, ERR_NOMEM, "no memory for a class");
	if (!value_is_class(slice_str(class))) {
		mem_free(class);
		return err_set(e, ERR_INVAL,
			"'%.100s' is no class: a module and a name in one line were expected",
			dotted);
	}
	*ret = class;
	return OK;
}
