/* Ctrl-C and SIGTERM. The first cancels what is being generated, so that the text so far and its
 * figures are printed; the second ends the program at once. */
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

static _Atomic(lever_seq *) running;
static atomic_int phase;
static atomic_int n_signals;
static bool json_wanted;

static void put(int fd, const char *s)
{
    /* nothing can be done about a failure here */
    if (write(fd, s, strlen(s)) < 0)
        return;
}

static void on_signal(int sig)
{
    lever_seq *seq = atomic_load(&running);
    const int n = atomic_fetch_add(&n_signals, 1) + 1;

    (void)sig;
    if (n > 1 || atomic_load(&phase) == LV_PHASE_LOAD) {
        if (n == 1 && json_wanted)
            put(STDOUT_FILENO, "{\"error\":{\"message\":\"interrupted while loading\",\"status\":\"cancelled\","
                               "\"exit_code\":130}}\n");
        put(STDERR_FILENO, "\nlever: interrupted\n");
        _exit(LV_EXIT_INTERRUPTED);
    }
    if (seq)
        lever_cancel(seq);
}

void lv_interrupt_init(bool json)
{
    struct sigaction sa;

    json_wanted = json;
    memset(&sa, 0, sizeof sa);
    sa.sa_handler = on_signal;
    sa.sa_flags = SA_RESTART; /* a read or write under way goes on; only the sequence is cancelled */
    sigemptyset(&sa.sa_mask);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
}

void lv_interrupt_phase(enum lv_phase p, lever_seq *seq)
{
    atomic_store(&running, seq);
    atomic_store(&phase, (int)p);
}

bool lv_interrupted(void)
{
    return atomic_load(&n_signals) > 0;
}
