/*
 * coapload -- a load generator for CoAP over UDP, for benchmarks on loopback.
 *
 * Closed loop: CONNECTIONS sockets, each keeping WINDOW requests under way.  With -R RATE it sends at most RATE
 * requests a second in all.  With -B COUNT it sends COUNT datagrams at once from one socket and counts the answers.
 *
 * "%d" in a path segment, query or body becomes a number of [START, START+RANGE): random, or in order with -s.  With
 * -l FILE the path is a random line of FILE, such as -O FILE writes from the locations of 2.01 answers.
 *
 * With -u no request is like another: each has an option, passed over by all, with a number of its own.
 *
 * Before counting, every socket asks for /.well-known/core until no answer carries Echo: its source is validated
 * then (RFC 9175, 2.2).  Echo in a later answer is sent back once, in the connection's next request.
 *
 * Prints one JSON object: rate, latency, lost and truncated (Block2, more) answers, the CPU time of this process
 * and, with -S PID, of the server's processes with all their threads.
 */
#define _GNU_SOURCE
#include "coapresult.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#define DATAGRAM_MAX 1400
#define VALIDATION_TRIES 5
#define RECEIVE_BUFFER (16 << 20)
#define PACE_STEP_NS 250000
#define SECOND_NS 1000000000ull

struct exchange {
    uint64_t sent_ns;
    uint16_t sequence;
    int busy;
};

struct connection {
    int fd, busy;
    uint16_t message_id;
    uint8_t echo[ECHO_MAX];
    size_t echo_size;
    struct exchange window[WINDOW_MAX];
};

static long next_number;
static uint64_t request_count;
static uint64_t random_state = 88172645463325252ull;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

static uint64_t random_number(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static size_t expand(char *out, size_t space, const char *template, long number)
{
    size_t size = 0;
    for (const char *p = template; *p && size + 24 < space; p++) {
        if (p[0] == '%' && p[1] == 'd') {
            size += (size_t)sprintf(out + size, "%ld", number);
            p++;
        } else {
            out[size++] = *p;
        }
    }
    return size;
}

static uint8_t *put_target(uint8_t *p, int *last)
{
    const char *segment = targets[random_number() % target_count];
    while (*segment++ == '/') {
        size_t size = strcspn(segment, "/");
        p = put_option(p, last, URI_PATH, segment, size);
        segment += size;
    }
    return p;
}

/* The next request of the load; the connection's Echo is used up by it. */
static size_t build_request(uint8_t *datagram, struct connection *c, uint16_t exchange, uint16_t sequence)
{
    char text[DATAGRAM_MAX];
    uint8_t format = (uint8_t)options.content_format;
    long number = options.start + (options.in_order ? next_number++ : (long)(random_number() % (uint64_t)options.range));
    int last = 0;
    uint8_t *p = put_head(datagram, options.type, options.method, c->message_id++, exchange, sequence);
    if (options.observe)
        p = put_option(p, &last, OBSERVE, "", 0);
    if (target_count)
        p = put_target(p, &last);
    for (int i = 0; i < options.path_count; i++)
        p = put_option(p, &last, URI_PATH, text, expand(text, sizeof text, options.paths[i], number));
    if (options.content_format >= 0)
        p = put_option(p, &last, CONTENT_FORMAT, &format, format ? 1 : 0);
    for (int i = 0; i < options.query_count; i++)
        p = put_option(p, &last, URI_QUERY, text, expand(text, sizeof text, options.queries[i], number));
    if (c->echo_size)
        p = put_option(p, &last, ECHO_OPTION, c->echo, c->echo_size);
    c->echo_size = 0;
    if (options.unlike)
        p = put_option(p, &last, UNKNOWN_OPTION, &request_count, sizeof request_count);
    request_count++;
    if (options.body) {
        *p++ = 0xff;
        p += expand((char *)p, DATAGRAM_MAX - (size_t)(p - datagram), options.body, number);
    }
    return (size_t)(p - datagram);
}

static void remember_echo(struct connection *c, const struct answer *answer)
{
    memcpy(c->echo, answer->echo, c->echo_size = answer->echo_size);
}

/* Shows the server that this source is at its address, if it wants to know. */
static int validate(struct connection *c)
{
    uint8_t datagram[65536];
    struct answer answer;
    for (uint16_t attempt = 0; attempt < VALIDATION_TRIES; attempt++) {
        int last = 0;
        uint8_t *p = put_head(datagram, TYPE_CON, GET, c->message_id++, WINDOW_MAX, attempt);
        p = put_option(p, &last, URI_PATH, ".well-known", 11);
        p = put_option(p, &last, URI_PATH, "core", 4);
        if (c->echo_size)
            p = put_option(p, &last, ECHO_OPTION, c->echo, c->echo_size);
        c->echo_size = 0;
        if (send(c->fd, datagram, (size_t)(p - datagram), 0) < 0)
            return 0;
        struct pollfd readable = {.fd = c->fd, .events = POLLIN};
        if (poll(&readable, 1, (int)(options.timeout * 1000)) <= 0)
            continue;
        ssize_t size = recv(c->fd, datagram, sizeof datagram, 0);
        if (size < 0 || !read_answer(&answer, datagram, (size_t)size))
            continue;
        if (!answer.echo_size)
            return 1;
        remember_echo(c, &answer);
    }
    return 0;
}

static struct connection *connect_all(void)
{
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)options.port)};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)options.port)};
    int is_six = inet_pton(AF_INET6, options.host, &six.sin6_addr) == 1, buffer = RECEIVE_BUFFER;
    if (!is_six && inet_pton(AF_INET, options.host, &four.sin_addr) != 1) {
        fprintf(stderr, "coapload: %s is not an address\n", options.host);
        exit(2);
    }
    struct connection *all = calloc((size_t)options.connections, sizeof *all);
    for (int i = 0; all && i < options.connections; i++) {
        struct connection *c = &all[i];
        const struct sockaddr *address = is_six ? (struct sockaddr *)&six : (struct sockaddr *)&four;
        c->fd = socket(is_six ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        if (options.spread && !is_six) { /* each from an address of its own: what one host may have is bounded */
            struct sockaddr_in own = {.sin_family = AF_INET};
            own.sin_addr.s_addr = htonl(0x7f000101u + ((uint32_t)i / 250 << 8) + (uint32_t)i % 250);
            if (bind(c->fd, (struct sockaddr *)&own, sizeof own))
                perror("coapload: bind");
        }
        if (c->fd < 0 || connect(c->fd, address, is_six ? sizeof six : sizeof four)) {
            perror("coapload: socket");
            exit(1);
        }
        if (setsockopt(c->fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer))
            setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
        c->message_id = (uint16_t)random_number();
        if (!validate(c)) {
            fprintf(stderr, "coapload: %s port %d does not answer /.well-known/core, or never stops asking for Echo\n",
                    options.host, options.port);
            exit(1);
        }
    }
    return all;
}

static void acknowledge(struct connection *c, const struct answer *answer)
{
    const uint8_t empty[4] = {VERSION | TYPE_ACK, 0, (uint8_t)(answer->message_id >> 8), (uint8_t)answer->message_id};
    if (answer->type == TYPE_CON && send(c->fd, empty, sizeof empty, 0) < 0)
        perror("coapload: acknowledgement");
}

static void receive_all(struct connection *c)
{
    uint8_t datagram[65536];
    struct answer answer;
    ssize_t size;
    while ((size = recv(c->fd, datagram, sizeof datagram, 0)) >= 0) {
        if (!read_answer(&answer, datagram, (size_t)size))
            continue;
        acknowledge(c, &answer);
        struct exchange *exchange = &c->window[answer.exchange % WINDOW_MAX];
        if (answer.exchange >= options.window || !exchange->busy || exchange->sequence != answer.sequence)
            continue; /* late, after we counted it as lost */
        exchange->busy = 0;
        c->busy--;
        if (answer.echo_size)
            remember_echo(c, &answer);
        result.last_ns = now_ns();
        count_answer(&answer, (size_t)size, result.last_ns - exchange->sent_ns);
    }
}

static int all_sent(void)
{
    return options.count && result.sent >= (uint64_t)options.count;
}

/* Sends as much as the windows and the pace allow, the connections in turn. */
static void send_some(struct connection *all, uint64_t allowed)
{
    static int turn;
    uint8_t datagram[2 * DATAGRAM_MAX];
    int full = 0;
    while (full < options.connections && result.sent < allowed && !all_sent()) {
        struct connection *c = &all[turn];
        turn = (turn + 1) % options.connections;
        if (c->busy >= options.window) {
            full++;
            continue;
        }
        uint16_t free_one = 0;
        while (c->window[free_one].busy)
            free_one++;
        struct exchange *exchange = &c->window[free_one];
        size_t size = build_request(datagram, c, free_one, ++exchange->sequence);
        exchange->sent_ns = now_ns();
        if (send(c->fd, datagram, size, 0) < 0) {
            next_number--; /* so that no number of the order is left out */
            return;
        }
        exchange->busy = 1;
        c->busy++;
        result.sent++;
        full = 0;
    }
}

/* Gives up what has waited too long; returns how many are still under way. */
static int count_lost(struct connection *all, uint64_t now)
{
    int busy = 0;
    for (int i = 0; i < options.connections; i++) {
        for (int k = 0; all[i].busy && k < options.window; k++) {
            struct exchange *exchange = &all[i].window[k];
            if (exchange->busy && now > exchange->sent_ns && (double)(now - exchange->sent_ns) > options.timeout * 1e9) {
                exchange->busy = 0;
                all[i].busy--;
                result.lost++;
            }
        }
        busy += all[i].busy;
    }
    return busy;
}

static void run_load(struct connection *all)
{
    int poller = epoll_create1(0);
    for (int i = 0; i < options.connections; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &all[i]};
        epoll_ctl(poller, EPOLL_CTL_ADD, all[i].fd, &event);
    }
    uint64_t start = result.start_ns = result.last_ns = now_ns(), checked = start;
    for (int stopping = 0;;) {
        uint64_t now = now_ns();
        stopping |= options.count ? all_sent() : (double)(now - start) >= options.seconds * 1e9;
        if (!stopping)
            send_some(all, options.rate > 0 ? (uint64_t)(options.rate * (double)(now - start) / 1e9) : UINT64_MAX);
        struct epoll_event events[128];
        /* A pace is kept in steps: to spin would take a core from the server. */
        const struct timespec wait = {.tv_nsec = options.rate > 0 && !stopping ? PACE_STEP_NS : 20000000};
        int ready = epoll_pwait2(poller, events, 128, &wait, NULL);
        for (int i = 0; i < ready; i++)
            receive_all(events[i].data.ptr);
        if ((now = now_ns()) - checked > SECOND_NS / 10 || (stopping && result.done + result.lost == result.sent)) {
            checked = now;
            if (!count_lost(all, now) && stopping)
                return;
        }
    }
}

/* COUNT datagrams in as few system calls as the kernel lets us, then the answers until the timeout. */
static void run_burst(struct connection *c)
{
    static uint8_t datagrams[BURST_MAX][512];
    static struct iovec parts[BURST_MAX];
    static struct mmsghdr messages[BURST_MAX];
    static uint8_t answered[BURST_MAX];
    uint8_t datagram[65536];
    struct answer answer;
    unsigned count = (unsigned)options.burst;
    for (unsigned i = 0; i < count; i++) {
        parts[i].iov_base = datagrams[i];
        parts[i].iov_len = build_request(datagrams[i], c, (uint16_t)i, 0);
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    result.start_ns = result.last_ns = now_ns();
    while (result.sent < count) {
        int sent = sendmmsg(c->fd, messages + result.sent, count - (unsigned)result.sent, 0);
        if (sent > 0)
            result.sent += (uint64_t)sent;
        else
            poll(&(struct pollfd){.fd = c->fd, .events = POLLOUT}, 1, 100);
    }
    while (result.done < count && (double)(now_ns() - result.last_ns) < options.timeout * 1e9) {
        poll(&(struct pollfd){.fd = c->fd, .events = POLLIN}, 1, 100);
        for (ssize_t size; (size = recv(c->fd, datagram, sizeof datagram, 0)) >= 0;) {
            if (!read_answer(&answer, datagram, (size_t)size))
                continue;
            acknowledge(c, &answer);
            if (answer.exchange < count && !answered[answer.exchange]++) {
                result.last_ns = now_ns();
                count_answer(&answer, (size_t)size, result.last_ns - result.start_ns);
            }
        }
    }
    result.lost = count - result.done;
}

int main(int argc, char **argv)
{
    if (!read_options(argc, argv))
        return usage();
    random_state ^= (uint64_t)getpid() << 20;
    struct connection *all = connect_all();
    double cpu = servers_cpu();
    if (options.burst)
        run_burst(all);
    else
        run_load(all);
    print_result(servers_cpu() - cpu);
    return options.locations ? fclose(options.locations) != 0 : 0;
}
