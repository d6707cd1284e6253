/* Compiler attributes used by every layer. */
#ifndef BASE_COMPILER_H
#define BASE_COMPILER_H

#define MUST_CHECK    __attribute__((warn_unused_result))
#define PRINTF(f, a)  __attribute__((format(printf, f, a)))
#define NORETURN      __attribute__((noreturn))
#define ALWAYS_INLINE __attribute__((always_inline)) inline

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/** The structure of @type whose field @field is at @ptr. */
#define CONTAINER_OF(ptr, type, field) ((type *)((char *)(ptr)-offsetof(type, field)))

#endif
