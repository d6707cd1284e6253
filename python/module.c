#include "module.h"

#include "client_commit.h"
#include "errors.h"
#include "finder_type.h"
#include "version.h"
#include "zookeeper_type.h"

static struct PyModuleDef module_def;

struct state *state_of_module(PyObject *module)
{
	return PyModule_GetState(module);
}

struct state *state_of_type(PyTypeObject *type)
{
	PyObject *mro = type->tp_mro;
	for (Py_ssize_t i = 0; mro && i < PyTuple_GET_SIZE(mro); i++) {
		PyTypeObject *t = (PyTypeObject *)PyTuple_GET_ITEM(mro, i);
		if (!PyType_HasFeature(t, Py_TPFLAGS_HEAPTYPE))
			continue;
		PyObject *module = PyType_GetModule(t);
		if (!module)
			PyErr_Clear();
		else if (PyModule_GetDef(module) == &module_def)
			return PyModule_GetState(module);
	}
	PyErr_Format(PyExc_TypeError, "%s is not derived from a type of zc.zkzeo", type->tp_name);
	return NULL;
}

int add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **ret)
{
	PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
	if (!type)
		return -1;
	Py_XSETREF(*ret, (PyTypeObject *)type);
	return PyModule_AddType(module, *ret);
}

static int module_exec(PyObject *module)
{
	struct state *st = PyModule_GetState(module);
	st->name_data = PyUnicode_InternFromString("data");
	st->name_set_data = PyUnicode_InternFromString("set_data");
	if (!st->name_data || !st->name_set_data || errors_load(st) ||
		client_type_add(module, st) || transaction_type_add(module, st) ||
		finder_type_add(module, st) || zookeeper_type_add(module, st))
		return -1;
	st->failed_connect = PyErr_NewExceptionWithDoc(
		"zc.zkzeo.FailedConnect", "ZooKeeper cannot be reached.", PyExc_Exception, NULL);
	if (!st->failed_connect ||
		PyModule_AddObjectRef(module, "FailedConnect", st->failed_connect))
		return -1;
	return PyModule_AddStringConstant(module, "__version__", ZKZEO_VERSION);
}

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
	struct state *st = PyModule_GetState(module);
	Py_VISIT(st->failed_connect);
	Py_VISIT(st->client_type);
	Py_VISIT(st->transaction_type);
	Py_VISIT(st->finder_type);
	Py_VISIT(st->zookeeper_type);
	return errors_traverse(st, visit, arg);
}

static int module_clear(PyObject *module)
{
	struct state *st = PyModule_GetState(module);
	Py_CLEAR(st->failed_connect);
	Py_CLEAR(st->name_data);
	Py_CLEAR(st->name_set_data);
	Py_CLEAR(st->client_type);
	Py_CLEAR(st->transaction_type);
	Py_CLEAR(st->finder_type);
	Py_CLEAR(st->zookeeper_type);
	errors_clear(st);
	return 0;
}

static void module_free(void *module)
{
	if (PyModule_GetState(module))
		module_clear(module);
}

static struct PyModuleDef_Slot module_slots[] = {
	{ Py_mod_exec, module_exec },
#ifdef Py_mod_multiple_interpreters
	{ Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED },
#endif
	{ 0, NULL },
};

static struct PyModuleDef module_def = {
	PyModuleDef_HEAD_INIT,
	.m_name = "_zkzeo",
	.m_doc = PyDoc_STR("ZEO clients and what they know of ZooKeeper, in C."),
	.m_size = sizeof(struct state),
	.m_slots = module_slots,
	.m_traverse = module_traverse,
	.m_clear = module_clear,
	.m_free = module_free,
};

PyMODINIT_FUNC PyInit__zkzeo(void);

PyMODINIT_FUNC PyInit__zkzeo(void)
{
	return PyModuleDef_Init(&module_def);
}
