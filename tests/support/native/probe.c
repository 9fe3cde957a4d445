/* A library that lets Python code look at the process while tasker_init runs: the file named by PROBE_FILE is executed. */
#define _GNU_SOURCE
#include "tasker_native.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

uint32_t tasker_abi_version(void) { return TASKER_ABI_VERSION; }

/* The interpreter is in this process, so its C API needs no header: three functions of the stable ABI do. */
int tasker_init(const char *configuration, size_t length) {
    (void)configuration, (void)length;
    int (*ensure)(void) = (int (*)(void))dlsym(RTLD_DEFAULT, "PyGILState_Ensure");
    void (*release)(int) = (void (*)(int))dlsym(RTLD_DEFAULT, "PyGILState_Release");
    int (*run)(const char *, void *) = (int (*)(const char *, void *))dlsym(RTLD_DEFAULT, "PyRun_SimpleStringFlags");
    static char code[65536];
    FILE *file = fopen(getenv("PROBE_FILE"), "rb");
    if (ensure == NULL || release == NULL || run == NULL || file == NULL) {
        return 1;
    }
    code[fread(code, 1, sizeof code - 1, file)] = '\0';
    fclose(file);
    int state = ensure();
    int failed = run(code, NULL);
    release(state);
    return failed ? 2 : 0;
}

void tasker_free(char *data, size_t length) { (void)length; free(data); }

int do_nothing(const char *context, size_t length, tasker_result *result) {
    (void)context, (void)length;
    result->data = malloc(2);
    result->data[0] = '{', result->data[1] = '}';
    result->length = 2;
    return TASKER_OK;
}
