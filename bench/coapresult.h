/*
 * What the load generator counted, and how it is told: one JSON object.
 */
#ifndef COAPRESULT_H
#define COAPRESULT_H

#include "coapoptions.h"

#include <sys/resource.h>

static struct {
    uint64_t sent, done, lost, truncated, octets, codes[256], start_ns, last_ns;
    uint32_t *latencies_us;
    size_t latency_space;
} result;

static void count_answer(const struct answer *answer, size_t size, uint64_t latency_ns)
{
    if (result.done == result.latency_space) {
        result.latency_space = result.latency_space ? 2 * result.latency_space : 1 << 16;
        result.latencies_us = realloc(result.latencies_us, result.latency_space * sizeof *result.latencies_us);
    }
    result.latencies_us[result.done++] = (uint32_t)(latency_ns / 1000);
    result.octets += size;
    result.codes[answer->code]++;
    result.truncated += (uint64_t)answer->more;
    if (options.locations && answer->code == CREATED)
        fprintf(options.locations, "%.*s\n", (int)answer->location_size, answer->location);
}

/* CPU seconds of the servers with all their threads, from /proc/PID/stat. */
static double servers_cpu(void)
{
    unsigned long total = 0;
    for (int i = 0; i < options.server_count; i++) {
        char name[64], line[2048] = {0};
        snprintf(name, sizeof name, "/proc/%d/stat", options.servers[i]);
        FILE *file = fopen(name, "r");
        unsigned long user = 0, system = 0;
        char *fields = file && fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
        if (fields && sscanf(fields + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) == 2)
            total += user + system;
        if (file)
            fclose(file);
    }
    return (double)total / (double)sysconf(_SC_CLK_TCK);
}

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void print_result(double server_cpu)
{
    struct rusage own;
    getrusage(RUSAGE_SELF, &own);
    double wall = (double)(result.last_ns - result.start_ns) / 1e9, done = result.done ? (double)result.done : 1;
    double own_cpu = (double)(own.ru_utime.tv_sec + own.ru_stime.tv_sec)
                   + (double)(own.ru_utime.tv_usec + own.ru_stime.tv_usec) / 1e6;
    uint32_t none = 0, *latencies = result.done ? result.latencies_us : &none;
    size_t last = result.done ? (size_t)result.done - 1 : 0;
    qsort(latencies, last + 1, sizeof *latencies, compare);
    printf("{\"sent\": %lu, \"done\": %lu, \"lost\": %lu, \"truncated\": %lu, \"wall_s\": %.6f, \"rate\": %.1f,"
           " \"p50_us\": %u, \"p99_us\": %u, \"max_us\": %u, \"server_us\": %.2f, \"server_share\": %.3f,"
           " \"generator_share\": %.3f, \"octets\": %.1f, \"codes\": {",
           result.sent, result.done, result.lost, result.truncated, wall, wall > 0 ? (double)result.done / wall : 0,
           latencies[last / 2], latencies[last * 99 / 100], latencies[last], server_cpu * 1e6 / done,
           wall > 0 ? server_cpu / wall : 0, wall > 0 ? own_cpu / wall : 0, (double)result.octets / done);
    const char *comma = "";
    for (int code = 0; code < 256; code++) {
        if (!result.codes[code])
            continue;
        printf("%s\"%d.%02d\": %lu", comma, code >> 5, code & 31, result.codes[code]);
        comma = ", ";
    }
    printf("}}\n");
}

#endif
