/*
 * An event handler that counts, and a step handler that tells how far it has come in this worker.
 *
 *     cc -std=c11 -O2 -shared -fPIC -o count_events.so count_events.c
 */
#include "tasker_native.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define ANSWER_BYTES 64

static atomic_ulong counted;

uint32_t tasker_abi_version(void) {
    return TASKER_ABI_VERSION;
}

int tasker_init(const char *configuration, size_t length) {
    (void)configuration;
    (void)length;
    return 0;
}

void tasker_free(char *data, size_t length) {
    (void)length;
    free(data);
}

int count_event(const char *event, size_t length) {
    (void)event;
    (void)length;
    atomic_fetch_add(&counted, 1);
    return 0;
}

int events_counted(const char *context, size_t length, tasker_result *result) {
    (void)context;
    (void)length;
    char *json = malloc(ANSWER_BYTES);
    if (json != NULL) {
        result->data = json;
        result->length = (size_t)snprintf(json, ANSWER_BYTES, "{\"events\": %lu}", atomic_load(&counted));
    }
    return TASKER_OK;
}
