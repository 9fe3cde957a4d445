/* A library whose tasker_init does what does not mix with a multithreaded runtime: it forks, starts a thread and takes
 * signals over. With HOSTILE_CHILD_RETURNS the forked child goes on as if it were the worker. It dies with the worker,
 * unless the environment has HOSTILE_CHILD_SURVIVES: then it keeps what it inherited, the link too, until it is killed. */
#define _GNU_SOURCE
#include "tasker_native.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static atomic_ulong rounds;
static pid_t forked;

static void end(int number) {
    (void)number;
    static const char words[] = "a handler of the library ran\n";
    if (write(STDERR_FILENO, words, sizeof words - 1) < 0) {
        _exit(98);
    }
    _exit(99);
}

static void *go_round(void *unused) {
    struct timespec pause = {0, 1000000};
    for (;;) {
        atomic_fetch_add(&rounds, 1);
        nanosleep(&pause, NULL);
    }
    return unused;
}

uint32_t tasker_abi_version(void) { return TASKER_ABI_VERSION; }

int tasker_init(const char *configuration, size_t length) {
    (void)configuration, (void)length;
    pthread_t thread;
    struct sigaction action = {.sa_handler = end};
    const int signals[] = {SIGTERM, SIGINT, SIGCHLD, SIGPIPE};
    forked = fork();
    if (forked == 0) {
#ifdef HOSTILE_CHILD_RETURNS
        return 0;
#else
        if (getenv("HOSTILE_CHILD_SURVIVES") == NULL) {
            prctl(PR_SET_PDEATHSIG, SIGKILL); /* so that the test leaves nothing behind */
        } else {
            alarm(600); /* the same, should the test not come to its end */
        }
        for (;;) {
            pause();
        }
#endif
    }
    for (size_t each = 0; each < sizeof signals / sizeof *signals; each++) {
        if (sigaction(signals[each], &action, NULL) != 0) {
            return 2;
        }
    }
    return forked < 0 || pthread_create(&thread, NULL, go_round, NULL) != 0;
}

void tasker_free(char *data, size_t length) { (void)length; free(data); }

int tell_rounds(const char *context, size_t length, tasker_result *result) {
    (void)context, (void)length;
    result->data = malloc(96);
    result->length = (size_t)snprintf(result->data, 96, "{\"rounds\": %lu, \"forked\": %ld, \"pid\": %ld}",
                                      atomic_load(&rounds), (long)forked, (long)getpid());
    return TASKER_OK;
}
