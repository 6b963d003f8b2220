/*
 * What the load generator is told on its command line.
 */
#ifndef COAPOPTIONS_H
#define COAPOPTIONS_H

#include "coapwire.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PARTS_MAX 8
#define SERVERS_MAX 16
#define WINDOW_MAX 256
#define BURST_MAX 65536

static struct {
    const char *host, *body, *paths[PARTS_MAX], *queries[PARTS_MAX];
    int port, connections, window, servers[SERVERS_MAX], server_count, path_count, query_count;
    int method, type, in_order, content_format, observe, spread, unlike;
    long start, range, count, burst;
    double seconds, rate, timeout;
    FILE *locations;
} options = {.host = "127.0.0.1", .port = 5683, .connections = 64, .window = 4, .method = GET, .content_format = -1,
             .range = 1, .seconds = 5, .timeout = 2};

static char **targets; /* the lines of -l FILE */
static size_t target_count;

static void read_targets(const char *name)
{
    FILE *file = fopen(name, "r");
    char *line = NULL;
    size_t space = 0;
    for (ssize_t size; file && (size = getline(&line, &space, file)) > 0;) {
        line[strcspn(line, "\n")] = 0;
        if (target_count % 1024 == 0)
            targets = realloc(targets, (target_count + 1024) * sizeof *targets);
        targets[target_count++] = strdup(line);
    }
    free(line);
    if (!file || !target_count) {
        fprintf(stderr, "coapload: no lines in %s\n", name);
        exit(2);
    }
    fclose(file);
}

static int method_number(const char *name)
{
    static const char *const names[] = {"GET", "POST", "PUT", "DELETE"};
    for (int i = 0; i < 4; i++)
        if (!strcmp(name, names[i]))
            return i + 1;
    fprintf(stderr, "coapload: unknown method %s\n", name);
    exit(2);
}

static void append(const char **list, int *count, const char *value)
{
    if (*count == PARTS_MAX) {
        fprintf(stderr, "coapload: more than %d of one kind\n", PARTS_MAX);
        exit(2);
    }
    list[(*count)++] = value;
}

static int usage(void)
{
    fprintf(stderr, "usage: coapload -p PORT [-h ADDRESS] [-m GET|POST|PUT|DELETE] [-P SEGMENT].. [-q QUERY].. [-N]\n"
                    "                [-b BODY -f FORMAT] [-o START -r RANGE] [-s] [-l FILE] [-O FILE]\n"
                    "                [-e] [-A] [-u] [-d SECONDS | -n COUNT | -B COUNT] [-c CONNECTIONS -w WINDOW] [-R RATE]\n"
                    "                [-S PID].. [-T TIMEOUT]\n");
    return 2;
}

static int read_options(int argc, char **argv)
{
    for (int option; (option = getopt(argc, argv, "h:p:d:c:w:n:B:R:m:P:q:b:f:o:r:S:T:l:O:NseAu")) != -1;) {
        switch (option) {
        case 'h': options.host = optarg; break;
        case 'p': options.port = atoi(optarg); break;
        case 'd': options.seconds = atof(optarg); break;
        case 'c': options.connections = atoi(optarg); break;
        case 'w': options.window = atoi(optarg); break;
        case 'n': options.count = atol(optarg); break;
        case 'B': options.burst = atol(optarg); break;
        case 'R': options.rate = atof(optarg); break;
        case 'm': options.method = method_number(optarg); break;
        case 'P': append(options.paths, &options.path_count, optarg); break;
        case 'q': append(options.queries, &options.query_count, optarg); break;
        case 'b': options.body = optarg; break;
        case 'f': options.content_format = atoi(optarg); break;
        case 'o': options.start = atol(optarg); break;
        case 'r': options.range = atol(optarg); break;
        case 'S': if (options.server_count < SERVERS_MAX) options.servers[options.server_count++] = atoi(optarg); break;
        case 'T': options.timeout = atof(optarg); break;
        case 'l': read_targets(optarg); break;
        case 'O': options.locations = fopen(optarg, "w"); break;
        case 'N': options.type = TYPE_NON; break;
        case 's': options.in_order = 1; break;
        case 'e': options.observe = 1; break;
        case 'A': options.spread = 1; break;
        case 'u': options.unlike = 1; break;
        default: return 0;
        }
    }
    if (options.burst)
        options.connections = 1;
    return options.connections > 0 && options.window > 0 && options.window < WINDOW_MAX && options.range > 0
        && options.burst >= 0 && options.burst <= BURST_MAX;
}

#endif
