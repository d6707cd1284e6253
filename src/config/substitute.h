/* ZConfig's substitution: $name and ${name} from %define, $(NAME) from the environment. */
#ifndef CONFIG_SUBSTITUTE_H
#define CONFIG_SUBSTITUTE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/compiler.h"
#include "base/err.h"

enum { SUBSTITUTE_MAX = 64 * 1024 }; /* bytes of a value after substitution */

struct substitute_define {
	struct substitute_define *next;
	const char *name; /* lower case */
	const char *value;
};

/** True when @name may be defined: a letter or '_', then letters, digits and '_'. */
bool substitute_is_name(const char *name);

/** The value of @name (lower case), or NULL. */
const char *substitute_find(const struct substitute_define *defines, const char *name);

/**
 * Replace every reference in @text; "$$" becomes "$". Values are not looked at again.
 * @ret  in @mem, or @text itself when it has no '$'
 * Returns 0, ERR_INVAL (with a text without a place) or ERR_NOMEM.
 */
MUST_CHECK int substitute(const char *text, const struct substitute_define *defines,
	struct arena *mem, const char **ret, struct err *e);

#endif
