/* Floats as text, with a point whatever language the program speaks: setlocale() changes what the C library's functions read
 * and write. Threads: any. */
#ifndef BASE_DECIMAL_H
#define BASE_DECIMAL_H

#include <stddef.h>

/** As strtod(). */
double decimal_parse(const char *text, char **ret_end);
/** As snprintf() with "%.*g", "%.*e" or "%.*f", as @kind says. */
void decimal_print(char *out, size_t room, char kind, int precision, double v);

#endif
