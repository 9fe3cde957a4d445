/* Step handlers that keep to the interface, and some that break it in every way that can be noticed. */
#define _GNU_SOURCE
#include "tasker_native.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static atomic_long held; /* answers that were not released yet */

#ifndef ANSWERS_ABI_VERSION
#define ANSWERS_ABI_VERSION TASKER_ABI_VERSION
#endif
#ifndef ANSWERS_INIT
#define ANSWERS_INIT 0
#endif

#ifdef ANSWERS_NEEDS
int missing_elsewhere(void);
int use_it(void) { return missing_elsewhere(); }
#endif

static char configured[256];

uint32_t tasker_abi_version(void) { return ANSWERS_ABI_VERSION; }

int tasker_init(const char *configuration, size_t length) {
    snprintf(configured, sizeof configured, "%.*s", (int)length, configuration);
    return ANSWERS_INIT;
}

#ifndef ANSWERS_WITHOUT_FREE
void tasker_free(char *data, size_t length) {
    (void)length;
    atomic_fetch_sub(&held, 1);
    free(data);
}
#endif

static int give(tasker_result *result, int code, const void *data, size_t length) {
    result->data = malloc(length ? length : 1);
    memcpy(result->data, data, length);
    result->length = length;
    atomic_fetch_add(&held, 1);
    return code;
}

static int text(tasker_result *result, int code, const char *json) { return give(result, code, json, strlen(json)); }

#define HANDLER(name) int name(const char *context, size_t length, tasker_result *result)
#define UNUSED (void)context, (void)length, (void)result

HANDLER(echo) { return give(result, TASKER_OK, context, length); }
HANDLER(tell_configuration) { UNUSED; return text(result, TASKER_OK, configured); }
HANDLER(null_value) { UNUSED; return text(result, TASKER_OK, "null"); }
HANDLER(list) { UNUSED; return text(result, TASKER_OK, "[1, 2]"); }
HANDLER(fails) { UNUSED; return text(result, TASKER_FAILED,
    "{\"message\": \"no seat\", \"error_type\": \"full\", \"error_code\": \"F1\", \"retryable\": false,"
    " \"retry_after\": 1.5, \"metadata\": {\"row\": 7}}"); }
HANDLER(fails_briefly) { UNUSED; return text(result, TASKER_FAILED, "{\"message\": \"later\"}"); }
HANDLER(fails_oddly) { UNUSED; return text(result, TASKER_FAILED, "{\"message\": \"x\", \"retriable\": true}"); }
HANDLER(fails_in_a_list) { UNUSED; return text(result, TASKER_FAILED, "[]"); }
HANDLER(no_json) { UNUSED; return text(result, TASKER_OK, "{\"a\": "); }
HANDLER(no_utf8) { UNUSED; return text(result, TASKER_OK, "{\"a\": \"\xff\"}"); }
HANDLER(nothing) { UNUSED; return TASKER_OK; }
HANDLER(empty) { UNUSED; return give(result, TASKER_OK, "", 0); }
HANDLER(other_code) { UNUSED; return text(result, 7, "{}"); }
HANDLER(huge_integer) { UNUSED; return text(result, TASKER_OK, "{\"n\": 18446744073709551616}"); }
HANDLER(nul) { UNUSED; return text(result, TASKER_OK, "{\"a\": \"\\u0000\"}"); }
HANDLER(too_long) { UNUSED; text(result, TASKER_OK, "{}"); result->length = (size_t)TASKER_MAX_RESULT_BYTES + 1; return 0; }

HANDLER(tell_held) {
    char json[64];
    UNUSED;
    snprintf(json, sizeof json, "{\"held\": %ld}", atomic_load(&held));
    return text(result, TASKER_OK, json);
}

HANDLER(crash) {
    volatile int *nowhere = NULL;
    UNUSED;
    *nowhere = 1;
    return TASKER_OK;
}

HANDLER(sleep_in_the_first_attempt) {
    struct timespec minute = {60, 0};
    UNUSED;
    const char first[] = "\"retry_count\":0";
    for (size_t at = 0; at + sizeof first - 1 <= length; at++) {
        if (memcmp(context + at, first, sizeof first - 1) == 0) {
            nanosleep(&minute, NULL);
        }
    }
    return text(result, TASKER_OK, "{}");
}

int refuse_event(const char *event, size_t length) { (void)event; (void)length; return 7; }

int sleep_over_event(const char *event, size_t length) {
    struct timespec minute = {60, 0};
    (void)event; (void)length;
    return nanosleep(&minute, NULL);
}

/* Appends each event as a line to the file that the variable EVENT_FILE names. */
int write_event(const char *event, size_t length) {
    FILE *file = fopen(getenv("EVENT_FILE"), "ab");
    if (file == NULL) {
        return 1;
    }
    fwrite(event, 1, length, file);
    fputc('\n', file);
    return fclose(file);
}
