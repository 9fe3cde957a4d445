/*
 * The interface between tasker_actors and native code: step handlers and event handlers in a shared library.
 *
 * A library defines the three functions below that start with tasker_, and as many step handlers and event handlers as
 * it likes, under any other names. It is built as a shared object:
 *
 *     cc -std=c11 -O2 -shared -fPIC -o great_circle.so great_circle.c -lm
 *
 * A template names a step handler as `callable: native:great_circle.so#great_circle`. An event handler is named in the
 * settings, with the patterns of the events that it takes:
 *
 *     [native]
 *     subscribers = [{ library = "count_events.so", symbol = "count_event", patterns = ["flight.*"] }]
 *
 * Texts are UTF-8 and have a length. They do not end with a NUL: never read past the length.
 *
 * Threads. tasker_init is called once in each worker process, before anything else of the library, while the worker
 * has one thread. Step handlers are called from several threads at once, each call in one thread from beginning to end.
 * Event handlers are called by one thread at a time. tasker_free is called by the thread that called the step handler.
 *
 * Memory. What is passed in belongs to the caller, must not be changed, and is gone when the function returns. What a
 * step handler puts into a tasker_result belongs to the library: the caller copies it and gives it back to tasker_free,
 * once for each call that left a pointer there.
 *
 * A library that crashes ends its worker process: the step that was running alone is charged an attempt, others are not,
 * and the worker is started again. A step handler that does not return within the step's time limit fails that attempt,
 * and its worker is replaced; nothing can interrupt native code. An event handler that does not return within
 * event_bus.dispatch_timeout_ms gets no more events until it does.
 *
 * The file can be included by C11 and C++.
 */
#ifndef TASKER_NATIVE_H
#define TASKER_NATIVE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this interface. It changes when a library built for the last one could not be used any more. */
#define TASKER_ABI_VERSION 1

/* What a step handler returns. Any other value fails the step for good, as `invalid_result`. */
#define TASKER_OK 0
#define TASKER_FAILED 1

/* More than this in a tasker_result fails the step for good, as `invalid_result`. */
#define TASKER_MAX_RESULT_BYTES (64u * 1024u * 1024u)

/* What a step handler gives back: `length` bytes of JSON at `data`. Both are 0 when the handler is called. */
typedef struct tasker_result {
    char *data;
    size_t length;
} tasker_result;

/* The type of a step handler.
 *
 * `context` is a JSON object: task_uuid, step_uuid, step_name, namespace, correlation_id, parent_correlation_id (or null),
 * handler_name, input_data (the task's context), dependency_results (by step name), step_config (the template's
 * `initialization`), step_inputs, retry_count (0 in the first attempt), max_retries, deadline (RFC 3339), remaining_ms,
 * traceparent (W3C: of the span that the handler's own spans belong under; or null). Later versions may add keys; it is always valid JSON.
 *
 * Returns TASKER_OK with the step's result: any JSON value, where null counts as an empty object. Or TASKER_FAILED with
 * an object that describes the failure: message (text, the only key that must be there), error_type and error_code
 * (texts), retryable (boolean, true if left out), retry_after (seconds until the next attempt), metadata (an object that
 * becomes part of the failure's events). Unknown keys, text that is no JSON, a NULL: `invalid_result`, for good.
 */
typedef int (*tasker_step_handler)(const char *context, size_t length, tasker_result *result);

/* The type of an event handler. `event` is the JSON object of an event: event_id, event_name, event_version, payload,
 * execution, metadata. Returns 0, or anything else for a delivery that failed, which is counted and not repeated.
 */
typedef int (*tasker_event_handler)(const char *event, size_t length);

/* Returns the TASKER_ABI_VERSION that the library was built with. Called first; may be called before tasker_init. */
uint32_t tasker_abi_version(void);

/* Prepares the library. `configuration` is a JSON object: worker_slot, environment. Returns 0; with any other value the
 * worker does not start. May start threads, fork and open what it likes. The worker puts its own handling of SIGTERM,
 * SIGINT, SIGCHLD and SIGPIPE back afterwards; a forked child must not return from here: one that does is ended.
 */
int tasker_init(const char *configuration, size_t length);

/* Releases what a step handler put into a tasker_result. */
void tasker_free(char *data, size_t length);

#ifdef __cplusplus
}
#endif

#endif
