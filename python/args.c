#include "args.h"

static int find(const struct signature *s, PyObject *name)
{
	for (int i = 0; s->names[i]; i++)
		if (PyUnicode_CompareWithASCIIString(name, s->names[i]) == 0)
			return i;
	return -1;
}

static int take_keywords(const struct signature *s, PyObject *const *values, Py_ssize_t n_before,
	PyObject *keywords, PyObject **out, unsigned *given)
{
	for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(keywords); i++) {
		PyObject *name = PyTuple_GET_ITEM(keywords, i);
		int at = find(s, name);
		if (at < 0) {
			PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument %R",
				s->method, name);
			return -1;
		}
		if (at < n_before) {
			PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument %R",
				s->method, name);
			return -1;
		}
		out[at] = values[i];
		*given |= 1U << at;
	}
	return 0;
}

int args_of(const struct signature *s, PyObject *const *args, Py_ssize_t n, PyObject *keywords,
	PyObject **out)
{
	unsigned given = 0;
	int max = 0;
	while (s->names[max])
		max++;
	if (n > max) {
		PyErr_Format(PyExc_TypeError, "%s() takes at most %d arguments, not %zd", s->method,
			max, n);
		return -1;
	}
	for (Py_ssize_t i = 0; i < n; i++) {
		out[i] = args[i];
		given |= 1U << i;
	}
	if (keywords && take_keywords(s, args + n, n, keywords, out, &given))
		return -1;
	for (int i = 0; i < s->required; i++) {
		if (!(given & 1U << i)) {
			PyErr_Format(PyExc_TypeError, "%s() misses the argument '%s'", s->method,
				s->names[i]);
			return -1;
		}
	}
	return 0;
}
